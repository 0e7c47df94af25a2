// Sums of arrays (outer, kept, inner) over outer and inner: those of channels over samples and pixels, and those of rows.
//
// Some blocks share the numbers of one sum: each adds up its part, and a thread for each sum adds the parts, always in the
// same order. Sums are double, so that none of it rounds but the result. Two launches read x once; CuPy's own reduction
// took 90 us of host.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements.

#include "block.cuh"
#include "part.cuh"

// (kept, parts)
extern "C" __global__ void part_sums(
    INDEX blocks, const REAL *x, double *sums, INDEX kept, INDEX inner, INDEX outer, INDEX parts)
{
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        const Part part(block, kept, inner, outer, parts);
        double sum = 0, none = 0;
        for (INDEX i = part.begin + threadIdx.x; i < part.end; i += THREADS) sum += x[part.at(i)];
        sum_over_block(sum, none);
        if (threadIdx.x == 0) sums[block] = sum;
    }
}

extern "C" __global__ void total_sums(INDEX count, REAL *out, const double *sums, INDEX parts)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        double sum = 0;
        for (INDEX part = 0; part < parts; part++) sum += sums[i * parts + part];
        out[i] = sum;
    }
}

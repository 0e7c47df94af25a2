// Activations on their own, a thread for each number: forward, and g times the slope.

#include "activation.cuh"

extern "C" __global__ void activate(INDEX count, REAL *out, const REAL *x, INDEX kind, REAL level)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        out[i] = activated(kind, x[i], level);
}

extern "C" __global__ void hold_back(INDEX count, REAL *out, const REAL *g, const REAL *at, INDEX kind, REAL level)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        out[i] = held_back(kind, g[i], at[i], level);
}

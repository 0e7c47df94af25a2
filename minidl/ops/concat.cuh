// Stretches of an array copied into stretches of another: `length` numbers of each of the runs that both consist of.
// Runs and starts are counted in numbers. CuPy's assignment to a slice took 40 us of host.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements.

extern "C" __global__ void copy_runs(
    INDEX count, REAL *to, const REAL *from, INDEX length, INDEX to_run, INDEX to_start, INDEX from_run,
    INDEX from_start)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const INDEX run = i / length, at = i % length;
        to[run * to_run + to_start + at] = from[run * from_run + from_start + at];
    }
}

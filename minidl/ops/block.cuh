// What the threads of a block do together. All of them must come here.

const int THREADS = 256;
__shared__ double first_sums[THREADS], second_sums[THREADS];

// The sums of x and y over the threads of the block; every thread gets them. Always the same order: halves are added to
// halves.
__device__ inline void sum_over_block(double &x, double &y)
{
    __syncthreads();  // nobody still reads the sums before
    first_sums[threadIdx.x] = x;
    second_sums[threadIdx.x] = y;
    for (unsigned half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            first_sums[threadIdx.x] += first_sums[threadIdx.x + half];
            second_sums[threadIdx.x] += second_sums[threadIdx.x + half];
        }
    }
    __syncthreads();
    x = first_sums[0];
    y = second_sums[0];
}

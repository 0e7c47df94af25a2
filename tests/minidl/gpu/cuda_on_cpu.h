// Enough of CUDA for g++ to compile a kernel as a plain function, and to call it once for every thread.
//
// Threads run one after another, from the first to the last or the other way round. A kernel whose results differ
// between the two has threads that depend on each other. There is no __syncthreads: a kernel that needs it does not
// compile here, rather than run wrongly. (With one fiber for each thread of a block it could be added.)

#include <cstddef>
#include <utility>

struct dim3 {
    unsigned x, y, z;
};

static dim3 threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __restrict__

template <class... Args, std::size_t... I>
void call(void (*kernel)(Args...), void **arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<Args *>(arguments[I])...);
}

// `arguments` point to the values, as in CUDA's own launch function.
template <class... Args>
void launch(void (*kernel)(Args...), unsigned blocks, unsigned threads, bool backwards, void **arguments)
{
    const unsigned long long all = (unsigned long long)blocks * threads;
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    for (unsigned long long i = 0; i < all; i++) {
        const unsigned long long thread = backwards ? all - 1 - i : i;
        blockIdx = {unsigned(thread / threads), 0, 0};
        threadIdx = {unsigned(thread % threads), 0, 0};
        call(kernel, arguments, std::index_sequence_for<Args...>());
    }
}

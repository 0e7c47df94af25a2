// Enough of CUDA for g++ to compile a kernel as a plain function, and to call it once for every thread.
//
// Blocks run one after another, and so do the threads of a block: each until it ends or comes to a barrier, from the
// first to the last or the other way round. A kernel whose results differ between the two has threads that depend on
// each other. Where a source has barriers (BARRIERS), a thread has a stack of its own, so that it can be left there and
// gone on with later, and shared memory is filled with NaN before each block. A barrier that only some threads of a
// block reach ends the process: a GPU would wait for ever.

#include <math.h>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

struct dim3 {
    unsigned x, y, z;
};

static dim3 threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __restrict__
#define __launch_bounds__(...)

template <class... Args, std::size_t... I>
void call(void (*kernel)(Args...), void **arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<Args *>(arguments[I])...);
}

#ifdef BARRIERS

#include <setjmp.h>
#include <ucontext.h>

#include <functional>
#include <memory>
#include <vector>

#define __shared__ static __attribute__((section("shared_memory")))
extern char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));

// A thread is entered by setcontext, which knows of stacks; after that jumps will do, in a tenth of the time.
struct Thread {
    ucontext_t context;
    jmp_buf barrier;
    std::unique_ptr<char[]> stack;
    bool has_begun, is_done;
};

static const std::size_t STACK_BYTES = 1 << 16;
static jmp_buf scheduler;
static Thread *running;
static std::function<void()> body;

inline void __syncthreads()
{
    if (!_setjmp(running->barrier)) _longjmp(scheduler, 1);
}

inline void enter()
{
    body();
    running->is_done = true;
    _longjmp(scheduler, 1);
}

// Up to its next barrier, or to its end.
__attribute__((noinline)) inline void go_on(Thread *thread)
{
    running = thread;
    if (_setjmp(scheduler)) return;
    if (thread->has_begun) _longjmp(thread->barrier, 1);
    thread->has_begun = true;
    setcontext(&thread->context);
}

// All threads of a block up to the next barrier; whether they came to one.
inline bool run_to_barrier(std::vector<Thread> &threads, bool backwards)
{
    std::size_t done = 0;
    for (std::size_t i = 0; i < threads.size(); i++) {
        const std::size_t t = backwards ? threads.size() - 1 - i : i;
        threadIdx = {unsigned(t), 0, 0};
        if (!threads[t].is_done) go_on(&threads[t]);
        done += threads[t].is_done;
    }
    if (done % threads.size()) {
        std::fprintf(stderr, "only some threads of block %u wait at a barrier\n", blockIdx.x);
        std::abort();
    }
    return !done;
}

inline void run_block(std::vector<Thread> &threads, bool backwards)
{
    std::memset(__start_shared_memory, 0xFF, __stop_shared_memory - __start_shared_memory);
    for (Thread &thread : threads) {
        if (!thread.stack) thread.stack.reset(new char[STACK_BYTES]);
        thread.has_begun = thread.is_done = false;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK_BYTES;
        makecontext(&thread.context, enter, 0);
    }
    while (run_to_barrier(threads, backwards)) {}
}

#endif

// `arguments` point to the values, as in CUDA's own launch function.
template <class... Args>
void launch(void (*kernel)(Args...), unsigned blocks, unsigned threads, bool backwards, void **arguments)
{
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
#ifdef BARRIERS
    std::vector<Thread> stacks(threads);
    body = [=] { call(kernel, arguments, std::index_sequence_for<Args...>()); };
#endif
    for (unsigned i = 0; i < blocks; i++) {
        blockIdx = {backwards ? blocks - 1 - i : i, 0, 0};
#ifdef BARRIERS
        run_block(stacks, backwards);
#else
        for (unsigned j = 0; j < threads; j++) {
            threadIdx = {backwards ? threads - 1 - j : j, 0, 0};
            call(kernel, arguments, std::index_sequence_for<Args...>());
        }
#endif
    }
}

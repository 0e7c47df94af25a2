// Convolution over images of up to three dimensions, its gradients, and the transposed convolution.
//
// Each of the three passes is one product of two matrices, of which the second is not stored: its numbers are pixels,
// fetched from the image where they are needed ("implicit GEMM").
//
//     pass       row        column           sum over         A(row, depth)   B(depth, column)
//     forward    filter     window           channel, tap     weight          the pixel that the tap of the window sees
//     back       channel    pixel            filter, tap      weight          the window whose tap sees the pixel
//     weight     filter     channel, tap     window           gradient        as forward
//
// A block of 256 threads makes a tile of the result, each thread EACH rows and as many columns of it. It walks along the depth in steps of STEP: all threads together fetch that stretch of both matrices
// into shared memory, once, where each then reads the rows and columns that are its own. While they multiply one stretch
// the next is on its way (`copy`), so there are two rooms, and one barrier a step.
//
// A pixel is found by two parts that are added: where the window begins, and how far from there the tap looks. Both are
// worked out once for many numbers (`Sight`): the divisions of a step for a CHUNK of the depth at a time, a thread each.
// A pixel outside of the image, on the padding, counts as 0.
//
// A step of a 64 x 64 tile costs a thread 256 multiplications, 32 loads of 16 bytes from shared memory, and about 90
// instructions to fetch 8 numbers; of a 16 x 256 tile 190 to fetch 17. Before, a step cost 160 and 560 of them, the
// divisions of the depth stood in each, nothing was multiplied while numbers were on their way, and the sums of the
// weight's gradient were stored so that 16 threads met in one bank: 3 to 12 TFLOP/s on an H100. What lost: 8 x 4 numbers a
// thread do not fit into 64 registers, and with 80 or 128 fewer blocks run at a time.
//
// With a stride, taps see a pixel in turns: of stride 2, one pixel is seen by the taps 0, 2, ..., the next by 1, 3, ...
// So the backward pass goes through classes of pixels, each with its own taps (`Line`).
//
// Sums run in one order, whatever the number of blocks: the same bits in every run. Where there are few tiles, the depth
// is cut into parts, a block for each, and their sums are added in their order (`add_parts`): always for the weight's
// gradient, whose depth is all windows of all images.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements. Images are (samples,
// groups * channels, *image), weights (groups * filters, channels, *kernel), windows (samples, groups * filters,
// *windows); with fewer dimensions the first lengths are 1.

#include "geometry.cuh"

const int THREADS = 256, STEP = 16;
const int CHUNK = sizeof(INDEX) == 4 ? 256 : 128;
const int EACH = 16 / sizeof(REAL);  // rows and columns of a thread: 16 bytes
const int MOST_COLUMNS = THREADS * EACH * EACH / 16;
const int GAP = 16 / sizeof(REAL);  // between the lines of a room, so that threads along the depth meet different banks

template <int ROWS> struct Tile {
    static const int COLUMNS = THREADS * EACH * EACH / ROWS;
    static const int A = ROWS + GAP, B = COLUMNS + GAP;  // lengths of lines
};

// At most 64 registers, so that four blocks run at a time on a multiprocessor; 64-bit sizes take two each.
#define BOUNDS __launch_bounds__(THREADS, sizeof(INDEX) == 4 ? 4 : 2)

// One dimension of a pass. Number q of `count` results lies at first + step * q, if that is less than `length`. What it
// is made of begins at start + advance * q of the source, and tap j of `taps` looks `shift` * j further on; in the
// kernel it is number tap + tap_step * j.
struct Line {
    int length, first, step, count;
    int sources, start, advance;
    int taps, shift, tap, tap_step;
};

struct alignas(sizeof(INDEX) == 4 ? 16 : 8) Sight {  // fetched from shared memory at once, if it has 16 bytes
    INDEX offset;
    int at[3];
};

// What the threads of a block know of their tile. In shared memory: the numbers of the tile need the registers.
struct Job {
    const REAL *source, *matrix;  // of the group, and of the first row
    REAL *out;                    // of the part
    INDEX row_size, begin, end;   // of A; and of the depth
    INDEX first;                  // column
    int rows, first_row;          // from the first row of the tile on; that row, counted through all groups
};

const Sight NOWHERE = {0, {-(1 << 29), 0, 0}};  // outside of every image

__shared__ Line lines[3];
__shared__ Job job;
__shared__ Sight near[CHUNK], far[MOST_COLUMNS];  // along the depth, and along the columns
__shared__ INDEX beside[CHUNK];                   // where the numbers of A lie, for row 0; -1 beyond the depth
alignas(16) __shared__ REAL rooms[2][STEP * (Tile<16>::A + Tile<16>::B)];  // b[depth][column], behind it a[depth][row]

__device__ inline Line forward_line(const Geometry &g, int d)
{
    return {g.windows[d], 0, 1, g.windows[d], g.image[d], -g.padding[d], g.stride[d], g.kernel[d], g.dilation[d], 0, 1};
}

// Of the pixels p with (p + padding) % stride == part. Tap t sees them if t * dilation % stride is the same.
__device__ inline Line back_line(const Geometry &g, int d, int part)
{
    const int stride = g.stride[d], dilation = g.dilation[d];
    const int first = ((part - g.padding[d]) % stride + stride) % stride;
    int tap = 0, tap_step = 1;
    while (tap < g.kernel[d] && tap * dilation % stride != part) tap++;
    while (tap_step * dilation % stride) tap_step++;
    const int taps = tap < g.kernel[d] ? (g.kernel[d] - 1 - tap) / tap_step + 1 : 0;
    const int start = taps ? (first + g.padding[d] - tap * dilation) / stride : 0;
    const int count = (g.image[d] + stride - 1) / stride;
    return {g.image[d], first, stride, count, g.windows[d], start, 1, taps, -tap_step * dilation / stride, tap, tap_step};
}

__device__ inline INDEX results() { return (INDEX)lines[0].count * lines[1].count * lines[2].count; }
__device__ inline INDEX source_size() { return (INDEX)lines[0].sources * lines[1].sources * lines[2].sources; }
__device__ inline int taps_of_all() { return lines[0].taps * lines[1].taps * lines[2].taps; }

__device__ inline Sight sight(INDEX offset, int z, int y, int x)
{
    return {offset + ((INDEX)z * lines[1].sources + y) * lines[2].sources + x, {z, y, x}};
}

// Where result `i` of all samples begins to see; a sample is `sample_size` numbers of the source.
__device__ inline Sight place(INDEX i, INDEX sample_size)
{
    const INDEX sample = i / results();
    const int rest = i % results(), row = rest / lines[2].count;
    const int z = row / lines[1].count, y = row % lines[1].count, x = rest % lines[2].count;
    return sight(
        sample * sample_size, lines[0].start + lines[0].advance * z, lines[1].start + lines[1].advance * y,
        lines[2].start + lines[2].advance * x);
}

// How far tap `i` of all planes looks, and its number in the kernel.
__device__ inline Sight tap(INDEX i, int &number, const Geometry &g)
{
    const int rest = i % taps_of_all(), row = rest / lines[2].taps;
    const int z = row / lines[1].taps, y = row % lines[1].taps, x = rest % lines[2].taps;
    number = (lines[0].tap + lines[0].tap_step * z) * g.kernel[1] + lines[1].tap + lines[1].tap_step * y;
    number = number * g.kernel[2] + lines[2].tap + lines[2].tap_step * x;
    return sight(i / taps_of_all() * source_size(), lines[0].shift * z, lines[1].shift * y, lines[2].shift * x);
}

// One number from global to shared memory, or 0. It is there when `arrive` is done, for all threads behind the barrier
// after it.
__device__ inline void copy(REAL *to, const REAL *from, bool is_there)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from),
                 "n"((int)sizeof(REAL)), "r"(is_there ? (int)sizeof(REAL) : 0));
#else
    *to = is_there ? *from : REAL(0);
#endif
}

__device__ inline void arrive()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// A stretch of B, from depth `first` of the chunk. Neighbouring threads fetch what lies side by side: columns in the
// passes over images, the depth where that are the windows. A thread stays at one of the two.
template <int ROWS, bool ALONG_DEPTH> __device__ inline void fetch_pixels(REAL *b, int first)
{
    const int COLUMNS = Tile<ROWS>::COLUMNS, TURN = ALONG_DEPTH ? STEP : COLUMNS;
    [[maybe_unused]] const int AT_A_TIME = ALONG_DEPTH ? 2 : EACH == 4 ? 16 : 1;  // as many as no register has to be spilled for
    const int own = threadIdx.x % TURN;
    const Sight from = ALONG_DEPTH ? near[first + own] : far[own];
    const REAL *const source = job.source;
    const unsigned depth = lines[0].sources, height = lines[1].sources, width = lines[2].sources;
#pragma unroll AT_A_TIME
    for (int i = 0; i < STEP * COLUMNS / THREADS; i++) {
        const int other = threadIdx.x / TURN + THREADS / TURN * i;
        const Sight to = ALONG_DEPTH ? far[other] : near[first + other];
        const bool is_seen = ((unsigned)(from.at[0] + to.at[0]) < depth) & ((unsigned)(from.at[1] + to.at[1]) < height) &
                             ((unsigned)(from.at[2] + to.at[2]) < width);
        const int at = ALONG_DEPTH ? own * Tile<ROWS>::B + other : other * Tile<ROWS>::B + own;
        copy(b + at, source + from.offset + to.offset, is_seen);
    }
}

// The stretch of A; zeros beyond its last row and beyond the depth.
template <int ROWS> __device__ inline void fetch_rows(REAL *a, int first)
{
    const REAL *const matrix = job.matrix;
    const INDEX row_size = job.row_size;
    const int rows = job.rows;
#pragma unroll
    for (int i = threadIdx.x; i < STEP * ROWS; i += THREADS) {
        const int depth = i % STEP, row = i / STEP;
        const INDEX at = beside[first + depth];
        copy(a + depth * Tile<ROWS>::A + row, matrix + at + row * row_size, row < rows && at >= 0);
    }
}

template <int ROWS>
__device__ inline void multiply(const REAL *a, const REAL *b, REAL (&sum)[EACH][EACH])
{
    const int ACROSS = Tile<ROWS>::COLUMNS / EACH;
    const int row = threadIdx.x / ACROSS * EACH, column = threadIdx.x % ACROSS * EACH;
#pragma unroll 8
    for (int depth = 0; depth < STEP; depth++)
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++)
                sum[i][j] += a[depth * Tile<ROWS>::A + row + i] * b[depth * Tile<ROWS>::B + column + j];
}

// The sums of a tile. `look(i, there)` tells how number i of the depth looks at the source, and where its numbers of A
// lie.
template <int ROWS, bool ALONG_DEPTH, class Look>
__device__ inline void sum_along(Look look, REAL (&sum)[EACH][EACH])
{
    const int BEHIND = STEP * Tile<ROWS>::B;
    for (INDEX chunk = job.begin; chunk < job.end; chunk += CHUNK) {
        __syncthreads();  // nobody still reads what belongs to the chunk before
        if (threadIdx.x < CHUNK) {
            const INDEX i = chunk + threadIdx.x;
            INDEX there = -1;
            near[threadIdx.x] = i < job.end ? look(i, there) : NOWHERE;
            beside[threadIdx.x] = there;
        }
        const int length = job.end - chunk < CHUNK ? job.end - chunk : CHUNK;
#pragma unroll 1
        for (int depth = -STEP; depth < length; depth += STEP) {
            REAL *const room = rooms[depth / STEP & 1], *const other = rooms[(depth / STEP + 1) & 1];
            arrive();
            __syncthreads();  // this room is full, and nobody reads the other one any more
            if (depth + STEP < length) {
                fetch_pixels<ROWS, ALONG_DEPTH>(other, depth + STEP);
                fetch_rows<ROWS>(other + BEHIND, depth + STEP);
            }
            if (depth >= 0) multiply<ROWS>(room + BEHIND, room, sum);
        }
    }
}

// Where result `i` of all samples lies in one plane of them, counted from the first sample's; -1 for none.
__device__ inline INDEX result_at(INDEX i, INDEX sample_size, const Geometry &g)
{
    if (i >= results() * g.samples) return -1;
    const int rest = i % results(), row = rest / lines[2].count;
    const int q[3] = {row / lines[1].count, row % lines[1].count, rest % lines[2].count};
    INDEX at = 0;
    for (int d = 0; d < 3; d++) {
        const int along = lines[d].first + lines[d].step * q[d];
        if (along >= lines[d].length) return -1;
        at = at * lines[d].length + along;
    }
    return i / results() * sample_size + at;
}

__device__ inline REAL finished(REAL value, INDEX at, int channel, const REAL *bias, const REAL *residual, bool relu)
{
    if (bias) value += bias[channel];
    if (residual) value += residual[at];
    return relu && value <= 0 ? REAL(0) : value;  // NaN stays NaN
}

// Forward or back; then the bias of each row, the residual and the ReLU, as far as they are wanted. With several parts
// `out` has room for the sums of each, and nothing follows yet.
template <int ROWS, bool BACK>
__device__ inline void convolve(
    INDEX tiles, REAL *out, const REAL *source, const REAL *weight, const REAL *bias, const REAL *residual, bool relu,
    int parts, INDEX part_size, const Geometry &g)
{
    const int COLUMNS = Tile<ROWS>::COLUMNS, ACROSS = COLUMNS / EACH;
    const int kernel = g.kernel[0] * g.kernel[1] * g.kernel[2];
    const int rows = BACK ? g.channels : g.filters, planes = BACK ? g.filters : g.channels;
    const int row_tiles = (rows + ROWS - 1) / ROWS, classes = BACK ? g.stride[0] * g.stride[1] * g.stride[2] : 1;
    for (INDEX tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        INDEX rest = tile;
        const int part = rest % parts;
        const int first_row = (rest /= parts) % row_tiles * ROWS;
        const int group = (rest /= row_tiles) % g.groups;
        const int of_class = (rest /= g.groups) % classes;
        __syncthreads();  // nobody still reads the job before
        const int inner[3] = {g.stride[1] * g.stride[2], g.stride[2], 1};
        if (threadIdx.x == 0) {
#pragma unroll
            for (int d = 0; d < 3; d++)
                lines[d] = BACK ? back_line(g, d, of_class / inner[d] % g.stride[d]) : forward_line(g, d);
            const INDEX depths = (INDEX)planes * taps_of_all(), begin = part * part_size, end = begin + part_size;
            const INDEX plane = (INDEX)lines[0].length * lines[1].length * lines[2].length;
            const INDEX row_size = BACK ? kernel : (INDEX)planes * kernel;
            job.source = source + group * planes * source_size();
            job.matrix = weight + (INDEX)group * planes * rows * kernel + first_row * row_size;
            job.out = out + part * (g.samples * g.groups * rows * plane);
            job.row_size = row_size;
            job.begin = begin;
            job.end = end < depths ? end : depths;
            job.first = rest / classes * COLUMNS;
            job.rows = rows - first_row;
            job.first_row = group * rows + first_row;
        }
        __syncthreads();
        if (threadIdx.x < COLUMNS) {
            const INDEX i = job.first + threadIdx.x;
            far[threadIdx.x] = i < results() * g.samples ? place(i, g.groups * planes * source_size()) : NOWHERE;
        }
        REAL sum[EACH][EACH] = {};
        sum_along<ROWS, false>(
            [&](INDEX i, INDEX &there) {
                int number;
                const Sight seen = tap(i, number, g);
                there = i / taps_of_all() * (BACK ? (INDEX)rows * kernel : kernel) + number;
                return seen;
            },
            sum);
        const INDEX plane = (INDEX)lines[0].length * lines[1].length * lines[2].length;
        const int row = threadIdx.x / ACROSS * EACH;
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const INDEX at = result_at(job.first + threadIdx.x % ACROSS * EACH + j, g.groups * rows * plane, g);
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                if (row + i >= job.rows || at < 0) break;
                const int filter = job.first_row + row + i;
                const INDEX here = at + filter * plane;
                job.out[here] = finished(sum[i][j], here, filter, bias, residual, relu);
            }
        }
    }
}

// Sums of one part of the windows: (parts, groups * filters, channels, *kernel).
template <int ROWS>
__device__ inline void weight_sums(
    INDEX tiles, REAL *sums, const REAL *image, const REAL *gradient, INDEX part_size, const Geometry &g)
{
    const int COLUMNS = Tile<ROWS>::COLUMNS, ACROSS = COLUMNS / EACH;
    const int columns = g.channels * g.kernel[0] * g.kernel[1] * g.kernel[2];
    const int row_tiles = (g.filters + ROWS - 1) / ROWS, column_tiles = (columns + COLUMNS - 1) / COLUMNS;
    if (threadIdx.x == 0)
        for (int d = 0; d < 3; d++) lines[d] = forward_line(g, d);
    for (INDEX tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        INDEX rest = tile;
        const int first_row = rest % row_tiles * ROWS;
        const int first = (rest /= row_tiles) % column_tiles * COLUMNS;
        const int group = (rest /= column_tiles) % g.groups;
        const INDEX part = rest / g.groups;
        __syncthreads();  // the lines are there, and nobody still reads the job before
        if (threadIdx.x == 0) {
            const INDEX windows = results(), end = (part + 1) * part_size;
            job.source = image + group * g.channels * source_size();
            job.matrix = gradient + ((INDEX)group * g.filters + first_row) * windows;
            job.out = sums + ((part * g.groups + group) * g.filters + first_row) * columns + first;
            job.row_size = windows;
            job.begin = part * part_size;
            job.end = end < windows * g.samples ? end : windows * g.samples;
            job.first = first;
            job.rows = g.filters - first_row;
        }
        if (threadIdx.x < COLUMNS) {
            int number;
            far[threadIdx.x] = first + (int)threadIdx.x < columns ? tap(first + threadIdx.x, number, g) : NOWHERE;
        }
        __syncthreads();
        REAL sum[EACH][EACH] = {};
        sum_along<ROWS, true>(
            [&](INDEX i, INDEX &there) {
                there = i / results() * g.groups * g.filters * results() + i % results();
                return place(i, (INDEX)g.groups * g.channels * source_size());
            },
            sum);
        const int row = threadIdx.x / ACROSS * EACH, column = threadIdx.x % ACROSS * EACH;
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++)
                if (row + i < job.rows && job.first + column + j < columns)
                    job.out[(INDEX)(row + i) * columns + column + j] = sum[i][j];
    }
}

// The parts of each number added, and what follows the sum. `slices` threads share the parts of a number: always in the
// same order, each adds every slices-th part, and the first adds what they found.
extern "C" __global__ void add_parts(
    INDEX blocks, REAL *out, const REAL *sums, const REAL *bias, const REAL *residual, INDEX relu, INDEX parts,
    INDEX slices, INDEX count, INDEX channels, INDEX plane)
{
    const int numbers = THREADS / slices, number = threadIdx.x % numbers;
    REAL *const found = rooms[0];
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        const INDEX i = block * numbers + number;
        REAL sum = 0;
        if (i < count)
#pragma unroll 8
            for (INDEX part = threadIdx.x / numbers; part < parts; part += slices) sum += sums[part * count + i];
        __syncthreads();  // nobody still reads what the block before found
        found[threadIdx.x] = sum;
        __syncthreads();
        if ((int)threadIdx.x >= numbers || i >= count) continue;
        for (int slice = 1; slice < slices; slice++) sum += found[slice * numbers + number];
        out[i] = finished(sum, i, i / plane % channels, bias, residual, relu);
    }
}

extern "C" __global__ void BOUNDS convolve_forward(
    INDEX tiles, REAL *out, const REAL *image, const REAL *weight, const REAL *bias, const REAL *residual, INDEX relu,
    INDEX parts, INDEX part_size, INDEX tile_rows, const Geometry g)
{
    if (tile_rows == 16) convolve<16, false>(tiles, out, image, weight, bias, residual, relu, parts, part_size, g);
    if (tile_rows == 32) convolve<32, false>(tiles, out, image, weight, bias, residual, relu, parts, part_size, g);
    if (tile_rows == 64) convolve<64, false>(tiles, out, image, weight, bias, residual, relu, parts, part_size, g);
}

extern "C" __global__ void BOUNDS convolve_back(
    INDEX tiles, REAL *out, const REAL *windows, const REAL *weight, const REAL *bias, const REAL *residual, INDEX relu,
    INDEX parts, INDEX part_size, INDEX tile_rows, const Geometry g)
{
    if (tile_rows == 16) convolve<16, true>(tiles, out, windows, weight, bias, residual, relu, parts, part_size, g);
    if (tile_rows == 32) convolve<32, true>(tiles, out, windows, weight, bias, residual, relu, parts, part_size, g);
    if (tile_rows == 64) convolve<64, true>(tiles, out, windows, weight, bias, residual, relu, parts, part_size, g);
}

extern "C" __global__ void BOUNDS weight_gradient(
    INDEX tiles, REAL *sums, const REAL *image, const REAL *gradient, INDEX part_size, INDEX tile_rows,
    const Geometry g)
{
    if (tile_rows == 16) weight_sums<16>(tiles, sums, image, gradient, part_size, g);
    if (tile_rows == 32) weight_sums<32>(tiles, sums, image, gradient, part_size, g);
    if (tile_rows == 64) weight_sums<64>(tiles, sums, image, gradient, part_size, g);
}

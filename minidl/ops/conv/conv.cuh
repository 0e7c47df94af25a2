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
// A block of 256 threads makes a tile of the result: ROWS rows, and as many columns as make EACH x EACH numbers for
// each thread. It walks along the depth in steps of STEP: all threads together fetch that stretch of both matrices into
// shared memory, once, and then each multiplies the few rows and columns that are its own.
//
// A pixel is found by two parts that are added: where the window begins, and how far from there the tap looks. A block
// works out both once for many numbers (`Sight`). A pixel outside of the image, on the padding, counts as 0.
//
// With a stride, taps see a pixel in turns: of stride 2, one pixel is seen by the taps 0, 2, ..., the next by 1, 3, ...
// So the backward pass goes through classes of pixels, each with its own taps (`Line`).
//
// Sums run in one order, whatever the number of blocks: the same bits in every run. The depth of the weight's gradient
// is all windows of all images, too many for a block: it is cut into parts, whose sums are added in their order.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements. Images are (samples,
// groups * channels, *image), weights (groups * filters, channels, *kernel), windows (samples, groups * filters,
// *windows); with fewer dimensions the first lengths are 1.

#include "geometry.cuh"

const int THREADS = 256, STEP = 16;
const int EACH = sizeof(REAL) == 4 ? 4 : 2;
const int NUMBERS = THREADS * EACH * EACH;  // of a tile
const int MOST_ROWS = 64, MOST_COLUMNS = NUMBERS / 16;

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

struct Sight {
    INDEX offset;
    int at[3];
};

const Sight NOWHERE = {0, {-(1 << 29), 0, 0}};  // outside of every image

__shared__ Line lines[3];
__shared__ Sight near[STEP], far[MOST_COLUMNS];  // along the depth, and along the columns
__shared__ INDEX beside[STEP];                   // where the numbers of A lie, for row 0
alignas(16) __shared__ REAL a[STEP * MOST_ROWS];
alignas(16) __shared__ REAL b[STEP * MOST_COLUMNS];

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

__device__ inline REAL seen(const REAL *source, const Sight &from, const Sight &to)
{
    for (int d = 0; d < 3; d++)
        if ((unsigned)(from.at[d] + to.at[d]) >= (unsigned)lines[d].sources) return 0;
    return source[from.offset + to.offset];
}

// The stretch of B in shared memory: b[depth][column]. Neighbouring threads fetch what lies side by side: columns in
// the passes over images, the depth where that are the windows.
template <int COLUMNS, bool ALONG_DEPTH> __device__ inline void fetch_pixels(const REAL *source)
{
    for (int i = threadIdx.x; i < STEP * COLUMNS; i += THREADS) {
        const int depth = ALONG_DEPTH ? i % STEP : i / COLUMNS, column = ALONG_DEPTH ? i / STEP : i % COLUMNS;
        b[depth * COLUMNS + column] = seen(source, far[column], near[depth]);
    }
}

// The stretch of A: a[depth][row]; zeros beyond its last row and beyond the depth.
template <int ROWS> __device__ inline void fetch_rows(const REAL *matrix, INDEX row_size, int rows, INDEX depths)
{
    for (int i = threadIdx.x; i < STEP * ROWS; i += THREADS) {
        const int depth = i % STEP, row = i / STEP;
        a[depth * ROWS + row] = row < rows && depth < depths ? matrix[beside[depth] + row * row_size] : REAL(0);
    }
}

template <int ROWS> __device__ inline void multiply(REAL (&sum)[EACH][EACH])
{
    const int COLUMNS = NUMBERS / ROWS;
    const int row = threadIdx.x / (COLUMNS / EACH) * EACH, column = threadIdx.x % (COLUMNS / EACH) * EACH;
#pragma unroll 8
    for (int depth = 0; depth < STEP; depth++)
        for (int i = 0; i < EACH; i++)
            for (int j = 0; j < EACH; j++) sum[i][j] += a[depth * ROWS + row + i] * b[depth * COLUMNS + column + j];
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

// Forward or back; then the bias of each row, the residual and the ReLU, as far as they are wanted.
template <int ROWS, bool BACK>
__device__ inline void convolve(
    INDEX tiles, REAL *out, const REAL *source, const REAL *weight, const REAL *bias, const REAL *residual, bool relu,
    const Geometry &g)
{
    const int COLUMNS = NUMBERS / ROWS, kernel = g.kernel[0] * g.kernel[1] * g.kernel[2];
    const int rows = BACK ? g.channels : g.filters, planes = BACK ? g.filters : g.channels;
    const int row_tiles = (rows + ROWS - 1) / ROWS, parts = BACK ? g.stride[0] * g.stride[1] * g.stride[2] : 1;
    for (INDEX tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_row = tile % row_tiles * ROWS, group = tile / row_tiles % g.groups;
        const int part = tile / row_tiles / g.groups % parts;
        __syncthreads();  // nobody still reads the lines of the tile before
        if (threadIdx.x == 0) {
            const int of[3] = {part / (g.stride[1] * g.stride[2]), part / g.stride[2] % g.stride[1], part % g.stride[2]};
            for (int d = 0; d < 3; d++) lines[d] = BACK ? back_line(g, d, of[d]) : forward_line(g, d);
        }
        __syncthreads();
        const INDEX first = tile / row_tiles / g.groups / parts * COLUMNS;
        const INDEX plane = (INDEX)lines[0].length * lines[1].length * lines[2].length;
        for (int i = threadIdx.x; i < COLUMNS; i += THREADS) {
            const bool is_one = first + i < results() * g.samples;
            far[i] = is_one ? place(first + i, g.groups * planes * source_size()) : NOWHERE;
        }
        const REAL *pixels = source + group * planes * source_size();
        const REAL *matrix = weight + (BACK ? (INDEX)group * planes * rows + first_row : (INDEX)group * rows + first_row) *
                                          (BACK ? kernel : (INDEX)planes * kernel);
        const INDEX depths = (INDEX)planes * taps_of_all();
        REAL sum[EACH][EACH] = {};
        for (INDEX depth = 0; depth < depths; depth += STEP) {
            if (threadIdx.x < STEP) {
                int number = 0;
                const INDEX i = depth + threadIdx.x;
                near[threadIdx.x] = i < depths ? tap(i, number, g) : NOWHERE;
                beside[threadIdx.x] = i < depths ? i / taps_of_all() * (BACK ? (INDEX)rows * kernel : kernel) + number : 0;
            }
            __syncthreads();
            fetch_pixels<COLUMNS, false>(pixels);
            fetch_rows<ROWS>(matrix, BACK ? kernel : (INDEX)planes * kernel, rows - first_row, depths - depth);
            __syncthreads();
            multiply<ROWS>(sum);
        }
        const int row = first_row + threadIdx.x / (COLUMNS / EACH) * EACH;
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const INDEX column = first + threadIdx.x % (COLUMNS / EACH) * EACH + j;
            const INDEX at = result_at(column, g.groups * rows * plane, g);
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                if (row + i >= rows || at < 0) continue;
                const int filter = group * rows + row + i;
                const INDEX here = at + filter * plane;
                REAL value = sum[i][j];
                if (bias) value += bias[filter];
                if (residual) value += residual[here];
                out[here] = relu && value <= 0 ? REAL(0) : value;  // NaN stays NaN
            }
        }
    }
}

// Sums of one part of the windows: (parts, groups * filters, channels, *kernel).
template <int ROWS>
__device__ inline void weight_sums(
    INDEX tiles, REAL *sums, const REAL *image, const REAL *gradient, INDEX part_size, const Geometry &g)
{
    const int COLUMNS = NUMBERS / ROWS, columns = g.channels * g.kernel[0] * g.kernel[1] * g.kernel[2];
    const int row_tiles = (g.filters + ROWS - 1) / ROWS, column_tiles = (columns + COLUMNS - 1) / COLUMNS;
    if (threadIdx.x == 0)
        for (int d = 0; d < 3; d++) lines[d] = forward_line(g, d);
    __syncthreads();
    for (INDEX tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_row = tile % row_tiles * ROWS, first = tile / row_tiles % column_tiles * COLUMNS;
        const int group = tile / row_tiles / column_tiles % g.groups;
        const INDEX part = tile / row_tiles / column_tiles / g.groups;
        const INDEX windows = results(), begin = part * part_size;
        const INDEX end = begin + part_size < windows * g.samples ? begin + part_size : windows * g.samples;
        for (int i = threadIdx.x; i < COLUMNS; i += THREADS) {
            int number;
            far[i] = first + i < columns ? tap(first + i, number, g) : NOWHERE;
        }
        REAL sum[EACH][EACH] = {};
        for (INDEX depth = begin; depth < end; depth += STEP) {
            if (threadIdx.x < STEP) {
                const INDEX i = depth + threadIdx.x;
                const bool is_one = i < end;
                near[threadIdx.x] = is_one ? place(i, (INDEX)g.groups * g.channels * source_size()) : NOWHERE;
                beside[threadIdx.x] = is_one ? i / windows * g.groups * g.filters * windows + i % windows : 0;
            }
            __syncthreads();
            fetch_pixels<COLUMNS, true>(image + group * g.channels * source_size());
            fetch_rows<ROWS>(
                gradient + ((INDEX)group * g.filters + first_row) * windows, windows, g.filters - first_row, end - depth);
            __syncthreads();
            multiply<ROWS>(sum);
        }
        const int row = first_row + threadIdx.x / (COLUMNS / EACH) * EACH;
        const int column = first + threadIdx.x % (COLUMNS / EACH) * EACH;
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++)
                if (row + i < g.filters && column + j < columns)
                    sums[((part * g.groups + group) * g.filters + row + i) * columns + column + j] = sum[i][j];
    }
}

// The parts of each number added in their order.
extern "C" __global__ void add_parts(INDEX count, REAL *out, const REAL *sums, INDEX parts)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        REAL sum = 0;
        for (INDEX part = 0; part < parts; part++) sum += sums[part * count + i];
        out[i] = sum;
    }
}

extern "C" __global__ void BOUNDS convolve_forward(
    INDEX tiles, REAL *out, const REAL *image, const REAL *weight, const REAL *bias, const REAL *residual, INDEX relu,
    INDEX tile_rows, const Geometry g)
{
    if (tile_rows == 16) convolve<16, false>(tiles, out, image, weight, bias, residual, relu, g);
    if (tile_rows == 32) convolve<32, false>(tiles, out, image, weight, bias, residual, relu, g);
    if (tile_rows == 64) convolve<64, false>(tiles, out, image, weight, bias, residual, relu, g);
}

extern "C" __global__ void BOUNDS convolve_back(
    INDEX tiles, REAL *out, const REAL *windows, const REAL *weight, const REAL *bias, const REAL *residual, INDEX relu,
    INDEX tile_rows, const Geometry g)
{
    if (tile_rows == 16) convolve<16, true>(tiles, out, windows, weight, bias, residual, relu, g);
    if (tile_rows == 32) convolve<32, true>(tiles, out, windows, weight, bias, residual, relu, g);
    if (tile_rows == 64) convolve<64, true>(tiles, out, windows, weight, bias, residual, relu, g);
}

extern "C" __global__ void BOUNDS weight_gradient(
    INDEX tiles, REAL *sums, const REAL *image, const REAL *gradient, INDEX part_size, INDEX tile_rows,
    const Geometry g)
{
    if (tile_rows == 16) weight_sums<16>(tiles, sums, image, gradient, part_size, g);
    if (tile_rows == 32) weight_sums<32>(tiles, sums, image, gradient, part_size, g);
    if (tile_rows == 64) weight_sums<64>(tiles, sums, image, gradient, part_size, g);
}

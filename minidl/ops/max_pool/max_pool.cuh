// Max pooling over images, forward and backward.
//
// A GPU runs many thousand threads at once, and each of them gets one number to work out. Two threads must never write
// to the same place: whoever came last would win, and who that is changes from run to run.
//
// Forward, a thread owns one window. It looks at the window's pixels, row by row, keeps the largest, and notes its place.
//
// Backward, a window's gradient belongs to the pixel that won it. Threads that own windows would meet at a pixel that
// has won several. So here a thread owns one pixel: it visits the windows that can see it, always in the same order, and
// adds up the gradients of those whose noted place is this pixel. Every sum has one owner and one order: the same bits
// in every run.
//
// There may be more numbers than threads; each thread then takes every gridDim.x * blockDim.x-th of them.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements: a GPU divides 32-bit numbers
// several times faster. Both are set when this file is compiled. A plane is the image of one channel of one sample.

extern "C" __global__ void max_pool2d(
    INDEX windows, REAL *best, int *place, const REAL *image, INDEX rows, INDEX columns, INDEX window_rows,
    INDEX window_columns, INDEX kernel_rows, INDEX kernel_columns, INDEX stride_rows, INDEX stride_columns,
    INDEX padding_rows, INDEX padding_columns, INDEX dilation_rows, INDEX dilation_columns)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX window = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; window < windows; window += step) {
        const INDEX plane = window / (window_rows * window_columns);
        const INDEX top = window / window_columns % window_rows * stride_rows - padding_rows;
        const INDEX left = window % window_columns * stride_columns - padding_columns;
        const REAL *pixels = image + plane * rows * columns;

        REAL largest = 0;
        INDEX winner = -1;  // none yet
        for (INDEX a = 0; a < kernel_rows; a++) {
            const INDEX row = top + a * dilation_rows;
            if (row < 0 || row >= rows) continue;  // padding never wins
            for (INDEX b = 0; b < kernel_columns; b++) {
                const INDEX column = left + b * dilation_columns;
                if (column < 0 || column >= columns) continue;
                const REAL value = pixels[row * columns + column];
                if (winner < 0 || value > largest || value != value) {  // only NaN differs from itself, and it wins
                    largest = value;
                    winner = row * columns + column;
                }
            }
        }
        best[window] = largest;
        place[window] = winner;
    }
}

// The first window, counted from 0, that can see a pixel: windows start `stride` apart, the first of them `padding`
// before the image, and reach `span` pixels beyond their own first one.
__device__ inline INDEX first_window(INDEX pixel, INDEX stride, INDEX padding, INDEX span)
{
    const INDEX before = pixel + padding - span;  // a window that starts here sees the pixel with its last one
    return before <= 0 ? 0 : (before + stride - 1) / stride;
}

__device__ inline INDEX last_window(INDEX pixel, INDEX stride, INDEX padding, INDEX windows)
{
    const INDEX last = (pixel + padding) / stride;  // starts at the pixel or just before it
    return last < windows ? last : windows - 1;
}

extern "C" __global__ void max_pool2d_spread(
    INDEX pixels, REAL *image_gradient, const REAL *gradient, const int *place, INDEX rows, INDEX columns,
    INDEX window_rows, INDEX window_columns, INDEX span_rows, INDEX span_columns, INDEX stride_rows,
    INDEX stride_columns, INDEX padding_rows, INDEX padding_columns)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX pixel = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; pixel < pixels; pixel += step) {
        const INDEX plane = pixel / (rows * columns);
        const INDEX here = pixel % (rows * columns);
        const INDEX row = here / columns, column = here % columns;
        const INDEX first_row = first_window(row, stride_rows, padding_rows, span_rows);
        const INDEX last_row = last_window(row, stride_rows, padding_rows, window_rows);
        const INDEX first_column = first_window(column, stride_columns, padding_columns, span_columns);
        const INDEX last_column = last_window(column, stride_columns, padding_columns, window_columns);

        REAL sum = 0;
        for (INDEX r = first_row; r <= last_row; r++) {
            for (INDEX c = first_column; c <= last_column; c++) {
                const INDEX window = (plane * window_rows + r) * window_columns + c;
                if (place[window] == here) sum += gradient[window];
            }
        }
        image_gradient[pixel] = sum;
    }
}

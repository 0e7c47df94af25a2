// Convolution whose groups have one channel each: sums are as short as the window, so a thread makes one number.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements. Images are (samples,
// groups, *image), weights (groups * filters, 1, *kernel), windows (samples, groups * filters, *windows); with fewer
// dimensions the first lengths are 1.

#include "geometry.cuh"
#include "../block.cuh"

struct Place {
    INDEX plane;  // of all samples
    int at[3];
};

__device__ inline Place place_of(INDEX i, const int *lengths)
{
    const INDEX row = i / lengths[2], layer = row / lengths[1];
    return {layer / lengths[0], {int(layer % lengths[0]), int(row % lengths[1]), int(i % lengths[2])}};
}

__device__ inline INDEX size_of(const int *lengths) { return (INDEX)lengths[0] * lengths[1] * lengths[2]; }

// The bias, the residual and the ReLU, as far as they are wanted.
__device__ inline REAL finished(REAL sum, INDEX i, int channel, const REAL *bias, const REAL *residual, bool relu)
{
    if (bias) sum += bias[channel];
    if (residual) sum += residual[i];
    return relu && sum <= 0 ? REAL(0) : sum;  // NaN stays NaN
}

// Where tap `tap` of window `at` looks; -1 for the padding.
__device__ inline INDEX seen_by(const int *at, int tap, const Geometry &g)
{
    const int t[3] = {tap / g.kernel[2] / g.kernel[1], tap / g.kernel[2] % g.kernel[1], tap % g.kernel[2]};
    INDEX pixel = 0;
    for (int d = 0; d < 3; d++) {
        const int along = at[d] * g.stride[d] - g.padding[d] + t[d] * g.dilation[d];
        if (along < 0 || along >= g.image[d]) return -1;
        pixel = pixel * g.image[d] + along;
    }
    return pixel;
}

// Which window's tap `tap` sees pixel `at`; -1 for none.
__device__ inline INDEX seeing(const int *at, int tap, const Geometry &g)
{
    const int t[3] = {tap / g.kernel[2] / g.kernel[1], tap / g.kernel[2] % g.kernel[1], tap % g.kernel[2]};
    INDEX window = 0;
    for (int d = 0; d < 3; d++) {
        const int from = at[d] + g.padding[d] - t[d] * g.dilation[d];
        if (from < 0 || from % g.stride[d] || from / g.stride[d] >= g.windows[d]) return -1;
        window = window * g.windows[d] + from / g.stride[d];
    }
    return window;
}

extern "C" __global__ void depthwise_forward(
    INDEX count, REAL *out, const REAL *image, const REAL *weight, const REAL *bias, const REAL *residual, INDEX relu,
    const Geometry g)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x, pixels = size_of(g.image);
    const int taps = size_of(g.kernel), filters = g.groups * g.filters;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const Place window = place_of(i, g.windows);
        const int filter = window.plane % filters;
        const REAL *plane = image + (window.plane / filters * g.groups + filter / g.filters) * pixels;
        REAL sum = 0;
        for (int tap = 0; tap < taps; tap++) {
            const INDEX pixel = seen_by(window.at, tap, g);
            if (pixel >= 0) sum += weight[filter * taps + tap] * plane[pixel];
        }
        out[i] = finished(sum, i, filter, bias, residual, relu);
    }
}

extern "C" __global__ void depthwise_back(
    INDEX count, REAL *out, const REAL *gradient, const REAL *weight, const REAL *bias, const REAL *residual,
    INDEX relu, const Geometry g)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x, windows = size_of(g.windows);
    const int taps = size_of(g.kernel);
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const Place pixel = place_of(i, g.image);
        const int channel = pixel.plane % g.groups;
        REAL sum = 0;
        for (int m = 0; m < g.filters; m++) {
            const REAL *plane = gradient + (pixel.plane * g.filters + m) * windows;
            for (int tap = 0; tap < taps; tap++) {
                const INDEX window = seeing(pixel.at, tap, g);
                if (window >= 0) sum += weight[(channel * g.filters + m) * taps + tap] * plane[window];
            }
        }
        out[i] = finished(sum, i, channel, bias, residual, relu);
    }
}

// A block for each weight: the sum over all windows of all samples, always in the same order.
extern "C" __global__ void depthwise_weight(
    INDEX weights, REAL *out, const REAL *image, const REAL *gradient, const Geometry g)
{
    const INDEX windows = size_of(g.windows), pixels = size_of(g.image);
    const int taps = size_of(g.kernel), filters = g.groups * g.filters;
    for (INDEX i = blockIdx.x; i < weights; i += gridDim.x) {
        const int filter = i / taps, tap = i % taps;
        double sum = 0, none = 0;
        for (INDEX j = threadIdx.x; j < windows * g.samples; j += THREADS) {
            const Place window = place_of(j, g.windows);
            const INDEX pixel = seen_by(window.at, tap, g), sample = window.plane;
            if (pixel < 0) continue;
            const REAL slope = gradient[(sample * filters + filter) * windows + j % windows];
            sum += (double)slope * image[(sample * g.groups + filter / g.filters) * pixels + pixel];
        }
        sum_over_block(sum, none);
        if (threadIdx.x == 0) out[i] = sum;
    }
}

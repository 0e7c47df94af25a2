// Batch normalisation of images (samples, channels, plane), training and at rest, forward and backward.
//
// A sum over a channel is made by some blocks: each adds up its part of the numbers, and a thread for each channel adds
// the parts, always in the same order. With one part the block itself does what is left. Sums are double: the mean
// square of deviations from any number of the channel loses nothing then, and one pass finds mean and variance.
//
// What is done to each number, a thread for each, takes the activation and the residual along.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements.

#include "../block.cuh"
#include "../activation.cuh"

// The numbers of one channel, counted through all samples, that belong to a part.
struct Part {
    INDEX channel, begin, end, plane, channels;

    __device__ Part(INDEX block, INDEX channels, INDEX plane, INDEX samples, INDEX parts)
        : channel(block / parts), plane(plane), channels(channels)
    {
        const INDEX all = samples * plane, size = (all + parts - 1) / parts;
        begin = block % parts * size;
        end = begin + size < all ? begin + size : all;
    }

    __device__ INDEX at(INDEX i) const { return (i / plane * channels + channel) * plane + i % plane; }
};

__device__ inline void finish_moments(
    INDEX channel, double sum, double squares, REAL *mean, REAL *var, const REAL *x, INDEX plane, INDEX count)
{
    mean[channel] = x[channel * plane] + sum / count;
    var[channel] = (squares - sum * sum / count) / count;
}

// Sums of deviations from the first number of the channel, and of their squares: (channels, parts, 2).
extern "C" __global__ void moments(
    INDEX blocks, REAL *mean, REAL *var, double *sums, const REAL *x, INDEX channels, INDEX plane, INDEX samples,
    INDEX parts)
{
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        const Part part(block, channels, plane, samples, parts);
        const REAL origin = x[part.channel * plane];
        double sum = 0, squares = 0;
        for (INDEX i = part.begin + threadIdx.x; i < part.end; i += THREADS) {
            const double deviation = (double)x[part.at(i)] - origin;
            sum += deviation;
            squares += deviation * deviation;
        }
        sum_over_block(sum, squares);
        if (threadIdx.x) continue;
        if (parts == 1) {
            finish_moments(part.channel, sum, squares, mean, var, x, plane, samples * plane);
        } else {
            sums[2 * block] = sum;
            sums[2 * block + 1] = squares;
        }
    }
}

extern "C" __global__ void moments_of_parts(
    INDEX channels, REAL *mean, REAL *var, const double *sums, const REAL *x, INDEX plane, INDEX samples, INDEX parts)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX channel = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; channel < channels; channel += step) {
        double sum = 0, squares = 0;
        for (INDEX part = channel * parts; part < (channel + 1) * parts; part++) {
            sum += sums[2 * part];
            squares += sums[2 * part + 1];
        }
        finish_moments(channel, sum, squares, mean, var, x, plane, samples * plane);
    }
}

extern "C" __global__ void normalize(
    INDEX count, REAL *out, const REAL *x, const REAL *weight, const REAL *bias, const REAL *mean, const REAL *var,
    const REAL *residual, REAL eps, INDEX kind, REAL level, INDEX channels, INDEX plane)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const INDEX c = i / plane % channels;
        const REAL value = (x[i] - mean[c]) * (weight[c] / sqrt(var[c] + eps)) + bias[c];
        out[i] = activated(kind, residual ? value + residual[i] : value, level);
    }
}

extern "C" __global__ void scale(
    INDEX count, REAL *out, const REAL *x, const REAL *factor, const REAL *shift, const REAL *residual, INDEX kind,
    REAL level, INDEX channels, INDEX plane)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const INDEX c = i / plane % channels;
        const REAL value = x[i] * factor[c] + shift[c];
        out[i] = activated(kind, residual ? value + residual[i] : value, level);
    }
}

// The gradients of weight and bias, and what a deviation is multiplied by and what is added in that of x: `lines`.
__device__ inline void finish_gradients(
    INDEX channel, double plain, double along, REAL *gw, REAL *gb, REAL *lines, const REAL *weight, const REAL *var,
    REAL eps, INDEX count)
{
    const double rstd = 1 / sqrt((double)var[channel] + eps), factor = rstd * weight[channel];
    gb[channel] = plain;
    gw[channel] = along * rstd;
    lines[2 * channel] = -factor * rstd * rstd * along / count;
    lines[2 * channel + 1] = -factor * plain / count;
}

// What the activation lets through of g: told by its result y where there was a residual, else by what it was given.
__device__ inline REAL let_through(
    INDEX i, INDEX c, const REAL *g, const REAL *x, const REAL *y, const REAL *weight, const REAL *bias,
    const REAL *mean, const REAL *var, REAL eps, INDEX kind, REAL level)
{
    if (y) return y[i] > 0 ? g[i] : REAL(0);
    return held_back(kind, g[i], (x[i] - mean[c]) * (weight[c] / sqrt(var[c] + eps)) + bias[c], level);
}

// Sums of g and of g times the deviation, as the activation lets g through: (channels, parts, 2).
extern "C" __global__ void gradient_sums(
    INDEX blocks, REAL *gw, REAL *gb, REAL *lines, double *sums, const REAL *g, const REAL *x, const REAL *y,
    const REAL *weight, const REAL *bias, const REAL *mean, const REAL *var, REAL eps, INDEX kind, REAL level,
    INDEX channels, INDEX plane, INDEX samples, INDEX parts)
{
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        const Part part(block, channels, plane, samples, parts);
        const INDEX c = part.channel;
        double plain = 0, along = 0;
        for (INDEX i = part.begin + threadIdx.x; i < part.end; i += THREADS) {
            const INDEX at = part.at(i);
            const double through = let_through(at, c, g, x, y, weight, bias, mean, var, eps, kind, level);
            plain += through;
            along += through * (x[at] - mean[c]);
        }
        sum_over_block(plain, along);
        if (threadIdx.x) continue;
        if (parts == 1) {
            finish_gradients(c, plain, along, gw, gb, lines, weight, var, eps, samples * plane);
        } else {
            sums[2 * block] = plain;
            sums[2 * block + 1] = along;
        }
    }
}

extern "C" __global__ void gradients_of_parts(
    INDEX channels, REAL *gw, REAL *gb, REAL *lines, const double *sums, const REAL *weight, const REAL *var, REAL eps,
    INDEX count, INDEX parts)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX channel = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; channel < channels; channel += step) {
        double plain = 0, along = 0;
        for (INDEX part = channel * parts; part < (channel + 1) * parts; part++) {
            plain += sums[2 * part];
            along += sums[2 * part + 1];
        }
        finish_gradients(channel, plain, along, gw, gb, lines, weight, var, eps, count);
    }
}

// gx, and what was let through of g if there is a place for it.
extern "C" __global__ void input_gradient(
    INDEX count, REAL *gx, REAL *kept, const REAL *lines, const REAL *g, const REAL *x, const REAL *y,
    const REAL *weight, const REAL *bias, const REAL *mean, const REAL *var, REAL eps, INDEX kind, REAL level,
    INDEX channels, INDEX plane)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const INDEX c = i / plane % channels;
        const REAL through = let_through(i, c, g, x, y, weight, bias, mean, var, eps, kind, level);
        if (kept) kept[i] = through;
        gx[i] = through * (weight[c] / sqrt(var[c] + eps)) + (x[i] - mean[c]) * lines[2 * c] + lines[2 * c + 1];
    }
}

// Running statistics a step towards those of a batch.
extern "C" __global__ void move_towards(
    INDEX channels, REAL *running_mean, REAL *running_var, const REAL *mean, const REAL *var, REAL momentum,
    REAL correction)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX c = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; c < channels; c += step) {
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_var[c] += momentum * (var[c] * correction - running_var[c]);
    }
}

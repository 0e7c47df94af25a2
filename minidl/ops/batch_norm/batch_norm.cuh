// Batch normalisation of images (samples, channels, plane), training and at rest, forward and backward.
//
// A sum over a channel is made by some blocks: each adds up its part of the numbers, and who needs the sum adds the
// parts, always in the same order. Sums are double: the mean square of deviations from any number of the channel loses
// nothing then, and one pass finds mean and variance.
//
// What is done to each number, a thread for each, takes the activation and the residual along.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements.

#include "../block.cuh"
#include "../part.cuh"
#include "../activation.cuh"

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
    INDEX blocks, const REAL *g, const REAL *x, const REAL *y, const REAL *weight, const REAL *bias, const REAL *mean,
    const REAL *var, REAL eps, INDEX kind, REAL level, double *sums, INDEX channels, INDEX plane, INDEX samples,
    INDEX parts)
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
        sums[2 * block] = plain;
        sums[2 * block + 1] = along;
    }
}

// gx, in so many pieces of each channel, and what was let through of g if there is a place for it. Every block adds the
// parts of its channel again: less than a launch. The first of a channel writes the gradients of weight and bias.
extern "C" __global__ void gradients(
    INDEX blocks, const REAL *g, const REAL *x, const REAL *y, const REAL *weight, const REAL *bias, const REAL *mean,
    const REAL *var, REAL eps, INDEX kind, REAL level, const double *sums, REAL *gx, REAL *kept, REAL *gw, REAL *gb,
    INDEX channels, INDEX plane, INDEX samples, INDEX parts, INDEX pieces)
{
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        const Part piece(block, channels, plane, samples, pieces);
        const INDEX c = piece.channel;
        double plain = 0, along = 0;
        for (INDEX part = c * parts + threadIdx.x; part < (c + 1) * parts; part += THREADS) {
            plain += sums[2 * part];
            along += sums[2 * part + 1];
        }
        sum_over_block(plain, along);
        const double rstd = 1 / sqrt((double)var[c] + eps), factor = rstd * weight[c];
        const REAL incline = -factor * rstd * rstd * along / (samples * plane);
        const REAL shift = -factor * plain / (samples * plane);
        if (block % pieces == 0 && threadIdx.x == 0) {
            gb[c] = plain;
            gw[c] = along * rstd;
        }
        const REAL scale = weight[c] / sqrt(var[c] + eps);
        for (INDEX i = piece.begin + threadIdx.x; i < piece.end; i += THREADS) {
            const INDEX at = piece.at(i);
            const REAL through = let_through(at, c, g, x, y, weight, bias, mean, var, eps, kind, level);
            if (kept) kept[at] = through;
            gx[at] = through * scale + (x[at] - mean[c]) * incline + shift;
        }
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

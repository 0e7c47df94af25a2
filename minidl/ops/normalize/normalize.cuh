// Rows of numbers, each shifted and scaled to zero mean and unit variance: layer and group norm, forward and backward.
//
// A block has a row: its threads read it side by side, add up what they have seen, and go over it once more. Row r
// belongs to group r % groups; each group has `segments` weights, and each weight is for `inner` numbers of the row.
//
// The gradient of a weight is a sum over many rows. Where a weight has long stretches, a block has a weight. Where its
// numbers lie apart, one in each row, neighbouring threads have neighbouring weights, and some of the rows each; the
// sums of these parts are added in their order. So no sum depends on the order of threads.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements.

#include "../block.cuh"

extern "C" __global__ void normalize_rows(
    INDEX rows, REAL *out, REAL *mean, REAL *rstd, const REAL *x, const REAL *weight, const REAL *bias, INDEX groups,
    INDEX segments, INDEX inner, REAL eps)
{
    const INDEX length = segments * inner;
    for (INDEX row = blockIdx.x; row < rows; row += gridDim.x) {
        const REAL *numbers = x + row * length;
        const INDEX first = row % groups * segments;
        double sum = 0, squares = 0;  // of deviations from the first number, so that nothing cancels
        for (INDEX i = threadIdx.x; i < length; i += THREADS) {
            const double deviation = (double)numbers[i] - numbers[0];
            sum += deviation;
            squares += deviation * deviation;
        }
        sum_over_block(sum, squares);
        const REAL centre = numbers[0] + sum / length;
        const REAL scale = 1 / sqrt((squares - sum * sum / length) / length + eps);
        for (INDEX i = threadIdx.x; i < length; i += THREADS)
            out[row * length + i] = (numbers[i] - centre) * scale * weight[first + i / inner] + bias[first + i / inner];
        if (threadIdx.x) continue;
        mean[row] = centre;
        rstd[row] = scale;
    }
}

extern "C" __global__ void row_gradients(
    INDEX rows, REAL *gx, const REAL *g, const REAL *x, const REAL *weight, const REAL *mean, const REAL *rstd,
    INDEX groups, INDEX segments, INDEX inner)
{
    const INDEX length = segments * inner;
    for (INDEX row = blockIdx.x; row < rows; row += gridDim.x) {
        const INDEX first = row % groups * segments, begin = row * length;
        const REAL centre = mean[row], scale = rstd[row];
        double plain = 0, along = 0;
        for (INDEX i = threadIdx.x; i < length; i += THREADS) {
            const double slope = g[begin + i] * weight[first + i / inner];
            plain += slope;
            along += slope * ((x[begin + i] - centre) * scale);
        }
        sum_over_block(plain, along);
        const REAL lift = plain / length, turn = along / length;
        for (INDEX i = threadIdx.x; i < length; i += THREADS) {
            const REAL xhat = (x[begin + i] - centre) * scale;
            gx[begin + i] = scale * (g[begin + i] * weight[first + i / inner] - lift - xhat * turn);
        }
    }
}

// Weights with stretches of many numbers: a block for each.
extern "C" __global__ void weight_gradients(
    INDEX weights, REAL *gw, REAL *gb, const REAL *g, const REAL *x, const REAL *mean, const REAL *rstd, INDEX rows,
    INDEX groups, INDEX segments, INDEX inner)
{
    for (INDEX w = blockIdx.x; w < weights; w += gridDim.x) {
        const INDEX group = w / segments, segment = w % segments;
        double plain = 0, along = 0;
        for (INDEX i = threadIdx.x; i < rows / groups * inner; i += THREADS) {
            const INDEX row = i / inner * groups + group, at = (row * segments + segment) * inner + i % inner;
            plain += g[at];
            along += (double)g[at] * ((x[at] - mean[row]) * rstd[row]);
        }
        sum_over_block(plain, along);
        if (threadIdx.x) continue;
        gb[w] = plain;
        gw[w] = along;
    }
}

// Sums over a part of the rows: (parts, 2, weights).
extern "C" __global__ void weight_parts(
    INDEX count, const REAL *g, const REAL *x, const REAL *mean, const REAL *rstd, double *sums, INDEX rows, INDEX groups,
    INDEX segments, INDEX inner, INDEX parts)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x, weights = groups * segments, samples = rows / groups;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const INDEX w = i % weights, part = i / weights, group = w / segments;
        const INDEX size = (samples + parts - 1) / parts, end = (part + 1) * size < samples ? (part + 1) * size : samples;
        double plain = 0, along = 0;
        for (INDEX sample = part * size; sample < end; sample++) {
            const INDEX row = sample * groups + group, first = (row * segments + w % segments) * inner;
            for (INDEX at = first; at < first + inner; at++) {
                plain += g[at];
                along += (double)g[at] * ((x[at] - mean[row]) * rstd[row]);
            }
        }
        sums[2 * part * weights + w] = plain;
        sums[(2 * part + 1) * weights + w] = along;
    }
}

extern "C" __global__ void add_weight_parts(INDEX weights, REAL *gw, REAL *gb, const double *sums, INDEX parts)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX w = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; w < weights; w += step) {
        double plain = 0, along = 0;
        for (INDEX part = 0; part < parts; part++) {
            plain += sums[2 * part * weights + w];
            along += sums[(2 * part + 1) * weights + w];
        }
        gb[w] = plain;
        gw[w] = along;
    }
}

// Cross-entropy of logits x (samples, classes, plane) with classes as the target (samples, plane), and its gradient.
//
// A thread has a place, one of samples * plane, and walks along its classes. Threads side by side have places side by
// side, so that they read what lies side by side.
//
// Whether the losses are summed is told by `total`: each block then adds up the losses of its places, and one block the
// sums of all blocks, always in the same order.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements.

#include "block.cuh"

// What is known of the targets: (blocks, 3), of each block the places that are kept, those of them that are no class,
// and the weights of the others. Without weights each class counts 1.
extern "C" __global__ void survey(
    INDEX blocks, double *found, const REAL *weight, const long long *target, INDEX places, INDEX classes, INDEX ignored)
{
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        double kept = 0, wrong = 0, weights = 0, none = 0;
        for (INDEX i = block * THREADS + threadIdx.x; i < places; i += blocks * THREADS) {
            const long long t = target[i];
            if (t == ignored) continue;
            kept += 1;
            if (t < 0 || t >= classes) wrong += 1;
            else weights += weight ? weight[t] : REAL(1);
        }
        sum_over_block(kept, wrong);
        sum_over_block(weights, none);
        if (threadIdx.x) continue;
        found[3 * block] = kept;
        found[3 * block + 1] = wrong;
        found[3 * block + 2] = weights;
    }
}

extern "C" __global__ void losses(
    INDEX blocks, REAL *loss, REAL *top, REAL *level, double *sums, const REAL *x, const long long *target,
    const REAL *weight, INDEX places, INDEX classes, INDEX plane, INDEX ignored, REAL smoothing)
{
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        double sum = 0, none = 0;
        for (INDEX i = block * THREADS + threadIdx.x; i < places; i += blocks * THREADS) {
            const REAL *logits = x + i / plane * classes * plane + i % plane;
            REAL largest = logits[0], powers = 0, even = 0;
            for (INDEX c = 1; c < classes; c++) {
                const REAL value = logits[c * plane];
                if (value > largest || value != value) largest = value;  // NaN wins
            }
            for (INDEX c = 0; c < classes; c++) powers += exp(logits[c * plane] - largest);
            const REAL height = log(powers);
            if (smoothing != 0)
                for (INDEX c = 0; c < classes; c++) even += (height - (logits[c * plane] - largest)) * weight[c];
            REAL value = 0;
            if (target[i] != ignored) {
                value = weight[target[i]] * (height - (logits[target[i] * plane] - largest));
                if (smoothing != 0) value = value * (1 - smoothing) + even / classes * smoothing;
            }
            top[i] = largest;
            level[i] = height;
            if (loss) loss[i] = value;
            sum += value;
        }
        if (loss) continue;
        sum_over_block(sum, none);
        if (threadIdx.x == 0) sums[block] = sum;
    }
}

// One block.
extern "C" __global__ void total_loss(INDEX, REAL *total, const double *sums, INDEX blocks, REAL share)
{
    double sum = 0, none = 0;
    for (INDEX i = threadIdx.x; i < blocks; i += THREADS) sum += sums[i];
    sum_over_block(sum, none);
    if (threadIdx.x == 0) *total = sum * share;
}

// g has one number for each place, or, with a share, one for all.
extern "C" __global__ void slopes(
    INDEX places, REAL *out, const REAL *g, const REAL *x, const long long *target, const REAL *weight, const REAL *top,
    const REAL *level, INDEX is_summed, REAL share, INDEX classes, INDEX plane, INDEX ignored, REAL smoothing)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < places; i += step) {
        const INDEX first = i / plane * classes * plane + i % plane;
        REAL hit = 0, even = 0, weights = 0;
        if (target[i] != ignored) {
            const REAL slope = is_summed ? *g * share : g[i];
            hit = slope * weight[target[i]] * (1 - smoothing);
            even = slope * (smoothing / classes);
        }
        if (smoothing != 0)
            for (INDEX c = 0; c < classes; c++) weights += weight[c];
        for (INDEX c = 0; c < classes; c++) {
            const INDEX at = first + c * plane;
            const REAL power = exp(x[at] - top[i] - level[i]);
            out[at] = power * (hit + even * weights) - (c == target[i] ? hit : REAL(0)) - even * weight[c];
        }
    }
}

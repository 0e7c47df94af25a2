// Cross-entropy of logits x (samples, classes, plane) with classes as the target (samples, plane), and its gradient.
//
// A thread has a place, one of samples * plane, and walks along its classes. Threads side by side have places side by
// side, so that they read what lies side by side.
//
// Each block adds up the losses of its places, in a fixed order; the host adds up the blocks, for it must know in any
// case whether a target is no class.
//
// REAL is float or double. INDEX is int, or long long for arrays of more than 2^30 elements.

#include "block.cuh"

// `parts` is (blocks, 3): of the places of each block the sum of the losses, the sum of the weights of their classes, and
// how many targets are no class. `loss` is null where only sums are wanted.
extern "C" __global__ void losses(
    INDEX blocks, REAL *top, REAL *loss, REAL *level, double *parts, const REAL *x, const long long *target,
    const REAL *weight, INDEX places, INDEX classes, INDEX plane, INDEX ignored, REAL smoothing)
{
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        double sum = 0, weights = 0, wrong = 0, none = 0;
        for (INDEX i = block * THREADS + threadIdx.x; i < places; i += blocks * THREADS) {
            const long long t = target[i];
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
            if (t != ignored && (t < 0 || t >= classes)) {
                wrong += 1;
            } else if (t != ignored) {
                weights += weight[t];
                value = weight[t] * (height - (logits[t * plane] - largest));
                if (smoothing != 0) value = value * (1 - smoothing) + even / classes * smoothing;
            }
            top[i] = largest;
            level[i] = height;
            if (loss) loss[i] = value;
            sum += value;
        }
        sum_over_block(sum, weights);
        sum_over_block(wrong, none);
        if (threadIdx.x) continue;
        parts[3 * block] = sum;
        parts[3 * block + 1] = weights;
        parts[3 * block + 2] = wrong;
    }
}

// g has one number for each place, or one for all; `share`, if there is one, divides it.
extern "C" __global__ void slopes(
    INDEX places, REAL *out, const REAL *g, const REAL *share, const REAL *x, const long long *target,
    const REAL *weight, const REAL *top, const REAL *level, INDEX is_each, INDEX classes, INDEX plane, INDEX ignored,
    REAL smoothing)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < places; i += step) {
        const INDEX first = i / plane * classes * plane + i % plane;
        REAL hit = 0, even = 0, weights = 0;
        if (target[i] != ignored) {
            const REAL slope = (is_each ? g[i] : *g) / (share ? *share : REAL(1));
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

// Activations and their slopes, by number: what norms take along in their last pass, and what stands alone.
//
// The numbers are those of KINDS in activation_gpu.py. Both formulas are told by what the activation is given, v (that
// of relu by its result too); level is its parameter.

const int RELU = 1, LEAKY_RELU = 2, CLAMP = 3, ELU = 4, SILU = 5, GELU = 6, GELU_TANH = 7, HARDSWISH = 8;
const REAL ROOT_2_OVER_PI = 0.7978845608028654, CUBIC = 0.044715, ROOT_HALF = 0.7071067811865476;
const REAL BELL = 0.3989422804014327;  // 1 / sqrt(2 pi)

__device__ inline REAL sigmoid(REAL v)
{
    const REAL e = exp(-fabs(v));
    return (v >= 0 ? 1 : e) / (1 + e);
}

__device__ inline REAL activated(int kind, REAL v, REAL level)
{
    switch (kind) {
    case RELU: return v <= 0 ? REAL(0) : v;  // NaN is not below zero, and stays
    case LEAKY_RELU: return v > 0 ? v : v * level;
    case CLAMP: return v < 0 ? REAL(0) : v > level ? level : v;
    case ELU: return v > 0 ? v : level * expm1(v);
    case SILU: return v * sigmoid(v);
    case GELU: return v * erfc(-v * ROOT_HALF) / 2;
    case GELU_TANH: return v * sigmoid(2 * ROOT_2_OVER_PI * (v + CUBIC * v * v * v));
    case HARDSWISH: return v >= 3 ? v : v * (v + 3 > 0 ? v + 3 : REAL(0)) / 6;
    default: return v;
    }
}

// g times the slope at v.
__device__ inline REAL held_back(int kind, REAL g, REAL v, REAL level)
{
    switch (kind) {
    case RELU: return v > 0 ? g : REAL(0);
    case LEAKY_RELU: return v > 0 ? g : g * level;
    case CLAMP: return v >= 0 && v <= level ? g : REAL(0);
    case ELU: return v > 0 ? g : g * (level * exp(v));
    case SILU: {
        const REAL s = sigmoid(v);
        return g * (s + v * s * (1 - s));
    }
    case GELU: return g * (erfc(-v * ROOT_HALF) / 2 + v * BELL * exp(-v * v / 2));
    case GELU_TANH: {
        const REAL s = sigmoid(2 * ROOT_2_OVER_PI * (v + CUBIC * v * v * v));
        return g * (s + 2 * v * s * (1 - s) * ROOT_2_OVER_PI * (1 + 3 * CUBIC * v * v));
    }
    case HARDSWISH: return v >= 3 ? g : v <= -3 ? g * 0 : g * (v / 3 + REAL(0.5));
    default: return g;
    }
}

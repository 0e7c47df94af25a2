// Steps of optimisers: all the weights of a group in one launch.
//
// A net has many weights, and most are small: a launch for each would take longer than the work. So a launch gets a
// table of where up to WEIGHTS arrays of numbers begin, and a thread takes every gridDim.x * blockDim.x-th number of all
// of them, counted through one after the other. `starts` tells where each array begins in that count.
//
// A rule changes the numbers of one place: x[0] is the weight, behind it stands what is remembered of it, and the
// gradient comes last. Its coefficients c stand in the order of the rule's arguments in Python.
//
// REAL is float or double. INDEX is int, or long long for more than 2^30 numbers.

const int WEIGHTS = 64, ROLES = 5, COEFFICIENTS = 16;

struct Table {
    REAL *arrays[ROLES][WEIGHTS];
    long long starts[WEIGHTS + 1];
    REAL coefficients[COEFFICIENTS];
};

template <int CHANGED, int ALL, class Rule>
__device__ inline void walk(INDEX count, const Table &table, Rule rule)
{
    const INDEX step = (INDEX)gridDim.x * blockDim.x;
    for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        int weight = 0;  // the last one that begins at i or before: empty ones before it are passed over
        for (int half = WEIGHTS / 2; half; half /= 2)
            if (table.starts[weight + half] <= i) weight += half;
        const INDEX at = i - (INDEX)table.starts[weight];
        REAL x[ALL];
        for (int role = 0; role < ALL; role++) x[role] = table.arrays[role][weight][at];
        rule(x, table.coefficients);
        for (int role = 0; role < CHANGED; role++) table.arrays[role][weight][at] = x[role];
    }
}

// The decayed weight, and the direction to go against; what most rules begin with. c: sign, l2, keep.
__device__ inline REAL descent(REAL &param, REAL grad, const REAL *c)
{
    param *= c[2];
    return c[0] * grad + c[1] * param;
}

__device__ inline void move_moments(REAL &mean, REAL &square, REAL g, REAL new_mean, REAL old_square, REAL new_square)
{
    mean += new_mean * (g - mean);
    square = old_square * square + new_square * g * g;
}

struct SGD {  // c: rate, l2
    __device__ void operator()(REAL *x, const REAL *c) const { x[0] -= c[0] * x[1] + c[1] * x[0]; }
};

struct SGDMomentum {  // x[1]: velocity; c: sign, l2, momentum, share, of_grad, of_velocity
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL down = c[0] * x[2] + c[1] * x[0];
        x[1] = c[2] * x[1] + c[3] * down;
        x[0] -= c[4] * down + c[5] * x[1];
    }
};

struct Adam {  // x[1]: mean, x[2]: square; c: sign, l2, keep, new_mean, old_square, new_square, rate, eps
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        move_moments(x[1], x[2], descent(x[0], x[3], c), c[3], c[4], c[5]);
        x[0] -= c[6] * (x[1] / (sqrt(x[2]) + c[7]));
    }
};

struct AMSGrad {  // as Adam; x[3]: the largest square so far
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        move_moments(x[1], x[2], descent(x[0], x[4], c), c[3], c[4], c[5]);
        if (!(x[2] <= x[3])) x[3] = x[2];  // so NaN wins
        x[0] -= c[6] * (x[1] / (sqrt(x[3]) + c[7]));
    }
};

struct Adagrad {  // x[1]: total; c: sign, l2, keep, rate, eps
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL g = descent(x[0], x[2], c);
        x[1] += g * g;
        x[0] -= c[3] * g / (sqrt(x[1]) + c[4]);
    }
};

struct Adadelta {  // x[1]: square, x[2]: moved; c: sign, l2, keep, lr, old, new, eps
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL g = descent(x[0], x[3], c);
        x[1] = c[4] * x[1] + c[5] * g * g;
        const REAL change = sqrt(x[2] + c[6]) / sqrt(x[1] + c[6]) * g;
        x[0] -= c[3] * change;
        x[2] = c[4] * x[2] + c[5] * change * change;
    }
};

struct Adamax {  // x[1]: mean, x[2]: largest; c: sign, l2, keep, new_mean, fading, rate, eps
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL g = descent(x[0], x[3], c);
        x[1] += c[3] * (g - x[1]);
        const REAL faded = c[4] * x[2], size = fabs(g) + c[6];
        x[2] = size <= faded ? faded : size;  // so NaN wins
        x[0] -= c[5] * x[1] / x[2];
    }
};

struct Adafactor {  // x[1]: variance, x[2]: what becomes the change; c: share, floor
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        x[1] += c[0] * (x[3] * x[3] - x[1]);
        x[2] = x[3] / sqrt(x[1] < c[1] ? c[1] : x[1]);  // NaN stays NaN
    }
};

struct ASGD {  // x[1]: average; c: sign, l2, keep, eta, mu, one
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        x[0] = c[2] * x[0] - c[3] * (c[0] * x[2] + c[1] * x[0]);
        x[1] = c[4] < c[5] ? x[1] + c[4] * (x[0] - x[1]) : x[0];
    }
};

struct NAdam {  // x[1]: mean, x[2]: square; c: sign, l2, keep, new_mean, old_square, new_square, of_grad, of_mean, eps
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL g = descent(x[0], x[3], c);
        move_moments(x[1], x[2], g, c[3], c[4], c[5]);
        x[0] -= (c[6] * g + c[7] * x[1]) / (sqrt(x[2]) + c[8]);
    }
};

struct RAdam {  // as NAdam; c: sign, l2, keep, new_mean, old_square, new_square, plain, scaled, eps
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        move_moments(x[1], x[2], descent(x[0], x[3], c), c[3], c[4], c[5]);
        x[0] -= c[6] * x[1] + c[7] * x[1] / (sqrt(x[2]) + c[8]);
    }
};

struct LAMB {  // x[3]: what becomes the change; c: sign, new_mean, old_square, new_square, scale, eps, decay
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        move_moments(x[1], x[2], c[0] * x[4], c[1], c[2], c[3]);
        x[3] = c[4] * x[1] / (sqrt(x[2]) + c[5]) + c[6] * x[0];
    }
};

struct Rprop {  // x[1]: last, x[2]: size; c: sign, zero, one, shrink, grow, smallest, largest
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        REAL g = c[0] * x[3];
        const REAL agreement = g * x[1];
        const REAL size = x[2] * (agreement > 0 ? c[4] : agreement < 0 ? c[3] : c[2]);
        x[2] = size > c[6] ? c[6] : size < c[5] ? c[5] : size;
        if (agreement < 0) g = 0;
        x[0] -= (g > 0 ? c[2] : g < 0 ? -c[2] : g) * x[2];  // NaN stays NaN
        x[1] = g;
    }
};

struct RMSprop {  // x[1]: square; c: sign, l2, keep, lr, old, new, eps
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL g = descent(x[0], x[2], c);
        x[1] = c[4] * x[1] + c[5] * g * g;
        x[0] -= c[3] * g / (sqrt(x[1]) + c[6]);
    }
};

struct RMSpropMomentum {  // x[2]: velocity; c[7]: momentum
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL g = descent(x[0], x[3], c);
        x[1] = c[4] * x[1] + c[5] * g * g;
        x[2] = c[7] * x[2] + g / (sqrt(x[1]) + c[6]);
        x[0] -= c[3] * x[2];
    }
};

struct CentredRMSprop {  // x[1]: square, x[2]: mean
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL g = descent(x[0], x[3], c);
        move_moments(x[2], x[1], g, c[5], c[4], c[5]);
        x[0] -= c[3] * g / (sqrt(x[1] - x[2] * x[2]) + c[6]);
    }
};

struct CentredRMSpropMomentum {  // x[3]: velocity
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        const REAL g = descent(x[0], x[4], c);
        move_moments(x[2], x[1], g, c[5], c[4], c[5]);
        x[3] = c[7] * x[3] + g / (sqrt(x[1] - x[2] * x[2]) + c[6]);
        x[0] -= c[3] * x[3];
    }
};

struct Scale {  // c: factor
    __device__ void operator()(REAL *x, const REAL *c) const { x[0] *= c[0]; }
};

struct Clamp {  // c: low, high; NaN stays
    __device__ void operator()(REAL *x, const REAL *c) const
    {
        x[0] = x[0] < c[0] ? c[0] : x[0] > c[1] ? c[1] : x[0];
    }
};

struct Mix {  // x[1]: what it is mixed with; c: share
    __device__ void operator()(REAL *x, const REAL *c) const { x[0] += c[0] * (x[1] - x[0]); }
};

struct Add {  // x[1]: what is added; c: share
    __device__ void operator()(REAL *x, const REAL *c) const { x[0] += c[0] * x[1]; }
};

extern "C" __global__ void sgd_step(INDEX count, const Table table) { walk<1, 2>(count, table, SGD()); }
extern "C" __global__ void sgd_momentum_step(INDEX count, const Table table) { walk<2, 3>(count, table, SGDMomentum()); }
extern "C" __global__ void adam_step(INDEX count, const Table table) { walk<3, 4>(count, table, Adam()); }
extern "C" __global__ void amsgrad_step(INDEX count, const Table table) { walk<4, 5>(count, table, AMSGrad()); }
extern "C" __global__ void adagrad_step(INDEX count, const Table table) { walk<2, 3>(count, table, Adagrad()); }
extern "C" __global__ void adadelta_step(INDEX count, const Table table) { walk<3, 4>(count, table, Adadelta()); }
extern "C" __global__ void adamax_step(INDEX count, const Table table) { walk<3, 4>(count, table, Adamax()); }
extern "C" __global__ void adafactor_step(INDEX count, const Table table) { walk<3, 4>(count, table, Adafactor()); }
extern "C" __global__ void asgd_step(INDEX count, const Table table) { walk<2, 3>(count, table, ASGD()); }
extern "C" __global__ void nadam_step(INDEX count, const Table table) { walk<3, 4>(count, table, NAdam()); }
extern "C" __global__ void radam_step(INDEX count, const Table table) { walk<3, 4>(count, table, RAdam()); }
extern "C" __global__ void lamb_step(INDEX count, const Table table) { walk<4, 5>(count, table, LAMB()); }
extern "C" __global__ void rprop_step(INDEX count, const Table table) { walk<3, 4>(count, table, Rprop()); }
extern "C" __global__ void rmsprop_step(INDEX count, const Table table) { walk<2, 3>(count, table, RMSprop()); }
extern "C" __global__ void rmsprop_momentum_step(INDEX count, const Table table) { walk<3, 4>(count, table, RMSpropMomentum()); }
extern "C" __global__ void centred_rmsprop_step(INDEX count, const Table table) { walk<3, 4>(count, table, CentredRMSprop()); }
extern "C" __global__ void centred_rmsprop_momentum_step(INDEX count, const Table table) { walk<4, 5>(count, table, CentredRMSpropMomentum()); }
extern "C" __global__ void scale_all_(INDEX count, const Table table) { walk<1, 1>(count, table, Scale()); }
extern "C" __global__ void clamp_all_(INDEX count, const Table table) { walk<1, 1>(count, table, Clamp()); }
extern "C" __global__ void mix_all_(INDEX count, const Table table) { walk<1, 2>(count, table, Mix()); }
extern "C" __global__ void add_all_(INDEX count, const Table table) { walk<1, 2>(count, table, Add()); }

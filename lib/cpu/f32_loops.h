/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise loops and reductions in plain C, compiled once per instruction set: the compiler
 * turns them into vectors of that set, the law of fmath.h keeps the bytes. */

/* In place is allowed: an element depends on its own place only. */
#define PTQ_IVDEP _Pragma("GCC ivdep")

#define UNARY(name, expr)                                                                          \
    static void name##_loop(const float *x, float *y, int64_t n, const float *par)                 \
    {                                                                                              \
        (void)par;                                                                                 \
        PTQ_IVDEP for (int64_t i = 0; i < n; i++) {                                                \
            float v = x[i];                                                                        \
            y[i] = expr;                                                                           \
        }                                                                                          \
    }
#define UNARY2(name, expr)                                                                         \
    static void name##_loop(const float *x, float *y, int64_t n, const float *par)                 \
    {                                                                                              \
        float p0 = par[0], p1 = par[1];                                                            \
        (void)p1;                                                                                  \
        PTQ_IVDEP for (int64_t i = 0; i < n; i++) {                                                \
            float v = x[i];                                                                        \
            y[i] = expr;                                                                           \
        }                                                                                          \
    }
UNARY(exp, ptq_expf(v))
UNARY(log, ptq_logf(v))
UNARY(tanh, ptq_tanhf(v))
UNARY(sigmoid, ptq_sigmoidf(v))
UNARY(erf, ptq_erff(v))
UNARY(gelu, ptq_geluf(v))
UNARY(gelu_tanh, ptq_gelu_tanhf(v))
UNARY(softplus, ptq_softplusf(v))
UNARY(hard_swish, ptq_hard_swishf(v))
UNARY(neg, -v)
UNARY(abs, fabsf(v))
UNARY(sqrt, sqrtf(v))
UNARY(reciprocal, 1.0f / v)
UNARY2(hard_sigmoid, ptq_hard_sigmoidf(v, p0, p1))
UNARY2(clip, ptq_fclamp(v, p0, p1))
UNARY2(leaky_relu, ptq_leaky_reluf(v, p0))
UNARY2(elu, ptq_eluf(v, p0))

/* One loop per combination of strides, so that each is contiguous or a constant. */
#define BINARY(name, expr)                                                                         \
    static void name##_loop(const float *a, int sa, const float *b, int sb, float *y,              \
                            int64_t n)                                                             \
    {                                                                                              \
        if (sa && sb) {                                                                            \
            PTQ_IVDEP for (int64_t i = 0; i < n; i++) {                                            \
                float u = a[i], v = b[i];                                                          \
                y[i] = expr;                                                                       \
            }                                                                                      \
        } else if (sa) {                                                                           \
            float v = *b;                                                                          \
            PTQ_IVDEP for (int64_t i = 0; i < n; i++) {                                            \
                float u = a[i];                                                                    \
                y[i] = expr;                                                                       \
            }                                                                                      \
        } else {                                                                                   \
            float u = *a;                                                                          \
            PTQ_IVDEP for (int64_t i = 0; i < n; i++) {                                            \
                float v = b[sb ? i : 0];                                                           \
                y[i] = expr;                                                                       \
            }                                                                                      \
        }                                                                                          \
    }
BINARY(add, u + v)
BINARY(sub, u - v)
BINARY(mul, u *v)
BINARY(div, u / v)
/* NaN wins, as in numpy and ONNX Runtime. */
BINARY(min, ptq_minf(u, v))
BINARY(max, ptq_maxf(u, v))

static float sum_loop(const float *x, int64_t n)
{
    float p[PTQ_LANES] = {0};
    int64_t i = 0;
    for (; i + PTQ_LANES <= n; i += PTQ_LANES)
        for (int l = 0; l < PTQ_LANES; l++)
            p[l] += x[i + l];
    for (int l = 0; i < n; i++, l++)
        p[l] += x[i];
    return ptq_fold16(p);
}

static float sumsq_loop(const float *x, float mean, int64_t n)
{
    float p[PTQ_LANES] = {0};
    int64_t i = 0;
    for (; i + PTQ_LANES <= n; i += PTQ_LANES)
        for (int l = 0; l < PTQ_LANES; l++) {
            float d = x[i + l] - mean;
            p[l] = fmaf(d, d, p[l]);
        }
    for (int l = 0; i < n; i++, l++) {
        float d = x[i] - mean;
        p[l] = fmaf(d, d, p[l]);
    }
    return ptq_fold16(p);
}

static float exp_sum_loop(const float *x, float shift, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = ptq_expf(x[i] - shift);
    return sum_loop(y, n);
}

static void normalize_loop(const float *x, float mean, float rstd, const float *scale,
                           const float *bias, float *restrict y, int64_t n)
{
    if (bias)
        for (int64_t i = 0; i < n; i++)
            y[i] = ptq_normalizef(x[i], mean, rstd, scale[i], bias[i]);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = ptq_normalizef(x[i], mean, rstd, scale[i], 0.0f);
}

static void affine_loop(const float *x, float scale, float bias, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = fmaf(x[i], scale, bias);
}

static void split2_loop(const float *restrict x, float *restrict even, float *restrict odd, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        even[i] = x[2 * i];
        odd[i] = x[2 * i + 1];
    }
}

/* Column sums of an [n, cols] block, rows ld apart, each in the order of the law. */
static void acc_rows_loop(const float *x, int64_t n, int64_t ld, int64_t cols, float *restrict y)
{
    enum { W = 16 };
    for (int64_t j = 0; j < cols; j += W) {
        int w = cols - j < W ? (int)(cols - j) : W;
        float p[PTQ_LANES][W] = {{0}};
        for (int64_t i = 0; i < n; i++) {
            float *q = p[i % PTQ_LANES];
            const float *s = x + i * ld + j;
            if (w == W)
                for (int l = 0; l < W; l++)
                    q[l] += s[l];
            else
                for (int l = 0; l < w; l++)
                    q[l] += s[l];
        }
        for (int h = PTQ_LANES / 2; h > 0; h /= 2)
            for (int i = 0; i < h; i++)
                for (int l = 0; l < W; l++)
                    p[i][l] += p[i + h][l];
        for (int l = 0; l < w; l++)
            y[j + l] = p[0][l];
    }
}

static void quant8_loop(const float *x, float scale, int32_t zp, int32_t lo, int32_t hi,
                        uint8_t *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (uint8_t)ptq_quantize(x[i], scale, zp, lo, hi);
}

static void tail_loop(float *restrict v, const float *restrict bias, const float *factor, int gelu,
                      const float *restrict add, int64_t n)
{
    if (bias)
        for (int64_t i = 0; i < n; i++)
            v[i] += bias[i];
    if (factor) {
        float k = *factor;
        for (int64_t i = 0; i < n; i++)
            v[i] *= k;
    }
    if (gelu == PTQ_GELU_NODES)
        for (int64_t i = 0; i < n; i++)
            v[i] = ptq_gelu_of(v[i], PTQ_GELU_NODES);
    else if (gelu == PTQ_GELU_EXACT)
        for (int64_t i = 0; i < n; i++)
            v[i] = ptq_geluf(v[i]);
    else if (gelu == PTQ_GELU_HALVED)
        for (int64_t i = 0; i < n; i++)
            v[i] = ptq_gelu_of(v[i], PTQ_GELU_HALVED);
    if (add)
        for (int64_t i = 0; i < n; i++)
            v[i] += add[i];
}

static void dequant_s8_loop(const int8_t *x, float scale, int32_t zp, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = ptq_dequantize(x[i], scale, zp);
}

static void dequant_u8_loop(const uint8_t *x, float scale, int32_t zp, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = ptq_dequantize(x[i], scale, zp);
}

#define F32_LOOPS                                                                                  \
    .exp = exp_loop, .log = log_loop, .tanh = tanh_loop, .sigmoid = sigmoid_loop,                  \
    .erf = erf_loop, .gelu = gelu_loop, .gelu_tanh = gelu_tanh_loop, .softplus = softplus_loop,    \
    .hard_sigmoid = hard_sigmoid_loop, .hard_swish = hard_swish_loop, .clip = clip_loop,           \
    .leaky_relu = leaky_relu_loop, .elu = elu_loop, .neg = neg_loop, .abs = abs_loop,              \
    .sqrt = sqrt_loop, .reciprocal = reciprocal_loop, .add = add_loop, .sub = sub_loop,            \
    .mul = mul_loop, .div = div_loop, .min = min_loop, .max = max_loop, .sum = sum_loop,           \
    .sumsq = sumsq_loop, .max_of = max_of, .exp_sum = exp_sum_loop,                           \
    .normalize = normalize_loop, .affine = affine_loop, .acc_rows = acc_rows_loop,                 \
    .split2 = split2_loop, .quant8 = quant8_loop, .tail = tail_loop, .dequant_s8 = dequant_s8_loop, .dequant_u8 = dequant_u8_loop

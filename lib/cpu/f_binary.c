/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators of two or more tensors, broadcasting by the numpy rule. float32 goes
 * through the vector loops; integers (shape arithmetic) and double through plain ones. */
#include "lib/core/cast.h"
#include "lib/cpu/walk.h"

typedef struct binary_ctx {
    ptq_f32_binary f;
    void (*plain)(const void *a, int64_t sa, const void *b, int64_t sb, void *y, int64_t n);
    const char *a, *b;
    char *y;
    size_t bytes, out_bytes;
    ptq_act act;
    ptq_f32_unary clip;
} binary_ctx;

static void binary_part(const void *ctx, const int64_t *off, const int64_t *step, int64_t n)
{
    const binary_ctx *v = ctx;
    const char *a = v->a + off[1] * (int64_t)v->bytes, *b = v->b + off[2] * (int64_t)v->bytes;
    char *y = v->y + off[0] * (int64_t)v->out_bytes;
    if (!v->f) {
        v->plain(a, step[1], b, step[2], y, n);
        return;
    }
    float *fy = (float *)(void *)y;
    v->f((const float *)(const void *)a, step[1] != 0, (const float *)(const void *)b, step[2] != 0,
         fy, n);
    if (v->act.on) {
        float par[2] = {v->act.lo, v->act.hi};
        v->clip(fy, fy, n, par);
    }
}

/* Runs y = a op b where all shapes are given. */
static ptq_status run_pair(ptq_cpu *c, binary_ctx *v, const ptq_tensor *a, const ptq_tensor *b,
                           const ptq_tensor *y)
{
    ptq_walk w;
    v->a = a->data;
    v->b = b->data;
    v->y = y->data;
    v->bytes = ptq_elem_bytes(a->dtype);
    v->out_bytes = ptq_elem_bytes(y->dtype);
    ptq_walk_init(&w, y->rank, y->dims);
    ptq_walk_add(&w, a->rank, a->dims);
    ptq_walk_add(&w, b->rank, b->dims);
    return ptq_walk_run(c, &w, binary_part, v);
}

/* ---- plain loops ---- */

#define PLAIN(name, T, U, expr)                                                                    \
    static void name(const void *pa, int64_t sa, const void *pb, int64_t sb, void *py, int64_t n)  \
    {                                                                                              \
        const T *a = pa, *b = pb;                                                                  \
        U *y = py;                                                                                 \
        for (int64_t i = 0; i < n; i++) {                                                          \
            T u = a[i * sa], v = b[i * sb];                                                        \
            y[i] = (U)(expr);                                                                      \
        }                                                                                          \
    }
/* Integer overflow wraps. */
#define PLAIN_NUMBERS(name, iexpr, fexpr)                                                          \
    PLAIN(name##_s64, int64_t, int64_t, iexpr)                                                     \
    PLAIN(name##_s32, int32_t, int32_t, iexpr)                                                     \
    PLAIN(name##_f64, double, double, fexpr)
typedef void (*plain_fn)(const void *, int64_t, const void *, int64_t, void *, int64_t);

static int64_t int_div(int64_t u, int64_t v) /* truncates, as ONNX Runtime; x / 0 is 0 */
{
    return v == 0 ? 0 : v == -1 ? (int64_t)(0 - (uint64_t)u) : u / v;
}

static int64_t int_pow(int64_t u, int64_t v)
{
    uint64_t r = 1, b = (uint64_t)u;
    if (v < 0)
        return u == 1 ? 1 : u == -1 ? (v % 2 ? -1 : 1) : 0;
    for (; v > 0; v >>= 1, b *= b)
        if (v & 1)
            r *= b;
    return (int64_t)r;
}

static int64_t int_mod(int64_t u, int64_t v) /* sign of the divisor */
{
    if (v == 0 || v == -1)
        return 0;
    int64_t r = u % v;
    return r != 0 && (r < 0) != (v < 0) ? r + v : r;
}

PLAIN_NUMBERS(add, (uint64_t)u + (uint64_t)v, u + v)
PLAIN_NUMBERS(sub, (uint64_t)u - (uint64_t)v, u - v)
PLAIN_NUMBERS(mul, (uint64_t)u * (uint64_t)v, u *v)
PLAIN_NUMBERS(div, int_div(u, v), u / v)
PLAIN_NUMBERS(min, v < u ? v : u, u != u ? u : (v < u || v != v ? v : u))
PLAIN_NUMBERS(max, v > u ? v : u, u != u ? u : (v > u || v != v ? v : u))
PLAIN_NUMBERS(pow, int_pow(u, v), pow(u, v))
PLAIN_NUMBERS(mod, int_mod(u, v), fmod(u, v))

/* ---- arithmetic rows ---- */

typedef struct arith {
    size_t f32; /* offset of the loop in ptq_f32_fns */
    plain_fn s64, s32, f64;
} arith;

static ptq_f32_binary f32_loop(const ptq_cpu *c, size_t at)
{
    ptq_f32_binary f;
    memcpy(&f, (const char *)ptq_cpu_f32(c) + at, sizeof f);
    return f;
}

static bool set_loop(const ptq_cpu *c, const arith *k, ptq_dtype t, binary_ctx *v)
{
    v->f = NULL;
    v->plain = t == PTQ_DT_S64 ? k->s64 : t == PTQ_DT_S32 ? k->s32 : t == PTQ_DT_F64 ? k->f64 : NULL;
    if (t == PTQ_DT_F32)
        v->f = f32_loop(c, k->f32);
    v->clip = ptq_cpu_f32(c)->clip;
    return v->f || v->plain;
}

/* Any number of inputs: folded from the left into the output. */
static ptq_status run_arith(ptq_cpu *c, const ptq_step_run *r, const arith *k)
{
    binary_ctx v = {0};
    ptq_dtype t = r->in[0]->dtype;
    int last = r->step->nin - 1;
    if (!set_loop(c, k, t, &v))
        return ptq_bad_type(r, t);
    if (last == 0) {
        memcpy(r->out[0].data, r->in[0]->data, r->out[0].nbytes);
        return PTQ_OK;
    }
    for (int i = 1; i <= last; i++) {
        if (r->in[i]->dtype != t)
            return ptq_bad_type(r, r->in[i]->dtype);
        if (i == last)
            v.act = ptq_step_act(r->step);
        PTQ_TRY(run_pair(c, &v, i == 1 ? r->in[0] : &r->out[0], r->in[i], &r->out[0]));
    }
    return PTQ_OK;
}

#define ARITH_ROW(symbol, op, loop)                                                                \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        static const arith k = {offsetof(ptq_f32_fns, loop), loop##_s64, loop##_s32, loop##_f64};  \
        return run_arith(c, r, &k);                                                                \
    }                                                                                              \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run};
ARITH_ROW(add, "Add", add)
ARITH_ROW(sub, "Sub", sub)
ARITH_ROW(mul, "Mul", mul)
ARITH_ROW(div, "Div", div)
ARITH_ROW(min, "Min", min)
ARITH_ROW(max, "Max", max)
ARITH_ROW(sum, "Sum", add)

static ptq_status mean_run(ptq_cpu *c, const ptq_step_run *r)
{
    static const arith k = {offsetof(ptq_f32_fns, add), NULL, NULL, NULL};
    if (r->in[0]->dtype != PTQ_DT_F32)
        return ptq_bad_type(r, r->in[0]->dtype);
    PTQ_TRY(run_arith(c, r, &k));
    float n = (float)r->step->nin, *y = r->out[0].data;
    ptq_cpu_f32(c)->div(y, 1, &n, 0, y, ptq_tensor_elements(&r->out[0]));
    return PTQ_OK;
}
extern const ptq_cpu_kernel ptq_cpu_f_mean;
const ptq_cpu_kernel ptq_cpu_f_mean = {.name = "Mean", .run = mean_run};

/* ---- Pow, Mod, PRelu: float forms of their own ---- */

/* Small whole exponents and the square root by multiplication and IEEE square root, as ONNX
 * Runtime; others in double, rounded once. */
static float pow_one(float u, float v)
{
    return ptq_pow_is_exact(v) ? ptq_pow_exactf(u, v) : (float)pow((double)u, (double)v);
}
PLAIN(pow_f32, float, float, pow_one(u, v))
PLAIN(fmod_f32, float, float, fmodf(u, v))
PLAIN(fmod_s64, int64_t, int64_t, v == 0 || v == -1 ? 0 : u % v)
PLAIN(fmod_s32, int32_t, int32_t, v == 0 || v == -1 ? 0 : u % v)
PLAIN(prelu_f32, float, float, u < 0.0f ? u * v : u)

static ptq_status run_plain(ptq_cpu *c, const ptq_step_run *r, plain_fn f32, plain_fn s64,
                            plain_fn s32, plain_fn f64)
{
    ptq_dtype t = r->in[0]->dtype;
    binary_ctx v = {.plain = t == PTQ_DT_F32   ? f32
                             : t == PTQ_DT_S64 ? s64
                             : t == PTQ_DT_S32 ? s32
                             : t == PTQ_DT_F64 ? f64
                                               : NULL};
    if (!v.plain || r->in[1]->dtype != t)
        return ptq_bad_type(r, v.plain ? r->in[1]->dtype : t);
    return run_pair(c, &v, r->in[0], r->in[1], &r->out[0]);
}

/* The exponent may have a type of its own: it is converted to the base's. */
static ptq_status pow_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *e = r->in[1];
    ptq_dtype t = r->in[0]->dtype;
    if (e->dtype == t)
        return run_plain(c, r, pow_f32, pow_s64, pow_s32, pow_f64);
    int64_t n = ptq_tensor_elements(e);
    ptq_tensor converted = *e;
    converted.dtype = t;
    if (!ptq_castable(e->dtype) || !ptq_castable(t))
        return ptq_bad_type(r, e->dtype);
    PTQ_TRY(ptq_tensor_alloc(&converted));
    for (int64_t i = 0; i < n; i++)
        ptq_number_store(t, converted.data, i, ptq_number_load(e->dtype, e->data, i),
                         e->dtype == PTQ_DT_U64);
    ptq_step_run with = *r;
    const ptq_tensor *in[2] = {r->in[0], &converted};
    with.in = in;
    ptq_status s = run_plain(c, &with, pow_f32, pow_s64, pow_s32, pow_f64);
    free(converted.data);
    return s;
}
extern const ptq_cpu_kernel ptq_cpu_f_pow;
const ptq_cpu_kernel ptq_cpu_f_pow = {.name = "Pow", .run = pow_run};

static ptq_status mod_run(ptq_cpu *c, const ptq_step_run *r)
{
    if (ptq_attr_int(r->step->node, "fmod", 0))
        return run_plain(c, r, fmod_f32, fmod_s64, fmod_s32, mod_f64);
    return run_plain(c, r, NULL, mod_s64, mod_s32, NULL);
}
extern const ptq_cpu_kernel ptq_cpu_f_mod;
const ptq_cpu_kernel ptq_cpu_f_mod = {.name = "Mod", .run = mod_run};

static ptq_status prelu_run(ptq_cpu *c, const ptq_step_run *r)
{
    return run_plain(c, r, prelu_f32, NULL, NULL, NULL);
}
extern const ptq_cpu_kernel ptq_cpu_f_prelu;
const ptq_cpu_kernel ptq_cpu_f_prelu = {.name = "PRelu", .run = prelu_run};

/* ---- comparisons and logic: bool out ---- */

#define COMPARE_ROW(symbol, op, expr)                                                              \
    PLAIN(symbol##_cf32, float, uint8_t, expr)                                                     \
    PLAIN(symbol##_cs64, int64_t, uint8_t, expr)                                                   \
    PLAIN(symbol##_cs32, int32_t, uint8_t, expr)                                                   \
    PLAIN(symbol##_cf64, double, uint8_t, expr)                                                    \
    PLAIN(symbol##_cu8, uint8_t, uint8_t, expr)                                                    \
    PLAIN(symbol##_cs8, int8_t, uint8_t, expr)                                                     \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        switch (r->in[0]->dtype) {                                                                 \
        case PTQ_DT_BOOL:                                                                          \
        case PTQ_DT_U8: return run_bytes(c, r, symbol##_cu8);                                      \
        case PTQ_DT_S8: return run_bytes(c, r, symbol##_cs8);                                      \
        default:                                                                                   \
            return run_plain(c, r, symbol##_cf32, symbol##_cs64, symbol##_cs32, symbol##_cf64);    \
        }                                                                                          \
    }                                                                                              \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run};

static ptq_status run_bytes(ptq_cpu *c, const ptq_step_run *r, plain_fn fn)
{
    binary_ctx v = {.plain = fn};
    if (r->in[0]->dtype != r->in[1]->dtype || ptq_dtype_bits(r->in[0]->dtype) != 8)
        return ptq_bad_type(r, r->in[1]->dtype);
    return run_pair(c, &v, r->in[0], r->in[1], &r->out[0]);
}

COMPARE_ROW(equal, "Equal", u == v)
COMPARE_ROW(less, "Less", u < v)
COMPARE_ROW(greater, "Greater", u > v)
COMPARE_ROW(less_or_equal, "LessOrEqual", u <= v)
COMPARE_ROW(greater_or_equal, "GreaterOrEqual", u >= v)

#define LOGIC_ROW(symbol, op, expr)                                                                \
    PLAIN(symbol##_bool, uint8_t, uint8_t, expr)                                                   \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        return run_bytes(c, r, symbol##_bool);                                                     \
    }                                                                                              \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run};
LOGIC_ROW(and, "And", u &&v)
LOGIC_ROW(or, "Or", u || v)
LOGIC_ROW(xor, "Xor", !u != !v)

/* ---- Where ---- */

typedef struct where_ctx {
    const uint8_t *cond;
    const char *a, *b;
    char *y;
    size_t bytes;
} where_ctx;

#define WHERE(T)                                                                                   \
    for (int64_t i = 0; i < n; i++)                                                                \
        ((T *)(void *)v->y)[off[0] + i] =                                                          \
            v->cond[off[1] + i * step[1]]                                                          \
                ? ((const T *)(const void *)v->a)[off[2] + i * step[2]]                            \
                : ((const T *)(const void *)v->b)[off[3] + i * step[3]];

static void where_part(const void *ctx, const int64_t *off, const int64_t *step, int64_t n)
{
    const where_ctx *v = ctx;
    switch (v->bytes) {
    case 1: WHERE(uint8_t) break;
    case 2: WHERE(uint16_t) break;
    case 4: WHERE(uint32_t) break;
    default: WHERE(uint64_t) break;
    }
}

static ptq_status where_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *y = &r->out[0];
    where_ctx v = {r->in[0]->data, r->in[1]->data, r->in[2]->data, y->data,
                   ptq_elem_bytes(y->dtype)};
    ptq_walk w;
    ptq_walk_init(&w, y->rank, y->dims);
    for (int i = 0; i < 3; i++)
        ptq_walk_add(&w, r->in[i]->rank, r->in[i]->dims);
    return ptq_walk_run(c, &w, where_part, &v);
}
extern const ptq_cpu_kernel ptq_cpu_f_where;
const ptq_cpu_kernel ptq_cpu_f_where = {.name = "Where", .run = where_run};

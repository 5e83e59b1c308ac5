/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators of two or more tensors, broadcasting by the numpy rule. float32 goes
 * through the vector loops; integers (shape arithmetic) and double through plain ones. */
#include "lib/core/cast.h"
#include "lib/cpu/f_binary.h"

enum { BLOCK = 2048 }; /* clipped while it lies in the first-level cache */

static void binary_part(const void *ctx, const int64_t *off, const int64_t *step, int64_t n)
{
    const ptq_binary *v = ctx;
    const char *a = v->a + off[1] * (int64_t)v->bytes, *b = v->b + off[2] * (int64_t)v->bytes;
    char *y = v->y + off[0] * (int64_t)v->out_bytes;
    if (!v->f) {
        v->plain(a, step[1], b, step[2], y, n);
        return;
    }
    float *fy = (float *)(void *)y;
    const float *fa = (const float *)(const void *)a, *fb = (const float *)(const void *)b;
    const int64_t block = v->act.on ? BLOCK : n;
    float par[2] = {v->act.lo, v->act.hi};
    for (int64_t i = 0; i < n; i += block) {
        const int64_t k = n - i < block ? n - i : block;
        v->f(fa + i * step[1], step[1] != 0, fb + i * step[2], step[2] != 0, fy + i, k);
        if (v->act.on)
            v->clip(fy + i, fy + i, k, par);
    }
}

ptq_status ptq_binary_pair(ptq_cpu *c, ptq_binary *v, const ptq_tensor *a, const ptq_tensor *b,
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

/* Loops of small types only where they are not widened. */
static ptq_plain_fn loop_of(const ptq_plain_loops *k, ptq_dtype t)
{
    switch (t) {
    case PTQ_DT_F32: return k->f32;
    case PTQ_DT_F64: return k->f64;
    case PTQ_DT_S64: return k->s64;
    case PTQ_DT_U64: return k->u64;
    case PTQ_DT_S32: return k->s32;
    case PTQ_DT_S8: return k->s8;
    case PTQ_DT_U8: case PTQ_DT_BOOL: return k->u8;
    default: return NULL;
    }
}

ptq_status ptq_binary_plain(ptq_cpu *c, const ptq_step_run *r, const ptq_plain_loops *k)
{
    ptq_dtype t = r->in[0]->dtype;
    ptq_binary v = {.plain = loop_of(k, t)};
    if (!v.plain || r->in[1]->dtype != t)
        return ptq_bad_type(r, v.plain ? r->in[1]->dtype : t);
    return ptq_binary_pair(c, &v, r->in[0], r->in[1], &r->out[0]);
}

/* ---- plain loops ---- */

/* Integer overflow wraps. */
#define PLAIN_NUMBERS(name, iexpr, uexpr, fexpr)                                                   \
    PTQ_PLAIN(name##_s64, int64_t, int64_t, iexpr)                                                 \
    PTQ_PLAIN(name##_u64, uint64_t, uint64_t, uexpr)                                               \
    PTQ_PLAIN(name##_s32, int32_t, int32_t, iexpr)                                                 \
    PTQ_PLAIN(name##_f64, double, double, fexpr)

static int64_t int_div(int64_t u, int64_t v) /* truncates, as ONNX Runtime; x / 0 is 0 */
{
    return v == 0 ? 0 : v == -1 ? (int64_t)(0 - (uint64_t)u) : u / v;
}

static uint64_t uint_pow(uint64_t b, uint64_t v)
{
    uint64_t r = 1;
    for (; v > 0; v >>= 1, b *= b)
        if (v & 1)
            r *= b;
    return r;
}

static int64_t int_pow(int64_t u, int64_t v)
{
    if (v < 0)
        return u == 1 ? 1 : u == -1 ? (v % 2 ? -1 : 1) : 0;
    return (int64_t)uint_pow((uint64_t)u, (uint64_t)v);
}

static int64_t int_mod(int64_t u, int64_t v) /* sign of the divisor */
{
    if (v == 0 || v == -1)
        return 0;
    int64_t r = u % v;
    return r != 0 && (r < 0) != (v < 0) ? r + v : r;
}

PLAIN_NUMBERS(add, (uint64_t)u + (uint64_t)v, u + v, u + v)
PLAIN_NUMBERS(sub, (uint64_t)u - (uint64_t)v, u - v, u - v)
PLAIN_NUMBERS(mul, (uint64_t)u * (uint64_t)v, u *v, u *v)
PLAIN_NUMBERS(div, int_div(u, v), v ? u / v : 0, u / v)
PLAIN_NUMBERS(min, v < u ? v : u, v < u ? v : u, u != u ? u : (v < u || v != v ? v : u))
PLAIN_NUMBERS(max, v > u ? v : u, v > u ? v : u, u != u ? u : (v > u || v != v ? v : u))
PLAIN_NUMBERS(pow, int_pow(u, v), uint_pow(u, v), pow(u, v))
PTQ_PLAIN(mod_s64, int64_t, int64_t, int_mod(u, v))
PTQ_PLAIN(mod_s32, int32_t, int32_t, int_mod(u, v))
PLAIN_NUMBERS(fmod, v == 0 || v == -1 ? 0 : u % v, v ? u % v : 0, fmod(u, v))
PLAIN_NUMBERS(prelu, u < 0 ? (uint64_t)u * (uint64_t)v : (uint64_t)u, u, u < 0 ? u * v : u)

#define LOOPS(name) {.f64 = name##_f64, .s64 = name##_s64, .u64 = name##_u64, .s32 = name##_s32}
enum { NUMBERS = PTQ_TAKES_FLOATS | PTQ_TAKES_INTS | PTQ_TAKES(PTQ_DT_S32) };

/* ---- arithmetic rows ---- */

typedef struct arith {
    size_t f32; /* offset of the loop in ptq_f32_fns */
    ptq_plain_loops plain;
} arith;

static ptq_f32_binary f32_loop(const ptq_cpu *c, size_t at)
{
    ptq_f32_binary f;
    memcpy(&f, (const char *)ptq_cpu_f32(c) + at, sizeof f);
    return f;
}

static bool set_loop(const ptq_cpu *c, const arith *k, ptq_dtype t, ptq_binary *v)
{
    v->f = t == PTQ_DT_F32 ? f32_loop(c, k->f32) : NULL;
    v->plain = loop_of(&k->plain, t);
    v->clip = ptq_cpu_f32(c)->clip;
    return v->f || v->plain;
}

/* Any number of inputs: folded from the left into the output. */
static ptq_status run_arith(ptq_cpu *c, const ptq_step_run *r, const arith *k)
{
    ptq_binary v = {0};
    ptq_dtype t = r->in[0]->dtype;
    int last = r->step->nin - 1;
    if (!set_loop(c, k, t, &v))
        return ptq_bad_type(r, t);
    if (last == 0) {
        memmove(r->out[0].data, r->in[0]->data, r->out[0].nbytes); /* over itself, too */
        return PTQ_OK;
    }
    for (int i = 1; i <= last; i++) {
        if (r->in[i]->dtype != t)
            return ptq_bad_type(r, r->in[i]->dtype);
        if (i == last)
            v.act = ptq_step_act(r->step);
        PTQ_TRY(ptq_binary_pair(c, &v, i == 1 ? r->in[0] : &r->out[0], r->in[i], &r->out[0]));
    }
    return PTQ_OK;
}

#define ARITH_ROW(symbol, op, loop)                                                                \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        static const arith k = {offsetof(ptq_f32_fns, loop), LOOPS(loop)};  \
        return run_arith(c, r, &k);                                                                \
    }                                                                                              \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, .takes = NUMBERS, .over = 3};
ARITH_ROW(add, "Add", add)
ARITH_ROW(sub, "Sub", sub)
ARITH_ROW(mul, "Mul", mul)
ARITH_ROW(div, "Div", div)
ARITH_ROW(min, "Min", min)
ARITH_ROW(max, "Max", max)
ARITH_ROW(sum, "Sum", add)

static ptq_status mean_run(ptq_cpu *c, const ptq_step_run *r)
{
    static const arith k = {offsetof(ptq_f32_fns, add), LOOPS(add)};
    int64_t count = ptq_tensor_elements(&r->out[0]);
    PTQ_TRY(run_arith(c, r, &k));
    if (r->in[0]->dtype == PTQ_DT_F64) {
        for (int64_t i = 0; i < count; i++)
            ((double *)r->out[0].data)[i] /= r->step->nin;
        return PTQ_OK;
    }
    float n = (float)r->step->nin, *y = r->out[0].data;
    ptq_cpu_f32(c)->div(y, 1, &n, 0, y, count);
    return PTQ_OK;
}
extern const ptq_cpu_kernel ptq_cpu_f_mean;
const ptq_cpu_kernel ptq_cpu_f_mean = {.name = "Mean", .run = mean_run, .takes = PTQ_TAKES_FLOATS, .over = 3};

/* ---- Pow, Mod, PRelu: float forms of their own ---- */

/* Small whole exponents and the square root by multiplication and IEEE square root, as ONNX
 * Runtime; others in double, rounded once. */
static float pow_one(float u, float v)
{
    return ptq_pow_is_exact(v) ? ptq_pow_exactf(u, v) : (float)pow((double)u, (double)v);
}
PTQ_PLAIN(pow_f32, float, float, pow_one(u, v))
PTQ_PLAIN(mod_f32, float, float, fmodf(u, v))
PTQ_PLAIN(prelu_f32, float, float, u < 0.0f ? u * v : u)

#define LOOPS_F32(name)                                                                            \
    {.f32 = name##_f32, .f64 = name##_f64, .s64 = name##_s64, .u64 = name##_u64, .s32 = name##_s32}
static const ptq_plain_loops pow_loops = LOOPS_F32(pow), prelu_loops = LOOPS_F32(prelu);

/* The exponent may have a type of its own: it is converted to the base's. */
static ptq_status pow_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *e = r->in[1];
    ptq_dtype t = r->in[0]->dtype;
    if (e->dtype == t)
        return ptq_binary_plain(c, r, &pow_loops);
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
    ptq_status s = ptq_binary_plain(c, &with, &pow_loops);
    free(converted.data);
    return s;
}
extern const ptq_cpu_kernel ptq_cpu_f_pow;
const ptq_cpu_kernel ptq_cpu_f_pow = {.name = "Pow", .run = pow_run, .takes = NUMBERS};

static ptq_status mod_run(ptq_cpu *c, const ptq_step_run *r)
{
    static const ptq_plain_loops truncated = {.f32 = mod_f32, .f64 = fmod_f64, .s64 = fmod_s64,
                                              .u64 = fmod_u64, .s32 = fmod_s32};
    static const ptq_plain_loops floored = {.s64 = mod_s64, .u64 = fmod_u64, .s32 = mod_s32};
    return ptq_binary_plain(c, r, ptq_attr_int(r->step->node, "fmod", 0) ? &truncated : &floored);
}
extern const ptq_cpu_kernel ptq_cpu_f_mod;
const ptq_cpu_kernel ptq_cpu_f_mod = {.name = "Mod", .run = mod_run, .takes = NUMBERS};

static ptq_status prelu_run(ptq_cpu *c, const ptq_step_run *r)
{
    return ptq_binary_plain(c, r, &prelu_loops);
}
extern const ptq_cpu_kernel ptq_cpu_f_prelu;
const ptq_cpu_kernel ptq_cpu_f_prelu = {.name = "PRelu", .run = prelu_run, .takes = NUMBERS, .over = 3};

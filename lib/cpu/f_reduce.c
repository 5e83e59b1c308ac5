/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions over any set of axes, ArgMax, ArgMin. Sums of floats follow the law of fmath.h with
 * the reduced axes in row-major order. */
#include "lib/core/cast.h"
#include "lib/cpu/walk.h"

/* Copies x with the reduced axes last into scratch, unless they are neighbours already. */
static ptq_status arrange(ptq_cpu *c, const ptq_tensor *x, unsigned mask, bool rows, ptq_shape3 *s,
                          const void **data)
{
    int first, last;
    bool neighbours = ptq_reduced_range(x, mask, &first, &last);
    *s = ptq_shape3_of(x, first, last);
    *data = x->data;
    if (neighbours && (s->inner == 1 || !rows))
        return PTQ_OK;
    int64_t step[PTQ_MAX_RANK], dims[PTQ_MAX_RANK];
    int stay = ptq_reduced_last(x, mask, dims, step);
    *s = (ptq_shape3){ptq_product(dims, 0, stay), ptq_product(dims, stay, x->rank), 1};
    void *copy = ptq_cpu_scratch(c, x->nbytes);
    if (!copy)
        return ptq_fail_nomem();
    *data = copy;
    ptq_walk w;
    ptq_walk_init(&w, x->rank, dims);
    ptq_walk_add_steps(&w, step, 0);
    return ptq_walk_copy(c, &w, copy, x->data, ptq_elem_bytes(x->dtype));
}

/* ---- float ---- */

typedef enum kind { K_SUM, K_MEAN, K_MAX, K_MIN, K_PROD, K_L1, K_L2, K_SQUARE, K_LOG, K_LOGEXP } kind;

typedef struct reduce_ctx {
    const ptq_f32_fns *f;
    ptq_shape3 s;
    const void *data;
    kind k;
    float *y;
} reduce_ctx;

static float mapped_sum(const float *x, int64_t n, kind k, float shift)
{
    float p[PTQ_LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        float *q = &p[i % PTQ_LANES];
        if (k == K_L1)
            *q += fabsf(x[i]);
        else if (k == K_LOGEXP)
            *q += ptq_expf(x[i] - shift);
        else
            *q = fmaf(x[i], x[i], *q);
    }
    return ptq_fold16(p);
}

static float reduce_row(const reduce_ctx *v, const float *x)
{
    int64_t n = v->s.n;
    float m = 1.0f;
    switch (v->k) {
    case K_SUM: return v->f->sum(x, n);
    case K_MEAN: return v->f->sum(x, n) / (float)n;
    case K_LOG: return ptq_logf(v->f->sum(x, n));
    case K_MAX: return v->f->max_of(x, n);
    case K_MIN:
        m = INFINITY;
        for (int64_t i = 0; i < n; i++)
            m = ptq_minf(m, x[i]);
        return m;
    case K_PROD:
        for (int64_t i = 0; i < n; i++)
            m *= x[i];
        return m;
    case K_L2: return sqrtf(mapped_sum(x, n, K_L2, 0));
    case K_LOGEXP:
        m = v->f->max_of(x, n);
        m = fabsf(m) <= 3.40282347e38f ? m : 0.0f; /* infinities go through exp themselves */
        return m + ptq_logf(mapped_sum(x, n, K_LOGEXP, m));
    default: return mapped_sum(x, n, v->k, 0);
    }
}

static void rows_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const reduce_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++)
        v->y[i] = reduce_row(v, (const float *)v->data + i * v->s.n);
}

static void columns_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const reduce_ctx *v = ctx;
    (void)worker;
    for (int64_t o = from; o < to; o++) {
        float *y = v->y + o * v->s.inner;
        v->f->acc_rows((const float *)v->data + o * v->s.n * v->s.inner, v->s.n, v->s.inner,
                       v->s.inner, y);
        if (v->k == K_MEAN)
            for (int64_t j = 0; j < v->s.inner; j++)
                y[j] /= (float)v->s.n;
    }
}

static ptq_status reduce_f32(ptq_cpu *c, const ptq_step_run *r, unsigned mask, kind k)
{
    reduce_ctx v = {.f = ptq_cpu_f32(c), .k = k, .y = r->out[0].data};
    PTQ_TRY(arrange(c, r->in[0], mask, k != K_SUM && k != K_MEAN, &v.s, &v.data));
    int64_t grain = 1 + 16384 / (v.s.n * v.s.inner + 1);
    if (v.s.inner > 1)
        return ptq_cpu_ranges(c, v.s.outer, grain, columns_part, &v);
    return ptq_cpu_ranges(c, v.s.outer, grain, rows_part, &v);
}

/* ---- double ---- */

static double term(kind k, double x, double shift)
{
    switch (k) {
    case K_L1: return fabs(x);
    case K_L2: case K_SQUARE: return x * x;
    case K_LOGEXP: return exp(x - shift);
    default: return x;
    }
}

static double extreme(const double *x, int64_t n, bool max)
{
    double m = max ? -INFINITY : INFINITY;
    for (int64_t i = 0; i < n; i++)
        if (x[i] != x[i] || (max ? x[i] > m : x[i] < m))
            m = m != m ? m : x[i];
    return m;
}

static double reduce_row_f64(const double *x, int64_t n, kind k)
{
    double shift = 0, a = k == K_PROD ? 1 : 0;
    if (k == K_MAX || k == K_MIN)
        return extreme(x, n, k == K_MAX);
    if (k == K_LOGEXP) {
        shift = extreme(x, n, true);
        shift = isfinite(shift) ? shift : 0;
    }
    for (int64_t i = 0; i < n; i++)
        a = k == K_PROD ? a * x[i] : a + term(k, x[i], shift);
    switch (k) {
    case K_MEAN: return a / (double)n;
    case K_L2: return sqrt(a);
    case K_LOG: return log(a);
    case K_LOGEXP: return shift + log(a);
    default: return a;
    }
}

static ptq_status reduce_f64(ptq_cpu *c, const ptq_step_run *r, unsigned mask, kind k)
{
    ptq_shape3 s;
    const void *data;
    PTQ_TRY(arrange(c, r->in[0], mask, true, &s, &data));
    for (int64_t i = 0; i < s.outer; i++)
        ((double *)r->out[0].data)[i] = reduce_row_f64((const double *)data + i * s.n, s.n, k);
    return PTQ_OK;
}

/* ---- integers ---- */

static int64_t reduce_int(const ptq_shape3 *s, const void *data, ptq_dtype t, int64_t row, kind k)
{
    int64_t a = k == K_PROD ? 1 : k == K_MAX ? INT64_MIN : k == K_MIN ? INT64_MAX : 0;
    for (int64_t i = row * s->n; i < (row + 1) * s->n; i++) {
        int64_t v = ptq_number_load(t, data, i).i;
        switch (k) {
        case K_MAX: a = v > a ? v : a; break;
        case K_MIN: a = v < a ? v : a; break;
        case K_PROD: a = (int64_t)((uint64_t)a * (uint64_t)v); break;
        case K_L1: a += v < 0 ? -v : v; break;
        case K_SQUARE: a += v * v; break;
        default: a += v; break;
        }
    }
    return k == K_MEAN && s->n ? a / s->n : a;
}

/* Roots and logarithms, which integers have too. */
static int64_t reduce_real(const ptq_shape3 *s, const void *data, ptq_dtype t, int64_t row, kind k)
{
    double a = 0;
    for (int64_t i = row * s->n; i < (row + 1) * s->n; i++)
        a += term(k, (double)ptq_number_load(t, data, i).i, 0);
    return (int64_t)(k == K_L2 ? sqrt(a) : log(a));
}

static ptq_status reduce_ints(ptq_cpu *c, const ptq_step_run *r, unsigned mask, kind k)
{
    ptq_shape3 s;
    const void *data;
    ptq_dtype t = r->in[0]->dtype;
    bool real = k == K_L2 || k == K_LOG || k == K_LOGEXP;
    PTQ_TRY(arrange(c, r->in[0], mask, true, &s, &data));
    for (int64_t i = 0; i < s.outer; i++)
        ptq_number_store(t, r->out[0].data, i,
                         ptq_number_int((real ? reduce_real : reduce_int)(&s, data, t, i, k)), 0);
    return PTQ_OK;
}

static ptq_status reduce(ptq_cpu *c, const ptq_step_run *r, kind k)
{
    unsigned mask;
    PTQ_TRY(ptq_reduced_axes(r, &mask));
    switch (r->in[0]->dtype) {
    case PTQ_DT_F32: return reduce_f32(c, r, mask, k);
    case PTQ_DT_F64: return reduce_f64(c, r, mask, k);
    default: return reduce_ints(c, r, mask, k);
    }
}

/* The axes are read as they are. */
enum {
    REDUCED = PTQ_TAKES_FLOATS | PTQ_TAKES_S64 | PTQ_TAKES(PTQ_DT_S32) | PTQ_TAKES(PTQ_DT_S8) |
              PTQ_TAKES(PTQ_DT_U8) | PTQ_TAKES(PTQ_DT_BOOL)
};
#define REDUCE_ROW(symbol, op, k)                                                                  \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        return reduce(c, r, k);                                                                    \
    }                                                                                              \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {                                                    \
        .name = op, .takes = REDUCED, .keep_in = 2, .run = symbol##_run};
REDUCE_ROW(reduce_sum, "ReduceSum", K_SUM)
REDUCE_ROW(reduce_mean, "ReduceMean", K_MEAN)
REDUCE_ROW(reduce_max, "ReduceMax", K_MAX)
REDUCE_ROW(reduce_min, "ReduceMin", K_MIN)
REDUCE_ROW(reduce_prod, "ReduceProd", K_PROD)
REDUCE_ROW(reduce_l1, "ReduceL1", K_L1)
REDUCE_ROW(reduce_l2, "ReduceL2", K_L2)
REDUCE_ROW(reduce_sum_square, "ReduceSumSquare", K_SQUARE)
REDUCE_ROW(reduce_log_sum, "ReduceLogSum", K_LOG)
REDUCE_ROW(reduce_log_sum_exp, "ReduceLogSumExp", K_LOGEXP)

/* ---- ArgMax, ArgMin: the first of equals, or the last with select_last_index ---- */

#define ARG(T)                                                                                     \
    {                                                                                              \
        const T *u = (const T *)data + i * s.n;                                                  \
        for (int64_t k = 1; k < s.n; k++)                                                          \
            if (low ? u[k] < u[best] : u[k] > u[best])                                             \
                best = k;                                                                          \
            else if (last && u[k] == u[best])                                                      \
                best = k;                                                                          \
        break;                                                                                     \
    }

static ptq_status arg_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 0), x->rank);
    bool low = strcmp(r->step->node->op, "ArgMin") == 0;
    bool last = ptq_attr_int(r->step->node, "select_last_index", 0) != 0;
    ptq_shape3 s;
    const void *data;
    PTQ_TRY(arrange(c, x, 1u << axis, true, &s, &data));
    for (int64_t i = 0; i < s.outer; i++) {
        int64_t best = 0;
        switch (x->dtype) {
        case PTQ_DT_F32: ARG(float)
        case PTQ_DT_F64: ARG(double)
        case PTQ_DT_S64: ARG(int64_t)
        case PTQ_DT_U64: ARG(uint64_t)
        case PTQ_DT_S32: ARG(int32_t)
        case PTQ_DT_S8: ARG(int8_t)
        case PTQ_DT_U8: ARG(uint8_t)
        default: return ptq_bad_type(r, r->in[0]->dtype);
        }
        ((int64_t *)r->out[0].data)[i] = best;
    }
    return PTQ_OK;
}
enum {
    ARGS = PTQ_TAKES_FLOATS | PTQ_TAKES_INTS | PTQ_TAKES(PTQ_DT_S32) | PTQ_TAKES(PTQ_DT_S8) | PTQ_TAKES(PTQ_DT_U8)
};
extern const ptq_cpu_kernel ptq_cpu_f_argmax, ptq_cpu_f_argmin;
const ptq_cpu_kernel ptq_cpu_f_argmax = {.name = "ArgMax", .takes = ARGS, .keep_out = 1, .run = arg_run};
const ptq_cpu_kernel ptq_cpu_f_argmin = {.name = "ArgMin", .takes = ARGS, .keep_out = 1, .run = arg_run};

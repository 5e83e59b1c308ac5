/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products whose parameters are not constants, or are of types that the integer steps do
 * not take: ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul, DynamicQuantizeLinear. Operands
 * come as int32 (widen.h); sums are modulo 2^32, requantization is the law of qmath.h. */
#include "lib/core/cast.h"
#include "lib/core/qmath.h"
#include "lib/cpu/fkernel.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};
enum { PARTS = PTQ_TAKES_F32 | PTQ_TAKES(PTQ_DT_S32) };

/* One parameter, or one for each row, column or channel. */
static bool count_fits(const ptq_tensor *t, int64_t n)
{
    return !t || ptq_tensor_elements(t) == 1 || ptq_tensor_elements(t) == n;
}

static int32_t zero_at(const ptq_tensor *t, int64_t i)
{
    return t ? ((const int32_t *)t->data)[ptq_tensor_elements(t) == 1 ? 0 : i] : 0;
}

static float scale_at(const ptq_tensor *t, int64_t i)
{
    return ((const float *)t->data)[ptq_tensor_elements(t) == 1 ? 0 : i];
}

/* Codes, which come as int32, in the given inputs. */
static ptq_status check_codes(const ptq_step_run *r, const int *slots, int n)
{
    for (int i = 0; i < n; i++)
        if (ptq_in(r, slots[i]) && r->in[slots[i]]->dtype != PTQ_DT_S32)
            return ptq_bad_type(r, r->in[slots[i]]->dtype);
    return PTQ_OK;
}

/* The output's grid; ys NULL: the sums themselves. */
typedef struct out_grid {
    const ptq_tensor *as, *bs, *ys, *yz;
    ptq_tensor *y;
    int32_t lo, hi;
} out_grid;

static ptq_status read_grid(const ptq_step_run *r, out_grid *g)
{
    *g = (out_grid){r->in[1], r->in[4], r->in[6], r->in[7], &r->out[0], 0, 0};
    PTQ_TRY(check_codes(r, (const int[]){0, 2, 3, 5, 8}, 5));
    if (g->as->dtype != PTQ_DT_F32 || g->bs->dtype != PTQ_DT_F32 || g->ys->dtype != PTQ_DT_F32)
        return ptq_bad_args(r);
    if (!ptq_quant_bounds(g->y->dtype, &g->lo, &g->hi) || ptq_dtype_bits(g->y->dtype) < 8)
        return ptq_bad_type(r, g->y->dtype);
    return ptq_tensor_elements(g->ys) == 1 && (!g->yz || ptq_tensor_elements(g->yz) == 1) ? PTQ_OK : ptq_bad_args(r);
}

static void put(const out_grid *g, int64_t i, uint32_t acc, int64_t a, int64_t b)
{
    if (!g->ys) {
        ((int32_t *)g->y->data)[i] = (int32_t)acc;
        return;
    }
    int32_t z = g->yz ? (int32_t)ptq_number_load(g->yz->dtype, g->yz->data, 0).i : 0;
    float m = ptq_requant_multiplier(scale_at(g->as, a), scale_at(g->bs, b), scale_at(g->ys, 0));
    ptq_number_store(g->y->dtype, g->y->data, i, ptq_number_int(ptq_requantize((int32_t)acc, m, z, g->lo, g->hi)), 0);
}

/* ---- convolution ---- */

typedef struct conv_ctx {
    ptq_conv_geometry g;
    const int32_t *x, *w, *bias;
    const ptq_tensor *wz;
    int32_t xz;
    out_grid out;
} conv_ctx;

static uint32_t conv_sum(const conv_ctx *v, int64_t image, int64_t m, int64_t at)
{
    const ptq_conv_geometry *g = &v->g;
    const int32_t *w = v->w + m * g->cg * g->kvol;
    int32_t wz = zero_at(v->wz, m);
    int64_t o[3], k[3], i[3];
    uint32_t acc = v->bias ? (uint32_t)v->bias[m] : 0;
    ptq_split3(at, g->out, o);
    for (int64_t t = 0; t < g->kvol; t++) {
        bool inside = true;
        ptq_split3(t, g->k, k);
        for (int d = 0; d < 3; d++) {
            i[d] = o[d] * g->stride[d] + k[d] * g->dil[d] - g->pad[d];
            inside = inside && i[d] >= 0 && i[d] < g->in[d];
        }
        const int32_t *x = v->x + (image * g->c + m / g->mg * g->cg) * g->isize +
                           (i[0] * g->in[1] + i[1]) * g->in[2] + i[2];
        for (int64_t c = 0; inside && c < g->cg; c++)
            acc += (uint32_t)(x[c * g->isize] - v->xz) * (uint32_t)(w[c * g->kvol + t] - wz);
    }
    return acc;
}

static void conv_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const conv_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++)
        for (int64_t at = 0; at < v->g.osize; at++)
            put(&v->out, i * v->g.osize + at, conv_sum(v, i / v->g.m, i % v->g.m, at), 0, i % v->g.m);
}

static ptq_status run_conv(ptq_cpu *c, const ptq_step_run *r, const ptq_tensor *w, const ptq_tensor *xz, conv_ctx *v)
{
    const ptq_tensor *xw[] = {r->in[0], w};
    ptq_step_run plain = *r;
    plain.in = xw;
    PTQ_TRY(ptq_conv_geometry_of(&plain, false, &v->g));
    v->x = r->in[0]->data;
    v->w = w->data;
    v->xz = zero_at(xz, 0);
    if (!count_fits(xz, 1) || !count_fits(v->wz, v->g.m) || !count_fits(v->out.as, 1) || !count_fits(v->out.bs, v->g.m))
        return ptq_bad_args(r);
    return ptq_cpu_ranges(c, v->g.batch * v->g.m, 1, conv_part, v);
}

static ptq_status conv_integer_run(ptq_cpu *c, const ptq_step_run *r)
{
    conv_ctx v = {.wz = ptq_in(r, 3), .out = {.y = &r->out[0]}};
    PTQ_TRY(check_codes(r, (const int[]){0, 1, 2, 3}, 4));
    return run_conv(c, r, r->in[1], ptq_in(r, 2), &v);
}
ROW(conv_integer, "ConvInteger", .takes = PARTS)

static ptq_status qlinear_conv_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *bias = ptq_in(r, 8);
    conv_ctx v = {.wz = r->in[5], .bias = bias ? bias->data : NULL};
    PTQ_TRY(read_grid(r, &v.out));
    return run_conv(c, r, r->in[3], r->in[2], &v);
}
ROW(qlinear_conv, "QLinearConv", .takes = PARTS, .keep_in = 1 << 7, .keep_out = 1)

/* ---- matrix products ---- */

typedef struct matmul_ctx {
    int64_t m, n, k;
    int rank; /* of the batch */
    int64_t dims[PTQ_MAX_RANK], a_step[PTQ_MAX_RANK], b_step[PTQ_MAX_RANK]; /* in matrices, 0: broadcast */
    const ptq_tensor *a, *b, *az, *bz;
    out_grid out;
} matmul_ctx;

/* Matrices of operand t for each matrix of the result. */
static void batch_steps(const ptq_tensor *t, const matmul_ctx *v, int64_t *step)
{
    int64_t at = 1;
    for (int d = v->rank - 1, s = t->rank - 3; d >= 0; d--, s--) {
        step[d] = s >= 0 && t->dims[s] != 1 ? at : 0;
        at *= s >= 0 ? t->dims[s] : 1;
    }
}

static void matmul_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const matmul_ctx *v = ctx;
    (void)worker;
    for (int64_t row = from; row < to; row++) {
        int64_t i = row % v->m, ao = 0, bo = 0, rest = row / v->m;
        for (int d = v->rank - 1; d >= 0; rest /= v->dims[d], d--) {
            ao += rest % v->dims[d] * v->a_step[d];
            bo += rest % v->dims[d] * v->b_step[d];
        }
        const int32_t *a = (const int32_t *)v->a->data + (ao * v->m + i) * v->k;
        const int32_t *b = (const int32_t *)v->b->data + bo * v->k * v->n;
        int32_t az = zero_at(v->az, i);
        for (int64_t j = 0; j < v->n; j++) {
            int32_t bz = zero_at(v->bz, j);
            uint32_t acc = 0;
            for (int64_t k = 0; k < v->k; k++)
                acc += (uint32_t)(a[k] - az) * (uint32_t)(b[k * v->n + j] - bz);
            put(&v->out, row * v->n + j, acc, i, j);
        }
    }
}

static ptq_status run_matmul(ptq_cpu *c, const ptq_step_run *r, matmul_ctx *v)
{
    const ptq_tensor *a = v->a, *b = v->b, *y = &r->out[0];
    bool va = a->rank == 1, vb = b->rank == 1; /* a row, a column */
    v->m = va ? 1 : a->dims[a->rank - 2];
    v->k = a->dims[a->rank - 1];
    v->n = vb ? 1 : b->dims[b->rank - 1];
    v->rank = y->rank - !va - !vb;
    for (int d = 0; d < v->rank; d++)
        v->dims[d] = y->dims[d];
    batch_steps(a, v, v->a_step);
    batch_steps(b, v, v->b_step);
    if (!count_fits(v->az, v->m) || !count_fits(v->bz, v->n) ||
        (v->out.ys && (!count_fits(v->out.as, v->m) || !count_fits(v->out.bs, v->n))))
        return ptq_bad_args(r);
    return ptq_cpu_ranges(c, ptq_product(v->dims, 0, v->rank) * v->m, 1, matmul_part, v);
}

static ptq_status matmul_integer_run(ptq_cpu *c, const ptq_step_run *r)
{
    matmul_ctx v = {.a = r->in[0], .b = r->in[1], .az = ptq_in(r, 2), .bz = ptq_in(r, 3), .out = {.y = &r->out[0]}};
    PTQ_TRY(check_codes(r, (const int[]){0, 1, 2, 3}, 4));
    return run_matmul(c, r, &v);
}
ROW(matmul_integer, "MatMulInteger", .takes = PARTS)

static ptq_status qlinear_matmul_run(ptq_cpu *c, const ptq_step_run *r)
{
    matmul_ctx v = {.a = r->in[0], .b = r->in[3], .az = r->in[2], .bz = r->in[5]};
    PTQ_TRY(read_grid(r, &v.out));
    return run_matmul(c, r, &v);
}
ROW(qlinear_matmul, "QLinearMatMul", .takes = PARTS, .keep_in = 1 << 7, .keep_out = 1)

/* ---- DynamicQuantizeLinear: uint8 over the tensor's own range, which includes 0 ---- */

static ptq_status dynamic_quantize_run(ptq_cpu *c, const ptq_step_run *r)
{
    const float *x = r->in[0]->data;
    int64_t n = ptq_tensor_elements(r->in[0]);
    float lo = 0.0f, hi = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    float scale = lo == hi ? 1.0f : (hi - lo) / 255.0f;
    int32_t z = ptq_rint(ptq_clampf(0.0f - lo / scale, 0.0f, 255.0f));
    if (r->out[0].data)
        ptq_cpu_f32(c)->quant8(x, scale, z, 0, 255, r->out[0].data, n);
    if (r->step->nout > 1 && r->out[1].data)
        *(float *)r->out[1].data = scale;
    if (r->step->nout > 2 && r->out[2].data)
        *(uint8_t *)r->out[2].data = (uint8_t)z;
    return PTQ_OK;
}
ROW(dynamic_quantize, "DynamicQuantizeLinear", .takes = PTQ_TAKES_F32, .keep_out = ~0u)

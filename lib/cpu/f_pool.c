/* SPDX-License-Identifier: Apache-2.0 */
/* Pools over 1 to 3 spatial dimensions. Averages: plain sum in window order, divided by the count. */
#include "lib/cpu/fkernel.h"

typedef struct pool_ctx {
    const ptq_f32_fns *f;
    ptq_pool_geometry g;
    bool average;
    const void *x;
    void *y;
    int64_t *index; /* MaxPool's second output, or NULL */
    ptq_dtype type;
} pool_ctx;

/* Outputs [*lo, *hi) of dimension d whose tap k lies inside the input. */
static void tap_range(const ptq_pool_geometry *v, int d, int64_t k, int64_t *lo, int64_t *hi)
{
    int64_t at = k * v->dil[d] - v->pad[d], s = v->stride[d];
    *lo = at < 0 ? (-at + s - 1) / s : 0;
    *hi = at < v->in[d] ? (v->in[d] - 1 - at) / s + 1 : 0;
    *hi = *hi < v->out[d] ? *hi : v->out[d];
}

/* Taps of output o in dimension d that count in an average. */
static int64_t counted(const ptq_pool_geometry *v, int d, int64_t o)
{
    int64_t n = 0;
    for (int64_t k = 0; k < v->k[d]; k++) {
        int64_t at = o * v->stride[d] + k * v->dil[d] - v->pad[d];
        n += v->include_pad ? at < v->in[d] + v->pad_end[d] : at >= 0 && at < v->in[d];
    }
    return n;
}

static void average_plane(const ptq_pool_geometry *v, const float *x, float *y)
{
    for (int64_t o = 0; o < v->out[0] * v->out[1]; o++) {
        int64_t o0 = o / v->out[1], o1 = o % v->out[1];
        float *row = y + o * v->out[2];
        memset(row, 0, (size_t)v->out[2] * sizeof *row);
        for (int64_t k = 0; k < ptq_product(v->k, 0, 3); k++) {
            int64_t k2 = k % v->k[2], k1 = k / v->k[2] % v->k[1], k0 = k / v->k[2] / v->k[1];
            int64_t i0 = o0 * v->stride[0] + k0 * v->dil[0] - v->pad[0];
            int64_t i1 = o1 * v->stride[1] + k1 * v->dil[1] - v->pad[1], lo, hi;
            if (i0 < 0 || i0 >= v->in[0] || i1 < 0 || i1 >= v->in[1])
                continue;
            tap_range(v, 2, k2, &lo, &hi);
            const float *src = x + (i0 * v->in[1] + i1) * v->in[2] + k2 * v->dil[2] - v->pad[2];
            for (int64_t j = lo; j < hi; j++)
                row[j] += src[j * v->stride[2]];
        }
        int64_t n01 = counted(v, 0, o0) * counted(v, 1, o1);
        for (int64_t j = 0; j < v->out[2]; j++)
            row[j] /= (float)(n01 * counted(v, 2, j));
    }
}

/* Column-major indices count the first spatial dimension fastest. */
static int64_t max_index(const ptq_pool_geometry *v, int64_t i0, int64_t i1, int64_t i2)
{
    if (!v->column_major)
        return (i0 * v->in[1] + i1) * v->in[2] + i2;
    return (i2 * v->in[1] + i1) * v->in[0] + i0;
}

#define MAX_PLANE(name, T, lowest, better)                                                         \
    static void name(const ptq_pool_geometry *v, const T *x, T *y, int64_t *index, int64_t base)            \
    {                                                                                              \
        for (int64_t o = 0; o < v->out[0] * v->out[1]; o++) {                                      \
            int64_t o0 = o / v->out[1], o1 = o % v->out[1];                                        \
            T *row = y + o * v->out[2];                                                            \
            for (int64_t j = 0; j < v->out[2]; j++)                                                \
                row[j] = lowest;                                                                   \
            for (int64_t k = 0; k < ptq_product(v->k, 0, 3); k++) {                                \
                int64_t k2 = k % v->k[2], k1 = k / v->k[2] % v->k[1], k0 = k / v->k[2] / v->k[1];  \
                int64_t i0 = o0 * v->stride[0] + k0 * v->dil[0] - v->pad[0];                       \
                int64_t i1 = o1 * v->stride[1] + k1 * v->dil[1] - v->pad[1], lo, hi;               \
                if (i0 < 0 || i0 >= v->in[0] || i1 < 0 || i1 >= v->in[1])                          \
                    continue;                                                                      \
                tap_range(v, 2, k2, &lo, &hi);                                                     \
                int64_t shift = k2 * v->dil[2] - v->pad[2];                                        \
                const T *src = x + (i0 * v->in[1] + i1) * v->in[2] + shift;                        \
                for (int64_t j = lo; j < hi; j++) {                                                \
                    T a = src[j * v->stride[2]], b = row[j];                                       \
                    bool take = better;                                                            \
                    row[j] = take ? a : b;                                                         \
                    if (index && (take || index[o * v->out[2] + j] < 0))                           \
                        index[o * v->out[2] + j] =                                                 \
                            base + max_index(v, i0, i1, j * v->stride[2] + shift);                 \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
MAX_PLANE(max_plane_f32, float, -INFINITY, b == b && (a > b || a != a))
MAX_PLANE(max_plane_s8, int8_t, INT8_MIN, a > b)
MAX_PLANE(max_plane_u8, uint8_t, 0, a > b)

static void pool_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const pool_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++) {
        int64_t *index = v->index ? v->index + i * v->g.osize : NULL;
        for (int64_t j = 0; index && j < v->g.osize; j++)
            index[j] = -1;
        if (v->average)
            average_plane(&v->g, (const float *)v->x + i * v->g.isize, (float *)v->y + i * v->g.osize);
        else if (v->type == PTQ_DT_F32)
            max_plane_f32(&v->g, (const float *)v->x + i * v->g.isize, (float *)v->y + i * v->g.osize,
                          index, i * v->g.isize);
        else if (v->type == PTQ_DT_S8)
            max_plane_s8(&v->g, (const int8_t *)v->x + i * v->g.isize, (int8_t *)v->y + i * v->g.osize,
                         index, i * v->g.isize);
        else
            max_plane_u8(&v->g, (const uint8_t *)v->x + i * v->g.isize, (uint8_t *)v->y + i * v->g.osize,
                         index, i * v->g.isize);
    }
}

static ptq_status run_pool(ptq_cpu *c, const ptq_step_run *r, pool_ctx *v)
{
    PTQ_TRY(ptq_pool_geometry_of(r, &v->g));
    v->x = r->in[0]->data;
    v->y = r->out[0].data;
    v->type = r->in[0]->dtype;
    return ptq_cpu_ranges(c, r->in[0]->dims[0] * r->in[0]->dims[1],
                          1 + 8192 / (v->g.osize * ptq_product(v->g.k, 0, 3) + 1), pool_part, v);
}

static ptq_status max_pool_run(ptq_cpu *c, const ptq_step_run *r)
{
    pool_ctx v = {.index = r->step->nout > 1 ? r->out[1].data : NULL};
    ptq_dtype t = r->in[0]->dtype;
    if (t != PTQ_DT_F32 && t != PTQ_DT_S8 && t != PTQ_DT_U8)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: MaxPool on %s is not supported",
                        r->step->name, ptq_dtype_name(t));
    return run_pool(c, r, &v);
}

static ptq_status average_pool_run(ptq_cpu *c, const ptq_step_run *r)
{
    pool_ctx v = {.average = true};
    return run_pool(c, r, &v);
}

/* ---- global pools: the law's sum, divided by the count ---- */

static void global_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const pool_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++) {
        const float *x = (const float *)v->x + i * v->g.isize;
        ((float *)v->y)[i] =
            v->average ? v->f->sum(x, v->g.isize) / (float)v->g.isize : v->f->max_of(x, v->g.isize);
    }
}

static ptq_status global_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    pool_ctx v = {.f = ptq_cpu_f32(c), .average = r->step->node->op[6] == 'A', .x = x->data,
                  .y = r->out[0].data, .g.isize = ptq_product(x->dims, 2, x->rank)};
    return ptq_cpu_ranges(c, x->dims[0] * x->dims[1], 1 + 8192 / (v.g.isize + 1), global_part, &v);
}

extern const ptq_cpu_kernel ptq_cpu_f_max_pool, ptq_cpu_f_average_pool, ptq_cpu_f_global_max_pool,
    ptq_cpu_f_global_average_pool;
const ptq_cpu_kernel ptq_cpu_f_max_pool = {
    .name = "MaxPool", .takes = PTQ_TAKES_F32 | PTQ_TAKES(PTQ_DT_S8) | PTQ_TAKES(PTQ_DT_U8), .keep_out = 2,
    .run = max_pool_run};
const ptq_cpu_kernel ptq_cpu_f_average_pool = {
    .name = "AveragePool", .takes = PTQ_TAKES_F32, .run = average_pool_run};
const ptq_cpu_kernel ptq_cpu_f_global_max_pool = {
    .name = "GlobalMaxPool", .takes = PTQ_TAKES_F32, .run = global_run};
const ptq_cpu_kernel ptq_cpu_f_global_average_pool = {
    .name = "GlobalAveragePool", .takes = PTQ_TAKES_F32, .run = global_run};

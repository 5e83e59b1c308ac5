/* SPDX-License-Identifier: Apache-2.0 */
/* Gather and scatter by an index per element or per block. */
#include "lib/core/cast.h"
#include "lib/cpu/walk.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* Indices come as int64; whatever else is moved keeps its type. */
enum { AT = 1 << 1 };

static ptq_status outside(const ptq_step_run *r, int64_t k, int64_t n)
{
    return ptq_fail(PTQ_ERR_DATA, "node %s: index %lld is outside of the %lld entries", r->step->name,
                    (long long)k, (long long)n);
}

static void dense_steps(int rank, const int64_t *dims, int64_t *step)
{
    int64_t at = 1;
    for (int d = rank - 1; d >= 0; d--) {
        step[d] = at;
        at *= dims[d];
    }
}

/* Every index of a tensor lies in [-n, n)? */
static ptq_status check_indices(const ptq_step_run *r, const ptq_tensor *at, int64_t n)
{
    const int64_t *v = at->data;
    for (int64_t i = 0, count = ptq_tensor_elements(at); i < count; i++)
        if (v[i] < -n || v[i] >= n)
            return outside(r, v[i], n);
    return PTQ_OK;
}

/* ---- what a scatter does where it meets a value ---- */

typedef enum reduction { R_NONE, R_ADD, R_MUL, R_MAX, R_MIN } reduction;

static ptq_status read_reduction(const ptq_step_run *r, reduction *out)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *s = ptq_attr_str(r->step->node, "reduction", "none");
    size_t i = 0;
    while (i < PTQ_COUNT(names) && strcmp(names[i], s) != 0)
        i++;
    if (i == PTQ_COUNT(names) || (i > 0 && !ptq_castable(r->in[0]->dtype)))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: reduction \"%s\" of %s is not supported",
                        r->step->name, s, ptq_dtype_name(r->in[0]->dtype));
    *out = (reduction)i;
    return PTQ_OK;
}

/* In double and rounded: the sum and product of two floats are the same as in float. */
static double combine_real(reduction k, double a, double b)
{
    switch (k) {
    case R_ADD: return a + b;
    case R_MUL: return a * b;
    case R_MAX: return a != a || a > b ? a : b;
    default: return a != a || a < b ? a : b;
    }
}

static int64_t combine_int(reduction k, bool is_unsigned, int64_t a, int64_t b)
{
    bool more = is_unsigned ? (uint64_t)a > (uint64_t)b : a > b;
    switch (k) {
    case R_ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
    case R_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
    case R_MAX: return more ? a : b;
    default: return more ? b : a;
    }
}

/* y[i] becomes y[i] and x[j] together. */
static void put(reduction k, ptq_dtype t, void *y, int64_t i, const void *x, int64_t j)
{
    size_t e = ptq_elem_bytes(t);
    if (k == R_NONE) {
        memcpy((char *)y + (size_t)i * e, (const char *)x + (size_t)j * e, e);
        return;
    }
    ptq_number a = ptq_number_load(t, y, i), b = ptq_number_load(t, x, j);
    a.d = combine_real(k, a.d, b.d);
    a.i = combine_int(k, t == PTQ_DT_U64, a.i, b.i);
    ptq_number_store(t, y, i, a, t == PTQ_DT_U64);
}

static void copy_data(const ptq_step_run *r)
{
    if (r->out[0].data != r->in[0]->data)
        memcpy(r->out[0].data, r->in[0]->data, r->in[0]->nbytes);
}

/* ---- GatherElements, ScatterElements: an index per element ---- */

typedef struct element_ctx {
    const int64_t *at;
    const void *x; /* data, or updates */
    void *y;
    ptq_dtype type;
    size_t e;
    int64_t n, step; /* entries along the axis, elements from one to the next */
    reduction k;
} element_ctx;

static int64_t place(const element_ctx *v, int64_t i)
{
    int64_t k = v->at[i];
    return (k < 0 ? k + v->n : k) * v->step;
}

static void gather_part(const void *ctx, const int64_t *off, const int64_t *step, int64_t n)
{
    const element_ctx *v = ctx;
    for (int64_t i = 0; i < n; i++) {
        int64_t from = off[1] + i * step[1] + place(v, off[0] + i);
        memcpy((char *)v->y + (size_t)(off[0] + i) * v->e, (const char *)v->x + (size_t)from * v->e, v->e);
    }
}

static void scatter_part(const void *ctx, const int64_t *off, const int64_t *step, int64_t n)
{
    const element_ctx *v = ctx;
    for (int64_t i = 0; i < n; i++)
        put(v->k, v->type, v->y, off[1] + i * step[1] + place(v, off[0] + i), v->x, off[0] + i);
}

/* A walk over the indices beside the data, which stands still along the axis. */
static ptq_status walk_indices(ptq_cpu *c, const ptq_step_run *r, element_ctx *v, ptq_walk_fn fn)
{
    const ptq_tensor *x = r->in[0], *at = r->in[1];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 0), x->rank);
    int64_t step[PTQ_MAX_RANK];
    dense_steps(x->rank, x->dims, step);
    v->at = at->data;
    v->type = x->dtype;
    v->e = ptq_elem_bytes(x->dtype);
    v->n = x->dims[axis];
    v->step = step[axis];
    step[axis] = 0;
    for (int d = 0; d < at->rank; d++)
        if (d != axis && at->dims[d] > x->dims[d])
            return ptq_fail(PTQ_ERR_MODEL, "node %s: dimension %d of the indices is %lld, of the data %lld",
                            r->step->name, d, (long long)at->dims[d], (long long)x->dims[d]);
    PTQ_TRY(check_indices(r, at, v->n));
    ptq_walk w;
    ptq_walk_init(&w, at->rank, at->dims);
    ptq_walk_add_steps(&w, step, 0);
    return ptq_walk_run(c, &w, fn, v);
}

static ptq_status gather_elements_run(ptq_cpu *c, const ptq_step_run *r)
{
    element_ctx v = {.x = r->in[0]->data, .y = r->out[0].data};
    return walk_indices(c, r, &v, gather_part);
}
ROW(gather_elements, "GatherElements", .takes = PTQ_TAKES_S64, .keep_in = ~AT, .keep_out = 1)

static ptq_status scatter_elements_run(ptq_cpu *c, const ptq_step_run *r)
{
    element_ctx v = {.x = r->in[2]->data, .y = r->out[0].data};
    ptq_cpu alone = *c; /* indices may meet: in order */
    alone.pool = NULL;
    PTQ_TRY(read_reduction(r, &v.k));
    copy_data(r);
    return walk_indices(&alone, r, &v, scatter_part);
}
ROW(scatter_elements, "ScatterElements", .takes = PTQ_TAKES_S64, .keep_in = ~AT, .keep_out = 1)

/* ---- GatherND, ScatterND: an index of several numbers per block ---- */

typedef struct blocks {
    int64_t count, length;       /* indices, numbers of one */
    int64_t per_batch, batch_step; /* indices of a batch; elements of a batch of the data */
    int64_t block;               /* elements */
    int64_t dims[PTQ_MAX_RANK], step[PTQ_MAX_RANK]; /* of the indexed dimensions */
} blocks;

static void find_blocks(const ptq_tensor *x, const ptq_tensor *at, int batch, blocks *b)
{
    int64_t step[PTQ_MAX_RANK];
    dense_steps(x->rank, x->dims, step);
    b->length = at->dims[at->rank - 1];
    b->count = ptq_product(at->dims, 0, at->rank - 1);
    b->per_batch = ptq_product(at->dims, batch, at->rank - 1);
    b->batch_step = ptq_product(x->dims, batch, x->rank);
    b->block = ptq_product(x->dims, batch + (int)b->length, x->rank);
    for (int64_t i = 0; i < b->length; i++) {
        b->dims[i] = x->dims[batch + i];
        b->step[i] = step[batch + i];
    }
}

/* First element of the data's block i. */
static ptq_status block_start(const ptq_step_run *r, const blocks *b, const int64_t *at, int64_t i, int64_t *out)
{
    *out = i / b->per_batch * b->batch_step;
    for (int64_t k = 0; k < b->length; k++) {
        int64_t v = at[i * b->length + k];
        if (v < -b->dims[k] || v >= b->dims[k])
            return outside(r, v, b->dims[k]);
        *out += (v < 0 ? v + b->dims[k] : v) * b->step[k];
    }
    return PTQ_OK;
}

static ptq_status gather_nd_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *at = r->in[1];
    size_t e = ptq_elem_bytes(x->dtype);
    blocks b;
    (void)c;
    find_blocks(x, at, (int)ptq_attr_int(r->step->node, "batch_dims", 0), &b);
    size_t bytes = (size_t)b.block * e;
    for (int64_t i = 0; i < b.count; i++) {
        int64_t from;
        PTQ_TRY(block_start(r, &b, at->data, i, &from));
        memcpy((char *)r->out[0].data + (size_t)i * bytes, (const char *)x->data + (size_t)from * e, bytes);
    }
    return PTQ_OK;
}
ROW(gather_nd, "GatherND", .takes = PTQ_TAKES_S64, .keep_in = ~AT, .keep_out = 1)

static ptq_status scatter_nd_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *at = r->in[1], *u = r->in[2];
    blocks b;
    reduction k;
    (void)c;
    find_blocks(x, at, 0, &b);
    PTQ_TRY(read_reduction(r, &k));
    copy_data(r);
    for (int64_t i = 0; i < b.count; i++) {
        int64_t to;
        PTQ_TRY(block_start(r, &b, at->data, i, &to));
        for (int64_t j = 0; j < b.block; j++)
            put(k, x->dtype, r->out[0].data, to + j, u->data, i * b.block + j);
    }
    return PTQ_OK;
}
ROW(scatter_nd, "ScatterND", .takes = PTQ_TAKES_S64, .keep_in = ~AT, .keep_out = 1)

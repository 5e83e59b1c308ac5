/* SPDX-License-Identifier: Apache-2.0 */
/* Einsum and Det, in double (Einsum of integers in int64). */
#include "lib/cpu/fkernel.h"
#include "lib/graph/einsum.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* ---- Einsum ---- */

typedef struct einsum_ctx {
    ptq_einsum e;
    int64_t size[PTQ_EINSUM_LABELS];
    int64_t step[PTQ_EINSUM_OPERANDS][PTQ_EINSUM_LABELS]; /* a label may be two dimensions: a diagonal */
    const ptq_step_run *r;
    int64_t terms; /* of one output */
} einsum_ctx;

/* Sizes of the labels, a 1 fits all. */
static ptq_status read_sizes(einsum_ctx *v)
{
    const ptq_einsum *e = &v->e;
    for (int l = 0; l < e->labels; l++)
        v->size[l] = 1;
    for (int k = 0; k < e->operands; k++)
        for (int d = 0; d < e->rank[k]; d++) {
            int64_t n = v->r->in[k]->dims[d], *size = &v->size[e->label[k][d]];
            if (n != 1 && *size != 1 && n != *size)
                return ptq_fail(PTQ_ERR_MODEL,
                                "node %s: dimension %d of input %d is %lld, the equation of Einsum needs %lld",
                                v->r->step->name, d, k, (long long)n, (long long)*size);
            *size = n != 1 ? n : *size;
        }
    for (int k = 0; k < e->operands; k++) {
        int64_t at = 1;
        for (int d = e->rank[k] - 1; d >= 0; d--) {
            int64_t n = v->r->in[k]->dims[d];
            v->step[k][e->label[k][d]] += n == 1 ? 0 : at;
            at *= n;
        }
    }
    v->terms = ptq_product(v->size, e->nout, e->labels);
    return PTQ_OK;
}

/* Where position `i` of labels [from, to) lies in each operand. */
static void add_offsets(const einsum_ctx *v, int from, int to, int64_t i, int64_t *off)
{
    for (int l = to - 1; l >= from; l--) {
        int64_t at = i % v->size[l];
        i /= v->size[l];
        for (int k = 0; k < v->e.operands; k++)
            off[k] += at * v->step[k][l];
    }
}

/* The innermost summed label: n terms, `step` apart in each operand. */
static double run_real(const einsum_ctx *v, const int64_t *off, const int64_t *step, int64_t n)
{
    double sum = 0;
    for (int64_t t = 0; t < n; t++) {
        double p = ((const double *)v->r->in[0]->data)[off[0] + t * step[0]];
        for (int k = 1; k < v->e.operands; k++)
            p *= ((const double *)v->r->in[k]->data)[off[k] + t * step[k]];
        sum += p;
    }
    return sum;
}

static uint64_t run_whole(const einsum_ctx *v, const int64_t *off, const int64_t *step, int64_t n)
{
    uint64_t sum = 0;
    for (int64_t t = 0; t < n; t++) {
        uint64_t p = 1;
        for (int k = 0; k < v->e.operands; k++)
            p *= (uint64_t)((const int64_t *)v->r->in[k]->data)[off[k] + t * step[k]];
        sum += p;
    }
    return sum;
}

static void einsum_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const einsum_ctx *v = ctx;
    const ptq_einsum *e = &v->e;
    bool real = v->r->out[0].dtype == PTQ_DT_F64;
    int last = e->labels > e->nout ? e->labels - 1 : -1;
    int64_t step[PTQ_EINSUM_OPERANDS] = {0}, n = last < 0 ? 1 : v->size[last], rows = n ? v->terms / n : 0;
    (void)worker;
    for (int k = 0; k < e->operands && last >= 0; k++)
        step[k] = v->step[k][last];
    for (int64_t i = from; i < to; i++) {
        double sum = 0;
        uint64_t whole = 0;
        for (int64_t t = 0; t < rows; t++) {
            int64_t off[PTQ_EINSUM_OPERANDS] = {0};
            add_offsets(v, 0, e->nout, i, off);
            add_offsets(v, e->nout, last < 0 ? e->labels : last, t, off);
            if (real)
                sum += run_real(v, off, step, n);
            else
                whole += run_whole(v, off, step, n);
        }
        if (real)
            ((double *)v->r->out[0].data)[i] = sum;
        else
            ((int64_t *)v->r->out[0].data)[i] = (int64_t)whole;
    }
}

static ptq_status einsum_run(ptq_cpu *c, const ptq_step_run *r)
{
    int ranks[PTQ_EINSUM_OPERANDS] = {0};
    einsum_ctx v = {.r = r};
    for (int k = 0; k < r->step->nin && k < PTQ_EINSUM_OPERANDS; k++)
        ranks[k] = r->in[k]->rank;
    const char *why = ptq_einsum_parse(ptq_attr_str(r->step->node, "equation", ""), ranks, r->step->nin, &v.e);
    if (why)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the equation of Einsum %s", r->step->name, why);
    PTQ_TRY(read_sizes(&v));
    return ptq_cpu_ranges(c, ptq_tensor_elements(&r->out[0]), 1 + 4096 / (v.terms + 1), einsum_part, &v);
}
ROW(einsum, "Einsum", .takes = PTQ_TAKES(PTQ_DT_F64) | PTQ_TAKES_S64 | PTQ_TAKES_MODULO)

/* ---- Det: elimination with the largest pivot of the column ---- */

static double determinant(double *a, int64_t n)
{
    double det = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t p = k;
        for (int64_t i = k + 1; i < n; i++)
            p = fabs(a[i * n + k]) > fabs(a[p * n + k]) ? i : p;
        if (a[p * n + k] == 0)
            return 0;
        for (int64_t j = 0; j < n && p != k; j++) {
            double t = a[p * n + j];
            a[p * n + j] = a[k * n + j];
            a[k * n + j] = t;
        }
        det *= p != k ? -a[k * n + k] : a[k * n + k];
        for (int64_t i = k + 1; i < n; i++) {
            double f = a[i * n + k] / a[k * n + k];
            for (int64_t j = k + 1; j < n; j++)
                a[i * n + j] -= f * a[k * n + j];
        }
    }
    return det;
}

static ptq_status det_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int64_t n = x->dims[x->rank - 1], count = ptq_product(x->dims, 0, x->rank - 2);
    double *work = ptq_cpu_scratch(c, (size_t)(n * n) * sizeof *work);
    if (!work)
        return ptq_fail_nomem();
    for (int64_t i = 0; i < count; i++) {
        if (n)
            memcpy(work, (const double *)x->data + i * n * n, (size_t)(n * n) * sizeof *work);
        ((double *)r->out[0].data)[i] = determinant(work, n);
    }
    return PTQ_OK;
}
ROW(det, "Det", .takes = PTQ_TAKES(PTQ_DT_F64))

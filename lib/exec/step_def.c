/* SPDX-License-Identifier: Apache-2.0 */
/* The table of steps and the shape functions of the kinds whose anchor may be any of several
 * operators (Conv or QLinearConv): they borrow the shape function of the plain operator. */
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/exec/plugin.h"
#include "lib/exec/view.h"
#include "lib/graph/infer.h"

static ptq_status as_op(const char *name, ptq_infer *in)
{
    const ptq_op *op = ptq_op_find(name, "", in->opset);
    if (!op || !op->infer)
        return ptq_fail(PTQ_ERR_INTERNAL, "node %s: no shape function for %s", in->node->name, name);
    return op->infer(in);
}

/* Lowering has proven that a residual has the output's shape; what runs is checked again. */
static ptq_status check_residual(const ptq_step *s, const ptq_infer *in)
{
    const ptq_qlinear_params *q = s->params;
    if (!q->residual.kind && !q->tail.residual)
        return PTQ_OK;
    const ptq_shape *a = &in->in[2].shape, *y = &in->out[0].shape;
    if (a->rank < 0 || y->rank < 0)
        return PTQ_OK;
    bool same = a->rank == y->rank;
    for (int i = 0; i < y->rank && same; i++)
        same = !ptq_dim_known(a->dims[i]) || !ptq_dim_known(y->dims[i]) || ptq_dim_equal(a->dims[i], y->dims[i]);
    return same ? PTQ_OK
                : ptq_fail(PTQ_ERR_MODEL, "node %s: what is added to it has another shape than its output",
                           s->name);
}

/* What the pool makes of the convolution's output, by its own shape function. */
static ptq_status infer_pool(const ptq_node *pool, const ptq_infer *in, ptq_type *t)
{
    const ptq_type conv = *t;
    const ptq_tensor *none = NULL;
    ptq_type out = {PTQ_DT_UNDEFINED, {.rank = -1}};
    ptq_infer own = {.node = pool, .opset = in->opset, .graph = in->graph, .nin = 1, .nout = 1, .in = &conv,
                     .value = &none, .out = &out};
    PTQ_TRY(pool->def->infer(&own));
    *t = out;
    return PTQ_OK;
}

static ptq_status infer_conv(const ptq_step *s, ptq_infer *in)
{
    const ptq_qlinear_params *q = s->params;
    ptq_infer conv = *in;
    conv.nin = 2; /* the bias is a parameter, input 2 a residual */
    PTQ_TRY(as_op("Conv", &conv));
    return q->pool ? infer_pool(q->pool, in, &in->out[0]) : check_residual(s, in);
}

/* A convolution that has taken in a sum gives itself behind that (output 1). */
static ptq_status infer_float(const ptq_step *s, ptq_infer *in)
{
    const ptq_node *n = s->node;
    ptq_infer own = *in;
    own.nout = n->nout;
    if (n->def && n->def->infer)
        PTQ_TRY(n->def->infer(&own));
    if (in->nout > n->nout)
        in->out[n->nout] = in->out[0];
    return PTQ_OK;
}

static ptq_status infer_concat(const ptq_step *s, ptq_infer *in)
{
    (void)s;
    return as_op("Concat", in);
}

static ptq_status infer_avgpool(const ptq_step *s, ptq_infer *in)
{
    (void)s;
    return as_op("AveragePool", in);
}

static ptq_status infer_globalavgpool(const ptq_step *s, ptq_infer *in)
{
    (void)s;
    return as_op("GlobalAveragePool", in);
}

static ptq_status infer_broadcast(const ptq_step *s, ptq_infer *in)
{
    (void)s;
    in->out[0].dtype = in->in[0].dtype;
    return ptq_infer_broadcast(in, 0, 1, &in->out[0].shape);
}

static ptq_status infer_plugin(const ptq_step *s, ptq_infer *in)
{
    return ptq_plugin_infer(s, in);
}

static ptq_status infer_same(const ptq_step *s, ptq_infer *in)
{
    (void)s;
    in->out[0] = in->in[0];
    return PTQ_OK;
}

/* [..., K] times [K, N]: leading dimensions are kept. */
static ptq_status infer_gemm(const ptq_step *s, ptq_infer *in)
{
    const ptq_qlinear_params *q = s->params;
    const ptq_shape *x = &in->in[0].shape, *w = &in->in[1].shape;
    if (x->rank < 1 || w->rank != 2)
        return PTQ_OK;
    ptq_dim k = w->dims[q->trans_b ? 1 : 0], last = x->dims[x->rank - 1];
    if (ptq_dim_known(k) && ptq_dim_known(last) && !ptq_dim_equal(k, last))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %s has %lld columns, the weight needs %lld",
                        in->node->name, "the left operand", (long long)last.add, (long long)k.add);
    in->out[0].dtype = in->in[0].dtype;
    in->out[0].shape = *x;
    in->out[0].shape.dims[x->rank - 1] = w->dims[q->trans_b ? 0 : 1];
    return check_residual(s, in);
}

/* Largest |q - zp| of an 8-bit type. */
static int64_t span(ptq_dtype t, int32_t zp)
{
    int64_t lo = t == PTQ_DT_S8 ? -128 : 0, hi = t == PTQ_DT_S8 ? 127 : 255;
    return hi - zp > zp - lo ? hi - zp : zp - lo;
}

/* The sum of K products must stay inside int32 (lowering could not know a symbolic K). */
static ptq_status check_sums(const ptq_infer *in, const ptq_shape *a, int64_t term)
{
    if (a->rank < 1 || !ptq_dim_known(a->dims[a->rank - 1]))
        return PTQ_OK;
    int64_t k = a->dims[a->rank - 1].add;
    if (k > INT32_MAX / term)
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node %s: sums of %lld 8-bit products do not fit an int32 accumulator; "
                        "leave this node in float",
                        in->node->name, (long long)k);
    return PTQ_OK;
}

static ptq_status infer_matmul(const ptq_step *s, ptq_infer *in)
{
    const ptq_qlinear_params *q = s->params;
    PTQ_TRY(as_op("MatMul", in));
    return check_sums(in, &in->in[0].shape,
                      span(in->in[0].dtype, q->x.zp) * span(in->in[1].dtype, q->wzp ? q->wzp[0] : 0));
}

/* The type behind movers, by their own shape functions. */
static ptq_status infer_movers(const ptq_movers *m, const ptq_infer *in, ptq_type *t)
{
    if (m->columns && t->shape.rank > 0)
        t->shape.dims[t->shape.rank - 1] = ptq_dim_of(m->columns);
    for (int i = 0; i < m->n; i++) {
        enum { MOST = 2 };
        const ptq_node *n = m->node[i];
        ptq_type type[MOST] = {*t, {PTQ_DT_UNDEFINED, {.rank = -1}}}, out = type[1];
        const ptq_tensor *value[MOST] = {NULL, n->nin > 1 ? ptq_constant_of(n->in[1]) : NULL};
        ptq_infer own = {.node = n, .opset = in->opset, .graph = in->graph, .nin = n->nin < MOST ? n->nin : MOST,
                         .nout = 1, .in = type, .value = value, .out = &out};
        if (value[1]) {
            type[1] = (ptq_type){value[1]->dtype, {.rank = value[1]->rank}};
            for (int d = 0; d < value[1]->rank; d++)
                type[1].shape.dims[d] = ptq_dim_of(value[1]->dims[d]);
        }
        PTQ_TRY(n->def->infer(&own));
        *t = out;
    }
    return PTQ_OK;
}

/* a times b by the shape function of MatMul. */
static ptq_status multiply(const ptq_infer *in, const ptq_type *a, const ptq_type *b, ptq_type *y)
{
    ptq_type both[2] = {*a, *b};
    const ptq_tensor *value[2] = {NULL, NULL};
    ptq_infer own = {.node = in->node, .opset = in->opset, .graph = in->graph, .nin = 2, .nout = 1,
                     .in = both, .value = value, .out = y};
    *y = (ptq_type){PTQ_DT_UNDEFINED, {.rank = -1}};
    return as_op("MatMul", &own);
}

static ptq_status infer_attention(const ptq_step *s, ptq_infer *in)
{
    const ptq_qattention_params *p = s->params;
    ptq_type q = in->in[0], k = in->in[1], v = in->in[2], y;
    PTQ_TRY(infer_movers(&p->q_from, in, &q));
    PTQ_TRY(infer_movers(&p->k_from, in, &k));
    PTQ_TRY(infer_movers(&p->v_from, in, &v));
    PTQ_TRY(check_sums(in, &q.shape, span(q.dtype, p->q.zp) * span(k.dtype, p->k.zp)));
    PTQ_TRY(multiply(in, &q, &k, &y));
    q = y;
    if (in->nin > 3 && in->in[3].dtype != PTQ_DT_UNDEFINED)
        PTQ_TRY(ptq_infer_broadcast_shapes(in, &y.shape, &in->in[3].shape, &q.shape));
    PTQ_TRY(check_sums(in, &q.shape, span(p->ptype, p->p.zp) * span(v.dtype, p->v.zp)));
    PTQ_TRY(multiply(in, &q, &v, &y));
    PTQ_TRY(infer_movers(&p->y_to, in, &y));
    in->out[0] = y; /* the type is that of the program's value */
    return PTQ_OK;
}

/* Output 1 is the result in float. */
static ptq_status infer_norm(const ptq_step *s, ptq_infer *in)
{
    ptq_infer one = *in;
    one.nout = 1;
    PTQ_TRY(s->node->def->infer(&one));
    if (in->nout > 1)
        in->out[1] = in->out[0];
    return PTQ_OK;
}

static const ptq_step_def defs[] = {
#define PTQ_STEP(name, summary, integer, nhwc, infer) {#name, summary, integer, nhwc, infer},
#include "lib/exec/steps.def"
#undef PTQ_STEP
};

const ptq_step_def *ptq_step_def_find(const char *name)
{
    for (size_t i = 0; i < PTQ_COUNT(defs); i++)
        if (strcmp(defs[i].name, name) == 0)
            return &defs[i];
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The table of steps and the shape functions of the kinds whose anchor may be any of several
 * operators (Conv or QLinearConv): they borrow the shape function of the plain operator. */
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/exec/plugin.h"

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
    const ptq_shape *a = &in->in[2].shape, *y = &in->out[0].shape;
    if (!q->residual.kind || a->rank < 0 || y->rank < 0)
        return PTQ_OK;
    bool same = a->rank == y->rank;
    for (int i = 0; i < y->rank && same; i++)
        same = !ptq_dim_known(a->dims[i]) || !ptq_dim_known(y->dims[i]) || ptq_dim_equal(a->dims[i], y->dims[i]);
    return same ? PTQ_OK
                : ptq_fail(PTQ_ERR_MODEL, "node %s: what is added to it has another shape than its output",
                           s->name);
}

static ptq_status infer_conv(const ptq_step *s, ptq_infer *in)
{
    ptq_infer conv = *in;
    conv.nin = 2; /* the bias is a parameter, input 2 a residual */
    PTQ_TRY(as_op("Conv", &conv));
    return check_residual(s, in);
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

static ptq_status infer_matmul(const ptq_step *s, ptq_infer *in)
{
    const ptq_qlinear_params *q = s->params;
    PTQ_TRY(as_op("MatMul", in));
    const ptq_shape *a = &in->in[0].shape;
    if (a->rank < 1 || !ptq_dim_known(a->dims[a->rank - 1]))
        return PTQ_OK;
    /* The sum of K products must stay inside int32 (lowering could not know a symbolic K). */
    int64_t k = a->dims[a->rank - 1].add;
    int64_t term = span(in->in[0].dtype, q->x.zp) * span(in->in[1].dtype, q->wzp ? q->wzp[0] : 0);
    if (k > INT32_MAX / term)
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node %s: sums of %lld 8-bit products do not fit an int32 accumulator; "
                        "leave this node in float",
                        in->node->name, (long long)k);
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

/* SPDX-License-Identifier: Apache-2.0 */
/* Scales, zero points and biases of a quantized model, as they stand in the file. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/jobs/check.h"

typedef struct check {
    json_t *problems;
    json_int_t scales;
} check;

static ptq_status PTQ_PRINTF(3, 4) problem(check *c, const ptq_node *n, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_t *o = json_object();
    PTQ_TRY(ptq_json_push(c->problems, o));
    PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(n->name)));
    return ptq_json_set(o, "reason", ptq_json_name(text));
}

static const ptq_tensor *constant(const ptq_node *n, int i)
{
    return i < n->nin && n->in[i] ? n->in[i]->constant : NULL;
}

static int64_t integer_at(const ptq_tensor *t, int64_t i)
{
    return t->dtype == PTQ_DT_S8   ? ((const int8_t *)t->data)[i]
           : t->dtype == PTQ_DT_U8 ? ((const uint8_t *)t->data)[i]
                                   : ((const int32_t *)t->data)[i];
}

/* One zero point for each scale; those of int32, which are biases, are 0. */
static ptq_status zero_points(check *c, const ptq_node *n, const ptq_tensor *s, const ptq_tensor *zp)
{
    if (ptq_tensor_elements(s) != ptq_tensor_elements(zp))
        return problem(c, n, "%lld zero points for %lld scales", (long long)ptq_tensor_elements(zp),
                       (long long)ptq_tensor_elements(s));
    for (int64_t i = 0, k = ptq_tensor_elements(zp); zp->dtype == PTQ_DT_S32 && i < k; i++)
        if (integer_at(zp, i) != 0)
            return problem(c, n, "zero point %lld of an int32 bias", (long long)integer_at(zp, i));
    return PTQ_OK;
}

/* Input i of n is a scale, the one behind it its zero point. A scale that is not a normal number is
 * flushed to 0 by some machines. */
static ptq_status scales(check *c, const ptq_node *n, int i)
{
    const ptq_tensor *s = constant(n, i), *zp = constant(n, i + 1);
    const float *v = s->data;
    for (int64_t k = 0, count = ptq_tensor_elements(s); k < count; k++, c->scales++)
        if (!isnormal(v[k]) || v[k] < 0.0f)
            return problem(c, n, "scale %lld of %s is %g", (long long)k, n->in[i]->name, (double)v[k]);
    bool typed = zp && (zp->dtype == PTQ_DT_S8 || zp->dtype == PTQ_DT_U8 || zp->dtype == PTQ_DT_S32);
    return typed ? zero_points(c, n, s, zp) : PTQ_OK;
}

/* Scale of the DequantizeLinear that makes input i; NULL where another node does. */
static const ptq_tensor *dq_scale(const ptq_node *n, int i)
{
    const ptq_node *p = i < n->nin && n->in[i] ? n->in[i]->producer : NULL;
    const ptq_tensor *s = p && strcmp(p->op, "DequantizeLinear") == 0 ? constant(p, 1) : NULL;
    return s && s->dtype == PTQ_DT_F32 ? s : NULL;
}

/* The int32 bias is added to the sum of products: its scale is that of the products. */
static ptq_status bias(check *c, const ptq_node *n)
{
    const ptq_tensor *x = dq_scale(n, 0), *w = dq_scale(n, 1), *b = dq_scale(n, 2);
    const ptq_tensor *q = b ? constant(n->in[2]->producer, 0) : NULL;
    if (!x || !w || !q || q->dtype != PTQ_DT_S32 || ptq_tensor_elements(x) != 1)
        return PTQ_OK;
    int64_t nw = ptq_tensor_elements(w), nb = ptq_tensor_elements(b);
    for (int64_t i = 0; i < nb && (nw == 1 || nw == nb); i++) {
        double want = (double)((const float *)x->data)[0] * (double)((const float *)w->data)[nw == 1 ? 0 : i];
        double got = (double)((const float *)b->data)[i];
        if (fabs(got - want) > 1e-6 * want)
            return problem(c, n, "bias scale %lld is %.9g, the product of the scales of input and weight is %.9g",
                           (long long)i, got, want);
    }
    return nw == 1 || nw == nb ? PTQ_OK : problem(c, n, "%lld bias scales for %lld weight scales", (long long)nb,
                                                  (long long)nw);
}

static ptq_status node(check *c, const ptq_node *n)
{
    bool qdq = strcmp(n->op, "QuantizeLinear") == 0 || strcmp(n->op, "DequantizeLinear") == 0;
    bool qlinear = strncmp(n->op, "QLinear", 7) == 0 || strcmp(n->op, "QGemm") == 0;
    if (qdq && n->nin > 1 && (!constant(n, 1) || constant(n, 1)->dtype != PTQ_DT_F32))
        return problem(c, n, "its scale is no float32 constant");
    for (int i = 1; i < n->nin && (qdq || qlinear); i++)
        if (constant(n, i) && constant(n, i)->dtype == PTQ_DT_F32)
            PTQ_TRY(scales(c, n, i));
    return strcmp(n->op, "Conv") == 0 || strcmp(n->op, "Gemm") == 0 ? bias(c, n) : PTQ_OK;
}

ptq_status ptq_check_params(const ptq_graph *g, json_t *root)
{
    check c = {.problems = json_array()};
    PTQ_TRY(ptq_json_set(root, "problems", c.problems));
    PTQ_GRAPH_EACH_NODE (g, n)
        PTQ_TRY(node(&c, n));
    PTQ_TRY(ptq_json_set(root, "problem_count", json_integer((json_int_t)json_array_size(c.problems))));
    return ptq_json_set(root, "scales", json_integer(c.scales));
}

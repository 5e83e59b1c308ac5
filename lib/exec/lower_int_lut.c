/* SPDX-License-Identifier: Apache-2.0 */
/* Any elementwise function of one 8-bit tensor becomes a table of 256 codes: Sigmoid, HardSwish,
 * x * Sigmoid(x), Gelu written out with Erf. The table is the float kernels' own result on the
 * 256 dequantized codes, quantized again, so it equals DQ - operators - Q by construction. */
#include <stdlib.h>
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/exec/lower.h"

enum { REGION_MAX = 16 };

typedef struct region { /* elementwise nodes between one DQ'd tensor and its Q */
    const ptq_node *nodes[REGION_MAX];
    int n;
    bool has_source;
    ptq_dq source;
    int rank; /* of the source; -1 unknown */
} region;

static bool contains(const region *r, const ptq_node *n)
{
    for (int i = 0; i < r->n; i++)
        if (r->nodes[i] == n)
            return true;
    return false;
}

/* A constant that does not change the shape of what it meets. */
static bool scalar_operand(const region *r, const ptq_value *v)
{
    const ptq_tensor *c = ptq_lower_constant(v);
    return c && ptq_tensor_elements(c) == 1 && (c->rank == 0 || c->rank <= r->rank);
}

/* v is the source itself (through any of its DQ nodes). */
static bool take_source(const ptq_lower_ctx *l, region *r, const ptq_value *v)
{
    ptq_dq d;
    if (!ptq_match_dq(l, v, &d) || ptq_lower_constant(d.q))
        return false;
    if (!r->has_source) {
        r->has_source = true;
        r->source = d;
        r->rank = v->shape.rank >= 0 ? v->shape.rank : d.q->shape.rank;
        return true;
    }
    return d.q == r->source.q && d.dtype == r->source.dtype &&
           d.affine.scale == r->source.affine.scale && d.affine.zp == r->source.affine.zp;
}

static bool elementwise(const ptq_lower_ctx *l, const ptq_node *n)
{
    return n && n->def && (n->def->flags & (PTQ_OPF_UNARY | PTQ_OPF_BINARY)) && n->nout == 1 &&
           !l->unit[n->id] && n->out[0]->dtype == PTQ_DT_F32;
}

/* Collects the nodes behind v; constants are checked later, when the source's rank is known. */
static bool collect(const ptq_lower_ctx *l, region *r, const ptq_value *v)
{
    const ptq_value *todo[4 * REGION_MAX];
    int ntodo = 0;
    todo[ntodo++] = v;
    while (ntodo > 0) {
        v = todo[--ntodo];
        if (ptq_lower_constant(v) || take_source(l, r, v))
            continue;
        const ptq_node *n = v->producer;
        if (!elementwise(l, n) || n->nin > 4)
            return false;
        if (contains(r, n))
            continue;
        if (r->n == REGION_MAX)
            return false;
        r->nodes[r->n++] = n;
        int data = (n->def->flags & PTQ_OPF_BINARY) ? 2 : 1;
        for (int i = 0; i < n->nin; i++) {
            if (!n->in[i])
                continue;
            if (i >= data && !ptq_lower_constant(n->in[i]))
                return false;
            if (i < data)
                todo[ntodo++] = n->in[i];
        }
    }
    return r->has_source;
}

/* Interior values are read inside only; constants are scalars. */
static bool closed(const ptq_lower_ctx *l, const region *r, const ptq_value *last)
{
    for (int i = 0; i < r->n; i++) {
        const ptq_node *n = r->nodes[i];
        const ptq_value *v = n->out[0];
        for (int k = 0; k < n->nin; k++)
            if (n->in[k] && ptq_lower_constant(n->in[k]) && !scalar_operand(r, n->in[k]))
                return false;
        if (v == last)
            continue;
        if (ptq_lower_kept(l, v))
            return false;
        for (size_t k = 0; k < v->uses.n; k++)
            if (v->uses.v[k].slot < 0 || !contains(r, v->uses.v[k].node))
                return false;
    }
    return true;
}

static void sort_by_order(const ptq_lower_ctx *l, region *r)
{
    for (int i = 1; i < r->n; i++)
        for (int k = i; k > 0 && l->order[r->nodes[k]->id] < l->order[r->nodes[k - 1]->id]; k--) {
            const ptq_node *t = r->nodes[k];
            r->nodes[k] = r->nodes[k - 1];
            r->nodes[k - 1] = t;
        }
}

/* Runs the region's nodes in order on a row of `n` floats; result into y. */
static ptq_status eval_region(ptq_lower_ctx *l, const region *r, const ptq_tensor *x,
                              const ptq_value *last, float *y)
{
    ptq_tensor out[REGION_MAX] = {{0}};
    ptq_status s = PTQ_OK;
    const ptq_tensor *result = x; /* no node between DQ and Q */
    for (int i = 0; i < r->n && s == PTQ_OK; i++) {
        const ptq_node *n = r->nodes[i];
        const ptq_tensor *in[4] = {NULL};
        for (int k = 0; k < n->nin; k++) {
            in[k] = ptq_lower_constant(n->in[k]);
            for (int j = 0; j < i && !in[k]; j++)
                if (r->nodes[j]->out[0] == n->in[k])
                    in[k] = &out[j];
            if (n->in[k] && !in[k])
                in[k] = x;
        }
        s = ptq_evaluate(l->eval, n, l->g->opset, in, &out[i]);
        if (n->out[0] == last)
            result = &out[i];
    }
    int64_t count = ptq_tensor_elements(x);
    if (s == PTQ_OK && (result->dtype != PTQ_DT_F32 || ptq_tensor_elements(result) != count))
        s = PTQ_ERR_UNSUPPORTED;
    if (s == PTQ_OK)
        memcpy(y, result->data, (size_t)count * sizeof *y);
    for (int i = 0; i < r->n; i++)
        free(out[i].data);
    return s;
}

static void dequantize_codes(ptq_dtype t, ptq_affine a, float x[256])
{
    for (int i = 0; i < 256; i++)
        x[i] = ptq_dequantize(t == PTQ_DT_S8 ? (int8_t)i : i, a.scale, a.zp);
}

/* *params stays NULL when an operator of the region has no kernel. */
static ptq_status make_table(ptq_lower_ctx *l, const region *r, const ptq_value *last,
                             ptq_affine y, int32_t qlo, int32_t qhi, ptq_qlut_params **params)
{
    float x[256], v[256];
    /* Rank as high as the source's, so that scalar constants do not raise it. */
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = r->rank > 1 ? r->rank : 1, .data = x,
                    .nbytes = sizeof x};
    for (int i = 0; i < t.rank; i++)
        t.dims[i] = i == t.rank - 1 ? 256 : 1;
    dequantize_codes(r->source.dtype, r->source.affine, x);
    *params = NULL;
    ptq_status s = eval_region(l, r, &t, last, v);
    if (s == PTQ_ERR_UNSUPPORTED)
        return PTQ_OK;
    PTQ_TRY(s);
    ptq_qlut_params *p = ptq_arena_alloc(l->p->arena, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    for (int i = 0; i < 256; i++)
        p->table[i] = (uint8_t)ptq_quantize(v[i], y.scale, y.zp, qlo, qhi);
    *params = p;
    return PTQ_OK;
}

/* Anchored at the QuantizeLinear that ends the region. */
ptq_status ptq_pattern_lut(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    region r = {.rank = -1};
    ptq_quants q;
    ptq_qlut_params *p;
    ptq_unit *u;
    const ptq_value *last = n->in[0];
    if (!last || !collect(l, &r, last) || !closed(l, &r, last))
        return PTQ_OK;
    if (r.n == 0) { /* DQ - Q alone: a change of parameters; other readers of the DQ may stay */
        q = (ptq_quants){.out = n->out[0], .nodes = {n}, .nnodes = 1};
        const ptq_tensor *z = ptq_lower_constant(n->nin > 2 ? n->in[2] : NULL);
        q.dtype = z ? z->dtype : PTQ_DT_U8;
        if ((!z && ptq_attr_int(n, "output_dtype", 0) > PTQ_DT_U8) || !ptq_is_8bit(q.dtype) ||
            !ptq_match_affine(n->in[1], n->nin > 2 ? n->in[2] : NULL, &q.affine))
            return PTQ_OK;
        ptq_dtype_range(q.dtype, &q.qlo, &q.qhi);
    } else if (!ptq_match_quants(l, last, false, &q)) {
        return PTQ_OK;
    }
    sort_by_order(l, &r);
    PTQ_TRY(make_table(l, &r, last, q.affine, q.qlo, q.qhi, &p));
    if (!p)
        return PTQ_OK;
    PTQ_TRY(ptq_unit_new(l, "qlut", n, 1, 1, &u));
    u->params = p;
    u->node = r.n > 0 ? r.nodes[r.n - 1] : n;
    u->in[0] = (ptq_unit_value){r.source.q, true, r.source.affine};
    PTQ_TRY(ptq_unit_quants(l, u, 0, &q));
    for (int i = 0; i < r.n; i++)
        PTQ_TRY(ptq_unit_member(l, u, r.nodes[i]));
    *unit = u;
    return PTQ_OK;
}

/* Gather(table of 256 codes, Cast(x)) is the table itself: indices of int8 codes count from the
 * end of the table, which is the order of their bytes. */
ptq_status ptq_pattern_gather_lut(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    const ptq_tensor *t = n->nin == 2 ? ptq_lower_constant(n->in[0]) : NULL;
    const ptq_node *cast = t && n->in[1] ? n->in[1]->producer : NULL;
    if (!cast || strcmp(cast->op, "Cast") != 0 || cast->domain[0] || !cast->in[0] ||
        !ptq_is_8bit(cast->in[0]->dtype) || ptq_lower_constant(cast->in[0]) || !ptq_is_8bit(t->dtype) ||
        t->rank != 1 || t->dims[0] != 256 || ptq_attr_int(n, "axis", 0) != 0)
        return PTQ_OK;
    int64_t to = ptq_attr_int(cast, "to", 0);
    ptq_qlut_params *p = ptq_arena_alloc(l->p->arena, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    if (to != PTQ_DT_S32 && to != PTQ_DT_S64)
        return PTQ_OK;
    memcpy(p->table, t->data, sizeof p->table);
    PTQ_TRY(ptq_unit_new(l, "qlut", n, 1, 1, unit));
    (*unit)->params = p;
    (*unit)->in[0] = (ptq_unit_value){.value = cast->in[0]};
    (*unit)->out[0] = (ptq_unit_value){.value = n->out[0]};
    return PTQ_OK;
}

/* X, Xs, Xz, Ys, Yz: the table of the plain operator with the same attributes. */
ptq_status ptq_pattern_qlinear_unary(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    region r = {.has_source = true, .n = 1, .rank = 1};
    ptq_affine y;
    ptq_qlut_params *p;
    const char *op = n->op + strlen("QLinear");
    const ptq_tensor *c = n->nin > 3 ? ptq_lower_constant(n->in[0]) : NULL;
    if (n->nin < 4 || c || !ptq_is_8bit(n->in[0]->dtype) ||
        !ptq_match_affine(n->in[1], n->in[2], &r.source.affine) ||
        !ptq_match_affine(n->in[3], n->nin > 4 ? n->in[4] : NULL, &y))
        return PTQ_OK;
    ptq_value fx = {.name = n->in[0]->name, .dtype = PTQ_DT_F32},
              fy = {.name = n->out[0]->name, .dtype = PTQ_DT_F32};
    ptq_value *in[1] = {&fx}, *out[1] = {&fy};
    ptq_node plain = {.name = n->name, .op = op, .domain = "", .in = in, .nin = 1, .out = out,
                      .nout = 1, .attrs = n->attrs, .nattrs = n->nattrs,
                      .def = ptq_op_find(op, "", l->g->opset)};
    r.source.dtype = n->in[0]->dtype;
    r.nodes[0] = &plain;
    int32_t lo, hi;
    ptq_dtype_range(r.source.dtype, &lo, &hi);
    PTQ_TRY(make_table(l, &r, &fy, y, lo, hi, &p));
    if (!p)
        return PTQ_OK;
    PTQ_TRY(ptq_unit_new(l, "qlut", n, 1, 1, unit));
    (*unit)->params = p;
    (*unit)->in[0] = (ptq_unit_value){n->in[0], true, r.source.affine};
    (*unit)->out[0] = (ptq_unit_value){n->out[0], true, y};
    return PTQ_OK;
}

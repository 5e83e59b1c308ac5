/* SPDX-License-Identifier: Apache-2.0 */
/* Add, Mul, average pools and Concat: Q/DQ units and QLinear nodes. */
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/exec/lower.h"

static ptq_dtype type_of(const ptq_value *v)
{
    const ptq_tensor *c = ptq_lower_constant(v);
    return c ? c->dtype : v ? v->dtype : PTQ_DT_UNDEFINED;
}

static const ptq_value *input(const ptq_node *n, int i)
{
    return i < n->nin ? n->in[i] : NULL;
}

static ptq_status make_binary(ptq_lower_ctx *l, const ptq_node *n, bool add,
                              const ptq_qbinary_params *q, const ptq_value *a, const ptq_value *b,
                              ptq_unit **unit)
{
    ptq_qbinary_params *p = ptq_arena_alloc(l->p->arena, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    *p = *q;
    PTQ_TRY(ptq_unit_new(l, add ? "qadd" : "qmul", n, 2, 1, unit));
    (*unit)->params = p;
    (*unit)->in[0] = (ptq_unit_value){a, true, q->a};
    (*unit)->in[1] = (ptq_unit_value){b, true, q->b};
    return PTQ_OK;
}

ptq_status ptq_pattern_binary(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_dq a, b;
    ptq_quants q;
    ptq_unit *u;
    if (!ptq_match_dq(l, input(n, 0), &a) || !ptq_match_dq(l, input(n, 1), &b) ||
        !ptq_match_quants(l, n->out[0], true, &q) || a.dtype != b.dtype || a.dtype != q.dtype)
        return PTQ_OK;
    if (ptq_lower_constant(a.q) && ptq_lower_constant(b.q))
        return PTQ_OK;
    ptq_qbinary_params p = {a.affine, b.affine, q.affine, q.qlo, q.qhi};
    PTQ_TRY(make_binary(l, n, strcmp(n->op, "Add") == 0, &p, a.q, b.q, &u));
    PTQ_TRY(ptq_unit_quants(l, u, 0, &q));
    *unit = u;
    return PTQ_OK;
}

/* A, As, Az, B, Bs, Bz, Cs, Cz */
ptq_status ptq_pattern_qlinear_binary(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_qbinary_params p;
    ptq_dtype t = type_of(input(n, 0));
    if (n->nin < 7 || !ptq_is_8bit(t) || type_of(n->in[3]) != t ||
        !ptq_match_affine(n->in[1], n->in[2], &p.a) || !ptq_match_affine(n->in[4], n->in[5], &p.b) ||
        !ptq_match_affine(n->in[6], input(n, 7), &p.y))
        return PTQ_OK;
    ptq_dtype_range(t, &p.qlo, &p.qhi);
    PTQ_TRY(make_binary(l, n, strcmp(n->op, "QLinearAdd") == 0, &p, n->in[0], n->in[3], unit));
    (*unit)->out[0] = (ptq_unit_value){n->out[0], true, p.y};
    return PTQ_OK;
}

static ptq_status make_pool(ptq_lower_ctx *l, const ptq_node *n, bool global, const ptq_value *x,
                            const ptq_qpool_params *q, ptq_unit **unit)
{
    ptq_qpool_params *p = ptq_arena_alloc(l->p->arena, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    *p = *q;
    PTQ_TRY(ptq_unit_new(l, global ? "qglobalavgpool" : "qavgpool", n, 1, 1, unit));
    (*unit)->params = p;
    (*unit)->in[0] = (ptq_unit_value){x, true, q->x};
    return PTQ_OK;
}

/* ReduceMean over height and width that keeps both is a global average pool. */
static bool is_global_mean(const ptq_node *n)
{
    int64_t a[2];
    if (n->in[0]->shape.rank != 4 || ptq_attr_int(n, "keepdims", 1) != 1)
        return false;
    size_t count = 0;
    const int64_t *axes = ptq_attr_ints(n, "axes", &count);
    const ptq_tensor *t = ptq_lower_constant(input(n, 1));
    if (t && t->dtype == PTQ_DT_S64) {
        axes = t->data;
        count = (size_t)ptq_tensor_elements(t);
    }
    if (!axes || count != 2)
        return false;
    for (int i = 0; i < 2; i++)
        a[i] = axes[i] < 0 ? axes[i] + 4 : axes[i];
    return (a[0] == 2 && a[1] == 3) || (a[0] == 3 && a[1] == 2);
}

ptq_status ptq_pattern_pool(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_dq x;
    ptq_quants q;
    ptq_unit *u;
    bool mean = strcmp(n->op, "ReduceMean") == 0;
    if (!ptq_match_dq(l, input(n, 0), &x) || !ptq_match_quants(l, n->out[0], true, &q) ||
        x.dtype != q.dtype || n->in[0]->shape.rank != 4 || (mean && !is_global_mean(n)))
        return PTQ_OK;
    ptq_qpool_params p = {x.affine, q.affine, q.qlo, q.qhi};
    PTQ_TRY(make_pool(l, n, strcmp(n->op, "AveragePool") != 0, x.q, &p, &u));
    PTQ_TRY(ptq_unit_quants(l, u, 0, &q));
    *unit = u;
    return PTQ_OK;
}

/* X, xs, xz, ys, yz */
ptq_status ptq_pattern_qlinear_pool(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_qpool_params p;
    ptq_dtype t = type_of(input(n, 0));
    if (n->nin < 4 || !ptq_is_8bit(t) || ptq_attr_int(n, "channels_last", 0) != 0 ||
        !ptq_match_affine(n->in[1], n->in[2], &p.x) ||
        !ptq_match_affine(n->in[3], input(n, 4), &p.y))
        return PTQ_OK;
    ptq_dtype_range(t, &p.qlo, &p.qhi);
    PTQ_TRY(make_pool(l, n, strcmp(n->op, "QLinearGlobalAveragePool") == 0, n->in[0], &p, unit));
    (*unit)->out[0] = (ptq_unit_value){n->out[0], true, p.y};
    return PTQ_OK;
}

/* The table that carries codes with parameters a into codes with parameters y; NULL when it
 * would be the identity. */
static ptq_status requant_table(ptq_lower_ctx *l, ptq_dtype t, ptq_affine a, ptq_affine y,
                                int32_t qlo, int32_t qhi, const uint8_t **out)
{
    bool same = true;
    uint8_t *table = ptq_arena_alloc(l->p->arena, 256);
    if (!table)
        return ptq_fail_nomem();
    for (int i = 0; i < 256; i++) {
        int32_t q = t == PTQ_DT_S8 ? (int8_t)i : i;
        float r = ptq_dequantize(q, a.scale, a.zp);
        table[i] = (uint8_t)ptq_quantize(r, y.scale, y.zp, qlo, qhi);
        same &= table[i] == i;
    }
    *out = same ? NULL : table;
    return PTQ_OK;
}

static ptq_status make_concat(ptq_lower_ctx *l, const ptq_node *n, int nin, ptq_unit **unit,
                              const uint8_t ***tables)
{
    ptq_qconcat_params *p = ptq_arena_alloc(l->p->arena, sizeof *p);
    *tables = ptq_arena_array(l->p->arena, (size_t)nin, sizeof(uint8_t *));
    if (!p || !*tables)
        return ptq_fail_nomem();
    p->tables = *tables;
    PTQ_TRY(ptq_unit_new(l, "qconcat", n, nin, 1, unit));
    (*unit)->params = p;
    return PTQ_OK;
}

ptq_status ptq_pattern_concat(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_quants q;
    ptq_unit *u;
    const uint8_t **tables;
    ptq_dq x;
    if (!ptq_match_quants(l, n->out[0], true, &q))
        return PTQ_OK;
    for (int i = 0; i < n->nin; i++)
        if (!ptq_match_dq(l, n->in[i], &x) || x.dtype != q.dtype)
            return PTQ_OK;
    PTQ_TRY(make_concat(l, n, n->nin, &u, &tables));
    for (int i = 0; i < n->nin; i++) {
        ptq_match_dq(l, n->in[i], &x);
        u->in[i] = (ptq_unit_value){x.q, true, x.affine};
        PTQ_TRY(requant_table(l, q.dtype, x.affine, q.affine, q.qlo, q.qhi, &tables[i]));
    }
    PTQ_TRY(ptq_unit_quants(l, u, 0, &q));
    *unit = u;
    return PTQ_OK;
}

/* Ys, Yz, then (X, s, z) for each input */
ptq_status ptq_pattern_qlinear_concat(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_affine y, x;
    const uint8_t **tables;
    int count = (n->nin - 2) / 3;
    ptq_dtype t = type_of(input(n, 2));
    if (n->nin < 5 || (n->nin - 2) % 3 != 0 || !ptq_is_8bit(t) ||
        !ptq_match_affine(n->in[0], n->in[1], &y))
        return PTQ_OK;
    for (int i = 0; i < count; i++)
        if (type_of(n->in[2 + 3 * i]) != t ||
            !ptq_match_affine(n->in[3 + 3 * i], n->in[4 + 3 * i], &x))
            return PTQ_OK;
    int32_t lo, hi;
    ptq_dtype_range(t, &lo, &hi);
    PTQ_TRY(make_concat(l, n, count, unit, &tables));
    for (int i = 0; i < count; i++) {
        ptq_match_affine(n->in[3 + 3 * i], n->in[4 + 3 * i], &x);
        (*unit)->in[i] = (ptq_unit_value){n->in[2 + 3 * i], true, x};
        PTQ_TRY(requant_table(l, t, x, y, lo, hi, &tables[i]));
    }
    (*unit)->out[0] = (ptq_unit_value){n->out[0], true, y};
    return PTQ_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators. */
#include <string.h>

#include "lib/graph/infer.h"

ptq_status ptq_infer_unary(ptq_infer *in)
{
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[0].shape);
    return PTQ_OK;
}

ptq_status ptq_infer_not(ptq_infer *in)
{
    ptq_contents tmp, *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *c = o ? ptq_infer_elements(in, 0, &tmp) : NULL;
    ptq_infer_set(in, 0, PTQ_DT_BOOL, &in->in[0].shape);
    if (!c)
        return PTQ_OK;
    *o = *c;
    for (int i = 0; i < c->n; i++)
        o->v[i] = ptq_dim_known(c->v[i]) ? ptq_dim_of(!c->v[i].add) : ptq_dim_unknown();
    return PTQ_OK;
}

/* IsNaN, IsInf. */
ptq_status ptq_infer_test(ptq_infer *in)
{
    ptq_infer_set(in, 0, PTQ_DT_BOOL, &in->in[0].shape);
    return PTQ_OK;
}

static bool fits(ptq_dtype t, int64_t v)
{
    switch (t) {
    case PTQ_DT_S64: return true;
    case PTQ_DT_S32: return v >= INT32_MIN && v <= INT32_MAX;
    case PTQ_DT_BOOL: return v == 0 || v == 1;
    default: return false;
    }
}

ptq_status ptq_infer_cast(ptq_infer *in)
{
    int64_t to = ptq_attr_int(in->node, "to", 0);
    if (to <= 0 || to >= PTQ_DT_COUNT)
        return ptq_infer_fail(in, "attribute to: there is no element type %lld", (long long)to);
    ptq_dtype t = (ptq_dtype)to;
    ptq_infer_set(in, 0, t, &in->in[0].shape);
    ptq_contents tmp, *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *c = o ? ptq_infer_elements(in, 0, &tmp) : NULL;
    if (!c || (t != PTQ_DT_S64 && t != PTQ_DT_S32 && t != PTQ_DT_BOOL))
        return PTQ_OK;
    *o = *c;
    for (int i = 0; i < c->n; i++) {
        ptq_dim d = c->v[i];
        if (t == PTQ_DT_BOOL)
            d = ptq_dim_min(d) > 0 ? ptq_dim_of(1)
                : ptq_dim_known(d) ? ptq_dim_of(d.add != 0)
                                   : ptq_dim_unknown();
        if (ptq_dim_known(d) && !fits(t, d.add))
            d = ptq_dim_unknown();
        o->v[i] = d;
    }
    return PTQ_OK;
}

/* ---- two inputs ---- */

static ptq_dim elem(const ptq_contents *c, int i)
{
    return c->v[c->n == 1 ? 0 : i];
}

/* Elements of a broadcast of c[0..k): count and rank in *o; false when they do not match. */
static bool broadcast_elements(const ptq_contents *const *c, int k, ptq_contents *o)
{
    o->rank = 0;
    int n = 1;
    for (int i = 0; i < k; i++) {
        if (c[i]->rank > o->rank)
            o->rank = c[i]->rank;
        if (c[i]->n != 1) {
            if (n != 1 && n != c[i]->n)
                return false;
            n = c[i]->n;
        }
    }
    o->n = n;
    return true;
}

static ptq_dim arith(const char *op, ptq_dim a, ptq_dim b)
{
    if (op[0] == 'A')
        return ptq_dim_add(a, b);
    if (op[0] == 'S')
        return ptq_dim_sub(a, b);
    if (op[0] == 'M')
        return ptq_dim_mul(a, b);
    if (ptq_dim_known(a) && ptq_dim_known(b)) { /* integer Div truncates */
        if (b.add == 0 || (b.add == -1 && a.add == INT64_MIN))
            return ptq_dim_unknown();
        return ptq_dim_of(a.add / b.add);
    }
    return ptq_dim_min(a) >= 0 && ptq_dim_min(b) >= 0 ? ptq_dim_div(a, b) : ptq_dim_unknown();
}

/* Add, Sub, Mul, Div, Pow, Mod. */
ptq_status ptq_infer_arith(ptq_infer *in)
{
    const char *op = in->node->op;
    ptq_dtype a = in->in[0].dtype, b = in->in[1].dtype;
    ptq_shape s;
    PTQ_TRY(ptq_infer_broadcast(in, 0, 1, &s));
    if (a && b && a != b && strcmp(op, "Pow") != 0)
        return ptq_infer_fail(in, "inputs of types %s and %s", ptq_dtype_name(a), ptq_dtype_name(b));
    ptq_dtype t = a || strcmp(op, "Pow") == 0 ? a : b;
    ptq_infer_set(in, 0, t, &s);
    ptq_contents ta, tb, *o = ptq_infer_out_elements(in, 0);
    if (!o || (t != PTQ_DT_S64 && t != PTQ_DT_S32) ||
        (strcmp(op, "Add") && strcmp(op, "Sub") && strcmp(op, "Mul") && strcmp(op, "Div")))
        return PTQ_OK;
    const ptq_contents *c[2] = {ptq_infer_elements(in, 0, &ta), ptq_infer_elements(in, 1, &tb)};
    if (!c[0] || !c[1] || !broadcast_elements(c, 2, o))
        return PTQ_OK;
    for (int i = 0; i < o->n; i++) {
        o->v[i] = arith(op, elem(c[0], i), elem(c[1], i));
        if (ptq_dim_known(o->v[i]) && !fits(t, o->v[i].add))
            o->v[i] = ptq_dim_unknown();
    }
    return PTQ_OK;
}

/* a - b is certainly below, at, above zero: a bit each. */
enum { LESS = 1, EQUAL = 2, MORE = 4 };
static int relation(ptq_dim a, ptq_dim b)
{
    ptq_dim d = ptq_dim_sub(a, b);
    if (ptq_dim_known(d))
        return d.add < 0 ? LESS : d.add == 0 ? EQUAL : MORE;
    int64_t lo = ptq_dim_min(d), hi = ptq_dim_min(ptq_dim_sub(b, a));
    if (lo != INT64_MIN)
        return lo > 0 ? MORE : lo == 0 ? EQUAL | MORE : LESS | EQUAL | MORE;
    if (hi != INT64_MIN)
        return hi > 0 ? LESS : hi == 0 ? EQUAL | LESS : LESS | EQUAL | MORE;
    return LESS | EQUAL | MORE;
}

/* Less, Greater, Equal and their kin. */
ptq_status ptq_infer_compare(ptq_infer *in)
{
    static const struct {
        const char *op;
        int holds;
    } rows[] = {{"Less", LESS},
                {"Greater", MORE},
                {"LessOrEqual", LESS | EQUAL},
                {"GreaterOrEqual", MORE | EQUAL},
                {"Equal", EQUAL}};
    ptq_shape s;
    PTQ_TRY(ptq_infer_broadcast(in, 0, 1, &s));
    ptq_infer_set(in, 0, PTQ_DT_BOOL, &s);
    ptq_contents ta, tb, *o = ptq_infer_out_elements(in, 0);
    if (!o)
        return PTQ_OK;
    const ptq_contents *c[2] = {ptq_infer_elements(in, 0, &ta), ptq_infer_elements(in, 1, &tb)};
    int holds = 0;
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        if (strcmp(rows[i].op, in->node->op) == 0)
            holds = rows[i].holds;
    if (!c[0] || !c[1] || !broadcast_elements(c, 2, o))
        return PTQ_OK;
    for (int i = 0; i < o->n; i++) {
        int r = relation(elem(c[0], i), elem(c[1], i));
        o->v[i] = (r & ~holds) == 0  ? ptq_dim_of(1)
                  : (r & holds) == 0 ? ptq_dim_of(0)
                                     : ptq_dim_unknown();
    }
    return PTQ_OK;
}

/* And, Or, Xor. */
ptq_status ptq_infer_logic(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(ptq_infer_broadcast(in, 0, 1, &s));
    ptq_infer_set(in, 0, PTQ_DT_BOOL, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_prelu(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(ptq_infer_broadcast(in, 0, 1, &s));
    const ptq_shape *x = &in->in[0].shape;
    if (s.rank >= 0 && s.rank != x->rank)
        return ptq_infer_fail(in, "the slope has more dimensions than the input");
    ptq_infer_set(in, 0, in->in[0].dtype, x);
    return PTQ_OK;
}

/* Min, Max, Sum, Mean of any number of inputs. */
ptq_status ptq_infer_variadic(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    ptq_dtype t = in->in[0].dtype;
    for (int i = 1; i < in->nin; i++) {
        PTQ_TRY(ptq_infer_broadcast_shapes(in, &s, &in->in[i].shape, &s));
        if (t && in->in[i].dtype && t != in->in[i].dtype)
            return ptq_infer_fail(in, "inputs of types %s and %s", ptq_dtype_name(t),
                                  ptq_dtype_name(in->in[i].dtype));
        t = t ? t : in->in[i].dtype;
    }
    ptq_infer_set(in, 0, t, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_where(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(ptq_infer_broadcast(in, 1, 2, &s));
    PTQ_TRY(ptq_infer_broadcast_shapes(in, &in->in[0].shape, &s, &s));
    ptq_infer_set(in, 0, in->in[1].dtype ? in->in[1].dtype : in->in[2].dtype, &s);
    ptq_contents t[3], *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *c[3];
    for (int i = 0; i < 3; i++)
        if (!o || !(c[i] = ptq_infer_elements(in, i, &t[i])))
            return PTQ_OK;
    if (!broadcast_elements(c, 3, o))
        return PTQ_OK;
    for (int i = 0; i < o->n; i++) {
        ptq_dim k = elem(c[0], i), x = elem(c[1], i), y = elem(c[2], i);
        o->v[i] = ptq_dim_known(k) ? (k.add ? x : y) : ptq_dim_equal(x, y) ? x : ptq_dim_unknown();
    }
    return PTQ_OK;
}

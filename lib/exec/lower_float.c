/* SPDX-License-Identifier: Apache-2.0 */
/* Float steps, fused activations, quantize and dequantize steps, constants computed here. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exec/lower.h"

static bool is_op(const ptq_node *n, const char *op)
{
    return n->domain[0] == '\0' && strcmp(n->op, op) == 0;
}

static bool scalar_f32(const ptq_value *v, float dflt, float *out)
{
    *out = dflt;
    if (!v)
        return true;
    const ptq_tensor *t = ptq_lower_constant(v);
    if (!t || t->dtype != PTQ_DT_F32 || ptq_tensor_elements(t) != 1)
        return false;
    memcpy(out, t->data, sizeof *out);
    return true;
}

bool ptq_lower_clamp(const ptq_node *n, ptq_act *act)
{
    *act = (ptq_act){.on = true, .lo = 0.0f, .hi = INFINITY};
    if (is_op(n, "Relu"))
        return true;
    if (!is_op(n, "Clip"))
        return false;
    if (ptq_attr_find(n, "min") || ptq_attr_find(n, "max")) { /* opsets before 11 */
        act->lo = ptq_attr_float(n, "min", -INFINITY);
        act->hi = ptq_attr_float(n, "max", INFINITY);
    } else if (!scalar_f32(n->nin > 1 ? n->in[1] : NULL, -INFINITY, &act->lo) ||
               !scalar_f32(n->nin > 2 ? n->in[2] : NULL, INFINITY, &act->hi)) {
        return false;
    }
    return act->lo <= act->hi; /* false for NaN too */
}

/* The activation that alone reads the node's output, when it may be fused. */
static const ptq_node *fusable_act(const ptq_lower_ctx *l, const ptq_node *n, ptq_act *act)
{
    *act = (ptq_act){.on = false, .lo = -INFINITY, .hi = INFINITY};
    const ptq_value *v = n->out[0];
    bool sum = is_op(n, "Add") && v && v->dtype == PTQ_DT_F32; /* the end of a residual block */
    if (!l->opt->fuse || (!is_op(n, "Conv") && !is_op(n, "Gemm") && !sum))
        return NULL;
    if (v->uses.n != 1 || v->uses.v[0].slot != 0 || ptq_lower_kept(l, v))
        return NULL;
    const ptq_node *next = v->uses.v[0].node;
    ptq_act a;
    if (l->unit[next->id] || !ptq_lower_clamp(next, &a))
        return NULL;
    *act = a;
    return next;
}

/* The Add that alone reads a Conv's output, when the other operand is there before the Conv runs. *apart: the
 * output is needed by itself, too. */
static const ptq_node *fusable_sum(const ptq_lower_ctx *l, const ptq_node *n, const ptq_value **other, bool *apart)
{
    const ptq_value *v = n->out[0];
    *apart = false;
    if (!l->opt->sums || !is_op(n, "Conv") || !v || v->dtype != PTQ_DT_F32 || v->uses.n != 1)
        return NULL;
    *apart = ptq_lower_kept(l, v);
    const ptq_node *add = v->uses.v[0].node;
    int slot = v->uses.v[0].slot;
    if (l->unit[add->id] || !is_op(add, "Add") || slot < 0 || slot > 1 || !add->out[0])
        return NULL;
    if (*apart && (!l->opt->sums_apart || !l->demanded[add->out[0]->id]))
        return NULL;
    *other = add->in[1 - slot];
    if (!*other || l->pv[(*other)->id] < 0 || ptq_lower_constant(*other))
        return NULL;
    return (*other)->dtype == PTQ_DT_F32 && ptq_same_shape(v, *other) ? add : NULL;
}

static double dim_or_1(ptq_dim d)
{
    return ptq_dim_known(d) ? (double)d.add : 1.0;
}

/* Per sample: symbolic dimensions count as 1. */
static double count_macs(const ptq_node *n)
{
    bool conv = is_op(n, "Conv");
    if (!conv && !is_op(n, "Gemm") && !is_op(n, "MatMul"))
        return 0.0;
    const ptq_shape *out = &n->out[0]->shape, *w = &n->in[1]->shape, *x = &n->in[0]->shape;
    if (out->rank < 0 || w->rank < 1 || x->rank < 1)
        return 0.0;
    double macs = 1.0;
    for (int i = 0; i < out->rank; i++)
        macs *= dim_or_1(out->dims[i]);
    if (!conv)
        return macs * dim_or_1(x->dims[ptq_attr_int(n, "transA", 0) ? 0 : x->rank - 1]);
    for (int i = 1; i < w->rank; i++)
        macs *= dim_or_1(w->dims[i]);
    return macs;
}

static ptq_status new_step(ptq_lower_ctx *l, const ptq_node *n, const char *def, const void *params,
                           int nin, int nout, ptq_step *s)
{
    *s = (ptq_step){.def = ptq_step_def_find(def), .node = n, .name = n->name, .nin = nin,
                    .nout = nout, .params = params};
    s->in = ptq_arena_array(l->p->arena, (size_t)nin, sizeof *s->in);
    s->out = ptq_arena_array(l->p->arena, (size_t)nout, sizeof *s->out);
    if (!s->in || !s->out || !params)
        return ptq_fail_nomem();
    return PTQ_OK;
}

/* A Q or DQ node with constant parameters. *done false: run it as a float step. */
static ptq_status lower_quant(ptq_lower_ctx *l, const ptq_node *n, bool *done)
{
    ptq_quant_node q;
    *done = false;
    if (n->nin < 2 || !n->in[0])
        return PTQ_OK;
    const ptq_value *zp = n->nin > 2 ? n->in[2] : NULL;
    PTQ_TRY(ptq_quant_node_read(l->p->arena, n, n->in[0]->shape.rank, n->in[0]->dtype,
                                ptq_lower_constant(n->in[1]), ptq_lower_constant(zp), &q));
    if (!q.step || (q.ytype != n->out[0]->dtype && n->out[0]->dtype != PTQ_DT_UNDEFINED))
        return PTQ_OK;
    ptq_step s;
    PTQ_TRY(new_step(l, n, q.step, q.params, 1, 1, &s));
    PTQ_TRY(ptq_lower_value(l, n->in[0], &s.in[0]));
    PTQ_TRY(ptq_lower_value(l, n->out[0], &s.out[0]));
    l->p->values.v[s.out[0]].dtype = q.ytype;
    ptq_pvalue *v = &l->p->values.v[q.ytype == PTQ_DT_F32 ? s.in[0] : s.out[0]];
    if (q.params->n == 1) {
        v->quantized = true;
        v->q = (ptq_affine){q.params->scale[0], q.params->zp[0]};
    }
    *done = true;
    return PTQ_VEC_PUSH(l->p->arena, &l->p->steps, s) ? PTQ_OK : ptq_fail_nomem();
}

ptq_status ptq_lower_float_node(ptq_lower_ctx *l, const ptq_node *n)
{
    bool done;
    PTQ_TRY(lower_quant(l, n, &done));
    if (done)
        return PTQ_OK;
    ptq_float_params *fp = ptq_arena_alloc(l->p->arena, sizeof *fp);
    ptq_step s;
    const ptq_value *other = NULL;
    bool apart;
    const ptq_node *sum = fusable_sum(l, n, &other, &apart);
    PTQ_TRY(new_step(l, n, "float", fp, sum ? 4 : n->nin + n->ncaptures, n->nout + (sum && apart), &s));
    const ptq_node *act = fusable_act(l, sum ? sum : n, &fp->act);
    s.macs = count_macs(n);
    for (int i = 0; i < n->nin; i++)
        PTQ_TRY(ptq_lower_value(l, n->in[i], &s.in[i]));
    for (int i = 0; i < n->ncaptures; i++)
        PTQ_TRY(ptq_lower_value(l, n->captures[i], &s.in[n->nin + i]));
    if (sum) {
        l->taken[sum->id] = true;
        if (n->nin < 3)
            s.in[2] = -1;
        PTQ_TRY(ptq_lower_value(l, other, &s.in[3]));
    }
    if (sum && apart)
        PTQ_TRY(ptq_lower_value(l, n->out[0], &s.out[1]));
    for (int i = 0; i < n->nout; i++) {
        const ptq_value *v = act && i == 0 ? act->out[0] : sum ? sum->out[0] : n->out[i];
        if (v && i > 0 && v->uses.n == 0 && !ptq_lower_kept(l, v))
            v = NULL;
        PTQ_TRY(ptq_lower_value(l, v, &s.out[i]));
    }
    return PTQ_VEC_PUSH(l->p->arena, &l->p->steps, s) ? PTQ_OK : ptq_fail_nomem();
}

/* Constant node: the value may come in any of its attributes. */
static ptq_status constant_attr(ptq_lower_ctx *l, const ptq_node *n, const ptq_tensor **out)
{
    const ptq_attr *a = n->nattrs > 0 ? &n->attrs[0] : NULL;
    *out = NULL;
    if (!a)
        return PTQ_OK;
    ptq_tensor *t = ptq_arena_alloc(l->p->arena, sizeof *t);
    if (!t)
        return ptq_fail_nomem();
    static const struct {
        const char *name;
        ptq_dtype dtype;
        int rank;
        size_t size;
    } forms[] = {{"value_float", PTQ_DT_F32, 0, 4}, {"value_int", PTQ_DT_S64, 0, 8},
                 {"value_floats", PTQ_DT_F32, 1, 4}, {"value_ints", PTQ_DT_S64, 1, 8}};
    for (size_t i = 0; i < PTQ_COUNT(forms); i++) {
        if (strcmp(a->name, forms[i].name) != 0)
            continue;
        bool f = forms[i].dtype == PTQ_DT_F32;
        const void *src = forms[i].rank ? (f ? (const void *)a->floats : (const void *)a->ints)
                                        : (f ? (const void *)&a->f : (const void *)&a->i);
        size_t count = forms[i].rank ? a->n : 1;
        *t = (ptq_tensor){.dtype = forms[i].dtype, .rank = forms[i].rank, .dims = {(int64_t)count},
                          .nbytes = count * forms[i].size};
        t->data = ptq_arena_alloc(l->p->arena, t->nbytes);
        if (!t->data)
            return ptq_fail_nomem();
        if (count)
            memcpy(t->data, src, t->nbytes);
        *out = t;
    }
    return PTQ_OK;
}

static ptq_status fold_outputs(ptq_lower_ctx *l, const ptq_node *n, ptq_tensor *t)
{
    for (int i = 0; i < n->nout; i++) {
        if (!n->out[i])
            continue;
        int v;
        PTQ_TRY(ptq_lower_value(l, n->out[i], &v));
        ptq_tensor *c = ptq_arena_alloc(l->p->arena, sizeof *c);
        if (!c)
            return ptq_fail_nomem();
        *c = t[i];
        size_t bytes = t[i].nbytes;
        c->data = ptq_arena_alloc(l->p->arena, bytes + 63); /* 64-byte aligned in the arena */
        if (!c->data)
            return ptq_fail_nomem();
        c->data = (void *)(((uintptr_t)c->data + 63) & ~(uintptr_t)63);
        memcpy(c->data, t[i].data, bytes);
        l->p->values.v[v].constant = c;
        l->p->values.v[v].dtype = c->dtype;
    }
    return PTQ_OK;
}

/* All inputs constant, a function of them, nothing that reads more than its inputs. */
static bool foldable(const ptq_lower_ctx *l, const ptq_node *n)
{
    if (!n->def || (n->def->flags & PTQ_OPF_RANDOM) || n->ncaptures || n->nin == 0)
        return false;
    for (int i = 0; i < n->nin; i++) {
        if (!n->in[i] || ptq_lower_constant(n->in[i]))
            continue;
        int v = l->pv[n->in[i]->id];
        if (v < 0 || !l->p->values.v[v].constant)
            return false;
    }
    return true;
}

/* Would the outputs go beyond the room that there is for computed constants? Small ones always fit: shapes and
 * axes must be known. */
static bool too_much(ptq_lower_ctx *l, const ptq_node *n)
{
    enum { LARGE = 1 << 20 };
    size_t sum = 0, bytes;
    for (int i = 0; i < n->nout && l->opt->fold_bytes; i++) {
        int64_t dims[PTQ_MAX_RANK];
        const ptq_value *v = n->out[i];
        if (!v || !ptq_shape_known(&v->shape))
            continue;
        for (int k = 0; k < v->shape.rank; k++)
            dims[k] = v->shape.dims[k].add;
        if (ptq_tensor_nbytes(v->dtype, v->shape.rank, dims, &bytes) && bytes >= LARGE)
            sum += bytes;
    }
    if (sum == 0 || sum <= l->opt->fold_bytes - l->folded) {
        l->folded += sum;
        return false;
    }
    return true;
}

ptq_status ptq_lower_fold(ptq_lower_ctx *l, const ptq_node *n, bool *done)
{
    *done = false;
    if (is_op(n, "Constant") && n->nin == 0) {
        int v;
        const ptq_tensor *t = ptq_lower_constant(n->out[0]);
        if (!t)
            PTQ_TRY(constant_attr(l, n, &t));
        if (!t)
            return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: this form of Constant is not supported",
                            n->name);
        PTQ_TRY(ptq_lower_value(l, n->out[0], &v));
        l->p->values.v[v].constant = t;
        l->p->values.v[v].dtype = t->dtype;
        *done = true;
        return PTQ_OK;
    }
    if (!foldable(l, n) || too_much(l, n))
        return PTQ_OK;
    const ptq_tensor **in = ptq_arena_array(l->scratch, (size_t)n->nin, sizeof *in);
    ptq_tensor *out = ptq_arena_array(l->scratch, (size_t)n->nout, sizeof *out);
    if (!in || !out)
        return ptq_fail_nomem();
    for (int i = 0; i < n->nin; i++) {
        int v = -1;
        PTQ_TRY(ptq_lower_value(l, n->in[i], &v));
        in[i] = v >= 0 ? l->p->values.v[v].constant : NULL;
    }
    ptq_status s = ptq_evaluate(l->eval, n, l->g->opset, in, out);
    if (s == PTQ_ERR_UNSUPPORTED)
        return PTQ_OK; /* stays a step, so that the session names it */
    if (s == PTQ_OK)
        s = fold_outputs(l, n, out);
    for (int i = 0; i < n->nout; i++)
        free(out[i].data);
    *done = s == PTQ_OK;
    return s;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which 8-bit activations lie in NHWC. Convolutions and pools insist on it; sums, products,
 * concatenations and table lookups follow their inputs; quantize writes what its readers want;
 * dequantize reads what it finds. Everything else is PLAIN. At most one copy per value is made.
 * A Transpose between [N,H,W,C] and [N,C,H,W] only tells the layout another way and moves
 * nothing. */
#include <string.h>

#include "lib/exec/lower.h"

typedef struct layouts {
    ptq_lower_ctx *l;
    ptq_program *p;
    int *copy;        /* [old values] the value in its other layout; -1: none */
    bool *wanted;     /* [old values] a reader takes NHWC */
    PTQ_VEC(ptq_step) steps;
} layouts;

static bool is_kind(const ptq_step *s, const char *name)
{
    return strcmp(s->def->name, name) == 0;
}

static int value_rank(const ptq_pvalue *v)
{
    return v->constant ? v->constant->rank : v->value ? v->value->shape.rank : -1;
}

/* An activation: an operand that changes layout with the step (not weights). */
static bool is_activation(const ptq_step *s, int slot)
{
    return slot != 1 || !is_kind(s, "qconv");
}

static bool insists(const ptq_step *s)
{
    return is_kind(s, "qconv") || is_kind(s, "qavgpool") || is_kind(s, "qglobalavgpool") ||
           is_kind(s, "qmaxpool");
}

/* Kinds that work in either layout, the same for all their activations. */
static bool follows(const ptq_step *s)
{
    return is_kind(s, "qadd") || is_kind(s, "qmul") || is_kind(s, "qconcat") || is_kind(s, "qlut");
}

/* Could all activations of the step lie in NHWC? */
static bool can_nhwc(const layouts *w, const ptq_step *s)
{
    bool any = false;
    for (int i = 0; i < s->nin; i++) {
        if (s->in[i] < 0 || !is_activation(s, i))
            continue;
        const ptq_pvalue *v = &w->p->values.v[s->in[i]];
        int rank = value_rank(v);
        if (rank < 0 || rank > 4 || (rank != 4 && !v->constant) || !ptq_is_8bit(v->dtype))
            return false;
        any = any || (rank == 4 && !v->constant);
    }
    for (int i = 0; i < s->nout; i++)
        if (value_rank(&w->p->values.v[s->out[i]]) != 4)
            return false;
    return any;
}

/* A constant operand as rank 4 with its bytes in NHWC order. */
static ptq_status constant_nhwc(layouts *w, int v, int *out)
{
    if (w->copy[v] >= 0) {
        *out = w->copy[v];
        return PTQ_OK;
    }
    ptq_pvalue nv = w->p->values.v[v];
    const ptq_tensor *c = nv.constant;
    ptq_tensor *t = ptq_arena_alloc(w->p->arena, sizeof *t);
    if (!t)
        return ptq_fail_nomem();
    *t = *c;
    t->rank = 4;
    for (int i = 0; i < 4; i++)
        t->dims[i] = i < 4 - c->rank ? 1 : c->dims[i - (4 - c->rank)];
    uint8_t *d = ptq_arena_alloc(w->p->arena, c->nbytes);
    if (!d)
        return ptq_fail_nomem();
    const uint8_t *src = c->data;
    int64_t C = t->dims[1], hw = t->dims[2] * t->dims[3];
    for (int64_t n = 0; n < t->dims[0]; n++)
        for (int64_t ch = 0; ch < C; ch++)
            for (int64_t i = 0; i < hw; i++)
                d[(n * hw + i) * C + ch] = src[(n * C + ch) * hw + i];
    t->data = d;
    nv.constant = t;
    nv.layout = PTQ_LAYOUT_NHWC;
    PTQ_TRY(ptq_lower_new_value(w->p, nv, out));
    w->copy[v] = *out;
    return PTQ_OK;
}

/* Input `slot` of s in the wanted layout, through a relayout step when it lies otherwise. */
static ptq_status bring(layouts *w, const ptq_step *s, int slot, ptq_layout want)
{
    int v = s->in[slot];
    if (v < 0 || w->p->values.v[v].layout == want)
        return PTQ_OK;
    if (w->p->values.v[v].constant)
        return constant_nhwc(w, v, &s->in[slot]);
    if (w->copy[v] < 0) {
        ptq_pvalue nv = w->p->values.v[v];
        nv.layout = want;
        nv.is_input = nv.is_output = false;
        nv.value = NULL; /* the tap reports the value itself */
        int made;
        PTQ_TRY(ptq_lower_new_value(w->p, nv, &made));
        ptq_step r = {.def = ptq_step_def_find("relayout"), .node = s->node, .nin = 1, .nout = 1};
        r.name = ptq_arena_printf(w->p->arena, "%s/%s", nv.name,
                                  want == PTQ_LAYOUT_NHWC ? "nhwc" : "nchw");
        r.in = ptq_arena_alloc(w->p->arena, sizeof *r.in);
        r.out = ptq_arena_alloc(w->p->arena, sizeof *r.out);
        if (!r.name || !r.in || !r.out)
            return ptq_fail_nomem();
        r.in[0] = v;
        r.out[0] = made;
        if (!PTQ_VEC_PUSH(w->p->arena, &w->steps, r))
            return ptq_fail_nomem();
        w->copy[v] = made;
    }
    s->in[slot] = w->copy[v];
    return PTQ_OK;
}

/* A Transpose on codes with this order of axes. */
static bool transposes(const ptq_step *s, const int64_t perm[4])
{
    size_t n = 0;
    const int64_t *have = ptq_attr_ints(s->node, "perm", &n);
    return is_kind(s, "qmove") && strcmp(s->node->op, "Transpose") == 0 && n == 4 &&
           memcmp(have, perm, 4 * sizeof *perm) == 0;
}

static const int64_t to_last[4] = {0, 2, 3, 1}, to_first[4] = {0, 3, 1, 2};

static bool any_input_nhwc(const layouts *w, const ptq_step *s)
{
    for (int i = 0; i < s->nin; i++)
        if (s->in[i] >= 0 && w->p->values.v[s->in[i]].layout == PTQ_LAYOUT_NHWC)
            return true;
    return false;
}

static ptq_status place(layouts *w, const ptq_step *s)
{
    bool nhwc = (insists(s) || (follows(s) && any_input_nhwc(w, s))) && can_nhwc(w, s);
    bool reads_any = is_kind(s, "dequantize") || transposes(s, to_last);
    for (int i = 0; i < s->nin && !reads_any; i++)
        if (s->in[i] >= 0)
            PTQ_TRY(bring(w, s, i,
                          nhwc && is_activation(s, i) ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN));
    for (int i = 0; i < s->nout; i++) {
        if (s->out[i] < 0)
            continue;
        ptq_pvalue *v = &w->p->values.v[s->out[i]];
        bool to_nhwc = nhwc || (w->wanted[s->out[i]] &&
                                (is_kind(s, "quantize") || transposes(s, to_first)));
        v->layout = to_nhwc ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
    }
    return PTQ_VEC_PUSH(w->p->arena, &w->steps, *s) ? PTQ_OK : ptq_fail_nomem();
}

/* Backwards, so that a quantize in front of a kind that follows sees the reader behind it. */
static void find_wanted(layouts *w)
{
    for (size_t k = w->p->steps.n; k-- > 0;) {
        const ptq_step *s = &w->p->steps.v[k];
        bool nhwc = (insists(s) || (follows(s) && w->wanted[s->out[0]])) && can_nhwc(w, s);
        for (int i = 0; i < s->nin && nhwc; i++)
            if (s->in[i] >= 0 && is_activation(s, i))
                w->wanted[s->in[i]] = true;
    }
}

/* The caller reads outputs in PLAIN order. */
static ptq_status plain_outputs(layouts *w)
{
    if (w->steps.n == 0)
        return PTQ_OK;
    for (int i = 0; i < w->p->noutputs; i++) {
        int *v = &w->p->outputs[i];
        if (w->p->values.v[*v].layout == PTQ_LAYOUT_PLAIN)
            continue;
        ptq_step tail = {.node = w->steps.v[w->steps.n - 1].node, .in = v, .nin = 1};
        w->p->values.v[*v].is_output = false;
        PTQ_TRY(bring(w, &tail, 0, PTQ_LAYOUT_PLAIN));
        w->p->values.v[*v].is_output = true;
    }
    return PTQ_OK;
}

ptq_status ptq_lower_layouts(ptq_lower_ctx *l)
{
    layouts w = {.l = l, .p = l->p};
    if (!l->opt->nhwc)
        return PTQ_OK;
    size_t n = l->p->values.n * 3 + 1; /* copies and their copies stay below */
    w.copy = ptq_arena_array(l->scratch, n, sizeof *w.copy);
    w.wanted = ptq_arena_array(l->scratch, n, sizeof *w.wanted);
    if (!w.copy || !w.wanted)
        return ptq_fail_nomem();
    for (size_t i = 0; i < n; i++)
        w.copy[i] = -1;
    find_wanted(&w);
    for (size_t i = 0; i < l->p->steps.n; i++)
        PTQ_TRY(place(&w, &l->p->steps.v[i]));
    PTQ_TRY(plain_outputs(&w));
    l->p->steps.v = w.steps.v;
    l->p->steps.n = w.steps.n;
    l->p->steps.cap = w.steps.cap;
    return PTQ_OK;
}

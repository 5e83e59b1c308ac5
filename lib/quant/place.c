/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/place.h"

#include <string.h>

#include "lib/quant/scope.h"
#include "lib/quant/weight.h"

/* The rules, in two sweeps:
 *
 * Forward: a tensor is `ready` when having it in 8 bits costs nothing extra, because its producer
 * ends in a requantization anyway (Conv, Gemm) or only moves, pools, adds or looks up ready
 * tensors. Operators without a weight are candidates only when every input is ready, so that a
 * transformer's residual stream stays in float while a convolutional one runs in integers.
 *
 * Backward: a candidate is taken when some reader wants its output in 8 bits; its inputs are then
 * wanted too. Weighted operators are always taken. Conv also writes 8 bits when nobody asks,
 * because consumers fuse it only with a Q behind it. */

static const struct {
    const char *op;
    ptq_role role;
} rules[] = {
#define PTQ_RULE(op, role) {#op, role},
#include "lib/quant/place_rules.def"
#undef PTQ_RULE
};

static const struct {
    const char *op;
    double lo, hi;
} fixed_ranges[] = {
#define PTQ_FIXED(op, lo, hi) {#op, lo, hi},
#include "lib/quant/place_fixed.def"
#undef PTQ_FIXED
};

typedef struct sweep {
    ptq_placement *p;
    const ptq_graph *g;
    bool *ready;  /* by value id */
    bool *wanted; /* by value id: some reader takes it in 8 bits */
    bool *through; /* by value id: wanted behind the activation that is absorbed */
    int *depth;   /* by value id: longest way from an input, for the residual rule */
} sweep;

static bool is_float_tensor(const ptq_value *v)
{
    return v && !v->constant && v->dtype == PTQ_DT_F32;
}

static ptq_role role_of(const ptq_node *n)
{
    if (n->domain[0])
        return PTQ_ROLE_NONE;
    for (size_t i = 0; i < PTQ_COUNT(rules); i++)
        if (strcmp(rules[i].op, n->op) == 0)
            return rules[i].role;
    if (n->def && (n->def->flags & PTQ_OPF_MOVER))
        return PTQ_ROLE_MOVER;
    if (n->def && (n->def->flags & PTQ_OPF_UNARY))
        return PTQ_ROLE_UNARY;
    return PTQ_ROLE_NONE;
}

/* ---- products ---- */

static double dim_or_one(ptq_dim d)
{
    return ptq_dim_known(d) ? (double)d.add : 1.0;
}

/* A product in the QOperator form. */
static bool is_qproduct(const ptq_node *n)
{
    return strcmp(n->op, "QLinearConv") == 0 || strcmp(n->op, "QLinearMatMul") == 0 ||
           (strcmp(n->op, "QGemm") == 0 && strcmp(n->domain, "com.microsoft") == 0);
}

/* Products that are added up for one output element, as far as known; 0: not such an operator. */
static double dot_length(const ptq_node *n)
{
    bool q = is_qproduct(n);
    int b = q ? 3 : 1; /* QLinearConv and the like: x, its scale and zero point, then w */
    if ((n->domain[0] && !q) || n->nin <= b || !n->in[0] || !n->in[b])
        return 0.0;
    const ptq_shape *x = &n->in[0]->shape, *w = &n->in[b]->shape;
    const char *op = q ? n->op + (n->op[1] == 'L' ? 7 : 1) : n->op; /* QLinearConv, QGemm */
    double length = 0.0;
    if (strcmp(op, "Conv") == 0 && w->rank >= 3) {
        length = 1.0;
        for (int i = 1; i < w->rank; i++)
            length *= dim_or_one(w->dims[i]);
    } else if (strcmp(op, "MatMul") == 0 && x->rank >= 1) {
        length = dim_or_one(x->dims[x->rank - 1]);
    } else if (strcmp(op, "Gemm") == 0 && x->rank == 2) {
        length = dim_or_one(x->dims[ptq_attr_int(n, "transA", 0) ? 0 : 1]);
    }
    return length;
}

/* ---- forward ---- */

static bool input_ready(const sweep *w, const ptq_node *n, int i)
{
    const ptq_value *v = i < n->nin ? n->in[i] : NULL;
    return v && is_float_tensor(v) && w->ready[v->id];
}

static const char one_function[] = "one function of its input together with its producer";
static const char too_long[] = "its dot products are too long for 32-bit sums";

/* Why a weighted node cannot run in integers; NULL when it can. */
static const char *weighted_reason(const ptq_node *n)
{
    if (n->nin < 2 || !n->in[0] || !n->in[1] || !is_float_tensor(n->in[0]))
        return "its data input is not a computed float tensor";
    const ptq_tensor *w = n->in[1]->constant;
    if (!w || w->dtype != PTQ_DT_F32)
        return "its weight is not a float constant";
    if (n->nin > 2 && n->in[2] && !n->in[2]->constant)
        return "its bias is computed";
    if (dot_length(n) > PTQ_DOT_MAX)
        return too_long;
    if (strcmp(n->op, "Gemm") == 0) {
        if (ptq_attr_float(n, "alpha", 1.0f) != 1.0f || ptq_attr_float(n, "beta", 1.0f) != 1.0f)
            return "Gemm with alpha or beta other than 1";
        if (ptq_attr_int(n, "transA", 0))
            return "Gemm with transA";
        const ptq_tensor *c = n->nin > 2 && n->in[2] ? n->in[2]->constant : NULL;
        if (c && (c->rank != 1 || c->dims[0] != w->dims[ptq_attr_int(n, "transB", 0) ? 0 : 1]))
            return "Gemm whose C is not one row";
    }
    if (strcmp(n->op, "MatMul") == 0 && w->rank != 2)
        return "MatMul whose weight is not a matrix";
    return NULL;
}

/* x * f(x) with f unary: one function of x, as SiLU is written by exporters. */
static const ptq_value *self_product(const ptq_node *n)
{
    if (n->nin != 2 || !n->in[0] || !n->in[1])
        return NULL;
    for (int i = 0; i < 2; i++) {
        const ptq_node *f = n->in[i]->producer;
        const ptq_value *x = n->in[1 - i];
        if (f && role_of(f) == PTQ_ROLE_UNARY && f->nin >= 1 && f->in[0] == x &&
            n->in[i]->uses.n == 1 && !n->in[i]->is_output)
            return x;
    }
    return NULL;
}

static bool absorbable(const sweep *w, const ptq_node *n)
{
    const ptq_value *x = n->in[0];
    const ptq_node *src = x ? x->producer : NULL;
    if (!src || x->is_output || x->uses.n != 1 || !w->ready[x->id])
        return false;
    ptq_role r = w->p->nodes[src->id].role;
    return r == PTQ_ROLE_WEIGHTED || r == PTQ_ROLE_BINARY;
}

/* ReduceMean is a pool when it averages the spatial axes of a rank-4 tensor. */
static bool is_spatial_mean(const ptq_node *n)
{
    int64_t axes[2] = {0};
    size_t count = 0;
    const int64_t *list = ptq_attr_ints(n, "axes", &count);
    if (n->nin > 1 && n->in[1] && n->in[1]->constant && n->in[1]->constant->dtype == PTQ_DT_S64) {
        list = n->in[1]->constant->data;
        count = (size_t)ptq_tensor_elements(n->in[1]->constant);
    }
    if (!list || count != 2 || n->in[0]->shape.rank != 4)
        return false;
    for (size_t i = 0; i < 2; i++)
        axes[i] = list[i] < 0 ? list[i] + 4 : list[i];
    return axes[0] + axes[1] == 5 && (axes[0] == 2 || axes[0] == 3);
}

static void set_ready(const sweep *w, const ptq_node *n, bool ready)
{
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && is_float_tensor(n->out[i]))
            w->ready[n->out[i]->id] = ready;
}

static bool binary_ready(const sweep *w, const ptq_node *n)
{
    int computed = 0;
    for (int i = 0; i < n->nin; i++) {
        if (n->in[i] && n->in[i]->constant) {
            if (n->in[i]->constant->dtype != PTQ_DT_F32)
                return false;
        } else if (input_ready(w, n, i)) {
            computed++;
        } else {
            return false;
        }
    }
    return computed > 0;
}

/* Decides the role of one node and whether its output is ready. */
static void forward_node(sweep *w, const ptq_node *n, const char *out_of_scope)
{
    ptq_node_place *np = &w->p->nodes[n->id];
    ptq_role role = role_of(n);
    if (role == PTQ_ROLE_NONE || n->nin == 0)
        return;
    np->reason = out_of_scope;
    if (np->reason)
        return;
    const ptq_value *x;
    switch (role) {
    case PTQ_ROLE_WEIGHTED:
        if (strcmp(n->op, "MatMul") == 0 && n->nin == 2 && is_float_tensor(n->in[0]) &&
            is_float_tensor(n->in[1])) {
            np->role = dot_length(n) > PTQ_DOT_MAX ? PTQ_ROLE_NONE : PTQ_ROLE_MATMUL;
            np->reason = np->role == PTQ_ROLE_NONE ? too_long : NULL;
            return;
        }
        np->reason = weighted_reason(n);
        if (!np->reason) {
            np->role = role;
            set_ready(w, n, strcmp(n->op, "MatMul") != 0);
        }
        return;
    case PTQ_ROLE_ACT:
        if (absorbable(w, n)) {
            np->role = PTQ_ROLE_ACT;
            set_ready(w, n, true);
            return;
        }
        role = PTQ_ROLE_UNARY; /* a Relu elsewhere is a table */
        break;
    case PTQ_ROLE_BINARY:
        x = self_product(n);
        if (x) {
            set_ready(w, n, w->ready[x->id]);
            np->reason = one_function;
            return;
        }
        if (binary_ready(w, n)) {
            np->role = role;
            set_ready(w, n, true);
        }
        return;
    case PTQ_ROLE_POOL:
        if (strcmp(n->op, "ReduceMean") == 0 && !is_spatial_mean(n))
            return;
        break;
    case PTQ_ROLE_CONCAT:
        for (int i = 0; i < n->nin; i++)
            if (!input_ready(w, n, i))
                return;
        break;
    default:
        break;
    }
    if (input_ready(w, n, 0)) {
        np->role = role;
        set_ready(w, n, true);
    }
}

/* ---- backward ---- */

static bool output_wanted(const sweep *w, const ptq_node *n)
{
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && (w->wanted[n->out[i]->id] || w->through[n->out[i]->id]))
            return true;
    return false;
}

static void want_inputs(sweep *w, const ptq_node *n, int first, int last)
{
    for (int i = first; i <= last && i < n->nin; i++)
        if (n->in[i] && is_float_tensor(n->in[i]))
            w->wanted[n->in[i]->id] = true;
}

static bool same_shape(const ptq_value *a, const ptq_value *b)
{
    bool same = a->shape.rank >= 0 && a->shape.rank == b->shape.rank;
    for (int i = 0; i < a->shape.rank && same; i++)
        same = ptq_dim_equal(a->shape.dims[i], b->shape.dims[i]);
    return same;
}

/* One channel per group: its kernels do not add. */
static bool is_depthwise(const ptq_node *n)
{
    int64_t group = ptq_attr_int(n, "group", 1);
    const ptq_tensor *w = n->in[1] ? n->in[1]->constant : NULL;
    return group > 1 && w && w->rank > 0 && w->dims[0] == group;
}

/* The input of a residual Add that joins in float: made by a Conv for this Add alone, the deeper
 * one when both are. -1: none. The Conv takes the Add in where both inputs have one shape; where
 * they have not, it must write 8 bits. */
static int float_branch(const sweep *w, const ptq_node *n)
{
    int best = -1;
    if (strcmp(n->op, "Add") != 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        const ptq_value *v = n->in[i];
        if (!v->producer || strcmp(v->producer->op, "Conv") != 0 || v->uses.n != 1 || v->is_output ||
            w->p->nodes[v->producer->id].role != PTQ_ROLE_WEIGHTED || is_depthwise(v->producer) ||
            n->in[1 - i]->constant || !same_shape(v, n->in[1 - i]))
            continue;
        if (best < 0 || w->depth[v->id] > w->depth[n->in[best]->id])
            best = i;
    }
    return best;
}

static void backward_node(sweep *w, const ptq_node *n)
{
    ptq_node_place *np = &w->p->nodes[n->id];
    const ptq_value *x;
    switch (np->role) {
    case PTQ_ROLE_NONE:
        /* The pair x, f(x) of a self product: x is read in 8 bits when the product is wanted. */
        if (role_of(n) == PTQ_ROLE_BINARY && (x = self_product(n)) != NULL && output_wanted(w, n) &&
            w->ready[x->id])
            w->wanted[x->id] = true;
        return;
    case PTQ_ROLE_WEIGHTED:
        np->quantized = true;
        want_inputs(w, n, 0, 0);
        return;
    case PTQ_ROLE_MATMUL:
        np->quantized = true;
        want_inputs(w, n, 0, 1);
        return;
    default:
        break;
    }
    np->quantized = output_wanted(w, n);
    if (!np->quantized)
        return;
    if (np->role == PTQ_ROLE_ACT) { /* no tensor of its own between producer and activation */
        w->through[n->in[0]->id] = true;
        return;
    }
    if (np->role == PTQ_ROLE_BINARY && w->p->target->residual_float) {
        int branch = float_branch(w, n);
        for (int i = 0; i < 2; i++)
            if (i != branch)
                want_inputs(w, n, i, i);
        return;
    }
    want_inputs(w, n, 0, np->role == PTQ_ROLE_CONCAT || np->role == PTQ_ROLE_BINARY ? n->nin : 0);
}

/* The Relu or Clip that would be absorbed behind `v` and that the scope leaves in float; else NULL. */
static const ptq_node *float_clamp(const sweep *w, const ptq_value *v)
{
    const ptq_node *r = v->uses.n == 1 && !v->is_output && v->uses.v[0].slot == 0 ? v->uses.v[0].node : NULL;
    return r && role_of(r) == PTQ_ROLE_ACT && w->p->nodes[r->id].role == PTQ_ROLE_NONE ? r : NULL;
}

/* Conv writes 8 bits even when no reader asks (behind its absorbed activation, if any), unless
 * it is the branch that joins a residual in float. */
static void want_conv_outputs(sweep *w)
{
    PTQ_GRAPH_EACH_NODE (w->g, n) {
        if (w->p->nodes[n->id].role != PTQ_ROLE_WEIGHTED || strcmp(n->op, "Conv") != 0)
            continue;
        const ptq_value *y = n->out[0];
        const ptq_node *clamp = float_clamp(w, y);
        if (clamp && clamp->out[0]->uses.n == 0)
            continue; /* as with the clamp in 8 bits: nobody reads what is behind it */
        if (y->uses.n == 1 && y->uses.v[0].slot >= 0) {
            const ptq_node *r = y->uses.v[0].node;
            ptq_node_place *rp = &w->p->nodes[r->id];
            if (rp->role == PTQ_ROLE_ACT) {
                rp->quantized = true;
                y = r->out[0];
            } else if (w->p->target->residual_float && rp->role == PTQ_ROLE_BINARY && rp->quantized &&
                       float_branch(w, r) == y->uses.v[0].slot) {
                continue;
            }
        }
        if (y->uses.n > 0)
            w->wanted[y->id] = true;
    }
}

/* ---- tensors ---- */

static ptq_status collect_tensors(sweep *w)
{
    ptq_placement *p = w->p;
    const ptq_graph *g = w->g;
    size_t nv = g->values.n;
    p->tensors = ptq_arena_array(p->arena, nv, sizeof *p->tensors);
    p->tensor_of = ptq_arena_array(p->arena, nv, sizeof *p->tensor_of);
    if (!p->tensors || !p->tensor_of)
        return ptq_fail_nomem();
    for (size_t i = 0; i < nv; i++) {
        const ptq_value *v = g->values.v[i];
        p->tensor_of[i] = -1;
        if (!v || !w->wanted[i])
            continue;
        ptq_tensor_place *t = &p->tensors[p->ntensors];
        const ptq_node *src = v->producer, *clamp = float_clamp(w, v);
        t->value = v;
        t->observed = clamp ? clamp->out[0] : v;
        t->root = p->ntensors;
        t->float_source =
            !src || !p->nodes[src->id].quantized || strcmp(src->op, "MatMul") == 0;
        for (size_t k = 0; src && k < PTQ_COUNT(fixed_ranges); k++)
            if (strcmp(fixed_ranges[k].op, src->op) == 0) {
                t->fixed = true;
                t->fixed_lo = fixed_ranges[k].lo;
                t->fixed_hi = fixed_ranges[k].hi;
            }
        p->tensor_of[i] = p->ntensors++;
    }
    /* Movers hand their input's parameters on; nodes are in order, so one sweep is enough. */
    PTQ_GRAPH_EACH_NODE (g, n) {
        ptq_node_place *np = &p->nodes[n->id];
        if (np->role != PTQ_ROLE_MOVER || !np->quantized)
            continue;
        int in = p->tensor_of[n->in[0]->id];
        for (int i = 0; i < n->nout && in >= 0; i++)
            if (n->out[i] && p->tensor_of[n->out[i]->id] >= 0)
                p->tensors[p->tensor_of[n->out[i]->id]].root = p->tensors[in].root;
    }
    return PTQ_OK;
}

static void find_depths(sweep *w)
{
    PTQ_GRAPH_EACH_NODE (w->g, n) {
        int d = 0;
        for (int i = 0; i < n->nin; i++)
            if (n->in[i] && w->depth[n->in[i]->id] > d)
                d = w->depth[n->in[i]->id];
        for (int i = 0; i < n->nout; i++)
            if (n->out[i])
                w->depth[n->out[i]->id] = d + 1;
    }
}

ptq_status ptq_place(const ptq_graph *g, const ptq_target *t, const ptq_scope *scope,
                     ptq_placement **out)
{
    const char *const *why;
    ptq_arena *a = ptq_arena_new();
    ptq_placement *p = a ? ptq_arena_alloc(a, sizeof *p) : NULL;
    if (!p) {
        ptq_arena_free(a);
        return ptq_fail_nomem();
    }
    *p = (ptq_placement){.arena = a, .graph = g, .target = t, .nnodes = g->next_node_id};
    size_t nv = g->values.n;
    sweep w = {.p = p, .g = g};
    p->nodes = ptq_arena_array(a, (size_t)p->nnodes + 1, sizeof *p->nodes);
    w.ready = ptq_arena_array(a, nv + 1, sizeof *w.ready);
    w.wanted = ptq_arena_array(a, nv + 1, sizeof *w.wanted);
    w.through = ptq_arena_array(a, nv + 1, sizeof *w.through);
    w.depth = ptq_arena_array(a, nv + 1, sizeof *w.depth);
    if (!p->nodes || !w.ready || !w.wanted || !w.through || !w.depth) {
        ptq_arena_free(a);
        return ptq_fail_nomem();
    }
    ptq_status s = ptq_scope_reasons(g, scope, a, &why);
    if (s != PTQ_OK) {
        ptq_arena_free(a);
        return s;
    }
    for (size_t i = 0; i < g->inputs.n; i++)
        w.ready[g->inputs.v[i]->id] = is_float_tensor(g->inputs.v[i]);
    find_depths(&w);
    PTQ_GRAPH_EACH_NODE (g, n)
        forward_node(&w, n, why[n->id]);
    for (const ptq_node *n = g->last; n; n = n->prev)
        backward_node(&w, n);
    want_conv_outputs(&w);
    s = collect_tensors(&w);
    if (s != PTQ_OK) {
        ptq_arena_free(a);
        return s;
    }
    *out = p;
    return PTQ_OK;
}

void ptq_placement_free(ptq_placement *p)
{
    if (p)
        ptq_arena_free(p->arena);
}

/* The Mul of the pair x, f(x) that n is one of; NULL. */
static const ptq_node *pair_of(const ptq_placement *p, const ptq_node *n)
{
    const ptq_value *y = n->nout == 1 ? n->out[0] : NULL;
    if (p->nodes[n->id].reason == one_function)
        return n;
    if (p->nodes[n->id].role != PTQ_ROLE_UNARY || !y || y->uses.n != 1 || y->uses.v[0].slot < 0)
        return NULL;
    const ptq_node *mul = y->uses.v[0].node;
    return p->nodes[mul->id].reason == one_function && self_product(mul) == n->in[0] ? mul : NULL;
}

bool ptq_place_in_integers(const ptq_placement *p, const ptq_node *n)
{
    if (p->nodes[n->id].quantized)
        return true;
    const ptq_node *mul = pair_of(p, n);
    int x = mul ? p->tensor_of[self_product(mul)->id] : -1;
    if (x < 0 || p->tensors[x].float_source || mul->out[0]->is_output)
        return false;
    for (size_t i = 0; i < mul->out[0]->uses.n; i++)
        if (!ptq_place_reads_quantized(p, mul->out[0]->uses.v[i].node, mul->out[0]->uses.v[i].slot))
            return false;
    return mul->out[0]->uses.n > 0;
}

bool ptq_place_reads_quantized(const ptq_placement *p, const ptq_node *n, int slot)
{
    if (n->id >= p->nnodes || !p->nodes[n->id].quantized)
        return false;
    switch (p->nodes[n->id].role) {
    case PTQ_ROLE_MATMUL:
    case PTQ_ROLE_BINARY:
        return slot < 2;
    case PTQ_ROLE_CONCAT:
        return true;
    case PTQ_ROLE_ACT:
    case PTQ_ROLE_NONE:
        return false;
    default:
        return slot == 0;
    }
}

double ptq_node_macs(const ptq_node *n)
{
    double macs = dot_length(n);
    if (macs == 0.0 || n->nout < 1 || !n->out[0] || n->out[0]->shape.rank < 1)
        return 0.0;
    for (int i = 0; i < n->out[0]->shape.rank; i++)
        macs *= dim_or_one(n->out[0]->shape.dims[i]);
    return macs;
}

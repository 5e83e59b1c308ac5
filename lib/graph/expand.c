/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/graph/expand.h"

#include <string.h>

#include "lib/core/cast.h"
#include "lib/graph/pass.h"

/* ---- making nodes ---- */

static void keep(ptq_expand *x, ptq_status s)
{
    if (x->status == PTQ_OK)
        x->status = s;
}

void ptq_x_fail(ptq_expand *x, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    if (x->status != PTQ_OK)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    x->status = ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' (%s): %s", x->n->name, x->n->op, text);
}

static const char *name_for(ptq_expand *x, const char *what, bool node)
{
    char text[320];
    snprintf(text, sizeof text, "%.240s/%.60s", x->n->name, what);
    const char *name = node ? ptq_graph_unique_node_name(x->g, text) : ptq_graph_unique_name(x->g, text);
    if (!name)
        keep(x, ptq_fail_nomem());
    return name;
}

/* A new value as output `slot` of n. */
static ptq_value *new_output(ptq_expand *x, ptq_node *n, int slot)
{
    const char *name = name_for(x, n->op, false);
    ptq_value *v = NULL;
    if (name)
        keep(x, ptq_graph_value(x->g, name, &v));
    if (x->status != PTQ_OK)
        return NULL;
    ptq_node_set_output(x->g, n, slot, v);
    return v;
}

ptq_value *ptq_x_node(ptq_expand *x, const char *op, int nin, ptq_value *const *in)
{
    ptq_node *n;
    const char *dot = strchr(op, '/'); /* domain/operator */
    char domain[32] = "";
    if (dot)
        snprintf(domain, sizeof domain, "%.*s", (int)(dot - op), op);
    const char *type = dot ? dot + 1 : op, *name = x->status == PTQ_OK ? name_for(x, type, true) : NULL;
    if (!name)
        return NULL;
    keep(x, ptq_graph_node(x->g, type, domain, name, nin, 1, x->n, &n));
    if (x->status != PTQ_OK)
        return NULL;
    for (int i = 0; i < nin; i++)
        if (in[i])
            ptq_node_set_input(x->g, n, i, in[i]);
    return new_output(x, n, 0);
}

ptq_value *ptq_x_more(ptq_expand *x, ptq_value *v)
{
    if (x->status != PTQ_OK)
        return NULL;
    ptq_node *n = v->producer;
    ptq_value **out = ptq_arena_array(x->g->arena, (size_t)n->nout + 1, sizeof *out);
    if (!out) {
        keep(x, ptq_fail_nomem());
        return NULL;
    }
    memcpy(out, n->out, (size_t)n->nout * sizeof *out);
    n->out = out;
    return new_output(x, n, n->nout++);
}

ptq_value *ptq_x_int(ptq_expand *x, ptq_value *v, const char *name, int64_t i)
{
    if (x->status == PTQ_OK)
        keep(x, ptq_attr_set_int(x->g, v->producer, name, i));
    return v;
}

ptq_value *ptq_x_float(ptq_expand *x, ptq_value *v, const char *name, float f)
{
    if (x->status == PTQ_OK)
        keep(x, ptq_attr_set_float(x->g, v->producer, name, f));
    return v;
}

ptq_value *ptq_x_str(ptq_expand *x, ptq_value *v, const char *name, const char *s)
{
    if (x->status == PTQ_OK)
        keep(x, ptq_attr_set_str(x->g, v->producer, name, s));
    return v;
}

ptq_value *ptq_x_attrs(ptq_expand *x, ptq_value *v, const char *without)
{
    const ptq_node *from = x->n;
    if (x->status != PTQ_OK)
        return NULL;
    ptq_node *to = v->producer;
    to->attrs = ptq_arena_array(x->g->arena, (size_t)from->nattrs, sizeof *to->attrs);
    if (!to->attrs) {
        keep(x, ptq_fail_nomem());
        return NULL;
    }
    for (int i = 0; i < from->nattrs; i++)
        if (strncmp(from->attrs[i].name, without, strlen(without)) != 0)
            to->attrs[to->nattrs++] = from->attrs[i];
    return v;
}

static ptq_value *constant(ptq_expand *x, const ptq_tensor *t)
{
    ptq_value *v = NULL;
    char text[320];
    snprintf(text, sizeof text, "%.240s/c", x->n->name);
    if (x->status == PTQ_OK)
        keep(x, ptq_graph_constant(x->g, text, t, true, &v));
    return v;
}

ptq_value *ptq_x_list(ptq_expand *x, int n, const int64_t *v)
{
    ptq_tensor t = {.dtype = PTQ_DT_S64, .rank = 1, .dims = {n}, .nbytes = (size_t)n * sizeof *v};
    memcpy(&t.data, &v, sizeof v); /* copied */
    return constant(x, &t);
}

ptq_value *ptq_x_scalar(ptq_expand *x, ptq_dtype t, double v)
{
    float f = (float)v;
    int64_t i = t == PTQ_DT_S64 ? (int64_t)v : 0;
    uint16_t h = t == PTQ_DT_BF16 ? ptq_float_to_bf16(f) : ptq_float_to_half(f);
    void *data = t == PTQ_DT_F64 ? (void *)&v : t == PTQ_DT_F32 ? (void *)&f : t == PTQ_DT_S64 ? (void *)&i : &h;
    if (t != PTQ_DT_F64 && t != PTQ_DT_F32 && t != PTQ_DT_S64 && t != PTQ_DT_F16 && t != PTQ_DT_BF16)
        ptq_x_fail(x, "its element type is %s; a float type is needed", ptq_dtype_name(t));
    return constant(x, &(ptq_tensor){.dtype = t, .data = data, .nbytes = (size_t)ptq_dtype_bits(t) / 8});
}

ptq_value *ptq_x_transpose(ptq_expand *x, ptq_value *v, int rank, const int64_t *perm)
{
    ptq_value *y = PTQ_X(x, "Transpose", v);
    if (x->status == PTQ_OK)
        keep(x, ptq_attr_set_ints(x->g, y->producer, "perm", perm, (size_t)rank));
    return y;
}

ptq_value *ptq_x_cast(ptq_expand *x, ptq_value *v, ptq_dtype t)
{
    return ptq_x_int(x, PTQ_X(x, "Cast", v), "to", (int64_t)t);
}

ptq_value *ptq_x_slice(ptq_expand *x, ptq_value *v, int64_t axis, int64_t from, int64_t to, int64_t step)
{
    return PTQ_X(x, "Slice", v, PTQ_X_LIST(x, from), PTQ_X_LIST(x, to), PTQ_X_LIST(x, axis), PTQ_X_LIST(x, step));
}

ptq_value *ptq_x_unsqueeze(ptq_expand *x, ptq_value *v, int64_t axis)
{
    return PTQ_X(x, "Unsqueeze", v, PTQ_X_LIST(x, axis));
}

ptq_value *ptq_x_size(ptq_expand *x, ptq_value *v, int64_t axis)
{
    return PTQ_X(x, "Gather", PTQ_X(x, "Shape", v), PTQ_X_LIST(x, axis));
}

ptq_value *ptq_x_mean(ptq_expand *x, ptq_value *v)
{
    if (x->g->opset >= 18)
        return PTQ_X(x, "ReduceMean", v, PTQ_X_LIST(x, -1));
    ptq_value *y = PTQ_X(x, "ReduceMean", v);
    if (x->status == PTQ_OK)
        keep(x, ptq_attr_set_ints(x->g, y->producer, "axes", (int64_t[]){-1}, 1));
    return y;
}

/* ---- the operator's node ---- */

ptq_value *ptq_x_in(const ptq_expand *x, int i)
{
    return i < x->n->nin ? x->n->in[i] : NULL;
}

bool ptq_x_wants(const ptq_expand *x, int i)
{
    return i < x->n->nout && x->n->out[i];
}

void ptq_x_out(ptq_expand *x, int i, ptq_value *v)
{
    if (x->status != PTQ_OK || !ptq_x_wants(x, i))
        return;
    ptq_value *y = x->n->out[i];
    if (!v->producer || v->producer->id < x->first_id) /* what comes from outside */
        v = PTQ_X(x, "Identity", v);
    if (x->status != PTQ_OK)
        return;
    ptq_node *n = v->producer;
    int slot = v->producer_slot;
    ptq_node_set_output(x->g, x->n, i, NULL);
    ptq_value_replace_uses(x->g, v, y);
    ptq_node_set_output(x->g, n, slot, y);
    ptq_value_remove(x->g, v);
}

int ptq_x_rank(ptq_expand *x, const ptq_value *v, const char *what)
{
    if (v && v->shape.rank >= 0)
        return v->shape.rank;
    ptq_x_fail(x, "the rank of %s is not known; run shape inference on the model first", what);
    return -1;
}

int64_t ptq_x_dim(const ptq_value *v, int i)
{
    return v && i < v->shape.rank && ptq_dim_known(v->shape.dims[i]) ? v->shape.dims[i].add : -1;
}

/* ---- the walk ---- */

static const ptq_expansion rows[] = {
#define PTQ_EXPANSION(op, domain, min_in, max_in, max_out, opset, fn, text)                                            \
    {#op, domain, min_in, max_in, max_out, opset, ptq_expand_##fn, text},
#include "lib/graph/expansions.def"
#undef PTQ_EXPANSION
};

size_t ptq_expansion_count(void)
{
    return PTQ_COUNT(rows);
}

const ptq_expansion *ptq_expansion_at(size_t i)
{
    return i < PTQ_COUNT(rows) ? &rows[i] : NULL;
}

const ptq_expansion *ptq_expansion_find(const char *op, const char *domain)
{
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        if (strcmp(rows[i].op, op) == 0 && strcmp(rows[i].domain, domain) == 0)
            return &rows[i];
    return NULL;
}

/* The largest opset that a node of g or of its subgraphs needs; 0: there is nothing to do. */
static int needed(const ptq_graph *g)
{
    int opset = 0;
    PTQ_GRAPH_EACH_NODE (g, n) {
        const ptq_expansion *r = ptq_expansion_find(n->op, n->domain);
        opset = r && r->opset > opset ? r->opset : opset;
        for (int i = 0; i < n->nattrs; i++) {
            int inside = n->attrs[i].type == PTQ_ATTR_GRAPH ? needed(n->attrs[i].graph) : 0;
            opset = inside > opset ? inside : opset;
        }
    }
    return opset;
}

static ptq_status expand_node(ptq_graph *g, ptq_node *n, const ptq_expansion *r)
{
    ptq_expand x = {.g = g, .n = n, .first_id = g->next_node_id};
    if (n->nin < r->min_in || n->nin > r->max_in || n->nout > r->max_out)
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): has %d inputs and %d outputs, the operator takes %d to %d and "
                        "gives %d at most", n->name, n->op, n->nin, n->nout, r->min_in, r->max_in, r->max_out);
    r->expand(&x);
    PTQ_TRY(x.status);
    ptq_node_remove(g, n);
    return g->nomem ? ptq_fail_nomem() : PTQ_OK;
}

/* Nodes in order, so that each knows the shapes of its inputs. */
static ptq_status expand_all(ptq_graph *g)
{
    for (ptq_node *n = g->first, *next; n; n = next) {
        next = n->next;
        for (int i = 0; i < n->nattrs; i++)
            if (n->attrs[i].type == PTQ_ATTR_GRAPH)
                PTQ_TRY(expand_all(n->attrs[i].graph));
        const ptq_expansion *r = ptq_expansion_find(n->op, n->domain);
        ptq_node *before = n->prev;
        if (r)
            PTQ_TRY(expand_node(g, n, r));
        ptq_node *from = !r ? n : before ? before->next : g->first;
        for (ptq_node *m = from; m && m != next; m = m->next)
            PTQ_TRY(ptq_infer_node(g, m));
    }
    return PTQ_OK;
}

ptq_status ptq_graph_expand(ptq_graph *g)
{
    int opset = needed(g);
    if (opset == 0)
        return PTQ_OK;
    if (opset > g->opset)
        PTQ_TRY(ptq_graph_upgrade(g, opset < 13 ? 13 : opset));
    PTQ_TRY(ptq_infer_graph(g));
    PTQ_TRY(expand_all(g));
    return ptq_graph_verify(g);
}

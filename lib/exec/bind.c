/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/exec/bind.h"
#include "lib/exec/plan.h"

static ptq_status shape_error(const ptq_graph *g, const ptq_value *v, const ptq_tensor *t)
{
    char want[256], have[256];
    return ptq_fail(PTQ_ERR_DATA, "input %s: expected shape %s, got %s", v->name,
                    ptq_shape_print(&v->shape, g->syms, want, sizeof want),
                    ptq_shape_str(t->rank, t->dims, have, sizeof have));
}

/* Value of a symbol from an earlier dimension; -1 when not met yet. */
static int64_t symbol_value(const ptq_graph *g, const ptq_tensor *in, size_t upto, int d, int32_t sym)
{
    for (size_t i = 0; i <= upto; i++) {
        const ptq_shape *s = &g->inputs.v[i]->shape;
        for (int k = 0; k < (i == upto ? d : s->rank); k++)
            if (s->dims[k].sym == sym && s->dims[k].mul == 1)
                return in[i].dims[k] - s->dims[k].add;
    }
    return -1;
}

ptq_status ptq_check_shapes(const ptq_graph *g, const ptq_tensor *in, size_t n)
{
    if (n != g->inputs.n)
        return ptq_fail(PTQ_ERR_ARG, "the model has %zu inputs, %zu are given", g->inputs.n, n);
    for (size_t i = 0; i < n; i++) {
        const ptq_value *v = g->inputs.v[i];
        const ptq_shape *s = &v->shape;
        size_t nbytes;
        if (ptq_is_none(&in[i])) /* an optional value that is not there has no type */
            continue;
        if (v->dtype != PTQ_DT_UNDEFINED && in[i].dtype != v->dtype)
            return ptq_fail(PTQ_ERR_DATA, "input %s: expected %s, got %s", v->name,
                            ptq_dtype_name(v->dtype), ptq_dtype_name(in[i].dtype));
        if (in[i].rank < 0 || in[i].rank > PTQ_MAX_RANK ||
            !ptq_tensor_nbytes(in[i].dtype, in[i].rank, in[i].dims, &nbytes))
            return ptq_fail(PTQ_ERR_DATA, "input %s: impossible shape", v->name);
        if (s->rank < 0)
            continue;
        if (in[i].rank != s->rank)
            return shape_error(g, v, &in[i]);
        for (int d = 0; d < s->rank; d++) {
            int64_t want = ptq_dim_known(s->dims[d]) ? s->dims[d].add : -1;
            if (s->dims[d].sym > 0) {
                int64_t value = symbol_value(g, in, i, d, s->dims[d].sym);
                want = value < 0 ? -1 : s->dims[d].mul * value + s->dims[d].add;
            }
            if (want >= 0 && in[i].dims[d] != want)
                return shape_error(g, v, &in[i]);
        }
    }
    return PTQ_OK;
}

ptq_status ptq_check_inputs(const ptq_graph *g, const ptq_tensor *in, size_t n)
{
    PTQ_TRY(ptq_check_shapes(g, in, n));
    for (size_t i = 0; i < n; i++) {
        size_t want = 0;
        if (!in[i].data && ptq_tensor_elements(&in[i]) > 0)
            return ptq_fail(PTQ_ERR_ARG, "input %s has no data", g->inputs.v[i]->name);
        if (ptq_tensor_nbytes(in[i].dtype, in[i].rank, in[i].dims, &want) && in[i].nbytes < want)
            return ptq_fail(PTQ_ERR_ARG, "input %s: nbytes is %zu, its shape and type take %zu", g->inputs.v[i]->name,
                            in[i].nbytes, want);
    }
    return PTQ_OK;
}

/* What is not there is not a scalar. */
static int64_t key_rank(const ptq_tensor *t)
{
    return ptq_is_none(t) ? -1 : t->rank;
}

static size_t key_size(const ptq_tensor *in, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += 1 + (size_t)in[i].rank;
    return k;
}

bool ptq_binding_matches(const ptq_binding *b, const ptq_tensor *in, size_t n)
{
    size_t k = 0;
    if (b->nkey != key_size(in, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (b->key[k++] != key_rank(&in[i]))
            return false;
        for (int d = 0; d < in[i].rank; d++)
            if (b->key[k++] != in[i].dims[d])
                return false;
    }
    return true;
}

void ptq_binding_free(const ptq_program *p, ptq_binding *b)
{
    if (!b)
        return;
    for (size_t i = 0; b->contents && i < p->values.n; i++)
        free(b->contents[i]);
    free(b->key);
    free(b->t);
    free(b->type);
    free(b->contents);
    free(b->place);
    free(b->root);
    free(b->end);
    free(b->over);
    free(b->offset);
    free(b);
}

static ptq_status bind_alloc(const ptq_program *p, const ptq_tensor *in, ptq_binding *b)
{
    size_t n = p->values.n, ni = (size_t)p->ninputs, k = 0;
    b->nkey = key_size(in, ni);
    b->key = ptq_calloc(b->nkey, sizeof *b->key);
    b->t = ptq_calloc(n, sizeof *b->t);
    b->type = ptq_calloc(n, sizeof *b->type);
    b->contents = ptq_calloc(n, sizeof *b->contents);
    b->place = ptq_calloc(n, sizeof *b->place);
    b->root = ptq_calloc(n, sizeof *b->root);
    b->end = ptq_calloc(n, sizeof *b->end);
    b->over = ptq_calloc(n, sizeof *b->over);
    b->offset = ptq_calloc(n, sizeof *b->offset);
    if (!b->key || !b->t || !b->type || !b->contents || !b->place || !b->root || !b->end || !b->over || !b->offset)
        return ptq_fail_nomem();
    for (size_t i = 0; i < ni; i++) {
        b->key[k++] = key_rank(&in[i]);
        for (int d = 0; d < in[i].rank; d++)
            b->key[k++] = in[i].dims[d];
    }
    for (size_t i = 0; i < n; i++) {
        const ptq_pvalue *v = &p->values.v[i];
        b->root[i] = (int)i;
        b->over[i] = -1;
        b->end[i] = v->last;
        b->type[i] = (ptq_type){v->dtype, {.rank = -1}};
        b->place[i] = PTQ_IN_NOWHERE;
        if (v->constant) {
            b->place[i] = PTQ_IN_CONSTANT;
            b->t[i] = *v->constant;
            b->type[i] = ptq_type_of(v->constant);
        }
    }
    for (int i = 0; i < p->ninputs; i++) {
        int v = p->inputs[i];
        b->place[v] = PTQ_IN_INPUT;
        b->t[v] = in[i];
        if (!ptq_is_none(&in[i]))
            b->type[v] = ptq_type_of(&in[i]);
    }
    return PTQ_OK;
}

static ptq_status keep_contents(ptq_binding *b, int v, const ptq_contents *c)
{
    if (c->n < 0)
        return PTQ_OK;
    b->contents[v] = malloc(sizeof *c);
    if (!b->contents[v])
        return ptq_fail_nomem();
    *b->contents[v] = *c;
    return PTQ_OK;
}

/* NCHW and NHWC are the same bytes when channels or positions are one. */
static bool same_bytes(const ptq_tensor *t)
{
    return t->rank != 4 || t->dims[1] == 1 || t->dims[2] * t->dims[3] == 1;
}

/* Does the step only give input 0 another name or shape? */
static bool is_view(const ptq_program *p, const ptq_step *s, const ptq_binding *b)
{
    if (s->nin < 1 || s->nout < 1 || s->in[0] < 0 || s->out[0] < 0)
        return false;
    for (int i = 1; i < s->nout; i++)
        if (s->out[i] >= 0)
            return false;
    const ptq_pvalue *x = &p->values.v[s->in[0]], *y = &p->values.v[s->out[0]];
    bool view = false, moves = strcmp(s->def->name, "qmove") == 0;
    if (moves && x->layout != y->layout)
        return true; /* a Transpose that only renames (lower_layout.c): no kernel could run it */
    if (strcmp(s->def->name, "relayout") == 0)
        view = b->place[s->out[0]] != PTQ_IN_DYNAMIC && same_bytes(&b->t[s->out[0]]);
    else if (strcmp(s->def->name, "float") == 0 || moves)
        view = s->node->def && (s->node->def->flags & PTQ_OPF_VIEW) && x->layout == y->layout &&
               x->dtype == y->dtype;
    uint8_t from = b->place[b->root[s->in[0]]];
    /* An output outlives the call; inputs are the caller's, so that they are copied. */
    return view && !(y->is_output && (from == PTQ_IN_INPUT || from == PTQ_IN_CONSTANT));
}

/* May the step's result be written where its input i lies: are those bytes a value of the block of this type and shape
 * that only this input needs, and this step last? */
static bool ends_in(const ptq_program *p, const ptq_binding *b, const ptq_step *s, int i)
{
    const int x = s->in[i], y = s->out[0], root = x < 0 ? -1 : b->root[x];
    if (root < 0 || b->place[root] != PTQ_IN_BLOCK || b->end[root] != (int)(s - p->steps.v) ||
        b->t[x].dtype != b->t[y].dtype || b->t[x].rank != b->t[y].rank || b->t[root].nbytes != b->t[y].nbytes ||
        p->values.v[x].layout != p->values.v[y].layout)
        return false;
    for (int k = 0; k < s->nin; k++)
        if (k != i && s->in[k] >= 0 && b->root[s->in[k]] == root)
            return false;
    return memcmp(b->t[x].dims, b->t[y].dims, (size_t)b->t[x].rank * sizeof *b->t[x].dims) == 0;
}

/* Fewer lines to fetch for writing, and less memory. */
static void bind_over(const ptq_program *p, ptq_binding *b, const ptq_step *s)
{
    if (s->nout < 1 || s->out[0] < 0 || b->place[s->out[0]] != PTQ_IN_BLOCK)
        return;
    for (int i = 0; i < s->nin; i++) {
        if (!(s->over >> i & 1) || !ends_in(p, b, s, i))
            continue;
        const int root = b->root[s->in[i]];
        b->over[s->out[0]] = b->over[root] >= 0 ? b->over[root] : root;
        return;
    }
}

static ptq_status bind_step(const ptq_program *p, ptq_resolver *r, const ptq_step *s, ptq_binding *b)
{
    ptq_known known = {b->type, b->contents, NULL};
    PTQ_TRY(ptq_resolve_step(r, p, s, &known));
    for (int i = 0; i < s->nout; i++) {
        int v = s->out[i];
        if (v < 0)
            continue;
        b->type[v] = r->out[i];
        b->t[v].dtype = r->out[i].dtype;
        bool known_shape = ptq_type_numbers(&r->out[i], &b->t[v]);
        b->place[v] = known_shape ? PTQ_IN_BLOCK : PTQ_IN_DYNAMIC;
        if (known_shape && !ptq_tensor_nbytes(b->t[v].dtype, b->t[v].rank, b->t[v].dims, &b->t[v].nbytes))
            return ptq_fail(PTQ_ERR_MODEL, "node %s: output %s is too large", s->name,
                            p->values.v[v].name);
        PTQ_TRY(keep_contents(b, v, &r->out_contents[i]));
    }
    if (is_view(p, s, b)) {
        int v = s->out[0], root = b->root[s->in[0]];
        if (b->place[v] == PTQ_IN_BLOCK && b->place[s->in[0]] != PTQ_IN_DYNAMIC &&
            b->t[v].nbytes != b->t[s->in[0]].nbytes)
            return ptq_fail(PTQ_ERR_MODEL, "node %s: the new shape has another number of elements",
                            s->name);
        if (b->place[v] == PTQ_IN_BLOCK || b->place[root] == PTQ_IN_DYNAMIC) {
            bool dynamic = b->place[v] == PTQ_IN_DYNAMIC;
            b->root[v] = root;
            b->end[root] = b->end[root] > p->values.v[v].last ? b->end[root] : p->values.v[v].last;
            b->place[v] = dynamic ? PTQ_IN_DYNAMIC : PTQ_IN_VIEW;
        }
    } else if (s->over) {
        bind_over(p, b, s);
    }
    return PTQ_OK;
}

static ptq_status bind_offsets(const ptq_program *p, ptq_binding *b)
{
    size_t n = 0, total = 0;
    ptq_plan_item *items = ptq_calloc(p->values.n, sizeof *items);
    if (!items)
        return ptq_fail_nomem();
    for (size_t i = 0; i < p->values.n; i++)
        if (b->over[i] >= 0 && b->end[i] > b->end[b->over[i]])
            b->end[b->over[i]] = b->end[i];
    for (size_t i = 0; i < p->values.n; i++)
        if (b->place[i] == PTQ_IN_BLOCK && b->over[i] < 0)
            items[n++] = (ptq_plan_item){p->values.v[i].first, b->end[i], b->t[i].nbytes, 0};
    ptq_status s = ptq_plan_offsets(items, n, &total);
    n = 0;
    for (size_t i = 0; i < p->values.n && s == PTQ_OK; i++)
        if (b->place[i] == PTQ_IN_BLOCK && b->over[i] < 0)
            b->offset[i] = items[n++].offset;
    for (size_t i = 0; i < p->values.n && s == PTQ_OK; i++)
        if (b->over[i] >= 0)
            b->offset[i] = b->offset[b->over[i]];
    b->block_bytes = total;
    free(items);
    return s;
}

ptq_status ptq_binding_alive(const ptq_program *p, const ptq_binding *b, size_t *bytes)
{
    size_t *starts = ptq_calloc(p->steps.n + 1, sizeof *starts), *ends = ptq_calloc(p->steps.n + 1, sizeof *ends);
    size_t now = 0, most = 0;
    for (size_t i = 0; i < p->values.n && starts && ends; i++) {
        if (b->place[i] != PTQ_IN_BLOCK || b->over[i] >= 0)
            continue;
        starts[p->values.v[i].first] += b->t[i].nbytes;
        ends[b->end[i]] += b->t[i].nbytes;
    }
    for (size_t s = 0; s < p->steps.n && starts && ends; s++) {
        now += starts[s];
        most = now > most ? now : most;
        now -= ends[s];
    }
    bool ok = starts && ends;
    free(starts);
    free(ends);
    *bytes = most;
    return ok ? PTQ_OK : ptq_fail_nomem();
}

ptq_status ptq_binding_new(const ptq_program *p, ptq_resolver *r, const ptq_tensor *inputs,
                           ptq_binding **out)
{
    ptq_binding *b = ptq_calloc(1, sizeof *b);
    if (!b)
        return ptq_fail_nomem();
    ptq_status s = bind_alloc(p, inputs, b);
    for (size_t i = 0; i < p->steps.n && s == PTQ_OK; i++)
        s = bind_step(p, r, &p->steps.v[i], b);
    if (s == PTQ_OK)
        s = bind_offsets(p, b);
    if (s != PTQ_OK) {
        ptq_binding_free(p, b);
        return s;
    }
    *out = b;
    return PTQ_OK;
}

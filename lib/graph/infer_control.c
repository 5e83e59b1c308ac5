/* SPDX-License-Identifier: Apache-2.0 */
/* If, Loop, Scan: types flow into the subgraphs and out of them. Shapes of what changes from one
 * iteration to the next are left open; the run knows them. At run time nothing is told here, and
 * lib/exec/control.c allocates. */
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/graph/infer.h"

/* What the graph around knows of the values that a body captures. */
static void tell_captured(const ptq_graph *outer, ptq_graph *body)
{
    for (size_t i = 0; i < body->captured.n; i++) {
        ptq_value *v = body->captured.v[i];
        const ptq_value *o = ptq_graph_find(outer, v->name);
        if (!o)
            continue;
        v->dtype = o->dtype;
        v->shape = ptq_shape_import(body, outer, &o->shape);
    }
}

static ptq_status body_of(const ptq_infer *in, const char *attr, ptq_graph **out)
{
    *out = ptq_node_body(in->node, attr);
    return *out ? PTQ_OK : ptq_infer_fail(in, "the subgraph %s is missing", attr);
}

static ptq_status infer_body(const ptq_infer *in, ptq_graph *body)
{
    tell_captured(in->graph, body);
    ptq_status s = ptq_infer_graph(body);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "subgraph of node '%s' (%s)", in->node->name, in->node->op);
}

static ptq_status arity(const ptq_infer *in, const ptq_graph *body, size_t nin, size_t nout)
{
    if (body->inputs.n != nin || body->outputs.n < nout)
        return ptq_infer_fail(in, "its subgraph has %zu inputs and %zu outputs, %zu and %zu are needed", body->inputs.n,
                              body->outputs.n, nin, nout);
    return PTQ_OK;
}

/* The type where it is not declared. */
static void tell_type(ptq_value *v, ptq_dtype t)
{
    if (v->dtype == PTQ_DT_UNDEFINED)
        v->dtype = t;
}

/* One of two values: what both are known to be. */
static ptq_shape either(const ptq_shape *a, const ptq_shape *b)
{
    if (a->rank < 0 || a->rank != b->rank)
        return ptq_shape_unknown();
    ptq_shape s = *a;
    for (int i = 0; i < s.rank; i++)
        if (!ptq_dim_equal(a->dims[i], b->dims[i]))
            s.dims[i] = ptq_dim_unknown();
    return s;
}

/* Sizes that are numbers; a symbol of a body may stand for another number in each iteration. */
static ptq_shape numbers_of(const ptq_shape *s)
{
    ptq_shape r = *s;
    for (int i = 0; i < r.rank; i++)
        if (!ptq_dim_known(r.dims[i]))
            r.dims[i] = ptq_dim_unknown();
    return r;
}

ptq_status ptq_infer_if(ptq_infer *in)
{
    ptq_graph *body[2];
    if (!in->graph)
        return PTQ_OK;
    PTQ_TRY(body_of(in, "then_branch", &body[0]));
    PTQ_TRY(body_of(in, "else_branch", &body[1]));
    for (int i = 0; i < 2; i++) {
        PTQ_TRY(arity(in, body[i], 0, (size_t)in->nout));
        PTQ_TRY(infer_body(in, body[i]));
    }
    for (int i = 0; i < in->nout; i++) {
        const ptq_value *a = body[0]->outputs.v[i], *b = body[1]->outputs.v[i];
        ptq_shape sa = ptq_shape_import(in->graph, body[0], &a->shape);
        ptq_shape sb = ptq_shape_import(in->graph, body[1], &b->shape);
        if (a->dtype != b->dtype && a->dtype != PTQ_DT_UNDEFINED && b->dtype != PTQ_DT_UNDEFINED)
            return ptq_infer_fail(in, "output %d is %s in one branch, %s in the other", i, ptq_dtype_name(a->dtype),
                                  ptq_dtype_name(b->dtype));
        ptq_shape s = either(&sa, &sb);
        ptq_infer_set(in, i, a->dtype ? a->dtype : b->dtype, &s);
    }
    return PTQ_OK;
}

/* A value that goes from one iteration to the next: only what all of them have in common. */
static void set_state(ptq_infer *in, int out, const ptq_type *first, const ptq_value *next)
{
    ptq_shape a = numbers_of(&first->shape), b = numbers_of(&next->shape), s = either(&a, &b);
    ptq_infer_set(in, out, next->dtype ? next->dtype : first->dtype, &s);
}

ptq_status ptq_infer_loop(ptq_infer *in)
{
    ptq_graph *body;
    int states = in->nin - 2;
    if (!in->graph)
        return PTQ_OK;
    PTQ_TRY(body_of(in, "body", &body));
    PTQ_TRY(arity(in, body, (size_t)in->nin, (size_t)in->nout + 1));
    tell_type(body->inputs.v[0], PTQ_DT_S64);
    tell_type(body->inputs.v[1], PTQ_DT_BOOL);
    for (int i = 0; i < states; i++)
        tell_type(body->inputs.v[2 + i], in->in[2 + i].dtype);
    PTQ_TRY(infer_body(in, body));
    for (int i = 0; i < in->nout; i++) {
        const ptq_value *v = body->outputs.v[1 + i];
        if (i < states) {
            set_state(in, i, &in->in[2 + i], v);
            continue;
        }
        ptq_shape s = numbers_of(&v->shape);
        if (s.rank >= 0 && s.rank < PTQ_MAX_RANK) {
            memmove(s.dims + 1, s.dims, (size_t)s.rank++ * sizeof *s.dims);
            s.dims[0] = ptq_dim_unknown(); /* the number of iterations */
        } else {
            s = ptq_shape_unknown();
        }
        ptq_infer_set(in, i, v->dtype, &s);
    }
    return PTQ_OK;
}

/* ---- Scan ---- */

static int64_t listed(const ptq_node *n, const char *attr, int i)
{
    size_t count;
    const int64_t *v = ptq_attr_ints(n, attr, &count);
    return v && (size_t)i < count ? v[i] : 0;
}

/* Scan input i without its scanned axis, and that axis' size. */
static ptq_status scanned(const ptq_infer *in, int slot, int i, ptq_shape *s, ptq_dim *length)
{
    int axis;
    *s = in->in[slot].shape;
    if (s->rank < 0)
        return PTQ_OK;
    PTQ_TRY(ptq_infer_axis(in, listed(in->node, "scan_input_axes", i), s->rank, &axis));
    if (!ptq_dim_merge(*length, s->dims[axis], length))
        return ptq_infer_fail(in, "input %d has another number of slices than the inputs before it", slot);
    memmove(s->dims + axis, s->dims + axis + 1, (size_t)(s->rank - axis - 1) * sizeof *s->dims);
    s->rank--;
    return PTQ_OK;
}

static ptq_status set_scan_output(ptq_infer *in, int out, int i, const ptq_value *v, ptq_dim length)
{
    int axis;
    ptq_shape s = numbers_of(&v->shape);
    if (s.rank < 0 || s.rank >= PTQ_MAX_RANK) {
        s = ptq_shape_unknown();
    } else {
        PTQ_TRY(ptq_infer_axis(in, listed(in->node, "scan_output_axes", i), s.rank + 1, &axis));
        memmove(s.dims + axis + 1, s.dims + axis, (size_t)(s.rank - axis) * sizeof *s.dims);
        s.dims[axis] = length;
        s.rank++;
    }
    ptq_infer_set(in, out, v->dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_scan(ptq_infer *in)
{
    ptq_graph *body;
    int64_t scans = ptq_attr_int(in->node, "num_scan_inputs", 0);
    ptq_dim length = ptq_dim_unknown();
    if (!in->graph)
        return PTQ_OK;
    if (scans < 1 || scans > in->nin)
        return ptq_infer_fail(in, "num_scan_inputs is %lld, the node has %d inputs", (long long)scans, in->nin);
    int states = in->nin - (int)scans;
    PTQ_TRY(body_of(in, "body", &body));
    PTQ_TRY(arity(in, body, (size_t)in->nin, (size_t)in->nout));
    for (int i = 0; i < in->nin; i++) {
        ptq_value *v = body->inputs.v[i];
        ptq_shape s;
        tell_type(v, in->in[i].dtype);
        if (i < states)
            continue;
        PTQ_TRY(scanned(in, i, i - states, &s, &length));
        if (v->shape.rank < 0 && s.rank >= 0)
            v->shape = ptq_shape_import(body, in->graph, &s);
    }
    PTQ_TRY(infer_body(in, body));
    for (int i = 0; i < in->nout; i++) {
        if (i < states)
            set_state(in, i, &in->in[i], body->outputs.v[i]);
        else
            PTQ_TRY(set_scan_output(in, i, i - states, body->outputs.v[i], length));
    }
    return PTQ_OK;
}

/* ---- SequenceMap ---- */

ptq_status ptq_infer_sequence_map(ptq_infer *in)
{
    ptq_graph *body;
    ptq_shape s = ptq_shape_unknown();
    if (!in->graph)
        return PTQ_OK;
    PTQ_TRY(body_of(in, "body", &body));
    PTQ_TRY(arity(in, body, (size_t)in->nin, (size_t)in->nout));
    for (int i = 0; i < in->nin; i++)
        if (in->in[i].dtype != PTQ_DT_UNDEFINED)
            tell_type(body->inputs.v[i], ptq_sequence_element(in->in[i].dtype));
    PTQ_TRY(infer_body(in, body));
    for (int i = 0; i < in->nout; i++) {
        ptq_dtype t = body->outputs.v[i]->dtype;
        ptq_infer_set(in, i, t == PTQ_DT_UNDEFINED ? t : ptq_sequence_of(t), &s);
    }
    return PTQ_OK;
}

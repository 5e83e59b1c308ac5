/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences and optional values (lib/core/sequence.h). Every result is a new block. */
#include "lib/core/sequence.h"
#include "lib/cpu/fkernel.h"

#define ROW(symbol, op)                                                                                                \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                                    \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, .finds_shape = true};

static ptq_status need_sequence(const ptq_step_run *r)
{
    if (!r->in[0] || !ptq_is_sequence(r->in[0]->dtype) || ptq_is_none(r->in[0]))
        return ptq_fail(PTQ_ERR_DATA, "node %s: input 0 of %s is no sequence", r->step->name, r->step->node->op);
    return PTQ_OK;
}

/* Position in input `slot`, counted from the end when negative, in [0, most]; `most` where it is omitted. */
static ptq_status position(const ptq_step_run *r, int slot, int64_t n, int64_t most, int64_t *out)
{
    const ptq_tensor *t = ptq_in(r, slot);
    int count;
    *out = most;
    if (!t)
        return PTQ_OK;
    if (!ptq_ints_of(t, out, 1, &count) || count != 1 || *out < -n || *out > most)
        return ptq_fail(PTQ_ERR_DATA, "node %s: the position is outside of a sequence of %lld", r->step->name, (long long)n);
    if (*out < 0)
        *out += n;
    return PTQ_OK;
}

/* Views of all elements, and room for one more. */
typedef struct views {
    ptq_tensor *t;
    const ptq_tensor **p;
    size_t n;
} views;

static ptq_status views_new(const ptq_tensor *seq, views *v)
{
    *v = (views){.n = seq ? (size_t)seq->dims[0] : 0};
    v->t = ptq_calloc(v->n + 1, sizeof *v->t);
    v->p = ptq_calloc(v->n + 1, sizeof *v->p);
    for (size_t i = 0; v->t && v->p && i < v->n; i++) {
        v->t[i] = ptq_sequence_get(seq, (int64_t)i);
        v->p[i] = &v->t[i];
    }
    return v->t && v->p ? PTQ_OK : ptq_fail_nomem();
}

static void views_free(views *v)
{
    free(v->t);
    free(v->p);
}

/* ---- making and taking ---- */

static ptq_status sequence_empty_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    return ptq_sequence_pack((ptq_dtype)ptq_attr_int(r->step->node, "dtype", PTQ_DT_F32), NULL, 0, &r->out[0]);
}
ROW(sequence_empty, "SequenceEmpty")

static ptq_status sequence_construct_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    for (int i = 0; i < r->step->nin; i++)
        if (!r->in[i] || r->in[i]->dtype != r->in[0]->dtype)
            return ptq_fail(PTQ_ERR_MODEL, "node %s: input %d has another type than those before it", r->step->name, i);
    return ptq_sequence_pack(r->in[0]->dtype, r->in, (size_t)r->step->nin, &r->out[0]);
}
ROW(sequence_construct, "SequenceConstruct")

static ptq_status sequence_at_run(ptq_cpu *c, const ptq_step_run *r)
{
    int64_t at;
    (void)c;
    PTQ_TRY(need_sequence(r));
    int64_t n = r->in[0]->dims[0];
    PTQ_TRY(position(r, 1, n, n - 1, &at));
    if (at < 0)
        return ptq_fail(PTQ_ERR_DATA, "node %s: the sequence is empty", r->step->name);
    ptq_tensor t = ptq_sequence_get(r->in[0], at);
    return ptq_give_copy(r, 0, &t);
}
ROW(sequence_at, "SequenceAt")

static ptq_status sequence_length_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    PTQ_TRY(need_sequence(r));
    *(int64_t *)r->out[0].data = r->in[0]->dims[0];
    return PTQ_OK;
}
ROW(sequence_length, "SequenceLength")

static ptq_status sequence_insert_run(ptq_cpu *c, const ptq_step_run *r)
{
    views v;
    int64_t at;
    (void)c;
    PTQ_TRY(need_sequence(r));
    const ptq_tensor *seq = r->in[0], *t = r->in[1];
    if (!t || t->dtype != ptq_sequence_element(seq->dtype))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %s cannot be put into a sequence of %s", r->step->name,
                        t ? ptq_dtype_name(t->dtype) : "nothing", ptq_dtype_name(ptq_sequence_element(seq->dtype)));
    PTQ_TRY(position(r, 2, seq->dims[0], seq->dims[0], &at));
    ptq_status s = views_new(seq, &v);
    if (s == PTQ_OK) {
        memmove(v.p + at + 1, v.p + at, (v.n - (size_t)at) * sizeof *v.p);
        v.p[at] = t;
        s = ptq_sequence_pack(t->dtype, v.p, v.n + 1, &r->out[0]);
    }
    views_free(&v);
    return s;
}
ROW(sequence_insert, "SequenceInsert")

static ptq_status sequence_erase_run(ptq_cpu *c, const ptq_step_run *r)
{
    views v;
    int64_t at;
    (void)c;
    PTQ_TRY(need_sequence(r));
    const ptq_tensor *seq = r->in[0];
    PTQ_TRY(position(r, 1, seq->dims[0], seq->dims[0] - 1, &at));
    if (at < 0)
        return ptq_fail(PTQ_ERR_DATA, "node %s: the sequence is empty", r->step->name);
    ptq_status s = views_new(seq, &v);
    if (s == PTQ_OK) {
        memmove(v.p + at, v.p + at + 1, (v.n - (size_t)at - 1) * sizeof *v.p);
        s = ptq_sequence_pack(ptq_sequence_element(seq->dtype), v.p, v.n - 1, &r->out[0]);
    }
    views_free(&v);
    return s;
}
ROW(sequence_erase, "SequenceErase")

/* ---- to and from tensors ---- */

/* Elements [from, from + n) of the axis of x, as a dense tensor that is malloc'ed. */
static ptq_status part_of(const ptq_tensor *x, int axis, int64_t from, int64_t n, ptq_tensor *out)
{
    size_t e = ptq_elem_bytes(x->dtype), outer = (size_t)ptq_product(x->dims, 0, axis);
    size_t inner = (size_t)ptq_product(x->dims, axis + 1, x->rank) * e, all = (size_t)x->dims[axis];
    *out = *x;
    out->dims[axis] = n;
    out->data = NULL;
    PTQ_TRY(ptq_tensor_alloc(out));
    for (size_t o = 0; o < outer && inner; o++)
        memcpy((char *)out->data + o * (size_t)n * inner, (const char *)x->data + (o * all + (size_t)from) * inner,
               (size_t)n * inner);
    return PTQ_OK;
}

/* Sizes of the parts: given one by one, or all of one size but the last, or 1 each. */
static ptq_status part_sizes(const ptq_step_run *r, int64_t length, int64_t **sizes, size_t *n)
{
    const ptq_tensor *t = ptq_in(r, 1);
    bool list = t && t->rank == 1;
    int64_t each = 1, sum = 0;
    int count;
    *sizes = NULL;
    if (t && t->dtype != PTQ_DT_S64 && t->dtype != PTQ_DT_S32)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: split is %s", r->step->name, ptq_dtype_name(t->dtype));
    if (t && !list && (!ptq_ints_of(t, &each, 1, &count) || count != 1 || each < 1))
        return ptq_fail(PTQ_ERR_DATA, "node %s: split is no positive number", r->step->name);
    *n = list ? (size_t)t->dims[0] : (size_t)((length + each - 1) / each);
    *sizes = ptq_calloc(*n, sizeof **sizes);
    if (!*sizes)
        return ptq_fail_nomem();
    for (size_t i = 0; i < *n; i++) {
        int64_t left = length - sum;
        (*sizes)[i] = !list                      ? (each < left ? each : left)
                      : t->dtype == PTQ_DT_S64 ? ((const int64_t *)t->data)[i]
                                                 : ((const int32_t *)t->data)[i];
        if ((*sizes)[i] < 0 || (*sizes)[i] > left)
            return ptq_fail(PTQ_ERR_DATA, "node %s: split does not fit an axis of %lld", r->step->name, (long long)length);
        sum += (*sizes)[i];
    }
    return sum == length ? PTQ_OK
                         : ptq_fail(PTQ_ERR_DATA, "node %s: split adds up to %lld of %lld", r->step->name, (long long)sum,
                                    (long long)length);
}

static ptq_status split_parts(const ptq_step_run *r, int axis, bool keep, const int64_t *sizes, views *v)
{
    const ptq_tensor *x = r->in[0];
    int64_t at = 0;
    for (size_t i = 0; i < v->n; at += sizes[i++]) {
        ptq_tensor *t = &v->t[i];
        PTQ_TRY(part_of(x, axis, at, sizes[i], t));
        v->p[i] = t;
        if (keep)
            continue;
        memmove(t->dims + axis, t->dims + axis + 1, (size_t)(t->rank - axis - 1) * sizeof *t->dims);
        t->rank--;
    }
    return PTQ_OK;
}

static ptq_status split_to_sequence_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int64_t a = ptq_attr_int(r->step->node, "axis", 0), *sizes = NULL;
    bool keep = ptq_attr_int(r->step->node, "keepdims", 1) != 0 || ptq_in(r, 1);
    views v = {0};
    (void)c;
    if (ptq_is_sequence(x->dtype) || a < -x->rank || a >= x->rank || ptq_elem_bytes(x->dtype) == 0)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: axis %lld is outside of rank %d", r->step->name, (long long)a, x->rank);
    int axis = ptq_axis(a, x->rank);
    ptq_status s = part_sizes(r, x->dims[axis], &sizes, &v.n);
    if (s == PTQ_OK) {
        v.t = ptq_calloc(v.n, sizeof *v.t);
        v.p = ptq_calloc(v.n, sizeof *v.p);
        s = v.t && v.p ? split_parts(r, axis, keep, sizes, &v) : ptq_fail_nomem();
    }
    if (s == PTQ_OK)
        s = ptq_sequence_pack(x->dtype, v.p, v.n, &r->out[0]);
    for (size_t i = 0; v.t && i < v.n; i++)
        free(v.t[i].data);
    views_free(&v);
    free(sizes);
    return s;
}
ROW(split_to_sequence, "SplitToSequence")

/* Dims of the result; every element must fit. */
static ptq_status joined(const ptq_step_run *r, const views *v, int axis, bool stack, ptq_tensor *y)
{
    *y = v->t[0];
    y->data = NULL;
    if (stack) {
        memmove(y->dims + axis + 1, y->dims + axis, (size_t)(y->rank - axis) * sizeof *y->dims);
        y->dims[axis] = (int64_t)v->n;
        y->rank++;
    }
    for (size_t i = 1; i < v->n; i++) {
        const ptq_tensor *t = v->p[i], *first = v->p[0];
        bool fits = t->rank == first->rank;
        for (int d = 0; d < t->rank && fits; d++)
            fits = t->dims[d] == first->dims[d] || (d == axis && !stack);
        if (!fits)
            return ptq_fail(PTQ_ERR_DATA, "node %s: element %zu of the sequence has another shape than the first",
                            r->step->name, i);
        if (!stack && __builtin_add_overflow(y->dims[axis], t->dims[axis], &y->dims[axis]))
            return ptq_fail(PTQ_ERR_DATA, "node %s: the result is too large", r->step->name);
    }
    return PTQ_OK;
}

static ptq_status join(const ptq_step_run *r, const views *v)
{
    bool stack = ptq_attr_int(r->step->node, "new_axis", 0) != 0;
    int64_t a = ptq_attr_int(r->step->node, "axis", 0);
    int rank = v->n ? v->t[0].rank + stack : 0;
    if (!v->n || a < -rank || a >= rank || rank > PTQ_MAX_RANK)
        return ptq_fail(PTQ_ERR_DATA, "node %s: %s", r->step->name,
                        v->n ? "the axis is outside of the rank" : "the sequence is empty");
    int axis = ptq_axis(a, rank);
    ptq_tensor y;
    PTQ_TRY(joined(r, v, axis, stack, &y));
    PTQ_TRY(ptq_tensor_alloc(&y));
    size_t outer = (size_t)ptq_product(y.dims, 0, axis), row = outer ? y.nbytes / outer : 0, at = 0;
    for (size_t i = 0; i < v->n && outer; i++) {
        size_t run = v->p[i]->nbytes / outer;
        for (size_t o = 0; o < outer && run; o++)
            memcpy((char *)y.data + o * row + at, (const char *)v->p[i]->data + o * run, run);
        at += run;
    }
    r->out[0] = y;
    return PTQ_OK;
}

static ptq_status concat_from_sequence_run(ptq_cpu *c, const ptq_step_run *r)
{
    views v;
    (void)c;
    PTQ_TRY(need_sequence(r));
    ptq_status s = views_new(r->in[0], &v);
    if (s == PTQ_OK)
        s = join(r, &v);
    views_free(&v);
    return s;
}
ROW(concat_from_sequence, "ConcatFromSequence")

/* ---- optional values ---- */

static ptq_status optional_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    return ptq_in(r, 0) ? ptq_give_copy(r, 0, r->in[0]) : ptq_none(&r->out[0]);
}
ROW(optional, "Optional")

static ptq_status optional_get_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    if (!ptq_in(r, 0) || ptq_is_none(r->in[0]))
        return ptq_fail(PTQ_ERR_DATA, "node %s: the optional value is not there", r->step->name);
    return ptq_give_copy(r, 0, r->in[0]);
}
ROW(optional_get, "OptionalGetElement")

static ptq_status optional_has_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    *(uint8_t *)r->out[0].data = ptq_in(r, 0) && !ptq_is_none(r->in[0]);
    return PTQ_OK;
}
ROW(optional_has, "OptionalHasElement")

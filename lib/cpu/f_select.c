/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that pick or place elements by a condition or a count: Compress, NonZero, OneHot,
 * EyeLike, ReverseSequence, CenterCropPad. */
#include "lib/core/cast.h"
#include "lib/cpu/walk.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* ---- Compress ---- */

static ptq_status compress_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *cond = r->in[1];
    const uint8_t *keep = cond->data;
    const ptq_attr *a = ptq_attr_find(r->step->node, "axis");
    int axis = a ? ptq_axis(a->i, x->rank) : 0;
    ptq_shape3 s = a ? ptq_shape3_of(x, axis, axis + 1) : (ptq_shape3){1, ptq_tensor_elements(x), 1};
    int64_t n = ptq_tensor_elements(cond), kept = 0, dims[PTQ_MAX_RANK];
    size_t run = (size_t)s.inner * ptq_elem_bytes(x->dtype);
    (void)c;
    n = n < s.n ? n : s.n; /* entries without a condition are dropped */
    for (int64_t i = 0; i < n; i++)
        kept += keep[i] != 0;
    for (int d = 0; a && d < x->rank; d++)
        dims[d] = x->dims[d];
    dims[axis] = kept;
    PTQ_TRY(ptq_cpu_out(r, 0, a ? x->rank : 1, dims));
    char *y = r->out[0].data;
    for (int64_t o = 0; o < s.outer; o++)
        for (int64_t i = 0; i < n; i++)
            if (keep[i]) {
                memcpy(y, (const char *)x->data + (size_t)(o * s.n + i) * run, run);
                y += run;
            }
    return PTQ_OK;
}
ROW(compress, "Compress", .takes = PTQ_TAKES_BYTES, .finds_shape = true)

/* ---- NonZero ---- */

static bool is_zero(const ptq_tensor *x, int64_t i)
{
    ptq_number v = ptq_number_load(x->dtype, x->data, i);
    return v.real ? v.d == 0.0 : v.i == 0;
}

static ptq_status non_zero_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int64_t total = ptq_tensor_elements(x), n = 0, at = 0;
    (void)c;
    if (!ptq_castable(x->dtype))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: NonZero of %s is not supported", r->step->name,
                        ptq_dtype_name(x->dtype));
    for (int64_t i = 0; i < total; i++)
        n += !is_zero(x, i);
    PTQ_TRY(ptq_cpu_out(r, 0, 2, (int64_t[]){x->rank, n}));
    int64_t *y = r->out[0].data;
    for (int64_t i = 0; i < total; i++) {
        if (is_zero(x, i))
            continue;
        for (int64_t d = x->rank - 1, rest = i; d >= 0; d--) {
            y[d * n + at] = rest % x->dims[d];
            rest /= x->dims[d];
        }
        at++;
    }
    return PTQ_OK;
}
ROW(non_zero, "NonZero", .finds_shape = true)

/* ---- OneHot ---- */

static ptq_status one_hot_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *values = r->in[2], *y = &r->out[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", -1), y->rank);
    ptq_shape3 s = ptq_shape3_of(y, axis, axis + 1);
    size_t e = ptq_elem_bytes(y->dtype);
    const char *off = values->data, *on = off + e;
    (void)c;
    if (ptq_tensor_elements(values) != 2 || !ptq_castable(x->dtype))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: OneHot needs an off and an on value", r->step->name);
    for (size_t i = 0; i + e <= y->nbytes; i += e)
        memcpy((char *)y->data + i, off, e);
    for (int64_t o = 0; o < s.outer; o++)
        for (int64_t j = 0; j < s.inner; j++) {
            int64_t k = ptq_number_whole(ptq_number_load(x->dtype, x->data, o * s.inner + j));
            k = k < 0 ? k + s.n : k;
            if (k >= 0 && k < s.n) /* others are all off */
                memcpy((char *)y->data + (size_t)((o * s.n + k) * s.inner + j) * e, on, e);
        }
    return PTQ_OK;
}
ROW(one_hot, "OneHot", .takes = PTQ_TAKES_BYTES)

/* ---- EyeLike ---- */

static ptq_status eye_like_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *y = &r->out[0];
    int64_t k = ptq_attr_int(r->step->node, "k", 0);
    (void)c;
    if (!ptq_castable(y->dtype))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: EyeLike of %s is not supported", r->step->name,
                        ptq_dtype_name(y->dtype));
    memset(y->data, 0, y->nbytes);
    for (int64_t i = 0; i < y->dims[0] && k > -y->dims[0] && k < y->dims[1]; i++)
        if (i + k >= 0 && i + k < y->dims[1])
            ptq_number_store(y->dtype, y->data, i * y->dims[1] + i + k, ptq_number_int(1), 0);
    return PTQ_OK;
}
ROW(eye_like, "EyeLike", .keep_in = 1)

/* ---- ReverseSequence ---- */

static ptq_status reverse_sequence_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *lens = r->in[1];
    bool time_first = ptq_attr_int(r->step->node, "time_axis", 0) == 0;
    int64_t steps = x->dims[time_first ? 0 : 1], batch = x->dims[time_first ? 1 : 0];
    size_t run = (size_t)ptq_product(x->dims, 2, x->rank) * ptq_elem_bytes(x->dtype);
    const int64_t *len = lens->data;
    (void)c;
    if (ptq_tensor_elements(lens) != batch)
        return ptq_bad_args(r);
    for (int64_t b = 0; b < batch; b++) {
        if (len[b] < 0 || len[b] > steps)
            return ptq_fail(PTQ_ERR_DATA, "node %s: a sequence of %lld in %lld steps", r->step->name,
                            (long long)len[b], (long long)steps);
        for (int64_t t = 0; t < steps; t++) {
            int64_t from = t < len[b] ? len[b] - 1 - t : t;
            int64_t to_at = time_first ? t * batch + b : b * steps + t;
            int64_t from_at = time_first ? from * batch + b : b * steps + from;
            memcpy((char *)r->out[0].data + (size_t)to_at * run, (const char *)x->data + (size_t)from_at * run, run);
        }
    }
    return PTQ_OK;
}
ROW(reverse_sequence, "ReverseSequence", .takes = PTQ_TAKES_S64, .keep_in = 1, .keep_out = 1)

/* ---- CenterCropPad ---- */

static ptq_status center_crop_pad_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    ptq_walk w = {.rank = y->rank, .nops = 2};
    int64_t xs = 1, ys = 1;
    for (int d = y->rank - 1; d >= 0; d--) { /* the odd element is cut or padded at the end */
        int64_t more = y->dims[d] - x->dims[d];
        w.dims[d] = more < 0 ? y->dims[d] : x->dims[d];
        w.step[0][d] = ys;
        w.step[1][d] = xs;
        w.base[0] += more > 0 ? more / 2 * ys : 0;
        w.base[1] += more < 0 ? -more / 2 * xs : 0;
        xs *= x->dims[d];
        ys *= y->dims[d];
    }
    memset(y->data, 0, y->nbytes);
    return ptq_walk_copy(c, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}
ROW(center_crop_pad, "CenterCropPad", .takes = PTQ_TAKES_BYTES)

/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences and optional values: their element types are known, their shapes when they run. */
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/graph/infer.h"

static ptq_status set_open(ptq_infer *in, ptq_dtype t)
{
    ptq_shape s = ptq_shape_unknown();
    ptq_infer_set(in, 0, t, &s);
    return PTQ_OK;
}

/* The type of a sequence of t; undefined stays so. */
static ptq_dtype of(ptq_dtype t)
{
    return t == PTQ_DT_UNDEFINED ? t : ptq_sequence_of(t);
}

static ptq_status need_sequence(const ptq_infer *in)
{
    ptq_dtype t = in->in[0].dtype;
    if (t != PTQ_DT_UNDEFINED && !ptq_is_sequence(t))
        return ptq_infer_fail(in, "input 0 is a tensor of %s, not a sequence", ptq_dtype_name(t));
    return PTQ_OK;
}

ptq_status ptq_infer_sequence_construct(ptq_infer *in)
{
    for (int i = 1; i < in->nin; i++)
        if (in->in[i].dtype && in->in[0].dtype && in->in[i].dtype != in->in[0].dtype)
            return ptq_infer_fail(in, "input %d is %s, those before it are %s", i, ptq_dtype_name(in->in[i].dtype),
                                  ptq_dtype_name(in->in[0].dtype));
    return set_open(in, of(in->in[0].dtype));
}

ptq_status ptq_infer_sequence_empty(ptq_infer *in)
{
    int64_t t = ptq_attr_int(in->node, "dtype", PTQ_DT_F32);
    if (t <= 0 || t >= PTQ_DT_COUNT)
        return ptq_infer_fail(in, "element type %lld is not known", (long long)t);
    return set_open(in, of((ptq_dtype)t));
}

/* SequenceAt, ConcatFromSequence. */
ptq_status ptq_infer_sequence_element(ptq_infer *in)
{
    PTQ_TRY(need_sequence(in));
    return set_open(in, ptq_sequence_element(in->in[0].dtype));
}

/* SequenceInsert, SequenceErase. */
ptq_status ptq_infer_sequence_change(ptq_infer *in)
{
    PTQ_TRY(need_sequence(in));
    return set_open(in, in->in[0].dtype);
}

ptq_status ptq_infer_sequence_length(ptq_infer *in)
{
    ptq_shape s = {.rank = 0};
    PTQ_TRY(need_sequence(in));
    ptq_infer_set(in, 0, PTQ_DT_S64, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_split_to_sequence(ptq_infer *in)
{
    int axis;
    if (in->in[0].shape.rank >= 0)
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", 0), in->in[0].shape.rank, &axis));
    return set_open(in, of(in->in[0].dtype));
}

/* Optional, OptionalGetElement: the value itself, where it is there. */
ptq_status ptq_infer_optional(ptq_infer *in)
{
    return set_open(in, in->nin > 0 ? in->in[0].dtype : PTQ_DT_UNDEFINED);
}

ptq_status ptq_infer_optional_has(ptq_infer *in)
{
    ptq_shape s = {.rank = 0};
    ptq_infer_set(in, 0, PTQ_DT_BOOL, &s);
    return PTQ_OK;
}

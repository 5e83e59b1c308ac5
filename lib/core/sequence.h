/* SPDX-License-Identifier: Apache-2.0 */
/* Values that are no tensors, in the form of one: a sequence is a tensor of rank 1 whose type is that of
 * its elements with PTQ_SEQUENCE set and whose bytes are one block, a table of the elements and then their
 * data, 64-byte aligned, at offsets. So that it is copied, owned and freed like any tensor. An optional value
 * that is there is the value; one that is not is PTQ_SEQUENCE alone, rank 0. */
#ifndef PTQ_CORE_SEQUENCE_H
#define PTQ_CORE_SEQUENCE_H

#include "lib/core/core.h"

enum { PTQ_SEQUENCE = 0x100 };

static inline bool ptq_is_sequence(ptq_dtype t)
{
    return ((unsigned)t & PTQ_SEQUENCE) != 0;
}
static inline ptq_dtype ptq_sequence_of(ptq_dtype element)
{
    return (ptq_dtype)((unsigned)element | PTQ_SEQUENCE);
}
static inline ptq_dtype ptq_sequence_element(ptq_dtype t)
{
    return (ptq_dtype)((unsigned)t & ~(unsigned)PTQ_SEQUENCE);
}
static inline bool ptq_is_none(const ptq_tensor *t)
{
    return t->dtype == (ptq_dtype)PTQ_SEQUENCE && t->rank == 0;
}

/* A sequence of copies of n tensors of one type; out->data is malloc'ed. */
ptq_status ptq_sequence_pack(ptq_dtype element, const ptq_tensor *const *items, size_t n, ptq_tensor *out);
/* Element i (of [0, dims[0])); its data lie in the sequence. */
ptq_tensor ptq_sequence_get(const ptq_tensor *seq, int64_t i);
/* Sets *out to a value that is not there; out->data is malloc'ed. */
ptq_status ptq_none(ptq_tensor *out);

#endif

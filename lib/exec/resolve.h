/* SPDX-License-Identifier: Apache-2.0 */
/* Output types of steps from numbers: used when a set of input shapes is bound, and again at run
 * time where a shape depends on data. */
#ifndef PTQ_EXEC_RESOLVE_H
#define PTQ_EXEC_RESOLVE_H

#include "lib/exec/program.h"

typedef struct ptq_resolver { /* room for the widest step of a program */
    ptq_type *in, *out;
    const ptq_tensor **value;
    ptq_contents *in_contents, *out_contents;
} ptq_resolver;

ptq_status ptq_resolver_init(ptq_resolver *r, const ptq_program *p);
void ptq_resolver_clear(ptq_resolver *r);

/* What is known of the program's values; entries of unknown values have rank -1 / NULL. */
typedef struct ptq_known {
    ptq_type *type;                  /* [values] */
    ptq_contents **contents;         /* [values], NULL where not known */
    const ptq_tensor *const *tensor; /* [values] data at run time; NULL while binding */
} ptq_known;

/* Fills r->out and r->out_contents for the step's outputs. */
ptq_status ptq_resolve_step(ptq_resolver *r, const ptq_program *p, const ptq_step *s,
                            const ptq_known *k);

/* Are the elements shown to shape functions at run time? Integers (sizes, axes), and small lists of
 * floats (scales). */
bool ptq_may_tell_shapes(const ptq_tensor *t);

/* Elements of an int32/int64 tensor of rank 0 or 1; n = -1 when it is not one. */
void ptq_contents_read(const ptq_tensor *t, ptq_contents *c);
ptq_type ptq_type_of(const ptq_tensor *t);
/* True and *t filled (not its data) when every dimension is a number. */
bool ptq_type_numbers(const ptq_type *type, ptq_tensor *t);

#endif

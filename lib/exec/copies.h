/* SPDX-License-Identifier: Apache-2.0 */
/* Where the bytes of a session's values lie when its backend has memory of its own. Each value has
 * a host copy, a device copy, or both; they move only when somebody asks for the side that is
 * not good. The session names every value by the root of its views. */
#ifndef PTQ_EXEC_COPIES_H
#define PTQ_EXEC_COPIES_H

#include "lib/exec/bind.h"
#include "lib/exec/executable.h"

typedef struct ptq_copy {
    void *host, *dev;          /* current places; borrowed unless they are the two below */
    void *host_own, *dev_own;  /* kept from run to run */
    size_t host_cap, dev_cap;
    bool host_good, dev_good;
} ptq_copy;

typedef struct ptq_copies {
    const ptq_executable *exe;
    const ptq_backend_ops *ops;
    ptq_backend *backend;
    const ptq_program *program;
    ptq_binding *binding; /* of the run */
    ptq_copy *v; /* [values] */
} ptq_copies;

/* `b` is the line of work of one session. */
ptq_status ptq_copies_init(const ptq_executable *e, ptq_backend *b, ptq_copies *c);
void ptq_copies_clear(ptq_copies *c);

/* Start of a run: constants and known contents are good on the host, inputs there or on the device,
 * values in the block lie in `block` on the device and are good nowhere. */
ptq_status ptq_copies_start(ptq_copies *c, ptq_binding *b, const ptq_tensor *inputs, bool on_device,
                            void *block);

/* Frees what a binding that goes has on the device. */
void ptq_copies_forget(ptq_copies *c, ptq_binding *b);

/* Bytes of value v for reading; moved from the other side when needed. */
ptq_status ptq_copies_read_host(ptq_copies *c, int v, size_t nbytes, void **out);
ptq_status ptq_copies_read_dev(ptq_copies *c, int v, size_t nbytes, void **out);
/* Room for a value that is about to be written on that side; afterwards it is good there alone. */
ptq_status ptq_copies_write_host(ptq_copies *c, int v, size_t nbytes, void **out);
ptq_status ptq_copies_write_dev(ptq_copies *c, int v, size_t nbytes, void **out);
/* The value's host bytes are the caller's `p`; NULL: they are gone. */
void ptq_copies_lend_host(ptq_copies *c, int v, void *p);

/* Are the elements of a value known from the shapes alone, so that no step need compute them? */
bool ptq_contents_known(const ptq_binding *b, int v);

#endif

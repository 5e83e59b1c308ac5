/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of a session, shared by session.c (runs from host memory) and enqueue.c (device memory). */
#ifndef PTQ_EXEC_SESSION_IMPL_H
#define PTQ_EXEC_SESSION_IMPL_H

#include "lib/exec/control.h"
#include "lib/exec/copies.h"
#include "lib/exec/session.h"

enum { PTQ_SESSION_BINDINGS = 4, PTQ_SESSION_REPLAYS = 4 };

/* Recorded runs of one binding: a recording holds addresses, so there is one per set of buffers. */
typedef struct ptq_replays {
    struct {
        void **address; /* [inputs + outputs] */
        void *graph;
    } v[PTQ_SESSION_REPLAYS];
    size_t next;         /* which one goes when all are taken */
    uint64_t generation; /* of the backend's memory when they were recorded */
    bool warm;           /* a run without recording has been done at this generation */
    bool never;          /* something in it cannot be recorded */
} ptq_replays;

struct ptq_session {
    const ptq_executable *exe;
    ptq_executable *own; /* NULL: it belongs to somebody else */
    const ptq_program *p;
    ptq_session_options opt;
    ptq_backend *backend, *host; /* this session's lines of work on the executable's backends */
    ptq_copies copies;           /* remote backends: on which side each value is good */
    bool *tap;                   /* [values] */
    ptq_resolver resolver;
    ptq_binding *bindings[PTQ_SESSION_BINDINGS];
    ptq_replays replays[PTQ_SESSION_BINDINGS];
    const ptq_binding *running; /* between begin and end */
    uint64_t clock;
    void *block;
    size_t block_bytes;
    const ptq_tensor **in; /* arguments of the step that runs */
    ptq_tensor *in_t;
    ptq_layout *in_layout, *out_layout;
    ptq_tensor *out;
    ptq_tensor *shapes; /* [outputs] of the enqueued run */
    void **owned; /* [values] bytes of dynamic values */
    const ptq_tensor **tensor; /* [values] for shapes that depend on data */
    size_t dynamic_bytes, dynamic_peak;
    void *plain; /* a tapped NHWC value in PLAIN order */
    size_t plain_bytes;
    size_t alive_bytes; /* of the last reserve */
    bool outputs_known;
    ptq_control_run **control; /* [steps] NULL: not If, Loop or Scan */
    struct ptq_marks *marks; /* while a run is profiled (profile.c); else NULL */
    bool poison;
};

/* The binding of these input shapes, in s->bindings[*index], and a block that is large enough. */
ptq_status ptq_session_bind(ptq_session *s, const ptq_tensor *in, size_t *index);
/* Addresses of all values for a run. */
void ptq_session_place(ptq_session *s, ptq_binding *b, const ptq_tensor *in);
/* All steps, in order; not waited for. */
ptq_status ptq_session_steps(ptq_session *s, ptq_binding *b);
/* All of a run from and into device memory, not waited for; and one that is recorded: *graph stays
 * NULL where that is not possible. */
ptq_status ptq_session_run_device(ptq_session *s, ptq_binding *b, const ptq_tensor *in, ptq_tensor *out);
ptq_status ptq_session_record(ptq_session *s, ptq_binding *b, const ptq_tensor *in, ptq_tensor *out, void **graph);
/* Notes the time before step i (the number of steps: the end), and the kernel of the step before. */
ptq_status ptq_session_mark(ptq_session *s, size_t i);
/* Throws recordings away. */
void ptq_session_forget(ptq_session *s, ptq_replays *r);

#endif

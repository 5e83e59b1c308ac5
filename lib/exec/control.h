/* SPDX-License-Identifier: Apache-2.0 */
/* If, Loop, Scan, SequenceMap. Their step has the node's inputs and behind them what its subgraphs capture, so that
 * lifetimes need no special care. A subgraph becomes an executable of its own, in which captured values
 * are inputs, and constants where they are constants outside. It runs on the CPU, in one session per
 * session of the program around it; outputs are the control step's to allocate, since their shapes are
 * known when the subgraph has run. */
#ifndef PTQ_EXEC_CONTROL_H
#define PTQ_EXEC_CONTROL_H

#include "lib/exec/session.h"

enum { PTQ_CONTROL_BODIES = 2 };

typedef struct ptq_control_body {
    ptq_graph *g; /* own copy */
    ptq_executable *exe;
    int nformal;  /* inputs of the subgraph; captured ones follow */
    int *slot;    /* [captured inputs] the step's input */
} ptq_control_body;

/* Of an executable: nothing in it changes. */
typedef struct ptq_control {
    const ptq_step *step;
    int nbodies;
    ptq_control_body body[PTQ_CONTROL_BODIES]; /* If: then, else */
} ptq_control;

static inline bool ptq_step_is_control(const ptq_step *s)
{
    return s->node && s->node->def && (s->node->def->flags & PTQ_OPF_CONTROL) != 0;
}
ptq_status ptq_control_new(const ptq_step *s, const ptq_program *p, const ptq_executable_options *opt,
                           ptq_control **out);
void ptq_control_free(ptq_control *c);

/* Of a session. */
typedef struct ptq_control_run ptq_control_run;
ptq_status ptq_control_run_new(const ptq_control *c, ptq_pool *pool, ptq_control_run **out);
void ptq_control_run_free(ptq_control_run *r);
/* Inputs are in host memory; outputs are malloc'ed (data of r->out[]). */
ptq_status ptq_control_step(ptq_control_run *c, const ptq_step_run *r);

/* ---- for control_loop.c ---- */

struct ptq_control_run {
    const ptq_control *c;
    ptq_session *session[PTQ_CONTROL_BODIES];
    ptq_tensor *in[PTQ_CONTROL_BODIES], *out[PTQ_CONTROL_BODIES]; /* of one run of a body */
};
/* One run of body b on c->in[b], whose first nformal entries are set; results in c->out[b] are valid
 * until the next one. */
ptq_status ptq_control_call(ptq_control_run *c, const ptq_step_run *r, int b);
/* A copy of t for output i of the step; *t is what the subgraph gave. */
ptq_status ptq_control_give(const ptq_step_run *r, int i, const ptq_tensor *t);
ptq_status ptq_control_loop(ptq_control_run *c, const ptq_step_run *r);
ptq_status ptq_control_map(ptq_control_run *c, const ptq_step_run *r);
ptq_status ptq_control_scan(ptq_control_run *c, const ptq_step_run *r);

#endif

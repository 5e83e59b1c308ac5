/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program on a backend. Shapes are resolved when inputs come: for each new set of input
 * shapes the shape functions are run once with numbers, lifetimes become offsets in one block
 * (values whose shape depends on data are allocated as they appear). */
#ifndef PTQ_EXEC_SESSION_H
#define PTQ_EXEC_SESSION_H

#include "lib/exec/executable.h"

typedef struct ptq_session ptq_session;

/* Called after the step that made a value, on the calling thread, in step order; the tensor is
 * in PLAIN layout on the host and valid during the call. Graph inputs are reported first. */
typedef ptq_status (*ptq_tap_fn)(void *ctx, const ptq_pvalue *v, const ptq_tensor *t);

typedef struct ptq_session_options {
    const char *backend; /* NULL or "auto": "cpu" */
    const ptq_backend_ops *ops; /* instead of a name; NULL: find `backend` */
    ptq_backend_options device;
    ptq_lower_options lower; /* all zero: float simulation, no fusion */
    ptq_tap_fn tap;          /* with `tap_select` true for a value */
    ptq_tap_fn tap_device;   /* instead of `tap`, for float values where the backend has `tally`: the
                                data lie in its memory, in the value's own layout */
    bool (*tap_select)(void *ctx, const ptq_value *v);
    void *tap_ctx;           /* the session keeps tapped values from being fused away */
    bool replay;             /* enqueued runs are recorded and replayed */
} ptq_session_options;

/* pack_bytes and fold_bytes of jobs, which must not hold the weights of a large model in memory a second time: with
 * one session, with two, and with several that run few samples. */
enum { PTQ_SESSION_MODEST = 384 << 20, PTQ_SESSION_HALF = 192 << 20, PTQ_SESSION_SMALL = 64 << 20 };

/* `g` must outlive the session and must not change. */
ptq_status ptq_session_new(const ptq_graph *g, const ptq_session_options *opt, ptq_session **out);
/* A session of its own on a shared executable; several may run at the same time, each in one thread.
 * Of the options those of taps and running hold, and device.pool. Taps see what the executable's
 * lowering has kept. */
ptq_status ptq_session_on(const ptq_executable *e, const ptq_session_options *opt, ptq_session **out);
void ptq_session_free(ptq_session *s);

/* inputs: one per graph input, in order; shapes must fit the declared ones. outputs: one per
 * graph output, filled with views that stay valid until the next run or free. */
ptq_status ptq_session_run(ptq_session *s, const ptq_tensor *inputs, size_t ninputs,
                           ptq_tensor *outputs, size_t noutputs);

/* The same in two halves: a device may still be at work after the first, and the caller has time for
 * other things. Until the second has returned the inputs must stay, and nothing else be asked of the
 * session. outputs may be NULL. */
ptq_status ptq_session_begin(ptq_session *s, const ptq_tensor *inputs, size_t ninputs);
ptq_status ptq_session_end(ptq_session *s, ptq_tensor *outputs, size_t noutputs);

/* Shapes and types of the outputs for these input shapes; data is not looked at.
 * PTQ_ERR_UNSUPPORTED where they depend on data. */
ptq_status ptq_session_shapes(ptq_session *s, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                              size_t noutputs);
/* From and into device memory, on a stream of the backend (NULL: the session's own), not waited
 * for. outputs[].data are buffers of the size that ptq_session_shapes tells; all are aligned to 16
 * bytes. Runs of one session must follow each other: on one stream, or waited for. */
ptq_status ptq_session_enqueue(ptq_session *s, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                               size_t noutputs, void *stream);
/* This session's line of work on its backend, for memory and copies, and the backend itself. */
ptq_backend *ptq_session_backend(const ptq_session *s);
const ptq_backend_ops *ptq_session_ops(const ptq_session *s);

/* Takes the activation block for these input shapes (data is not looked at). */
ptq_status ptq_session_reserve(ptq_session *s, const ptq_tensor *inputs, size_t ninputs);
/* Bytes of the largest set of activations that are alive at once, for the shapes of the last reserve. */
size_t ptq_session_alive_bytes(const ptq_session *s);
/* Do the shapes of all outputs follow from those of the inputs, for the shapes of the last reserve? */
bool ptq_session_outputs_known(const ptq_session *s);

/* One step in a profile. */
typedef struct ptq_step_time {
    double seconds;     /* median of the runs */
    const char *kernel; /* that the backend started; NULL where it does not tell. Static text */
    double macs, bytes; /* of these shapes; bytes: inputs, weights and outputs, each counted once */
} ptq_step_time;
/* Runs `runs` times and notes the time between the steps: on a backend with streams by marks in a
 * replayed recording of the whole run, so that each step finds the caches as it would and the cost of
 * launches does not hide the work; *recorded is false where the run cannot be recorded, and the marks
 * lie between launches. `device`: inputs and outputs as for enqueue; else as for run. t: [steps]. */
ptq_status ptq_session_profile(ptq_session *s, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                               size_t noutputs, bool device, int runs, ptq_step_time *t, bool *recorded);

/* Gives the activation block back until the next run; the outputs of the last run are gone. */
void ptq_session_rest(ptq_session *s);

const ptq_program *ptq_session_program(const ptq_session *s);
/* Does step i run on the CPU because the backend has no kernel for it? */
bool ptq_session_step_on_host(const ptq_session *s, int step);
/* Bytes of the activation block and of dynamic values at their highest. */
size_t ptq_session_activation_bytes(const ptq_session *s);

/* Evaluates one node on constants through the CPU backend: the eval of ptq_pass_ctx. */
ptq_status ptq_exec_eval_node(void *ctx, const ptq_node *n, int opset, ptq_tensor *out);

/* Proof that axis 0 of every value for which select() holds is the batch: every graph input's
 * axis 0 is the same symbol S, and each value has dims[0] == S (mul 1, add 0), with S in no other
 * dim. On false *why names the first value that breaks it. */
bool ptq_batch_proven(const ptq_graph *g, bool (*select)(void *ctx, const ptq_value *v), void *ctx,
                      char *why, size_t n);

/* The same where the batch is not axis 0 of all selected values: a value consists of `outer` blocks, in each of which
 * the samples lie one behind the other; `axis` has them. Read off the operators on the way from the inputs. */
typedef struct ptq_batch_place {
    int64_t outer;
    int axis;
} ptq_batch_place;
/* place: [values], by id, of the selected values. */
ptq_status ptq_batch_places(const ptq_graph *g, bool (*select)(void *ctx, const ptq_value *v), void *ctx,
                            ptq_batch_place *place, bool *proven);

#endif

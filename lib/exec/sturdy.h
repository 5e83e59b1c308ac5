/* SPDX-License-Identifier: Apache-2.0 */
/* A session that goes on where its device has no memory left: with half as many samples at a time, and
 * where one sample is too much, on the CPU. The numbers are the same; a warning tells. For jobs that
 * want results; who measures a device uses a plain session. Taps are not for it. */
#ifndef PTQ_EXEC_STURDY_H
#define PTQ_EXEC_STURDY_H

#include "lib/exec/session.h"

typedef struct ptq_sturdy ptq_sturdy;

/* `g` must outlive it. */
ptq_status ptq_sturdy_new(const ptq_graph *g, const ptq_session_options *opt, ptq_sturdy **out);
void ptq_sturdy_free(ptq_sturdy *s);
/* As ptq_session_run. */
ptq_status ptq_sturdy_run(ptq_sturdy *s, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                          size_t noutputs);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A program made ready on a backend: lowered, kernels found, weights packed. Nothing in it changes
 * afterwards, so that several sessions may run it at the same time. */
#ifndef PTQ_EXEC_EXECUTABLE_H
#define PTQ_EXEC_EXECUTABLE_H

#include "lib/exec/backend.h"

typedef struct ptq_executable_options {
    const char *backend;        /* NULL or "auto": "cpu" */
    const ptq_backend_ops *ops; /* instead of a name; NULL: find `backend` */
    ptq_backend_options device;
    ptq_lower_options lower; /* all zero: float simulation, no fusion */
} ptq_executable_options;

struct ptq_control; /* lib/exec/control.h */

typedef struct ptq_executable {
    const ptq_graph *g; /* borrowed */
    ptq_graph *own;     /* the copy that was lowered instead; NULL: none */
    ptq_program *p;
    const ptq_backend_ops *ops;
    ptq_backend *backend;
    ptq_backend_options device;
    void **state; /* [steps] */
    struct ptq_control **control; /* [steps] subgraphs of If, Loop, Scan; NULL: another step */
    /* A backend with memory of its own (remote): the steps that it has no kernel for run on the
     * CPU; constants that its kernels read lie there too. */
    bool remote;
    const ptq_backend_ops *host_ops;
    ptq_backend *host;
    bool *on_host;         /* [steps] */
    uint32_t *host_inputs; /* [steps] bit i: the kernel reads input i on the host */
    void **constant;       /* [values] its bytes on the device, or NULL */
} ptq_executable;

/* `g` must outlive the executable and must not change. Operators without a kernel are named in one
 * message (PTQ_ERR_UNSUPPORTED). */
ptq_status ptq_executable_new(const ptq_graph *g, const ptq_executable_options *opt, ptq_executable **out);
void ptq_executable_free(ptq_executable *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Steps that run an operator from outside the library (ptq/plugin.h). */
#ifndef PTQ_EXEC_PLUGIN_H
#define PTQ_EXEC_PLUGIN_H

#include <ptq/plugin.h>

#include "lib/exec/backend.h"

/* Parameters of a step "plugin": which tensors are codes, with their grids. */
typedef struct ptq_plugin_params {
    const ptq_plugin *plugin;
    const ptq_affine *in, *out;         /* [nin], [nout]; scale 0: no codes */
} ptq_plugin_params;

/* The plugin for a node; NULL. */
const ptq_plugin *ptq_plugin_find(const ptq_plugin *const *list, size_t n, const ptq_node *node);
ptq_status ptq_plugins_check(const ptq_plugin *const *list, size_t n);
/* Types of their outputs, and of what follows. */
ptq_status ptq_plugins_infer(ptq_graph *g, const ptq_plugin *const *list, size_t n);

/* The shape function of such a step. */
ptq_status ptq_plugin_infer(const ptq_step *s, ptq_infer *in);
/* Calls `run`, or with `stream_of` `enqueue`, on the tensors of a run. */
ptq_status ptq_plugin_run(const ptq_step_run *r, bool on_device, void *stream);

#endif

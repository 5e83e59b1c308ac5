/* SPDX-License-Identifier: Apache-2.0 */
/* Operators from outside the library, in device memory where they have a form for it. */
#include "lib/exec/plugin.h"

#include "lib/gpu/gpu.h"

static bool has_enqueue(const ptq_program *p, const ptq_step *s, const char **why)
{
    (void)p;
    if (((const ptq_plugin_params *)s->params)->plugin->enqueue)
        return true;
    if (why)
        *why = "the plugin has no form for the device";
    return false;
}

static ptq_status run(ptq_gpu *g, const ptq_step_run *r)
{
    return ptq_plugin_run(r, true, ptq_dev_stream(g->dev));
}

extern const ptq_gpu_kernel ptq_gpu_int_plugin;
const ptq_gpu_kernel ptq_gpu_int_plugin = {.name = "plugin", .supports = has_enqueue, .run = run};

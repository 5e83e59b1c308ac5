/* SPDX-License-Identifier: Apache-2.0 */
/* Operators from outside the library, in host memory. */
#include "lib/exec/plugin.h"

#include "lib/cpu/cpu.h"

static ptq_status run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    return ptq_plugin_run(r, false, NULL);
}

extern const ptq_cpu_kernel ptq_cpu_int_plugin;
const ptq_cpu_kernel ptq_cpu_int_plugin = {.name = "plugin", .run = run};

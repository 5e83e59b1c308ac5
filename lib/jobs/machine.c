/* SPDX-License-Identifier: Apache-2.0 */
/* What figures of time hold for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/cpu.h"
#include "lib/exec/session.h"
#include "lib/jobs/jobs.h"

/* As the backend chooses it, and the pool. */
static ptq_status cpu_text(const ptq_loop_options *opt, char *text, size_t n)
{
    const char *cap = opt->isa ? opt->isa : getenv("PTQ_ISA");
    ptq_isa isa = ptq_isa_best();
    ptq_pool *pool;
    if (cap && *cap)
        PTQ_TRY(ptq_isa_parse(cap, &isa));
    PTQ_TRY(ptq_pool_new(opt->threads, &pool));
    int threads = ptq_pool_threads(pool);
    ptq_pool_free(pool);
    snprintf(text, n, "cpu (%s, %d thread%s)", ptq_isa_name(isa), threads, threads == 1 ? "" : "s");
    return PTQ_OK;
}

ptq_status ptq_loop_machine(const ptq_loop_options *opt, char *text, size_t n)
{
    static const ptq_loop_options dflt = PTQ_LOOP_OPTIONS_INIT;
    char device[200];
    PTQ_NEEDS(text);
    PTQ_OPTIONS(opt);
    opt = opt ? opt : &dflt;
    const char *name = ptq_backend_or_cpu(opt->backend);
    const ptq_backend_ops *b = ptq_backend_find(name);
    if (!b)
        return ptq_fail(PTQ_ERR_ARG, "backend '%s' is not in this build", name);
    if (strcmp(name, "cpu") == 0)
        return cpu_text(opt, text, n);
    if (!b->probe(device, sizeof device))
        return ptq_fail(PTQ_ERR_DEVICE, "backend %s: %s", name, device);
    snprintf(text, n, "%s (%s)", name, device);
    return PTQ_OK;
}

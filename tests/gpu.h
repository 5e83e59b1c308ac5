/* SPDX-License-Identifier: Apache-2.0 */
/* The tests of lib/cpu's kernels, compiled a second time (-DPTQ_TEST_GPU), hold the CUDA backend
 * against the same references: on the stand-in device (tests/fake_dev.c) everywhere, and on a real
 * one where there is one. */
#ifndef PTQ_TESTS_GPU_H
#define PTQ_TESTS_GPU_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exec/backend.h"

extern const ptq_backend_ops ptq_backend_cuda;

#ifndef PTQ_TEST_CPU
/* Before main(): no forks (a CUDA context does not survive one), and exit 77 without a device,
 * or 1 where one is required. */
__attribute__((constructor)) static void gpu_or_skip(void)
{
    char text[256];
    const char *must = getenv("PTQ_REQUIRE_GPU");
    setenv("CK_FORK", "no", 1);
    if (ptq_backend_cuda.probe(text, sizeof text))
        return;
    printf("SKIP: %s\n", text);
    exit(must && strcmp(must, "1") == 0 ? 1 : 77);
}
#endif

/* ptq_backend_cuda that notes which float operators have run on the device. */
enum { GPU_RAN_MAX = 256 };
static char gpu_ran_ops[GPU_RAN_MAX][80];
static size_t gpu_ran_count;

static inline bool gpu_ran(const char *op, const char *domain)
{
    char name[80];
    snprintf(name, sizeof name, "%s.%s", domain, op);
    for (size_t i = 0; i < gpu_ran_count; i++)
        if (strcmp(gpu_ran_ops[i], name) == 0)
            return true;
    return false;
}

static inline ptq_status gpu_noting_run(ptq_backend *b, const ptq_step_run *r)
{
    const ptq_node *n = r->step->node;
    ptq_status s = ptq_backend_cuda.run(b, r);
    if (s == PTQ_OK && !r->step->def->integer && !gpu_ran(n->op, n->domain) && gpu_ran_count < GPU_RAN_MAX)
        snprintf(gpu_ran_ops[gpu_ran_count++], sizeof gpu_ran_ops[0], "%s.%s", n->domain, n->op);
    return s;
}

static inline const ptq_backend_ops *gpu_noting_ops(void)
{
    static ptq_backend_ops ops;
    ops = ptq_backend_cuda;
    ops.run = gpu_noting_run;
    return &ops;
}

#endif

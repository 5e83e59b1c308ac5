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

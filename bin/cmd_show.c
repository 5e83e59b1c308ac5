/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that only look: inspect, backends. */
#include <stdio.h>
#include <string.h>

#include "bin/cmd.h"
#include "bin/team.h"

ptq_status cmd_inspect(const args *a)
{
    ptq_model *m;
    ptq_report *r;
    TRY(ptq_model_load(a->files[0], NULL, &m));
    ptq_status s = ptq_model_inspect(m, a->target, &r);
    if (s == PTQ_OK) {
        s = cmd_print(a, &(named_report){"inspect", r}, 1);
        ptq_report_free(r);
    }
    ptq_model_free(m);
    return s;
}

ptq_status cmd_backends(const args *a)
{
    const char *name;
    char text[256], mpi[128];
    bool works, cuda = false;
    team_library(mpi, sizeof mpi);
    if (a->json)
        printf("{\"backends\": [");
    for (size_t i = 0; ptq_backend_info(i, &name, text, sizeof text, &works); i++) {
        cuda |= strcmp(name, "cuda") == 0;
        if (a->json)
            printf("%s{\"name\": \"%s\", \"works\": %s}", i ? ", " : "", name, works ? "true" : "false");
        else
            printf("%-8s %-14s %s\n", name, works ? "works" : "does not work", text);
    }
    if (a->json) {
        printf("], \"version\": \"%s\"}\n", ptq_version());
    } else {
        if (!cuda)
            printf("%-8s not in this build (./configure --with-cuda=DIR)\n", "cuda");
        printf("%-8s %s; %s, %s\n", "ptq", ptq_version(), ptq_io_version(), mpi);
    }
    return cmd_flush();
}

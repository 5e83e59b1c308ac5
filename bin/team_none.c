/* SPDX-License-Identifier: Apache-2.0 */
/* Built without MPI. */
#include "bin/team.h"

#include <stdio.h>
#include <stdlib.h>

const ptq_team *team_start(int argc, char **argv)
{
    const char *n = getenv("OMPI_COMM_WORLD_SIZE"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    (void)argc;
    (void)argv;
    if (n && rank && atoi(n) > 1 && atoi(rank) == 0)
        fprintf(stderr, "warning: this build is without MPI, so each of the %s processes does the whole job alone; "
                        "./configure --with-mpi, or --shard I/N and merge\n", n);
    return NULL;
}

ptq_status team_follow(const ptq_team *t)
{
    (void)t;
    return PTQ_OK;
}

int team_end(const ptq_team *t, int code)
{
    (void)t;
    return code;
}

void team_abort(const ptq_team *t, int code, const char *text)
{
    (void)t;
    (void)code;
    (void)text;
}

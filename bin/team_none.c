/* SPDX-License-Identifier: Apache-2.0 */
/* Built without MPI. */
#include "bin/team.h"

#include <stdio.h>

const ptq_team *team_start(int argc, char **argv)
{
    (void)argc;
    (void)argv;
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

void team_library(char *text, size_t n)
{
    snprintf(text, n, "no MPI");
}

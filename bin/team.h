/* SPDX-License-Identifier: Apache-2.0 */
/* The processes that mpirun or srun has started together. Without MPI, or started alone, there is no team. */
#ifndef PTQ_BIN_TEAM_H
#define PTQ_BIN_TEAM_H

#include <ptq/team.h>
#include <stdbool.h>
#include <stddef.h>

/* At the very start. From here on what any process but the first prints goes nowhere. NULL: alone. */
const ptq_team *team_start(int argc, char **argv);
/* Others go on when the first has come here. */
ptq_status team_follow(const ptq_team *t);
/* At the end of a process whose work is done (or whose figures did not hold, code 1). Returns the exit code. */
int team_end(const ptq_team *t, int code);
/* Ends all processes: one of them cannot go on. The first tells it at once, others where the first does not: what
 * stops one of them stops them all as a rule. */
void team_abort(const ptq_team *t, int code, const char *text);
/* The library behind and its version, or "no MPI"; at most n bytes. */
void team_library(char *text, size_t n);

#endif

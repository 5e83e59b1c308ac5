/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/walk.h"

void ptq_walk_init(ptq_walk *w, int rank, const int64_t *dims)
{
    *w = (ptq_walk){.rank = rank, .nops = 1};
    int64_t at = 1;
    for (int d = rank - 1; d >= 0; d--) {
        w->dims[d] = dims[d];
        w->step[0][d] = at;
        at *= dims[d];
    }
}

void ptq_walk_add(ptq_walk *w, int rank, const int64_t *dims)
{
    int op = w->nops++;
    int64_t at = 1;
    for (int d = w->rank - 1, s = rank - 1; d >= 0; d--, s--) {
        bool moves = s >= 0 && dims[s] != 1;
        w->step[op][d] = moves ? at : 0;
        if (s >= 0)
            at *= dims[s];
    }
}

void ptq_walk_add_steps(ptq_walk *w, const int64_t *step, int64_t base)
{
    int op = w->nops++;
    for (int d = 0; d < w->rank; d++)
        w->step[op][d] = step[d];
    w->base[op] = base;
}

void ptq_walk_merge(ptq_walk *w)
{
    int n = 0;
    for (int d = 0; d < w->rank; d++) {
        if (w->dims[d] == 1)
            continue;
        bool joins = n > 0;
        for (int op = 0; op < w->nops && joins; op++)
            joins = w->step[op][n - 1] == w->step[op][d] * w->dims[d];
        int to = joins ? n - 1 : n++;
        w->dims[to] = joins ? w->dims[to] * w->dims[d] : w->dims[d];
        for (int op = 0; op < w->nops; op++)
            w->step[op][to] = w->step[op][d];
    }
    w->rank = n;
    if (n == 0) {
        w->rank = 1;
        w->dims[0] = 1;
        for (int op = 0; op < w->nops; op++)
            w->step[op][0] = 1;
    }
}

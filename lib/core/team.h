/* SPDX-License-Identifier: Apache-2.0 */
/* What the jobs ask of a team (ptq/team.h); a team that is NULL is one process alone. */
#ifndef PTQ_CORE_TEAM_H
#define PTQ_CORE_TEAM_H

#include <ptq/team.h>

#include "lib/core/core.h"

static inline int ptq_team_ranks(const ptq_team *t)
{
    return t && t->ranks > 1 ? t->ranks : 1;
}
static inline int ptq_team_rank(const ptq_team *t)
{
    return ptq_team_ranks(t) > 1 ? t->rank : 0;
}

/* PTQ_OK when `mine` is PTQ_OK on every rank, else the status and text of the lowest rank that failed, on every
 * rank. */
ptq_status ptq_team_agree(const ptq_team *t, ptq_status mine);
/* The bytes of `root` on every rank. */
ptq_status ptq_team_broadcast(const ptq_team *t, int root, void *data, size_t n);

/* ---- turns ----
 * Sums in floating point have one order. So a job deals its pieces out, piece k to rank k % ranks, and each
 * rank computes its pieces at the same time as the others; but what they add up to is handed from piece to
 * piece: whoever has piece k adds it when piece k - 1 has been added. */
typedef struct ptq_part { /* of the sum */
    void *p;
    size_t n;
} ptq_part;

typedef struct ptq_turns {
    const ptq_team *team;
    const ptq_part *parts;
    size_t nparts;
    size_t count; /* of pieces */
} ptq_turns;

static inline bool ptq_turn_is_mine(const ptq_turns *t, size_t k)
{
    return k % (size_t)ptq_team_ranks(t->team) == (size_t)ptq_team_rank(t->team);
}
/* For each piece of one's own, in order, both: take the sum so far, then give it on with the status of the work.
 * Whoever has failed takes and gives all the same, and the others learn of it. take returns the status of the
 * pieces before, give the worse of both. */
ptq_status ptq_turn_take(const ptq_turns *t, size_t k);
ptq_status ptq_turn_give(const ptq_turns *t, size_t k, ptq_status s);
/* After all pieces: the whole sum, and the status, on every rank. */
ptq_status ptq_turns_end(const ptq_turns *t, ptq_status s);

#endif

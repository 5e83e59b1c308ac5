/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/core/team.h"

#include <string.h>

/* A status on its way, with its text. */
typedef struct word {
    int32_t status;
    char text[2044];
} word;

static word say(ptq_status s)
{
    word w = {.status = s};
    if (s != PTQ_OK)
        snprintf(w.text, sizeof w.text, "%s", ptq_last_error());
    return w;
}

static ptq_status hear(const word *w)
{
    return w->status == PTQ_OK ? PTQ_OK : ptq_fail((ptq_status)w->status, "%s", w->text);
}

/* A binomial tree over the ranks, counted from the root. */
ptq_status ptq_team_broadcast(const ptq_team *t, int root, void *data, size_t n)
{
    const int ranks = ptq_team_ranks(t), me = (ptq_team_rank(t) - root + ranks) % ranks;
    int reach = 1;
    for (; reach <= me; reach *= 2)
        ;
    if (me > 0) /* the highest bit of `me` taken away is who sends */
        PTQ_TRY(t->receive(t->ctx, (me - reach / 2 + root) % ranks, data, n));
    for (; reach < ranks; reach *= 2)
        if (me + reach < ranks)
            PTQ_TRY(t->send(t->ctx, (me + reach + root) % ranks, data, n));
    return PTQ_OK;
}

ptq_status ptq_team_agree(const ptq_team *t, ptq_status mine)
{
    word worst = say(mine);
    if (ptq_team_ranks(t) == 1)
        return mine;
    if (t->rank != 0)
        PTQ_TRY(t->send(t->ctx, 0, &worst, sizeof worst));
    for (int r = 1; t->rank == 0 && r < t->ranks; r++) {
        word w;
        PTQ_TRY(t->receive(t->ctx, r, &w, sizeof w));
        if (worst.status == PTQ_OK)
            worst = w;
    }
    PTQ_TRY(ptq_team_broadcast(t, 0, &worst, sizeof worst));
    return hear(&worst);
}

/* ---- turns ---- */

ptq_status ptq_turn_take(const ptq_turns *t, size_t k)
{
    const int ranks = ptq_team_ranks(t->team);
    word w;
    if (ranks == 1 || k == 0)
        return PTQ_OK;
    const int from = (int)((k - 1) % (size_t)ranks);
    PTQ_TRY(t->team->receive(t->team->ctx, from, &w, sizeof w));
    PTQ_TRY(hear(&w));
    for (size_t i = 0; i < t->nparts; i++)
        PTQ_TRY(t->team->receive(t->team->ctx, from, t->parts[i].p, t->parts[i].n));
    return PTQ_OK;
}

ptq_status ptq_turn_give(const ptq_turns *t, size_t k, ptq_status s)
{
    const int ranks = ptq_team_ranks(t->team);
    if (ranks == 1 || k + 1 >= t->count)
        return s;
    const int to = (int)((k + 1) % (size_t)ranks);
    const word w = say(s);
    PTQ_TRY(t->team->send(t->team->ctx, to, &w, sizeof w));
    for (size_t i = 0; s == PTQ_OK && i < t->nparts; i++)
        PTQ_TRY(t->team->send(t->team->ctx, to, t->parts[i].p, t->parts[i].n));
    return s;
}

ptq_status ptq_turns_end(const ptq_turns *t, ptq_status s)
{
    const int ranks = ptq_team_ranks(t->team);
    if (ranks == 1)
        return s;
    if (t->count > 0) {
        const int last = (int)((t->count - 1) % (size_t)ranks);
        word w = say(s);
        PTQ_TRY(ptq_team_broadcast(t->team, last, &w, sizeof w));
        for (size_t i = 0; w.status == PTQ_OK && i < t->nparts; i++)
            PTQ_TRY(ptq_team_broadcast(t->team, last, t->parts[i].p, t->parts[i].n));
        s = hear(&w);
    }
    return s;
}

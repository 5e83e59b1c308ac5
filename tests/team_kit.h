/* SPDX-License-Identifier: Apache-2.0 */
/* A team of threads of this process: bytes go through queues. */
#ifndef PTQ_TESTS_TEAM_KIT_H
#define PTQ_TESTS_TEAM_KIT_H

#include <pthread.h>
#include <ptq/team.h>

#include "tests/unit.h"

enum { KIT_RANKS = 8 };

typedef struct kit_pipe { /* from one rank to another */
    char *p;
    size_t n, cap;
} kit_pipe;

typedef struct kit_hub {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    kit_pipe pipe[KIT_RANKS][KIT_RANKS];
    int ranks;
} kit_hub;

typedef struct kit_member {
    kit_hub *hub;
    ptq_team team;
    void (*work)(void *ctx, const ptq_team *t);
    void *ctx;
} kit_member;

static inline ptq_status kit_send(void *ctx, int to, const void *data, size_t n)
{
    const kit_member *m = ctx;
    pthread_mutex_lock(&m->hub->lock);
    kit_pipe *q = &m->hub->pipe[m->team.rank][to];
    if (q->n + n > q->cap) {
        q->cap = 2 * (q->n + n);
        q->p = realloc(q->p, q->cap);
    }
    if (q->p && n)
        memcpy(q->p + q->n, data, n);
    q->n += n;
    pthread_cond_broadcast(&m->hub->moved);
    pthread_mutex_unlock(&m->hub->lock);
    return q->p || n == 0 ? PTQ_OK : ptq_fail_nomem();
}

static inline ptq_status kit_receive(void *ctx, int from, void *data, size_t n)
{
    const kit_member *m = ctx;
    pthread_mutex_lock(&m->hub->lock);
    kit_pipe *q = &m->hub->pipe[from][m->team.rank];
    while (q->n < n)
        pthread_cond_wait(&m->hub->moved, &m->hub->lock);
    if (n) {
        memcpy(data, q->p, n);
        memmove(q->p, q->p + n, q->n - n);
    }
    q->n -= n;
    pthread_mutex_unlock(&m->hub->lock);
    return PTQ_OK;
}

static inline void *kit_thread(void *arg)
{
    kit_member *m = arg;
    m->work(m->ctx, &m->team);
    return NULL;
}

/* work(ctx, team) in as many threads; afterwards nothing may be left in the queues. */
static inline void kit_team(int ranks, void (*work)(void *ctx, const ptq_team *t), void *ctx)
{
    static kit_hub hub;
    pthread_t thread[KIT_RANKS];
    kit_member member[KIT_RANKS];
    hub = (kit_hub){.ranks = ranks};
    pthread_mutex_init(&hub.lock, NULL);
    pthread_cond_init(&hub.moved, NULL);
    for (int r = 0; r < ranks; r++) {
        member[r] = (kit_member){&hub, PTQ_TEAM_INIT, work, ctx};
        member[r].team.rank = r;
        member[r].team.ranks = ranks;
        member[r].team.send = kit_send;
        member[r].team.receive = kit_receive;
        member[r].team.ctx = &member[r];
        ck_assert_int_eq(pthread_create(&thread[r], NULL, kit_thread, &member[r]), 0);
    }
    for (int r = 0; r < ranks; r++)
        pthread_join(thread[r], NULL);
    for (int i = 0; i < KIT_RANKS; i++)
        for (int k = 0; k < KIT_RANKS; k++) {
            ck_assert_uint_eq(hub.pipe[i][k].n, 0);
            free(hub.pipe[i][k].p);
        }
    pthread_mutex_destroy(&hub.lock);
    pthread_cond_destroy(&hub.moved);
}

#endif

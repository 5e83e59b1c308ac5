/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/core/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct job {
    ptq_task_fn fn;
    void *arg;
    size_t n;
    atomic_size_t next;
    atomic_bool failed;
    pthread_mutex_t lock; /* guards the three below */
    size_t fail_at;
    ptq_status status;
    char text[2048];
} job;

typedef struct worker {
    ptq_pool *pool;
    int index;
    pthread_t thread;
} worker;

struct ptq_pool {
    int threads; /* including the caller */
    worker *workers;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    job *current;
    _Atomic uint64_t serial; /* counts jobs, so that a worker runs each once */
    atomic_int active;
    int asleep;   /* workers in wake: they alone need a signal */
    bool waiting; /* the caller, in idle */
    int spins;
    atomic_bool stop;
    atomic_flag busy; /* a second caller runs serially instead of waiting */
};

static _Thread_local bool inside_task;

/* Waking a sleeping thread takes longer than many a step of a small model, so both sides look
 * for a while before they sleep: about 50 us. Not when threads outnumber processors. */
enum { SPINS = 2000 };

static void pause_thread(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(job *j, int index)
{
    inside_task = true;
    for (size_t i; (i = atomic_fetch_add(&j->next, 1)) < j->n;) {
        if (atomic_load(&j->failed))
            continue;
        ptq_status s = j->fn(j->arg, i, index);
        if (s == PTQ_OK)
            continue;
        pthread_mutex_lock(&j->lock);
        if (!atomic_load(&j->failed) || i < j->fail_at) {
            j->fail_at = i;
            j->status = s;
            snprintf(j->text, sizeof j->text, "%s", ptq_last_error());
        }
        atomic_store(&j->failed, true);
        pthread_mutex_unlock(&j->lock);
    }
    inside_task = false;
}

static void *worker_main(void *p)
{
    worker *w = p;
    ptq_pool *pool = w->pool;
    uint64_t seen = 0;
    for (;;) {
        for (int i = 0; i < pool->spins && atomic_load(&pool->serial) == seen && !atomic_load(&pool->stop); i++)
            pause_thread();
        pthread_mutex_lock(&pool->lock);
        while (!pool->stop && (!pool->current || pool->serial == seen)) {
            seen = pool->serial; /* a job that is over by now */
            pool->asleep++;
            pthread_cond_wait(&pool->wake, &pool->lock);
            pool->asleep--;
        }
        if (pool->stop)
            break;
        seen = pool->serial;
        job *j = pool->current;
        pool->active++;
        pthread_mutex_unlock(&pool->lock);
        work(j, w->index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->active == 0 && pool->waiting)
            pthread_cond_signal(&pool->idle);
        pthread_mutex_unlock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

ptq_status ptq_pool_new(int threads, ptq_pool **out)
{
    if (threads <= 0) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        threads = n > 0 ? (int)n : 1;
    }
    if (threads > 1024)
        threads = 1024;
    ptq_pool *p = calloc(1, sizeof *p);
    worker *w = calloc((size_t)threads, sizeof *w);
    if (!p || !w) {
        free(p);
        free(w);
        return ptq_fail_nomem();
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->idle, NULL);
    atomic_flag_clear(&p->busy);
    p->workers = w;
    p->threads = 1;
    p->spins = threads <= sysconf(_SC_NPROCESSORS_ONLN) ? SPINS : 0;
    for (int i = 1; i < threads; i++) {
        w[i] = (worker){.pool = p, .index = i};
        if (pthread_create(&w[i].thread, NULL, worker_main, &w[i]) != 0) {
            ptq_log(PTQ_LOG_WARN, "only %d of %d threads could be started", i, threads);
            break;
        }
        p->threads++;
    }
    *out = p;
    return PTQ_OK;
}

void ptq_pool_free(ptq_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->idle);
    pthread_mutex_destroy(&p->lock);
    free(p->workers);
    free(p);
}

int ptq_pool_threads(const ptq_pool *p)
{
    return p ? p->threads : 1;
}

static ptq_status run_serial(size_t n, ptq_task_fn fn, void *arg)
{
    for (size_t i = 0; i < n; i++)
        PTQ_TRY(fn(arg, i, 0));
    return PTQ_OK;
}

ptq_status ptq_pool_for(ptq_pool *p, size_t n, ptq_task_fn fn, void *arg)
{
    if (!p || p->threads == 1 || n <= 1 || inside_task)
        return run_serial(n, fn, arg);
    if (atomic_flag_test_and_set(&p->busy))
        return run_serial(n, fn, arg);

    job j = {.fn = fn, .arg = arg, .n = n};
    pthread_mutex_init(&j.lock, NULL);
    pthread_mutex_lock(&p->lock);
    p->current = &j;
    p->serial++;
    if (p->asleep > 0)
        pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);

    work(&j, 0);

    pthread_mutex_lock(&p->lock);
    p->current = NULL; /* no worker may enter the job from here on */
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->spins && atomic_load(&p->active) > 0; i++)
        pause_thread();
    pthread_mutex_lock(&p->lock); /* the last worker may still hold it */
    p->waiting = true;
    while (p->active > 0)
        pthread_cond_wait(&p->idle, &p->lock);
    p->waiting = false;
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_destroy(&j.lock);
    atomic_flag_clear(&p->busy);

    if (atomic_load(&j.failed))
        return ptq_fail(j.status, "%s", j.text);
    return PTQ_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SILENCE_MS = 60 * 1000 };
/* What the child may add to the address space that it inherits. */
#define CHILD_MEMORY ((rlim_t)3 << 30)
#define MESSAGE_MAX ((uint64_t)2 << 30)

struct ptq_worker {
    pthread_mutex_t lock;
    int fd; /* -1 once the child is gone */
    pid_t pid;
    char ended[96]; /* why */
};

/* Head of a request (status unused) and of a reply (n: text of the failure, or the answer). */
typedef struct head {
    int64_t status;
    uint64_t n;
} head;

void *ptq_bytes_room(ptq_bytes *b, size_t n)
{
    size_t need;
    if (b->failed || !ptq_add_size(b->n, n, &need) || need > SIZE_MAX / 2) {
        b->failed = true;
        return NULL;
    }
    if (need > b->cap || !b->data) {
        size_t cap = need < 4096 ? 4096 : need + need / 2;
        uint8_t *p = realloc(b->data, cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->data = p;
        b->cap = cap;
    }
    void *room = b->data + b->n;
    b->n = need;
    return room;
}

void ptq_bytes_add(ptq_bytes *b, const void *data, size_t n)
{
    void *room = ptq_bytes_room(b, n);
    if (room && n)
        memcpy(room, data, n);
}

static bool send_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* timeout_ms < 0: none. errno is ETIMEDOUT when the other side stays silent, 0 at its end. */
static bool recv_all(int fd, void *data, size_t n, int timeout_ms)
{
    char *p = data;
    while (n) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int ready = poll(&poll_fd, 1, timeout_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            errno = ETIMEDOUT;
        if (ready <= 0)
            return false;
        ssize_t r = recv(fd, p, n, 0);
        if (r < 0 && errno == EINTR)
            continue;
        if (r == 0)
            errno = 0;
        if (r <= 0)
            return false;
        p += r;
        n -= (size_t)r;
    }
    return true;
}

static void close_from(unsigned first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0u, 0) == 0)
        return;
#endif
    for (int fd = (int)first; fd < 4096; fd++)
        close(fd);
}

static void limit(int what, rlim_t value)
{
    struct rlimit r = {value, value};
    setrlimit((__rlimit_resource_t)what, &r); /* best effort: a lower limit may stand already */
}

static void limit_memory(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    char text[64] = "";
    int fd = open("/proc/self/statm", O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n > 0)
        limit(RLIMIT_AS, (rlim_t)strtoull(text, NULL, 10) * (rlim_t)getpagesize() + CHILD_MEMORY);
#endif
}

/* Keeps only the socket, as descriptor 3, and gives up what a hijacked reader could use. */
static void confine(int fd, bool may_write)
{
    static const int plain[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTERM};
    for (size_t i = 0; i < PTQ_COUNT(plain); i++)
        sigaction(plain[i], &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    /* Ctrl-C is for the parent, which may still want the sample it is waiting for. */
    sigaction(SIGINT, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    if (may_write) /* a file size limit is an error of write(), not the end */
        sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        if (null >= 0 && i != fd)
            dup2(null, i);
    if (fd != 3)
        dup2(fd, 3);
    close_from(4);
    prctl(PR_SET_NAME, "ptq-reader");
    prctl(PR_SET_DUMPABLE, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, 32);
    if (!may_write)
        limit(RLIMIT_FSIZE, 0);
    limit_memory();
}

static void serve_forever(ptq_serve_fn serve, void *state)
{
    const int fd = 3;
    for (;;) {
        head h;
        ptq_bytes request = {0}, reply = {0};
        if (!recv_all(fd, &h, sizeof h, -1))
            _exit(0);
        void *room = ptq_bytes_room(&request, h.n);
        if (!room || !recv_all(fd, room, h.n, -1))
            _exit(1);
        ptq_status s = serve(state, request.data, request.n, &reply);
        if (s == PTQ_OK && reply.failed)
            s = ptq_fail_nomem();
        if (s != PTQ_OK) {
            reply.n = 0;
            reply.failed = false;
            ptq_bytes_add(&reply, ptq_last_error(), strlen(ptq_last_error()) + 1);
        }
        h = (head){.status = (int64_t)s, .n = reply.n};
        if (!send_all(fd, &h, sizeof h) || !send_all(fd, reply.data, reply.n))
            _exit(0);
        free(request.data);
        free(reply.data);
    }
}

ptq_status ptq_worker_start(ptq_serve_fn serve, void *state, bool may_write, ptq_worker **out)
{
    int fds[2];
    ptq_worker *w = ptq_calloc(1, sizeof *w);
    if (!w)
        return ptq_fail_nomem();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        free(w);
        return ptq_fail(PTQ_ERR_IO, "cannot create a socket pair: %s", strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) {
        confine(fds[1], may_write);
        serve_forever(serve, state);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        free(w);
        return ptq_fail(PTQ_ERR_IO, "cannot start a child process: %s", strerror(errno));
    }
    pthread_mutex_init(&w->lock, NULL);
    w->fd = fds[0];
    w->pid = pid;
    *out = w;
    return PTQ_OK;
}

/* Ends the child; notes how it ended. `by_us`: it did nothing wrong or only took too long. */
static void reap(ptq_worker *w, const char *why)
{
    int status = 0;
    pid_t r;
    if (w->fd < 0)
        return;
    if (why)
        kill(w->pid, SIGKILL);
    close(w->fd);
    w->fd = -1;
    do
        r = waitpid(w->pid, &status, 0);
    while (r < 0 && errno == EINTR);
    if (why)
        snprintf(w->ended, sizeof w->ended, "%s", why);
    else if (r == w->pid && WIFSIGNALED(status))
        snprintf(w->ended, sizeof w->ended, "the reader crashed on it (signal %d)",
                 WTERMSIG(status));
    else
        snprintf(w->ended, sizeof w->ended, "the reader ended early");
}

static ptq_status exchange(ptq_worker *w, const void *request, size_t n, uint8_t **reply,
                           size_t *n_reply)
{
    head h = {.n = n};
    uint8_t *bytes = NULL;
    if (w->fd < 0)
        return ptq_fail(PTQ_ERR_DATA, "damaged file: %s", w->ended);
    bool ok = send_all(w->fd, &h, sizeof h) && send_all(w->fd, request, n);
    errno = 0;
    ok = ok && recv_all(w->fd, &h, sizeof h, SILENCE_MS);
    if (ok && h.n > MESSAGE_MAX) {
        reap(w, "the reader's answer makes no sense");
        return ptq_fail(PTQ_ERR_DATA, "damaged file: %s", w->ended);
    }
    if (ok) {
        bytes = malloc(h.n + 1);
        if (!bytes) {
            reap(w, "out of memory for its answer");
            return ptq_fail_nomem();
        }
        ok = recv_all(w->fd, bytes, h.n, SILENCE_MS);
    }
    if (!ok) {
        reap(w, errno == ETIMEDOUT ? "no answer from the reader for a minute" : NULL);
        free(bytes);
        return ptq_fail(PTQ_ERR_DATA, "damaged file: %s", w->ended);
    }
    bytes[h.n] = '\0';
    if (h.status != PTQ_OK) {
        ptq_status s = h.status < 0 && h.status >= PTQ_ERR_INTERRUPTED ? (ptq_status)h.status
                                                                        : PTQ_ERR_DATA;
        ptq_fail(s, "%s", (const char *)bytes);
        free(bytes);
        return s;
    }
    *reply = bytes;
    *n_reply = h.n;
    return PTQ_OK;
}

ptq_status ptq_worker_call(ptq_worker *w, const void *request, size_t n, uint8_t **reply,
                           size_t *n_reply)
{
    pthread_mutex_lock(&w->lock);
    ptq_status s = exchange(w, request, n, reply, n_reply);
    pthread_mutex_unlock(&w->lock);
    return s;
}

void ptq_worker_stop(ptq_worker *w)
{
    if (!w)
        return;
    reap(w, "stopped");
    pthread_mutex_destroy(&w->lock);
    free(w);
}

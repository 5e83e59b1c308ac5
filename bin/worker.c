/* SPDX-License-Identifier: Apache-2.0 */
#include "bin/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t child;

/* A terminal sends its signals to both processes, kill(1) only to the one that it names. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (child > 0 && info->si_code <= 0)
        kill((pid_t)child, sig);
}

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 9;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

bool worker_run(int (*work)(void *ctx), void *ctx, int *code)
{
    struct sigaction sa = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO}, old_int, old_term;
    sigset_t stop, before;
    sigemptyset(&sa.sa_mask);
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    fflush(NULL); /* what is buffered would be written twice */
    sigprocmask(SIG_BLOCK, &stop, &before); /* none is lost between fork and the handler */
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* it does not outlive the one that waits for it */
        sigprocmask(SIG_SETMASK, &before, NULL);
        int rc = work(ctx);
        fflush(NULL);
        _exit(rc);
    }
    if (pid > 0) {
        child = (sig_atomic_t)pid;
        sigaction(SIGINT, &sa, &old_int);
        sigaction(SIGTERM, &sa, &old_term);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return false;
    *code = wait_for(pid);
    child = 0;
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    return true;
}

static bool crashed(int code)
{
    return code == -SIGSEGV || code == -SIGBUS || code == -SIGABRT || code == -SIGILL || code == -SIGFPE;
}

int worker_with_fallback(const worker_job *j)
{
    enum { DEVICE = 8 };
    int code;
    if (worker_run(j->on_device, j->ctx, &code)) {
        if (code != DEVICE && !crashed(code))
            return code >= 0 ? code : 128 - code; /* as a shell tells signals */
        j->failed(j->ctx, code);
    }
    return j->on_cpu(j->ctx);
}

bool worker_gpu_likely(void)
{
    return access("/dev/nvidiactl", F_OK) == 0 || access("/dev/nvidia0", F_OK) == 0 || access("/dev/dxg", F_OK) == 0;
}

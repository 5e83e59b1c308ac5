/* SPDX-License-Identifier: Apache-2.0 */
/* A team over MPI. MPI waits by spinning; here every wait sleeps between two looks, so that processes that share
 * a machine leave it to those that compute. */
#include "bin/team.h"

#include <fcntl.h>
#include <limits.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DATA = 1, FOLLOW = 2 }; /* tags */

static ptq_team team = PTQ_TEAM_INIT;
static int told = STDERR_FILENO; /* where an error goes that only this process has met */

static ptq_status wait_for(MPI_Request *r)
{
    struct timespec pause = {0, 20 * 1000};
    for (int done = 0;;) {
        if (MPI_Test(r, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS)
            return PTQ_ERR_IO;
        if (done)
            return PTQ_OK;
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 1000 * 1000)
            pause.tv_nsec += pause.tv_nsec / 4;
    }
}

static ptq_status move(bool out, int other, void *data, size_t n, int tag)
{
    char *p = data;
    do { /* counts are int */
        const int part = n < (1 << 30) ? (int)n : 1 << 30;
        MPI_Request r;
        int rc = out ? MPI_Isend(p, part, MPI_BYTE, other, tag, MPI_COMM_WORLD, &r)
                     : MPI_Irecv(p, part, MPI_BYTE, other, tag, MPI_COMM_WORLD, &r);
        if (rc != MPI_SUCCESS || wait_for(&r) != PTQ_OK)
            return PTQ_ERR_IO;
        p += part;
        n -= (size_t)part;
    } while (n > 0);
    return PTQ_OK;
}

static ptq_status send_bytes(void *ctx, int to, const void *data, size_t n)
{
    (void)ctx;
    return move(true, to, (void *)(uintptr_t)data, n, DATA);
}

static ptq_status receive_bytes(void *ctx, int from, void *data, size_t n)
{
    (void)ctx;
    return move(false, from, data, n, DATA);
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        return; /* there is nobody else to tell */
}

void team_abort(const ptq_team *t, int code, const char *text)
{
    if (!t)
        return;
    if (t->rank > 0) {
        if (sleep(3) > 0) /* the first has ended us */
            _exit(code);
        say(told, text);
    }
    MPI_Abort(MPI_COMM_WORLD, code);
    _exit(code);
}

/* One job has one command line; processes that happen to be started together are not a team. */
static void check_arguments(int argc, char **argv)
{
    uint64_t h = 14695981039346656037u, first;
    for (int i = 1; i < argc; i++)
        for (const char *p = argv[i];; p++) {
            h = (h ^ (unsigned char)*p) * 1099511628211u;
            if (!*p)
                break;
        }
    first = h;
    MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    if (first != h)
        team_abort(&team, 2, "error: the processes of an MPI job want one command line; start different ones apart\n");
}

static bool launched(void)
{
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
    const char *wanted = getenv("PTQ_MPI");
    for (size_t i = 0; i < sizeof marks / sizeof marks[0] && !(wanted && strcmp(wanted, "0") == 0); i++)
        if (getenv(marks[i]))
            return true;
    return false;
}

static void be_quiet(void)
{
    told = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
}

const ptq_team *team_start(int argc, char **argv)
{
    int level;
    if (!launched() || MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS)
        return NULL;
    MPI_Comm_rank(MPI_COMM_WORLD, &team.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &team.ranks);
    team.send = send_bytes;
    team.receive = receive_bytes;
    if (team.rank > 0)
        be_quiet();
    check_arguments(argc, argv);
    return &team;
}

ptq_status team_follow(const ptq_team *t)
{
    char here = 1;
    if (!t)
        return PTQ_OK;
    if (t->rank > 0)
        return move(false, 0, &here, 1, FOLLOW);
    for (int r = 1; r < t->ranks; r++)
        if (move(true, r, &here, 1, FOLLOW) != PTQ_OK)
            return PTQ_ERR_IO;
    return PTQ_OK;
}

int team_end(const ptq_team *t, int code)
{
    if (!t)
        return code;
    team_follow(t);
    MPI_Finalize();
    return code;
}

void team_library(char *text, size_t n)
{
    char all[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length;
    if (MPI_Get_library_version(all, &length) != MPI_SUCCESS || !*all)
        snprintf(all, sizeof all, "MPI");
    all[strcspn(all, ",\n")] = '\0'; /* who built it and when come after that */
    for (char *c = all; *c; c++)
        if (*c == '\t') /* MPICH sets its version in columns */
            *c = ' ';
    snprintf(text, n, "%s", all);
}

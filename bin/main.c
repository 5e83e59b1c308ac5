/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/cmd.h"
#include "bin/worker.h"

/* The first signal asks the loops to stop at the next sample; a second one ends the process, and
 * a temporary file may stay behind then. */
static void on_signal(int sig)
{
    if (cmd_interrupted) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
    cmd_interrupted = 1;
}

static void on_log(void *ctx, ptq_log_level level, const char *text)
{
    static const char *const names[] = {"error", "warning", "note", "debug"};
    char kind[16];
    (void)ctx;
    snprintf(kind, sizeof kind, "%s: ", names[level]);
    cmd_line(kind, text);
}

/* The number of a closed stream would go to the next file that is opened, and messages into it. */
static void keep_streams(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd > STDERR_FILENO)
        close(fd);
}

static ptq_status dispatch(const args *a)
{
    static const struct {
        char letter;
        ptq_status (*run)(const args *a);
    } rows[] = {
        {'r', cmd_run},  {'i', cmd_inspect}, {'c', cmd_calibrate}, {'m', cmd_merge},
        {'e', cmd_eval}, {'p', cmd_compare}, {'b', cmd_backends},
        {'l', cmd_build}, {'h', cmd_bench},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].letter == a->verb->letter)
            return rows[i].run(a);
    return PTQ_ERR_INTERNAL;
}

static int work(const args *a)
{
    ptq_status s = dispatch(a);
    return s == PTQ_OK ? 0 : cmd_fail(s);
}

/* ---- --backend auto ---- */

typedef struct automatic {
    args *a;
    const char *out[3];
    bool was_there[3];
} automatic;

static bool cuda_works(void)
{
    const char *name;
    char text[256];
    bool works;
    for (size_t i = 0; ptq_backend_info(i, &name, text, sizeof text, &works); i++)
        if (strcmp(name, "cuda") == 0)
            return works;
    return false;
}

static int on_device(void *ctx)
{
    automatic *j = ctx;
    j->a->backend = cuda_works() ? "cuda" : "cpu";
    return work(j->a);
}

static int on_cpu(void *ctx)
{
    automatic *j = ctx;
    j->a->backend = "cpu";
    return work(j->a);
}

/* Are the numbers those of the CPU? */
static bool args_exact(const args *a)
{
    return !a->fast_math && !(a->precision && strcmp(a->precision, "fp16") == 0);
}

/* What the child has written is made again. */
static void device_failed(void *ctx, int code)
{
    automatic *j = ctx;
    char text[160];
    snprintf(text, sizeof text, "the GPU%s; the work is done again on the CPU, with %s numbers",
             code > 0 ? " failed" : "'s driver crashed", args_exact(j->a) ? "the same" : "exact");
    cmd_line("warning: ", text);
    for (size_t i = 0; i < sizeof j->out / sizeof j->out[0]; i++)
        if (j->out[i] && !j->was_there[i] && !j->a->resume)
            unlink(j->out[i]);
}

/* The GPU where there is one, in a process of its own; a team's processes have none. */
static int run_automatic(args *a)
{
    if (cmd_team) {
        a->backend = "cpu";
        return work(a);
    }
    automatic j = {.a = a, .out = {a->out, a->save_stats, a->dump_params}};
    for (size_t i = 0; i < sizeof j.out / sizeof j.out[0]; i++)
        j.was_there[i] = j.out[i] && access(j.out[i], F_OK) == 0;
    if (!worker_gpu_likely())
        return on_cpu(&j);
    return worker_with_fallback(&(worker_job){on_device, on_cpu, device_failed, &j});
}

static bool wants_auto(const args *a)
{
    return strchr("rcep", a->verb->letter) && (!a->backend || strcmp(a->backend, "auto") == 0);
}

/* Several processes that do not know each other would all do the whole job, and write one file. */
static void tell_apart(const args *a)
{
    static const struct {
        const char *count, *rank;
    } launchers[] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};
    char text[256];
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0] && !cmd_team && !a->shard; i++) {
        const char *n = getenv(launchers[i].count), *rank = getenv(launchers[i].rank);
        if (!n || !rank || strcmp(n, "1") == 0 || strcmp(rank, "0") != 0)
            continue;
        snprintf(text, sizeof text, "each of %.20s processes does this job alone: they are no team without MPI in the build "
                 "(./configure --with-mpi) and in the launcher (mpirun, srun --mpi=pmix)", n);
        cmd_line("warning: ", text);
        return;
    }
}

int main(int argc, char **argv)
{
    args a;
    int code;
    keep_streams();
    cmd_team = team_start(argc, argv);
    if (args_parse(argc, argv, &a, &code))
        return team_end(cmd_team, cmd_flush() == PTQ_OK ? code : cmd_fail(PTQ_ERR_IO));
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write() */
    ptq_set_log(on_log, NULL, a.quiet ? PTQ_LOG_ERROR : a.verbose > 1 ? PTQ_LOG_DEBUG : a.verbose ? PTQ_LOG_INFO : PTQ_LOG_WARN);
    if (strchr("rcep", a.verb->letter))
        tell_apart(&a);
    if (!cmd_is_first() && !strchr("rcep", a.verb->letter)) /* for one process alone */
        return team_end(cmd_team, 0);
    return team_end(cmd_team, wants_auto(&a) ? run_automatic(&a) : work(&a));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Work in a child: exit codes, crashes, signals, and the second try on the CPU. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bin/worker.h"
#include "tests/unit.h"

typedef struct job {
    int device, cpu; /* exit codes; below 0: that signal */
    int told, tries; /* what failed() heard, how often on_cpu ran */
} job;

static int end_as(int code)
{
    if (code < 0) {
        signal(-code, SIG_DFL);
        raise(-code);
    }
    return code;
}

static int device(void *ctx)
{
    job *j = ctx;
    j->tries += 100; /* not seen by the parent */
    return end_as(j->device);
}

static int cpu(void *ctx)
{
    job *j = ctx;
    j->tries++;
    return j->cpu;
}

static void failed(void *ctx, int code)
{
    ((job *)ctx)->told = code;
}

static const struct {
    int device, cpu, code, told, tries;
} rows[] = {
    {0, 9, 0, 0, 0},   {1, 9, 1, 0, 0},    {7, 9, 7, 0, 0},         {130, 9, 130, 0, 0},
    {8, 0, 0, 8, 1},   {8, 4, 4, 8, 1},    {-SIGSEGV, 0, 0, -SIGSEGV, 1}, {-SIGABRT, 3, 3, -SIGABRT, 1},
    {-SIGKILL, 0, 128 + SIGKILL, 0, 0},    {-SIGTERM, 0, 128 + SIGTERM, 0, 0},
};

START_TEST(worker__second_try)
{
    job j = {.device = rows[_i].device, .cpu = rows[_i].cpu};
    ck_assert_int_eq(worker_with_fallback(&(worker_job){device, cpu, failed, &j}), rows[_i].code);
    ck_assert_int_eq(j.told, rows[_i].told);
    ck_assert_int_eq(j.tries, rows[_i].tries);
}
END_TEST

static volatile sig_atomic_t asked;

static void note(int sig)
{
    asked = sig;
}

static int until_asked(void *ctx)
{
    (void)ctx;
    signal(SIGTERM, note);
    kill(getppid(), SIGTERM); /* as kill(1) would: the parent alone gets it */
    for (int i = 0; i < 500 && !asked; i++)
        usleep(10000);
    return asked == SIGTERM ? 130 : 1;
}

START_TEST(worker__signals_are_passed_on)
{
    int code;
    ck_assert(worker_run(until_asked, NULL, &code));
    ck_assert_int_eq(code, 130);
}
END_TEST

static int print(void *ctx)
{
    printf("%s", (const char *)ctx);
    return 0;
}

START_TEST(worker__nothing_is_written_twice)
{
    int fd[2], keep = dup(STDOUT_FILENO), code;
    char text[64] = "", within[] = "within ";
    ck_assert_int_eq(pipe(fd), 0);
    fflush(stdout);
    dup2(fd[1], STDOUT_FILENO);
    printf("before ");
    ck_assert(worker_run(print, within, &code));
    printf("after");
    fflush(stdout);
    dup2(keep, STDOUT_FILENO);
    close(fd[1]);
    ck_assert_int_gt(read(fd[0], text, sizeof text - 1), 0);
    ck_assert_str_eq(text, "before within after");
    close(fd[0]);
    close(keep);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bin_worker");
    TCase *t = tcase_create("worker");
    tcase_add_loop_test(t, worker__second_try, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(t, worker__signals_are_passed_on);
    tcase_add_test(t, worker__nothing_is_written_twice);
    suite_add_tcase(s, t);
    return unit_run(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the ONNX backend node tests on the CPU backend.
 * conformance [-v] [-k TEXT] [--floor N] FOLDER [--floor N FOLDER]...   (folders of tests)
 *   -v  each test with the reason        -k  only tests whose name holds TEXT
 *   --floor  fewer passes of the next folder are a failure
 * Each test runs in a process of its own, so that a crash or a hang is one failure. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/conformance.h"

enum { SECONDS = 60, MAX_OPS = 600 };

typedef struct tally {
    char op[96];
    bool listed;
    int count[CONF_VERDICTS];
} tally;

typedef struct state {
    bool verbose;
    const char *only;
    tally ops[MAX_OPS];
    int nops;
    int total[CONF_VERDICTS], listed[CONF_VERDICTS];
} state;

static tally *find_tally(state *s, const char *op)
{
    for (int i = 0; i < s->nops; i++)
        if (strcmp(s->ops[i].op, op) == 0)
            return &s->ops[i];
    tally *t = &s->ops[s->nops < MAX_OPS - 1 ? s->nops++ : s->nops];
    snprintf(t->op, sizeof t->op, "%s", op);
    return t;
}

/* What the child wrote before it ended, or how it ended. */
static void collect(pid_t child, int fd, conf_result *out)
{
    size_t have = 0;
    ssize_t n = 0;
    int status = 0;
    do {
        n = read(fd, (char *)out + have, sizeof *out - have);
        have += n > 0 ? (size_t)n : 0;
    } while (have < sizeof *out && (n > 0 || (n < 0 && errno == EINTR)));
    close(fd);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (have == sizeof *out && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    *out = (conf_result){.verdict = CONF_FAILED};
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(out->why, sizeof out->why, "took more than %d s", SECONDS);
    else
        snprintf(out->why, sizeof out->why, "died (status %d)", status);
}

static void run_apart(const char *dir, conf_result *out)
{
    int fd[2];
    pid_t child = -1;
    if (pipe(fd) == 0)
        child = fork();
    if (child == 0) {
        close(fd[0]);
        alarm(SECONDS);
        conf_run(dir, out);
        bool sent = write(fd[1], out, sizeof *out) == (ssize_t)sizeof *out;
        _exit(sent ? 0 : 1);
    }
    if (child < 0) {
        perror("conformance");
        exit(99);
    }
    close(fd[1]);
    collect(child, fd[0], out);
}

static void run_test(state *s, const char *folder, const char *name)
{
    static const char *const words[] = {"passed", "not supported", "FAILED"};
    char dir[1024], op[96];
    bool listed;
    conf_result r = {0};
    snprintf(dir, sizeof dir, "%s/%s", folder, name);
    conf_operator(dir, op, sizeof op, &listed);
    run_apart(dir, &r);
    tally *t = find_tally(s, op);
    t->listed = listed;
    t->count[r.verdict]++;
    s->total[r.verdict]++;
    if (listed)
        s->listed[r.verdict]++;
    if (s->verbose || r.verdict == CONF_FAILED)
        printf("%s: %s%s%s\n", name, words[r.verdict], *r.why ? ": " : "", r.why);
    fflush(stdout);
}

/* onnx 1.19 mended the function of Attention 23 (heads of rank-3 inputs, repeated heads): what 1.18 has as
 * its results is not what the operator is. The mended tests are written for opset 24. */
static bool wrong_data(const char *name)
{
    static const char *const first[] = {"test_attention_3d", "test_attention_4d_gqa"};
    for (size_t i = 0; i < PTQ_COUNT(first); i++)
        if (strncmp(name, first[i], strlen(first[i])) == 0 && !strstr(name, "_expanded"))
            return true;
    return false;
}

static int is_test(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

/* False: it cannot be read, or fewer than `least` tests passed. */
static bool run_folder(state *s, const char *folder, int least)
{
    struct dirent **names;
    int before = s->total[CONF_PASSED], wrong = 0;
    int n = scandir(folder, &names, is_test, alphasort);
    if (n < 0) {
        fprintf(stderr, "conformance: %s: %s\n", folder, strerror(errno));
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (wrong_data(names[i]->d_name))
            wrong++;
        else if (!s->only || strstr(names[i]->d_name, s->only))
            run_test(s, folder, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    int passed = s->total[CONF_PASSED] - before;
    printf("%s: %d passed\n", folder, passed);
    if (wrong)
        printf("left out: %d tests of Attention whose data later editions of onnx have mended\n", wrong);
    if (passed < least)
        printf("FAILED: at least %d of these tests must pass\n", least);
    return passed >= least;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tally *)a)->op, ((const tally *)b)->op);
}

static void print_tallies(state *s)
{
    qsort(s->ops, (size_t)s->nops, sizeof *s->ops, by_name);
    printf("%-40s %6s %13s %6s\n", "operator", "passed", "not supported", "failed");
    for (int i = 0; i < s->nops; i++) {
        const tally *t = &s->ops[i];
        printf("%-40s %6d %13d %6d%s\n", t->op, t->count[CONF_PASSED], t->count[CONF_UNSUPPORTED],
               t->count[CONF_FAILED], t->listed ? "" : "   (not listed)");
    }
    int all = s->listed[CONF_PASSED] + s->listed[CONF_UNSUPPORTED] + s->listed[CONF_FAILED];
    printf("of listed operators: %d of %d passed (%.1f %%)\n", s->listed[CONF_PASSED], all,
           all ? 100.0 * s->listed[CONF_PASSED] / all : 0.0);
}

/* The option at argv[*a], with its argument; false when there is none such. */
static bool read_option(state *s, int argc, char **argv, int *a, int *least)
{
    bool more = *a + 1 < argc;
    if (!strcmp(argv[*a], "-v"))
        s->verbose = true;
    else if (!strcmp(argv[*a], "-k") && more)
        s->only = argv[++*a];
    else if (!strcmp(argv[*a], "--floor") && more)
        *least = atoi(argv[++*a]);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static state s;
    int least = 0, folders = 0;
    bool good = true;
    for (int a = 1; a < argc; a++) {
        if (argv[a][0] != '-') {
            good = run_folder(&s, argv[a], s.only ? 0 : least) && good;
            folders++;
            least = 0;
        } else if (!read_option(&s, argc, argv, &a, &least)) {
            folders = 0;
            break;
        }
    }
    if (!folders) {
        fprintf(stderr, "usage: conformance [-v] [-k TEXT] [--floor N] FOLDER...\n");
        return 2;
    }
    print_tallies(&s);
    printf("conformance: %d passed, %d not supported, %d failed\n", s.total[CONF_PASSED],
           s.total[CONF_UNSUPPORTED], s.total[CONF_FAILED]);
    return s.total[CONF_FAILED] > 0 || !good;
}

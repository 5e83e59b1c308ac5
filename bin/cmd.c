/* SPDX-License-Identifier: Apache-2.0 */
#include "bin/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

volatile int cmd_interrupted;
const ptq_team *cmd_team;

static char own_error[1024];

ptq_status cmd_error(ptq_status s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(own_error, sizeof own_error, fmt, ap);
    va_end(ap);
    return s;
}

/* Names of files and of models are in it: no byte of them may move the cursor. */
void cmd_line(const char *kind, const char *text)
{
    fputs(kind, stderr);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool c1 = *p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        fputc(*p < 0x20 || *p == 0x7f || c1 ? '?' : *p, stderr);
        p += c1;
    }
    fputc('\n', stderr);
}

int cmd_fail(ptq_status s)
{
    if (s == PTQ_ERR_GATE)
        return ptq_exit_code(s);
    const char *text = own_error[0] ? own_error : ptq_last_error();
    char line[4200];
    cmd_line("error: ", text);
    snprintf(line, sizeof line, "error: %s (process %d)\n", text, cmd_team ? cmd_team->rank : 0);
    team_abort(cmd_team, ptq_exit_code(s), line);
    return ptq_exit_code(s);
}

void cmd_say(const args *a, const char *fmt, ...)
{
    if (a->quiet)
        return;
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    cmd_line("", text);
}

void cmd_tensor_text(const ptq_tensor_info *t, char *list, size_t n)
{
    size_t at = strlen(list);
#define ADD(...) at += at < n ? (size_t)snprintf(list + at, n - at, __VA_ARGS__) : 0
    ADD("%s%s [", at ? ", " : "", t->name);
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] >= 0)
            ADD("%s%lld", i ? "," : "", (long long)t->dims[i]);
        else
            ADD("%s%s", i ? "," : "", t->dim_names[i] ? t->dim_names[i] : "?");
    }
    ADD("]");
#undef ADD
}

/* ---- files that must not be written ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Is `out` what the words "FILE", "@FILE" or "FILE:/NAME" of an input stand for? */
static bool reads(const char *input, const char *out)
{
    char file[4096];
    const char *member = input ? strstr(input, ":/") : NULL;
    if (!input)
        return false;
    snprintf(file, sizeof file, "%.*s", member ? (int)(member - input) : 0, input);
    return same_file(input, out) || (*input == '@' && same_file(input + 1, out)) || same_file(file, out);
}

static ptq_status refuse(const char *out)
{
    return cmd_error(PTQ_ERR_ARG, "%s: is an input of this job; choose another output", out);
}

ptq_status cmd_check_outputs(const args *a)
{
    const char *const outs[] = {a->out, a->dump_params, a->save_stats, a->timing_cache};
    const char *const ins[] = {a->data, a->eval, a->labels, a->stats, a->overrides};
    enum { OUTS = sizeof outs / sizeof outs[0], INS = sizeof ins / sizeof ins[0] };
    for (int o = 0; o < OUTS; o++) {
        bool clash = false;
        if (!outs[o])
            continue;
        for (int i = 0; i < a->nfiles; i++)
            clash = clash || same_file(a->files[i], outs[o]);
        for (int i = 0; i < INS; i++)
            clash = clash || reads(ins[i], outs[o]);
        for (size_t i = 0; i < a->inputs.n; i++)
            clash = clash || reads(strchr(a->inputs.v[i], '=') ? strchr(a->inputs.v[i], '=') + 1 : NULL, outs[o]);
        if (clash)
            return refuse(outs[o]);
        for (int i = 0; i < o; i++)
            if (outs[i] && (strcmp(outs[i], outs[o]) == 0 || same_file(outs[i], outs[o])))
                return cmd_error(PTQ_ERR_ARG, "%s: is named for two outputs", outs[o]);
    }
    return PTQ_OK;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_init(progress *p, const args *a)
{
    *p = (progress){.a = a, .tty = isatty(STDERR_FILENO) == 1};
}

void progress_end(progress *p)
{
    if (p->open)
        fputc('\n', stderr);
    p->open = false;
    p->what = NULL;
}

static int columns(void)
{
    struct winsize w;
    const char *env = getenv("COLUMNS");
    if (env && atoi(env) > 0)
        return atoi(env);
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
        return w.ws_col;
    return 80;
}

static void bar(const progress *p, size_t done, size_t total)
{
    enum { WIDTH = 30 };
    char cells[WIDTH + 1];
    double t = now() - p->start, rate = t > 0.0 ? (double)done / t : 0.0;
    size_t filled = total ? done * WIDTH / total : WIDTH;
    for (size_t i = 0; i < WIDTH; i++)
        cells[i] = i < filled ? '#' : ' ';
    cells[WIDTH] = '\0';
    double left = rate > 0.0 ? (double)(total - done) / rate : 0.0;
    if (columns() < 78)
        fprintf(stderr, "\r%.12s %zu/%zu", p->what, done, total);
    else
        fprintf(stderr, "\r%-17s [%s] %zu/%zu  %.1f/s  %.0f s left ", p->what, cells, done, total, rate, left);
    fflush(stderr);
}

static bool on_progress(void *ctx, const char *what, size_t done, size_t total)
{
    progress *p = ctx;
    double t = now();
    if (cmd_interrupted)
        return false;
    if (p->a->quiet || total == 0)
        return true;
    if (!p->what || strcmp(p->what, what) != 0) {
        progress_end(p);
        p->what = what;
        p->start = p->last = t;
    }
    bool end = done == total;
    if (p->tty && (end || t - p->last > 0.1 || !p->open)) {
        bar(p, done, total);
        p->open = true;
        p->last = t;
        if (end)
            progress_end(p);
    } else if (!p->tty && (t - p->last > 10.0 || end)) {
        double s = t - p->start;
        fprintf(stderr, "%s %zu/%zu  %.1f/s\n", what, done, total, s > 0.0 ? (double)done / s : 0.0);
        p->last = t;
    }
    return true;
}

/* A wrong option makes every sample a bad one: some tell enough. */
enum { BAD_SHOWN = 5 };

static void on_bad(void *ctx, size_t i, const char *why)
{
    progress *p = ctx;
    char text[2200];
    progress_end(p);
    if (++p->bad > BAD_SHOWN && !p->a->verbose)
        return;
    snprintf(text, sizeof text, "sample %zu skipped: %s%s", i, why,
             p->bad == BAD_SHOWN && !p->a->verbose ? " (further ones only with -v)" : "");
    cmd_line("warning: ", text);
}

ptq_loop_options progress_loop(progress *p, const args *a)
{
    ptq_loop_options o = PTQ_LOOP_OPTIONS_INIT;
    o.samples = (size_t)a->samples;
    o.batch = (size_t)a->batch;
    o.threads = (int)a->threads;
    o.backend = a->backend;
    o.isa = a->isa;
    o.fast_math = a->fast_math;
    o.precision = a->precision;
    o.max_bad_share = a->skip_bad > 0.0 ? a->skip_bad : -1.0; /* 0 there is the default, here none */
    o.progress = on_progress;
    o.bad_sample = on_bad;
    o.ctx = p;
    o.team = cmd_team;
    return o;
}

ptq_status cmd_open_data(const args *a, const char *path, const opt_LIST *inputs, const char *labels,
                         const ptq_model *m, ptq_data **out)
{
    ptq_data_options o = PTQ_DATA_OPTIONS_INIT;
    bool own = inputs && inputs->n;
    if (!path && !own)
        return cmd_error(PTQ_ERR_ARG, "no data: name a folder or file with -d");
    o.labels = labels;
    o.inputs = own ? inputs->v : NULL;
    o.preprocess = a->preprocess;
    o.resize = a->resize;
    o.crop = a->crop;
    o.color = a->color;
    o.scale = a->scale;
    o.mean = a->mean;
    o.std = a->std;
    o.layout = a->layout;
    o.pad = a->pad;
    TRY(ptq_data_open(path, m, &o, out));
    const char *const outs[] = {a->out, a->dump_params, a->save_stats};
    for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++)
        if (outs[i] && ptq_data_reads(*out, outs[i]))
            return refuse(outs[i]); /* the caller closes the data */
    return PTQ_OK;
}

/* A backend that cannot work here ends the command before any work. */
static ptq_status check_backend(const char *wanted)
{
    const char *name;
    char text[256];
    bool works;
    if (!wanted || strcmp(wanted, "auto") == 0)
        return PTQ_OK;
    for (size_t i = 0; ptq_backend_info(i, &name, text, sizeof text, &works); i++)
        if (strcmp(name, wanted) == 0)
            return works ? PTQ_OK : cmd_error(PTQ_ERR_DEVICE, "backend %s: %s", name, text);
    return cmd_error(strcmp(wanted, "cuda") == 0 ? PTQ_ERR_DEVICE : PTQ_ERR_ARG,
                     "backend '%s' is not in this build; 'quantize backends' lists what is", wanted);
}

ptq_status cmd_load(const args *a, const char *path, ptq_model **out)
{
    ptq_model *m;
    TRY(check_backend(a->backend));
    TRY(ptq_model_load(path, NULL, &m));
    ptq_status s = ptq_model_optimize(m);
    if (s != PTQ_OK) {
        ptq_model_free(m);
        return s;
    }
    *out = m;
    return PTQ_OK;
}

/* {"name": JSON, ...}: the reports' own JSON is put in as it stands, null for one that there is not. */
static ptq_status print_json(const named_report *list, size_t n)
{
    bool wrap = n > 1;
    if (wrap)
        printf("{\n");
    for (size_t i = 0; i < n; i++) {
        char *json = NULL;
        if (list[i].report)
            TRY(ptq_report_json(list[i].report, &json));
        if (wrap)
            printf("\"%s\": ", list[i].name);
        printf("%s%s\n", json ? json : "null", i + 1 < n ? "," : "");
        free(json);
    }
    if (wrap)
        printf("}\n");
    return PTQ_OK;
}

ptq_status cmd_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return cmd_error(PTQ_ERR_IO, "cannot write to standard output");
    return PTQ_OK;
}

ptq_status cmd_print(const args *a, const named_report *list, size_t n)
{
    if (a->json) {
        TRY(print_json(list, n));
    } else {
        for (size_t i = 0; i < n; i++) {
            char *text;
            if (!list[i].report)
                continue;
            TRY(ptq_report_text(list[i].report, columns(), a->verbose > 0, &text));
            fputs(text, stdout);
            free(text);
        }
    }
    return cmd_flush();
}

/* Of run the comparison is a part of the JSON, whose paths count from its top as well. */
static const char *gate_text(const args *a, size_t i)
{
    const char *text = a->fail_if.v[i];
    return a->verb->letter == 'r' && strncmp(text, "compare.", 8) == 0 ? text + 8 : text;
}

/* Is the figure of this gate one of these, or below one of them? */
static bool gate_on(const char *text, const char *const *names, size_t n)
{
    size_t len = strcspn(text, ".<>= \t");
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) == len && strncmp(text, names[i], len) == 0)
            return true;
    return false;
}

ptq_status cmd_check_gates(const args *a)
{
    static const char *const timed[] = {"speedup", "latency_ms"};
    bool holds;
    for (size_t i = 0; i < a->fail_if.n; i++) {
        TRY(ptq_report_gate(NULL, gate_text(a, i), &holds));
        if (a->no_latency && gate_on(gate_text(a, i), timed, sizeof timed / sizeof timed[0]))
            return cmd_error(PTQ_ERR_ARG, "--fail-if %s: with --no-latency no latency is measured", a->fail_if.v[i]);
    }
    return PTQ_OK;
}

ptq_status cmd_check_labels(const args *a, const ptq_data *d)
{
    static const char *const labelled[] = {"top1", "top1_drop", "top1_change", "nats_rise", "nats_change",
                                           "reference_accuracy", "candidate_accuracy"};
    for (size_t i = 0; i < a->fail_if.n && d && !ptq_data_samples(d)->labels; i++)
        if (gate_on(gate_text(a, i), labelled, sizeof labelled / sizeof labelled[0]))
            return cmd_error(PTQ_ERR_ARG, "--fail-if %s: the data have no labels; name a file with --labels",
                             a->fail_if.v[i]);
    return PTQ_OK;
}

ptq_status cmd_gates(const args *a, const ptq_report *r)
{
    bool failed = false;
    for (size_t i = 0; i < a->fail_if.n; i++) {
        const char *text = gate_text(a, i);
        bool holds;
        TRY(ptq_report_gate(r, text, &holds));
        if (holds) {
            double value = 0.0;
            char name[128];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "<>= \t"), text);
            ptq_report_number(r, name, &value);
            fprintf(stderr, "FAILED  %s (it is %g)\n", a->fail_if.v[i], value);
            failed = true;
        }
    }
    return failed ? PTQ_ERR_GATE : PTQ_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "bin/cmd.h"

typedef struct job {
    ptq_model *model, *out, *reloaded;
    ptq_data *data, *eval;
    ptq_statistics *stats;
    ptq_report *quantized, *checked, *compared, *next;
    char *overrides;
} job;

static void release(job *j)
{
    ptq_report_free(j->next);
    ptq_report_free(j->compared);
    ptq_report_free(j->checked);
    ptq_report_free(j->quantized);
    ptq_model_free(j->reloaded);
    ptq_model_free(j->out);
    ptq_statistics_free(j->stats);
    ptq_data_close(j->eval);
    ptq_data_close(j->data);
    ptq_model_free(j->model);
    free(j->overrides);
}

/* Before any work: what can be told from the command line alone. */
static ptq_status check(const args *a)
{
    if (!a->out)
        return cmd_error(PTQ_ERR_ARG, "no output: name a file with -o");
    if (!a->data && !a->stats && !a->inputs.n)
        return cmd_error(PTQ_ERR_ARG, "no data: name calibration data with -d, or statistics with --stats");
    if (a->fail_if.n && (a->no_compare || (!a->data && !a->inputs.n && !a->eval)))
        return cmd_error(PTQ_ERR_ARG, "--fail-if needs the comparison: leave --no-compare out, and name data with -d "
                         "or --eval");
    TRY(cmd_check_gates(a));
    if (a->save_stats && ptq_statistics_files() != PTQ_OK)
        return cmd_error(PTQ_ERR_UNSUPPORTED, "%s: %s", a->save_stats, ptq_last_error());
    TRY(cmd_check_outputs(a));
    const char *const outs[] = {a->out, a->dump_params, a->save_stats};
    for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++)
        if (outs[i])
            TRY(ptq_can_save(outs[i], a->force));
    if (a->symmetric && a->asymmetric)
        return cmd_error(PTQ_ERR_ARG, "--symmetric and --asymmetric exclude each other");
    if (a->per_channel && a->per_tensor)
        return cmd_error(PTQ_ERR_ARG, "--per-channel and --per-tensor exclude each other");
    return PTQ_OK;
}

/* Options that stand on the command line and change nothing there. */
static void tell_unused(const args *a)
{
    const char *method = a->method ? a->method : a->data || a->inputs.n ? "auto" : "mse";
    bool data = a->data || a->inputs.n || a->eval;
    const struct {
        const char *option, *why;
        bool unused;
    } rows[] = {
        {"percentile", "it belongs to --method percentile and auto",
         strcmp(method, "percentile") != 0 && strcmp(method, "auto") != 0},
        {"save-stats", "with --stats nothing is calibrated", a->stats != NULL},
        {"nonfinite", "with --stats nothing is calibrated", a->stats != NULL},
        {"labels", "there are no data that it could belong to", !data},
        {"labels", "with --no-compare no accuracy is measured", data && a->no_compare},
        {"eval", "with --no-compare nothing is compared", a->no_compare},
    };
    char text[256];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "--%s changes nothing here: %s", rows[i].option, rows[i].why);
        if (rows[i].unused && args_given(a, rows[i].option))
            cmd_line("warning: ", text);
    }
}

static ptq_status read_text(const char *path, char **out)
{
    FILE *f = fopen(path, "rb");
    enum { MAX = 64 << 20 };
    if (!f)
        return cmd_error(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    size_t n = 0, cap = 1 << 16;
    char *buf = malloc(cap);
    while (buf) {
        n += fread(buf + n, 1, cap - n - 1, f);
        if (n + 1 < cap || cap > MAX)
            break;
        cap *= 2;
        char *more = realloc(buf, cap);
        if (!more) {
            free(buf);
            buf = NULL;
        } else {
            buf = more;
        }
    }
    bool bad = ferror(f) != 0 || cap > MAX;
    fclose(f);
    if (!buf)
        return cmd_error(PTQ_ERR_NOMEM, "out of memory");
    buf[n] = '\0';
    if (bad) {
        free(buf);
        return cmd_error(PTQ_ERR_IO, "%s: cannot read", path);
    }
    *out = buf;
    return PTQ_OK;
}

/* Ranges that were found on other numbers than the model is judged on look like a bad method. */
static void check_preprocess(const job *j, const char *what, const ptq_data *d)
{
    const char *own = ptq_data_samples(d)->preprocess;
    const char *calib = j->stats ? ptq_statistics_preprocess(j->stats) : ptq_data_samples(j->data)->preprocess;
    char text[2200];
    if (!*own || !*calib || strcmp(own, calib) == 0)
        return;
    snprintf(text, sizeof text, "the %s is preprocessed otherwise (%s) than the calibration data (%s); give the same "
             "--preprocess, --scale, --mean, --std for both", what, own, calib);
    cmd_line("warning: ", text);
}

/* All that is read, before the work: a wrong path or a wrong preprocessing is told at once. */
static ptq_status open_inputs(const args *a, job *j)
{
    bool data = a->data || a->inputs.n;
    if (a->stats)
        TRY(ptq_statistics_load(a->stats, &j->stats));
    if (data) { /* labels belong to the data that the accuracy is measured on */
        TRY(cmd_open_data(a, a->data, &a->inputs, a->eval ? NULL : a->labels, j->model, &j->data));
        cmd_say(a, "data      %s: %s", a->data ? a->data : "inputs", ptq_data_describe(j->data));
        check_preprocess(j, "data of -d", j->data);
    }
    if (a->eval) {
        TRY(cmd_open_data(a, a->eval, NULL, a->labels, j->model, &j->eval)); /* --input is for calibration */
        cmd_say(a, "eval      %s: %s", a->eval, ptq_data_describe(j->eval));
        check_preprocess(j, "data of --eval", j->eval);
    }
    TRY(cmd_check_labels(a, j->eval ? j->eval : j->data));
    if (!a->eval && !a->no_compare) { /* figures on the calibration data flatter */
        cmd_say(a, "eval      %s", data ? "the data of -d as well; --eval PATH names data that calibration has not seen"
                                       : "none; --eval PATH names data to compare the result with fp32");
    }
    return PTQ_OK;
}

static ptq_status calibrate(const args *a, job *j, progress *p)
{
    ptq_calib_options o = PTQ_CALIB_OPTIONS_INIT;
    if (j->stats)
        return PTQ_OK;
    o.loop = progress_loop(p, a);
    o.nonfinite_ok = a->nonfinite != NULL;
    TRY(ptq_model_calibrate(j->model, ptq_data_samples(j->data), &o, NULL, &j->stats));
    return a->save_stats && cmd_is_first() ? ptq_statistics_save(j->stats, a->save_stats, a->force) : PTQ_OK;
}

/* The library knows the text of --overrides, not the file that it stood in. */
static ptq_status name_overrides(const args *a, ptq_status s)
{
    bool theirs = s != PTQ_OK && a->overrides && strncmp(ptq_last_error(), "overrides", 9) == 0;
    return theirs ? cmd_error(s, "%s: %s", a->overrides, ptq_last_error()) : s;
}

static ptq_quant_options quant_options(const args *a, const job *j, progress *p)
{
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    o.target = a->target;
    o.format = a->format;
    o.method = a->method;
    o.percentile = a->percentile;
    o.act = a->act;
    o.weight = a->weight;
    o.act_symmetric = a->symmetric ? 1 : a->asymmetric ? 0 : -1;
    o.per_tensor = a->per_tensor;
    o.reduce_range = a->reduce_range;
    o.only = a->only.n ? a->only.v : NULL;
    o.exclude = a->exclude.n ? a->exclude.v : NULL;
    o.exclude_ops = a->exclude_ops.n ? a->exclude_ops.v : NULL;
    o.overrides = j->overrides;
    o.requantize = a->requantize;
    o.loop = progress_loop(p, a);
    return o;
}

static ptq_status quantize(const args *a, job *j, progress *p)
{
    ptq_quant_options o = quant_options(a, j, p);
    TRY(name_overrides(a, ptq_model_quantize(j->model, j->stats, j->data ? ptq_data_samples(j->data) : NULL, &o, &j->out,
                                             &j->quantized)));
    if (a->dump_params && cmd_is_first()) {
        char *json;
        TRY(ptq_quant_params_json(j->quantized, &json));
        ptq_status s = ptq_save_text(json, a->dump_params, a->force);
        free(json);
        TRY(s);
    }
    return PTQ_OK;
}

/* What the first process has written; file systems between machines may show it late. */
static ptq_status load_written(const args *a, ptq_model **out)
{
    ptq_status s = ptq_model_load(a->out, NULL, out);
    for (int i = 0; s == PTQ_ERR_IO && i < 20 && !cmd_is_first(); i++) {
        nanosleep(&(struct timespec){0, 500 * 1000 * 1000}, NULL);
        s = ptq_model_load(a->out, NULL, out);
    }
    return s;
}

/* The file that was written is what is checked and compared, not what is in memory. Of a team the first process
 * alone writes and checks. */
static ptq_status reload(const args *a, job *j, progress *p)
{
    const ptq_data *d = j->eval ? j->eval : j->data;
    ptq_loop_options o = progress_loop(p, a);
    o.samples = 0;
    if (cmd_is_first())
        TRY(ptq_model_save(j->out, a->out, a->force));
    TRY(team_follow(cmd_team));
    TRY(load_written(a, &j->reloaded));
    TRY(ptq_model_optimize(j->reloaded));
    if (!cmd_is_first())
        return PTQ_OK;
    o.team = NULL;
    return ptq_model_check(j->reloaded, d && !a->no_compare ? ptq_data_samples(d) : NULL, &o, &j->checked);
}

static ptq_status compare(const args *a, job *j, progress *p)
{
    ptq_compare_options o = PTQ_COMPARE_OPTIONS_INIT;
    const ptq_data *d = j->data;
    if (j->eval)
        d = j->eval;
    if (a->no_compare || !d)
        return PTQ_OK;
    o.loop = progress_loop(p, a);
    if (a->eval)
        o.loop.samples = 0;
    o.layers = true;
    o.latency_seconds = a->no_latency ? -1.0 : 0.5;
    return ptq_compare(j->model, j->reloaded, ptq_data_samples(d), &o, &j->compared);
}

/* Which program runs where, on which model. */
static ptq_status tell_job(const args *a, const job *j)
{
    char machine[256], shape[512] = "";
    ptq_loop_options o = PTQ_LOOP_OPTIONS_INIT;
    o.backend = a->backend;
    o.isa = a->isa;
    o.threads = (int)a->threads;
    TRY(ptq_loop_machine(&o, machine, sizeof machine));
    cmd_say(a, "quantize  %s   %s   target %s", ptq_version(), machine, a->target ? a->target : "portable");
    for (size_t i = 0; i < ptq_model_input_count(j->model); i++) {
        ptq_tensor_info t;
        TRY(ptq_model_input(j->model, i, &t));
        cmd_tensor_text(&t, shape, sizeof shape);
    }
    cmd_say(a, "model     %s: opset %d, %zu nodes, %.2f M parameters; %s", a->files[0], ptq_model_opset(j->model),
            ptq_model_node_count(j->model), (double)ptq_model_parameters(j->model) / 1e6, shape);
    return PTQ_OK;
}

/* Peak resident megabytes of this program. getrusage counts what the process had before it became this
 * program, so the kernel's own mark comes first where there is one. */
static double peak_memory(void)
{
    struct rusage ru;
    char line[256];
    double kb = 0.0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf", &kb) == 1)
            break;
    if (f)
        fclose(f);
    if (kb <= 0.0 && getrusage(RUSAGE_SELF, &ru) == 0)
        kb = (double)ru.ru_maxrss;
    return kb / 1024.0;
}

/* What was written, and whether it holds what was asked for. */
static ptq_status finish(const args *a, const job *j, const struct timespec *t0)
{
    const char *const more[] = {a->dump_params, a->stats ? NULL : a->save_stats};
    struct timespec t1;
    char files[2048] = "", verdict[64] = "PASSED (check)";
    double problems = 0.0;
    ptq_report_number(j->checked, "problem_count", &problems);
    ptq_status s = problems > 0.0 ? PTQ_ERR_GATE : PTQ_OK;
    ptq_status gates = j->compared ? cmd_gates(a, j->compared) : PTQ_OK;
    if (gates != PTQ_OK && gates != PTQ_ERR_GATE)
        return gates;
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        if (more[i])
            snprintf(files + strlen(files), sizeof files - strlen(files), ", %s", more[i]);
    if (s != PTQ_OK || gates != PTQ_OK)
        snprintf(verdict, sizeof verdict, "FAILED (%s)", s != PTQ_OK ? "check" : "--fail-if");
    else if (a->fail_if.n)
        snprintf(verdict, sizeof verdict, "PASSED (check, %zu of --fail-if)", a->fail_if.n);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    cmd_say(a, "wrote     %s (sha256 %.12s...)%s in %.1f s, peak memory %.0f MB   %s", a->out,
            ptq_model_sha256(j->reloaded), files,
            (double)(t1.tv_sec - t0->tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0->tv_nsec), peak_memory(), verdict);
    return s != PTQ_OK ? s : gates;
}

static ptq_status run(const args *a, job *j, progress *p)
{
    struct timespec t0;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    TRY(check(a));
    tell_unused(a);
    TRY(cmd_load(a, a->files[0], &j->model));
    if (a->overrides)
        TRY(read_text(a->overrides, &j->overrides));
    ptq_quant_options o = quant_options(a, j, p);
    TRY(name_overrides(a, ptq_quant_check(j->model, &o, a->data || a->inputs.n)));
    TRY(tell_job(a, j));
    TRY(open_inputs(a, j));
    TRY(calibrate(a, j, p));
    TRY(quantize(a, j, p));
    progress_end(p);
    TRY(reload(a, j, p));
    TRY(compare(a, j, p));
    progress_end(p);
    if (!cmd_is_first())
        return PTQ_OK;
    TRY(ptq_report_next(j->quantized, j->checked, j->compared, !j->eval, &j->next));
    named_report list[] = {{"quantize", j->quantized}, {"check", j->checked}, {"compare", j->compared}, {"next", j->next}};
    TRY(cmd_print(a, list, sizeof list / sizeof list[0]));
    return finish(a, j, &t0);
}

ptq_status cmd_run(const args *a)
{
    job j = {0};
    progress p;
    progress_init(&p, a);
    ptq_status s = run(a, &j, &p);
    progress_end(&p);
    release(&j);
    return s;
}

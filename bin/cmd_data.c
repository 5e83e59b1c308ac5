/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that read data: calibrate, merge, eval, compare. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/cmd.h"

typedef struct checkpoint {
    const char *path;
} checkpoint;

static ptq_status save_checkpoint(void *ctx, const ptq_statistics *s)
{
    return ptq_statistics_save(s, ((checkpoint *)ctx)->path, true);
}

static ptq_status parse_shard(const char *text, ptq_calib_options *o)
{
    unsigned long i, n;
    char rest;
    if (!text)
        return PTQ_OK;
    if (sscanf(text, "%lu/%lu%c", &i, &n, &rest) != 2 || n == 0 || i >= n)
        return cmd_error(PTQ_ERR_ARG, "--shard wants I/N with I from 0 to N-1, not '%s'", text);
    o->shard = i;
    o->nshards = n;
    return PTQ_OK;
}

static ptq_status tell_wrote(const args *a, const ptq_statistics *s)
{
    size_t done = ptq_statistics_done(s), bad = ptq_statistics_bad(s), total = ptq_statistics_total(s);
    char of[32] = "", skipped[64] = "";
    if (a->json)
        printf("{\"bad\": %zu, \"samples\": %zu, \"total\": %zu}\n", bad, done, total);
    if (done + bad < total) /* a shard, some of the shards, the first with -n */
        snprintf(of, sizeof of, " of %zu", total);
    if (bad)
        snprintf(skipped, sizeof skipped, ", %zu that cannot be used skipped", bad);
    cmd_say(a, "wrote     %s: %zu%s samples%s", a->out, done, of, skipped);
    return cmd_flush();
}

static ptq_status calibrate(const args *a, progress *p, ptq_model **m, ptq_data **d, ptq_statistics **old,
                            ptq_statistics **s)
{
    ptq_calib_options o = PTQ_CALIB_OPTIONS_INIT;
    checkpoint c = {a->out};
    if (!a->out)
        return cmd_error(PTQ_ERR_ARG, "no output: name a statistics file with -o");
    if (ptq_statistics_files() != PTQ_OK)
        return cmd_error(PTQ_ERR_UNSUPPORTED, "%s: %s", a->out, ptq_last_error());
    TRY(cmd_check_outputs(a));
    bool exists = access(a->out, F_OK) == 0;
    if (exists && !a->resume && !a->force)
        return cmd_error(PTQ_ERR_IO, "%s: exists already; use --resume to go on with it or -f to replace it", a->out);
    TRY(ptq_can_save(a->out, true));
    TRY(parse_shard(a->shard, &o));
    TRY(cmd_load(a, a->files[0], m));
    TRY(cmd_open_data(a, a->data, &a->inputs, NULL, *m, d));
    cmd_say(a, "data      %s: %s", a->data ? a->data : "inputs", ptq_data_describe(*d));
    if (exists && a->resume) {
        TRY(ptq_statistics_load(a->out, old));
        cmd_say(a, "resume    %zu samples are done", ptq_statistics_done(*old));
    }
    o.loop = progress_loop(p, a);
    o.nonfinite_ok = a->nonfinite != NULL;
    o.checkpoint = save_checkpoint;
    o.checkpoint_every = 256;
    o.checkpoint_ctx = &c;
    ptq_status st = ptq_model_calibrate(*m, ptq_data_samples(*d), &o, *old, s);
    if (st == PTQ_ERR_INTERRUPTED)
        return cmd_error(st, "%s; the same command with --resume goes on", ptq_last_error());
    if (st == PTQ_ERR_DATA && *old && strncmp(ptq_last_error(), "statistics ", 11) == 0)
        return cmd_error(st, "%s: %s", a->out, ptq_last_error());
    TRY(st);
    if (!cmd_is_first())
        return PTQ_OK;
    TRY(ptq_statistics_save(*s, a->out, true));
    return tell_wrote(a, *s);
}

ptq_status cmd_calibrate(const args *a)
{
    ptq_model *m = NULL;
    ptq_data *d = NULL;
    ptq_statistics *old = NULL, *s = NULL;
    progress p;
    progress_init(&p, a);
    ptq_status st = calibrate(a, &p, &m, &d, &old, &s);
    progress_end(&p);
    ptq_statistics_free(old);
    ptq_statistics_free(s);
    ptq_data_close(d);
    ptq_model_free(m);
    return st;
}

ptq_status cmd_merge(const args *a)
{
    ptq_statistics *sum = NULL;
    if (!a->out)
        return cmd_error(PTQ_ERR_ARG, "no output: name a statistics file with -o");
    TRY(cmd_check_outputs(a));
    TRY(ptq_can_save(a->out, a->force));
    TRY(ptq_statistics_load(a->files[0], &sum));
    ptq_status s = PTQ_OK;
    for (int i = 1; i < a->nfiles && s == PTQ_OK; i++) {
        ptq_statistics *next;
        s = ptq_statistics_load(a->files[i], &next);
        if (s != PTQ_OK)
            break;
        s = ptq_statistics_merge(sum, next);
        if (s != PTQ_OK)
            s = cmd_error(s, "%s: %s", a->files[i], ptq_last_error());
        ptq_statistics_free(next);
    }
    if (s == PTQ_OK)
        s = ptq_statistics_save(sum, a->out, a->force);
    if (s == PTQ_OK)
        s = tell_wrote(a, sum);
    ptq_statistics_free(sum);
    return s;
}

static ptq_status eval(const args *a, progress *p, ptq_model **m, ptq_data **d, ptq_report **r)
{
    TRY(cmd_check_gates(a));
    TRY(cmd_load(a, a->files[0], m));
    TRY(cmd_open_data(a, a->data, &a->inputs, a->labels, *m, d));
    cmd_say(a, "data      %s: %s", a->data ? a->data : "inputs", ptq_data_describe(*d));
    ptq_loop_options o = progress_loop(p, a);
    TRY(ptq_eval(*m, ptq_data_samples(*d), &o, r));
    progress_end(p);
    TRY(cmd_print(a, &(named_report){"eval", *r}, 1));
    return cmd_gates(a, *r);
}

ptq_status cmd_eval(const args *a)
{
    ptq_model *m = NULL;
    ptq_data *d = NULL;
    ptq_report *r = NULL;
    progress p;
    progress_init(&p, a);
    ptq_status s = eval(a, &p, &m, &d, &r);
    progress_end(&p);
    ptq_report_free(r);
    ptq_data_close(d);
    ptq_model_free(m);
    return s;
}

static ptq_status compare(const args *a, progress *p, ptq_model **m, ptq_data **d, ptq_report **r)
{
    ptq_compare_options o = PTQ_COMPARE_OPTIONS_INIT;
    TRY(cmd_check_gates(a));
    TRY(cmd_load(a, a->files[0], &m[0]));
    TRY(cmd_load(a, a->files[1], &m[1]));
    TRY(cmd_open_data(a, a->data, &a->inputs, a->labels, m[0], d));
    cmd_say(a, "data      %s: %s", a->data ? a->data : "inputs", ptq_data_describe(*d));
    TRY(cmd_check_labels(a, *d));
    o.loop = progress_loop(p, a);
    o.layers = a->layers;
    o.latency_seconds = a->no_latency ? -1.0 : 0.0;
    TRY(ptq_compare(m[0], m[1], ptq_data_samples(*d), &o, r));
    progress_end(p);
    TRY(cmd_print(a, &(named_report){"compare", *r}, 1));
    return cmd_gates(a, *r);
}

ptq_status cmd_compare(const args *a)
{
    ptq_model *m[2] = {NULL, NULL};
    ptq_data *d = NULL;
    ptq_report *r = NULL;
    progress p;
    progress_init(&p, a);
    ptq_status s = compare(a, &p, m, &d, &r);
    progress_end(&p);
    ptq_report_free(r);
    ptq_data_close(d);
    ptq_model_free(m[0]);
    ptq_model_free(m[1]);
    return s;
}

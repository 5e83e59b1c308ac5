/* SPDX-License-Identifier: Apache-2.0 */
/* Steps against the limits of the machine. */
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/bench.h"

enum { RUNS_MIN = 5, RUNS_MAX = 100 };
#define NEAR 0.6   /* of a limit: as fast as it gets, more or less */
#define SMALL 5e-6 /* seconds: what a device takes to begin and end a step, whatever it does */

typedef struct layer {
    const ptq_step *step;
    ptq_step_time t;
    bool on_cpu, is_float;
    double share, least; /* least: seconds that the machine's limits leave */
    bool by_bytes;       /* the memory is the limit, not the arithmetic */
    char why[256];
} layer;

/* ---- in words ---- */

static const char *remark(const ptq_program *p, const ptq_step *s)
{
    for (size_t i = 0; i < p->remarks.n; i++)
        if (p->remarks.v[i].node == s->node)
            return p->remarks.v[i].reason;
    return NULL;
}

static void explain(const ptq_engine *e, layer *l)
{
    const char *why = NULL;
    double near = l->t.seconds > 0.0 ? l->least / l->t.seconds : 0.0;
    const char *limit = l->by_bytes ? "memory-bound" : "compute-bound";
    if (l->on_cpu) {
        e->exe->ops->supports(e->exe->backend, e->exe->p, l->step, &why);
        snprintf(l->why, sizeof l->why, "runs on the CPU: %.200s", why ? why : "no kernel");
        return;
    }
    if (l->is_float && !l->step->half && l->t.macs > 0.0) {
        why = remark(e->exe->p, l->step);
        snprintf(l->why, sizeof l->why, "float, %s%.200s", why ? why : limit,
                 why ? "" : near >= NEAR ? ", at the limit" : "");
    } else if (l->t.bytes <= 0.0 || l->t.seconds <= 0.0) {
        snprintf(l->why, sizeof l->why, "nothing to do");
    } else if (near > 1.0) {
        snprintf(l->why, sizeof l->why, "finds its data in the cache");
    } else if (near >= NEAR) {
        snprintf(l->why, sizeof l->why, "%s, at the limit", limit);
    } else if (l->t.seconds < SMALL) {
        snprintf(l->why, sizeof l->why, "too small for the device: starting and ending takes the time");
    } else {
        snprintf(l->why, sizeof l->why, "%s, %.1f times the limit", limit, 1.0 / (near > 0.0 ? near : 1e-9));
    }
}

static void limits(const ptq_peaks *p, layer *l)
{
    double rate = l->step->half ? p->f16 : l->is_float ? p->f32 : p->int8;
    double memory = p->bytes > 0.0 ? l->t.bytes / p->bytes : 0.0, work = rate > 0.0 ? 2.0 * l->t.macs / rate : 0.0;
    l->by_bytes = memory >= work;
    l->least = l->by_bytes ? memory : work;
}

/* ---- JSON ---- */

/* What a step computes in; of one that only moves, what it moves. */
static const char *precision_of(const ptq_program *p, const ptq_step *s)
{
    static const char *const floats[] = {"quantize", "dequantize", "qnorm"}; /* to codes or from them */
    ptq_dtype t = s->half ? PTQ_DT_F16 : s->def->integer ? PTQ_DT_S8 : PTQ_DT_F32;
    for (size_t i = 0; i < PTQ_COUNT(floats); i++)
        t = strcmp(s->def->name, floats[i]) == 0 ? PTQ_DT_F32 : t;
    if (strcmp(s->def->name, "relayout") == 0)
        t = p->values.v[s->out[0]].dtype;
    return t == PTQ_DT_F16 ? "fp16" : t == PTQ_DT_F32 ? "fp32" : "int8";
}

static ptq_status layer_json(const ptq_program *p, const layer *l, json_t *o)
{
    double s = l->t.seconds;
    const char *op = l->step->node ? l->step->node->op : "";
    PTQ_TRY(ptq_json_set(o, "step", ptq_json_name(l->step->name)));
    PTQ_TRY(ptq_json_set(o, "kind", json_string(l->step->def->name)));
    PTQ_TRY(ptq_json_set(o, "op", ptq_json_name(op)));
    PTQ_TRY(ptq_json_set(o, "precision", json_string(precision_of(p, l->step))));
    PTQ_TRY(ptq_json_set(o, "kernel", l->t.kernel ? ptq_json_name(l->t.kernel) : json_null()));
    PTQ_TRY(ptq_json_set(o, "ms", ptq_json_real(1e3 * s)));
    PTQ_TRY(ptq_json_set(o, "share", ptq_json_real(l->share)));
    PTQ_TRY(ptq_json_set(o, "macs", ptq_json_real(l->t.macs)));
    PTQ_TRY(ptq_json_set(o, "bytes", ptq_json_real(l->t.bytes)));
    PTQ_TRY(ptq_json_set(o, "tops", ptq_json_real(s > 0.0 ? 2e-12 * l->t.macs / s : 0.0)));
    PTQ_TRY(ptq_json_set(o, "gb_per_second", ptq_json_real(s > 0.0 ? 1e-9 * l->t.bytes / s : 0.0)));
    PTQ_TRY(ptq_json_set(o, "least_ms", ptq_json_real(1e3 * l->least)));
    PTQ_TRY(ptq_json_set(o, "of_limit", ptq_json_real(s > 0.0 ? l->least / s : 0.0)));
    PTQ_TRY(ptq_json_set(o, "on_cpu", json_boolean(l->on_cpu)));
    return ptq_json_set(o, "why", ptq_json_name(l->why));
}

static int slowest_first(const void *a, const void *b)
{
    const layer *x = a, *y = b;
    if (x->t.seconds != y->t.seconds)
        return x->t.seconds < y->t.seconds ? 1 : -1;
    return x->step > y->step ? 1 : -1;
}

static ptq_status layers_json(const ptq_engine *e, const ptq_peaks *peaks, layer *l, size_t n, bool recorded,
                              json_t *root)
{
    json_t *list = json_array();
    double sum = 0.0, least = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += l[i].t.seconds;
    for (size_t i = 0; i < n; i++) {
        limits(peaks, &l[i]);
        least += l[i].least;
        l[i].share = sum > 0.0 ? l[i].t.seconds / sum : 0.0;
        explain(e, &l[i]);
    }
    qsort(l, n, sizeof *l, slowest_first);
    PTQ_TRY(ptq_json_set(root, "layers", list));
    PTQ_TRY(ptq_json_set(root, "layers_ms", ptq_json_real(1e3 * sum)));
    PTQ_TRY(ptq_json_set(root, "layers_least_ms", ptq_json_real(1e3 * least)));
    PTQ_TRY(ptq_json_set(root, "layers_timed_by",
                         json_string(!e->exe->ops->streams ? "the clock between the steps"
                                     : recorded ? "marks in a replayed recording of the whole run"
                                                : "marks between launches: the run cannot be recorded")));
    for (size_t i = 0; i < n; i++) {
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(list, o));
        PTQ_TRY(layer_json(e->exe->p, &l[i], o));
    }
    return PTQ_OK;
}

/* ---- measuring ---- */

static int runs_for(const ptq_bench_data *d, const json_t *root)
{
    const json_t *t = json_object_get(root, d->dev_in ? "from_device" : "from_host");
    double one = 1e-3 * ptq_json_num(t, "median_ms", 1.0), n = d->seconds / (one > 1e-6 ? one : 1e-6);
    return n < RUNS_MIN ? RUNS_MIN : n > RUNS_MAX ? RUNS_MAX : (int)n;
}

ptq_status ptq_bench_layers(ptq_bench_data *d, const ptq_peaks *peaks, json_t *root)
{
    const ptq_executable *x = d->e->exe;
    size_t n = x->p->steps.n;
    bool recorded = false, device = d->dev_in != NULL;
    layer *l = ptq_calloc(n + 1, sizeof *l);
    ptq_step_time *t = ptq_calloc(n + 1, sizeof *t);
    ptq_status s = l && t ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = ptq_session_profile(d->session, device ? d->dev_in : d->in, d->nin, device ? d->dev_out : d->out, d->nout,
                                device, runs_for(d, root), t, &recorded);
    for (size_t i = 0; i < n && s == PTQ_OK; i++)
        l[i] = (layer){.step = &x->p->steps.v[i], .t = t[i], .on_cpu = x->remote && x->on_host[i],
                       .is_float = !x->p->steps.v[i].def->integer};
    if (s == PTQ_OK)
        s = layers_json(d->e, peaks, l, n, recorded, root);
    free(t);
    free(l);
    return s;
}

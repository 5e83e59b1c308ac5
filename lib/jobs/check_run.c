/* SPDX-License-Identifier: Apache-2.0 */
/* The integer run of a model against the run of its Q/DQ nodes in float. */
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/accuracy.h"
#include "lib/jobs/check.h"

/* The simulation runs first and its 8-bit tensors of one sample are kept; then the integer run is held
 * against them, byte by byte. Both run from their own values, so that differences accumulate. */
typedef struct state {
    const ptq_graph *g;
    ptq_pool *pool;
    ptq_session *sim, *real;
    bool *chosen;     /* [values] outputs of QuantizeLinear */
    uint8_t **kept;   /* [values] of the current sample */
    size_t *nkept;
    float **out;      /* [outputs] of the simulation */
    size_t *nout;
    ptq_distance *d;  /* [outputs] */
    double tensors, values, equal, steps, samples;
} state;

static bool is_chosen(void *ctx, const ptq_value *v)
{
    return ((state *)ctx)->chosen[v->id];
}

static ptq_status keep_bytes(void *p, size_t n, const ptq_tensor *t)
{
    void **to = p;
    void *more = realloc(*to, n ? n : 1);
    if (!more)
        return ptq_fail_nomem();
    memcpy(more, t->data, n);
    *to = more;
    return PTQ_OK;
}

static ptq_status keep(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    state *s = ctx;
    if (!v->value || !s->chosen[v->value->id] || t->dtype != v->value->dtype)
        return PTQ_OK;
    s->nkept[v->value->id] = t->nbytes;
    return keep_bytes(&s->kept[v->value->id], t->nbytes, t);
}

static ptq_status compare(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    state *s = ctx;
    int id = v->value ? v->value->id : -1;
    if (id < 0 || !s->chosen[id] || s->nkept[id] != t->nbytes || t->dtype != v->value->dtype)
        return PTQ_OK;
    const uint8_t *a = s->kept[id], *b = t->data;
    uint8_t sign = t->dtype == PTQ_DT_S8 ? 0x80 : 0; /* both types in the order of bytes */
    for (size_t i = 0; i < t->nbytes; i++) {
        int e = (int)(uint8_t)(a[i] ^ sign) - (int)(uint8_t)(b[i] ^ sign);
        e = e < 0 ? -e : e;
        s->equal += e == 0;
        s->steps = e > s->steps ? e : s->steps;
    }
    s->values += (double)t->nbytes;
    s->tensors += 1.0;
    return PTQ_OK;
}

static ptq_status prepare(state *s, const ptq_loop_options *opt)
{
    size_t n = s->g->values.n, no = s->g->outputs.n;
    s->chosen = ptq_calloc(n, sizeof *s->chosen);
    s->kept = ptq_calloc(n, sizeof *s->kept);
    s->nkept = ptq_calloc(n, sizeof *s->nkept);
    s->out = ptq_calloc(no, sizeof *s->out);
    s->nout = ptq_calloc(no, sizeof *s->nout);
    s->d = ptq_calloc(no, sizeof *s->d);
    if (!s->chosen || !s->kept || !s->nkept || !s->out || !s->nout || !s->d)
        return ptq_fail_nomem();
    PTQ_GRAPH_EACH_NODE (s->g, q)
        if (strcmp(q->op, "QuantizeLinear") == 0 && q->out[0] && ptq_dtype_bits(q->out[0]->dtype) == 8)
            s->chosen[q->out[0]->id] = true;
    PTQ_TRY(ptq_pool_new(opt->threads, &s->pool));
    ptq_session_options so = {.backend = "cpu",
                              .device = {.pool = s->pool, .isa = opt->isa, .pack_bytes = PTQ_SESSION_SMALL},
                              .lower = {.fold_bytes = PTQ_SESSION_SMALL},
                              .tap = keep, .tap_select = is_chosen, .tap_ctx = s};
    PTQ_TRY(ptq_session_new(s->g, &so, &s->sim));
    so.backend = opt->backend;
    so.lower = (ptq_lower_options){.integer = true, .nhwc = true, .float_out = true, .fuse = true,
                                   .fold_bytes = PTQ_SESSION_SMALL};
    so.tap = compare;
    return ptq_session_new(s->g, &so, &s->real);
}

static void clear(state *s)
{
    ptq_session_free(s->sim);
    ptq_session_free(s->real);
    ptq_pool_free(s->pool);
    for (size_t i = 0; s->kept && i < s->g->values.n; i++)
        free(s->kept[i]);
    for (size_t i = 0; s->out && i < s->g->outputs.n; i++)
        free(s->out[i]);
    free(s->chosen);
    free(s->kept);
    free(s->nkept);
    free(s->out);
    free(s->nout);
    free(s->d);
}

static ptq_status run_both(state *s, const ptq_tensor *in, ptq_tensor *out)
{
    size_t ni = s->g->inputs.n, no = s->g->outputs.n;
    PTQ_TRY(ptq_session_run(s->sim, in, ni, out, no));
    for (size_t k = 0; k < no; k++) {
        s->nout[k] = out[k].dtype == PTQ_DT_F32 ? (size_t)ptq_tensor_elements(&out[k]) : 0;
        PTQ_TRY(keep_bytes(&s->out[k], s->nout[k] * sizeof(float), &out[k]));
    }
    PTQ_TRY(ptq_session_run(s->real, in, ni, out, no));
    for (size_t k = 0; k < no; k++)
        if (out[k].dtype == PTQ_DT_F32 && (size_t)ptq_tensor_elements(&out[k]) == s->nout[k])
            ptq_distance_add(&s->d[k], s->out[k], out[k].data, s->nout[k]);
    s->samples += 1.0;
    return PTQ_OK;
}

static ptq_status run_samples(state *s, const ptq_samples *samples, const ptq_loop_options *opt, size_t n)
{
    ptq_tensor *in = ptq_calloc(s->g->inputs.n, sizeof *in), *out = ptq_calloc(s->g->outputs.n, sizeof *out);
    ptq_sample_source source = ptq_source_of(samples);
    ptq_feed feed = {.source = &source, .graph = s->g, .limit = samples->count, .max_bad_share = 1.0};
    ptq_status st = in && out ? PTQ_OK : ptq_fail_nomem();
    for (size_t i = 0; i < samples->count && s->samples < (double)n && st == PTQ_OK; i++) {
        size_t kept, nkept = 0, used;
        if (opt->progress && !opt->progress(opt->ctx, "checking", (size_t)s->samples, n)) {
            st = ptq_fail(PTQ_ERR_INTERRUPTED, "interrupted");
            break;
        }
        st = ptq_feed_batch(&feed, &i, 1, in, &kept, &nkept, &used);
        if (st == PTQ_OK && nkept)
            st = run_both(s, in, out);
        ptq_feed_release(s->g, in);
    }
    free(in);
    free(out);
    return st;
}

static ptq_status outputs_json(const state *s, json_t *o)
{
    json_t *list = json_array();
    PTQ_TRY(ptq_json_set(o, "outputs", list));
    for (size_t k = 0; k < s->g->outputs.n; k++) {
        json_t *one = json_object();
        if (s->d[k].n == 0) {
            json_decref(one);
            continue;
        }
        PTQ_TRY(ptq_json_push(list, one));
        PTQ_TRY(ptq_json_set(one, "name", ptq_json_name(s->g->outputs.v[k]->name)));
        PTQ_TRY(ptq_distance_json(&s->d[k], one));
    }
    return PTQ_OK;
}

static ptq_status fill(const state *s, json_t *o)
{
    const ptq_program *p = ptq_session_program(s->real);
    json_int_t integer = 0;
    for (size_t i = 0; i < p->steps.n; i++)
        integer += p->steps.v[i].def->integer;
    PTQ_TRY(ptq_json_set(o, "steps", json_integer((json_int_t)p->steps.n)));
    PTQ_TRY(ptq_json_set(o, "integer_steps", json_integer(integer)));
    PTQ_TRY(ptq_json_set(o, "samples", json_integer((json_int_t)s->samples)));
    PTQ_TRY(ptq_json_set(o, "tensors", json_integer((json_int_t)(s->samples > 0.0 ? s->tensors / s->samples : 0.0))));
    PTQ_TRY(ptq_json_set(o, "bytes", json_integer((json_int_t)s->values)));
    PTQ_TRY(ptq_json_set(o, "equal_percent", ptq_json_real(100.0 * s->equal / s->values)));
    PTQ_TRY(ptq_json_set(o, "largest_steps", json_integer((json_int_t)s->steps)));
    return outputs_json(s, o);
}

/* QLinear operators are integer steps in every mode: there is nothing to hold them against. */
static bool has_qlinear(const ptq_graph *g)
{
    PTQ_GRAPH_EACH_NODE (g, n)
        if (strncmp(n->op, "QLinear", 7) == 0 || strcmp(n->op, "QGemm") == 0)
            return true;
    return false;
}

ptq_status ptq_check_run(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt, size_t n,
                         json_t *root)
{
    state s = {.g = m->graph};
    json_t *o = json_object();
    PTQ_TRY(ptq_json_set(root, "simulation", o));
    if (has_qlinear(s.g))
        return ptq_json_set(o, "reason", json_string("QOperator models have no float simulation"));
    ptq_status st = prepare(&s, opt);
    if (st == PTQ_OK)
        st = run_samples(&s, samples, opt, n);
    if (st == PTQ_OK)
        st = fill(&s, o);
    clear(&s);
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/layers.h"

#include <stdlib.h>
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/core/team.h"
#include "lib/jobs/precision.h"

/* The reference runs first and its tensors of one sample are kept; then the candidate runs and
 * each of its quantized tensors is dequantized and held against the kept one. A quantized value
 * is named after the tensor it stands for: the Q node reads it, or its name has the suffix that
 * quantizers give. */
static const char suffix[] = "_QuantizeLinear_Output";

typedef struct state {
    const ptq_graph *ref, *cand;
    ptq_pool *pool;
    ptq_session *rs, *cs, *forced;
    int *layer_of;  /* by ref value id: layer or -1 */
    int *cand_of;   /* by candidate value id: layer or -1 */
    ptq_layer_distance *layers;
    size_t nlayers;
    float **kept;   /* [nlayers] values of the current sample */
    size_t *nkept;
    float *row;     /* dequantized candidate */
    size_t nrow;
    ptq_distance *entire, *single; /* [nlayers] */
    /* In a team a sample's values wait until those of the samples before have been added. */
    bool team;
    float **late[2]; /* [nlayers] candidate's values, entire and single; NULL: none */
} state;

/* Reference tensor that candidate value v stands for; NULL when there is none. */
static const ptq_value *counterpart(const state *s, const ptq_value *v)
{
    const ptq_value *r = NULL;
    size_t n = strlen(v->name), k = sizeof suffix - 1;
    if (v->dtype == PTQ_DT_F32 || v->constant)
        return NULL;
    if (v->producer && strcmp(v->producer->op, "QuantizeLinear") == 0)
        r = ptq_graph_find(s->ref, v->producer->in[0]->name);
    if (!r && n > k && strcmp(v->name + n - k, suffix) == 0) {
        char *base = strndup(v->name, n - k);
        if (base)
            r = ptq_graph_find(s->ref, base);
        free(base);
    }
    return r && !r->constant && r->dtype == PTQ_DT_F32 ? r : NULL;
}

static bool ref_selected(void *ctx, const ptq_value *v)
{
    return ((state *)ctx)->layer_of[v->id] >= 0;
}

static bool cand_selected(void *ctx, const ptq_value *v)
{
    return ((state *)ctx)->cand_of[v->id] >= 0;
}

static ptq_status keep(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    state *s = ctx;
    int l = v->value && t->dtype == PTQ_DT_F32 ? s->layer_of[v->value->id] : -1;
    if (l < 0)
        return PTQ_OK;
    float *p = realloc(s->kept[l], t->nbytes ? t->nbytes : 1);
    if (!p)
        return ptq_fail_nomem();
    memcpy(p, t->data, t->nbytes);
    s->kept[l] = p;
    s->nkept[l] = (size_t)ptq_tensor_elements(t);
    return PTQ_OK;
}

/* Dequantizes t into s->row; -1 when t has no counterpart. */
static ptq_status layer_values(state *s, const ptq_pvalue *v, const ptq_tensor *t, int *layer)
{
    int l = v->value ? s->cand_of[v->value->id] : -1;
    size_t n = (size_t)ptq_tensor_elements(t);
    *layer = -1;
    if (l < 0 || !v->quantized || !s->kept[l] || s->nkept[l] != n ||
        (t->dtype != PTQ_DT_S8 && t->dtype != PTQ_DT_U8))
        return PTQ_OK;
    if (n > s->nrow) {
        float *p = realloc(s->row, n * sizeof *p);
        if (!p)
            return ptq_fail_nomem();
        s->row = p;
        s->nrow = n;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t q = t->dtype == PTQ_DT_S8 ? ((const int8_t *)t->data)[i] : ((const uint8_t *)t->data)[i];
        s->row[i] = ptq_dequantize(q, v->q.scale, v->q.zp);
    }
    *layer = l;
    return PTQ_OK;
}

/* Adds the values in s->row, or keeps them for later. which: 0 entire, 1 single. */
static ptq_status add_row(state *s, int l, int which)
{
    if (!s->team) {
        ptq_distance_add(which ? &s->single[l] : &s->entire[l], s->kept[l], s->row, s->nkept[l]);
        return PTQ_OK;
    }
    const size_t n = s->nkept[l] * sizeof *s->row;
    float *p = realloc(s->late[which][l], n ? n : 1);
    if (!p)
        return ptq_fail_nomem();
    memcpy(p, s->row, n);
    s->late[which][l] = p;
    return PTQ_OK;
}

static void add_late(state *s, bool add)
{
    for (int which = 0; which < 2; which++)
        for (size_t l = 0; l < s->nlayers; l++) {
            if (add && s->late[which][l])
                ptq_distance_add(which ? &s->single[l] : &s->entire[l], s->kept[l], s->late[which][l], s->nkept[l]);
            free(s->late[which][l]);
            s->late[which][l] = NULL;
        }
}

static ptq_status compare(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    state *s = ctx;
    int l;
    PTQ_TRY(layer_values(s, v, t, &l));
    return l >= 0 ? add_row(s, l, 0) : PTQ_OK;
}

/* The same, and then the reference's own value is put in its place, so that the next layer starts
 * without the errors of those before it. In PLAIN layout a tap sees the value itself. */
static ptq_status compare_forced(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    state *s = ctx;
    int l;
    PTQ_TRY(layer_values(s, v, t, &l));
    if (l < 0)
        return PTQ_OK;
    PTQ_TRY(add_row(s, l, 1));
    bool s8 = t->dtype == PTQ_DT_S8;
    uint8_t *q = t->data;
    for (size_t i = 0; i < s->nkept[l]; i++)
        q[i] = (uint8_t)ptq_quantize(s->kept[l][i], v->q.scale, v->q.zp, s8 ? -128 : 0, s8 ? 127 : 255);
    return PTQ_OK;
}

static ptq_status find_layers(state *s)
{
    s->layer_of = ptq_calloc(s->ref->values.n, sizeof *s->layer_of);
    s->cand_of = ptq_calloc(s->cand->values.n, sizeof *s->cand_of);
    s->layers = ptq_calloc(s->cand->values.n, sizeof *s->layers);
    s->kept = ptq_calloc(s->cand->values.n, sizeof *s->kept);
    s->nkept = ptq_calloc(s->cand->values.n, sizeof *s->nkept);
    if (!s->layer_of || !s->cand_of || !s->layers || !s->kept || !s->nkept)
        return ptq_fail_nomem();
    for (size_t i = 0; i < s->ref->values.n; i++)
        s->layer_of[i] = -1;
    for (size_t i = 0; i < s->cand->values.n; i++)
        s->cand_of[i] = -1;
    PTQ_GRAPH_EACH_NODE (s->cand, n)
        for (int k = 0; k < n->nout; k++) {
            const ptq_value *v = n->out[k], *r = v ? counterpart(s, v) : NULL;
            if (!r || s->layer_of[r->id] >= 0)
                continue;
            s->cand_of[v->id] = s->layer_of[r->id] = (int)s->nlayers;
            s->layers[s->nlayers++] =
                (ptq_layer_distance){.name = r->name, .node = r->producer ? r->producer->name : ""};
        }
    return PTQ_OK;
}

static ptq_status open_both(state *s, const ptq_loop_options *opt)
{
    ptq_session_options so = {.backend = opt->backend,
                              .device = {.pool = s->pool, .isa = opt->isa, .pack_bytes = PTQ_SESSION_SMALL},
                              .lower = {.fuse = true, .fold_bytes = PTQ_SESSION_SMALL},
                              .tap = keep,
                              .tap_select = ref_selected,
                              .tap_ctx = s};
    ptq_precision how;
    PTQ_TRY(ptq_precision_of(opt->precision, opt->fast_math, NULL, &how));
    PTQ_TRY(ptq_session_new(s->ref, &so, &s->rs));
    so.lower = (ptq_lower_options){.integer = how.integer, .nhwc = how.integer, .float_out = how.integer, .fuse = true,
                                   .fold_bytes = PTQ_SESSION_SMALL};
    so.device.fast_math = opt->fast_math;
    so.device.half_products = how.half;
    so.tap = compare;
    so.tap_select = cand_selected;
    PTQ_TRY(ptq_session_new(s->cand, &so, &s->cs));
    so.lower = (ptq_lower_options){.integer = how.integer, .float_out = how.integer, .fold_bytes = PTQ_SESSION_SMALL};
    so.tap = compare_forced;
    return ptq_session_new(s->cand, &so, &s->forced);
}

typedef struct loop {
    const ptq_loop_options *opt;
    ptq_feed feed;
    ptq_tensor *in, *out;
    size_t n;
} loop;

static ptq_status run_sample(state *s, loop *w, size_t i)
{
    const size_t ni = s->ref->inputs.n, no = s->ref->outputs.n;
    size_t kept, nkept = 0, used;
    if (w->opt->progress && !w->opt->progress(w->opt->ctx, "comparing layers", i, w->n))
        return ptq_fail(PTQ_ERR_INTERRUPTED, "interrupted");
    ptq_status st = ptq_feed_batch(&w->feed, &i, 1, w->in, &kept, &nkept, &used);
    if (st == PTQ_OK && nkept)
        st = ptq_session_run(s->rs, w->in, ni, w->out, no);
    if (st == PTQ_OK && nkept)
        st = ptq_session_run(s->cs, w->in, ni, w->out, no);
    if (st == PTQ_OK && nkept)
        st = ptq_session_run(s->forced, w->in, ni, w->out, no);
    ptq_feed_release(s->ref, w->in);
    return st;
}

static ptq_status run_samples(state *s, loop *w)
{
    const ptq_part parts[] = {{s->entire, s->nlayers * sizeof *s->entire}, {s->single, s->nlayers * sizeof *s->single}};
    const ptq_turns t = {w->opt->team, parts, PTQ_COUNT(parts), w->n};
    ptq_status st = PTQ_OK;
    for (size_t i = 0; i < w->n; i++) {
        if (!ptq_turn_is_mine(&t, i))
            continue;
        if (st == PTQ_OK)
            st = run_sample(s, w, i);
        ptq_status before = ptq_turn_take(&t, i);
        st = before != PTQ_OK ? before : st;
        if (s->team)
            add_late(s, st == PTQ_OK);
        st = ptq_turn_give(&t, i, st);
    }
    PTQ_TRY(ptq_turns_end(&t, st));
    if (w->opt->progress)
        w->opt->progress(w->opt->ctx, "comparing layers", w->n, w->n);
    return PTQ_OK;
}

static ptq_status prepare(state *s, loop *w)
{
    PTQ_TRY(ptq_pool_new(w->opt->threads, &s->pool));
    PTQ_TRY(find_layers(s));
    s->entire = ptq_calloc(s->nlayers, sizeof *s->entire);
    s->single = ptq_calloc(s->nlayers, sizeof *s->single);
    s->late[0] = ptq_calloc(s->nlayers, sizeof(float *));
    s->late[1] = ptq_calloc(s->nlayers, sizeof(float *));
    w->in = ptq_calloc(s->ref->inputs.n, sizeof *w->in);
    w->out = ptq_calloc(s->ref->outputs.n, sizeof *w->out);
    if (!s->entire || !s->single || !s->late[0] || !s->late[1] || !w->in || !w->out)
        return ptq_fail_nomem();
    return open_both(s, w->opt);
}

static void clear(state *s, loop *w)
{
    ptq_session_free(s->rs);
    ptq_session_free(s->cs);
    ptq_session_free(s->forced);
    ptq_pool_free(s->pool);
    for (size_t i = 0; s->kept && i < s->nlayers; i++)
        free(s->kept[i]);
    if (s->late[0] && s->late[1])
        add_late(s, false);
    free(s->late[0]);
    free(s->late[1]);
    free(s->entire);
    free(s->single);
    free(s->kept);
    free(s->nkept);
    free(s->row);
    free(s->layer_of);
    free(s->cand_of);
    free(w->in);
    free(w->out);
}

ptq_status ptq_layer_distances(const ptq_model *ref, const ptq_model *cand, const ptq_samples *samples,
                               const ptq_loop_options *opt, size_t nsamples, ptq_layer_distance **out,
                               size_t *n)
{
    state s = {.ref = ref->graph, .cand = cand->graph, .team = ptq_team_ranks(opt->team) > 1};
    ptq_sample_source source = ptq_source_of(samples);
    loop w = {.opt = opt, .n = nsamples < samples->count ? nsamples : samples->count};
    w.feed = (ptq_feed){.source = &source, .graph = ref->graph, .limit = w.n, .max_bad_share = 1.0};
    ptq_status st = ptq_team_agree(opt->team, prepare(&s, &w));
    if (st == PTQ_OK)
        st = run_samples(&s, &w);
    for (size_t i = 0; i < s.nlayers && st == PTQ_OK; i++) {
        s.layers[i].entire = s.entire[i];
        s.layers[i].single = s.single[i];
    }
    clear(&s, &w);
    if (st != PTQ_OK) {
        free(s.layers);
        return st;
    }
    *out = s.layers;
    *n = s.nlayers;
    return PTQ_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Products that read the same rows and make queries, keys and values of the same attention become one product
 * with the columns of all side by side: its rows are read once, and more columns keep a device busier. Attention
 * takes its columns out of the result as a view. The laws stay: each column has its own multiplier, and where float
 * operations stand behind the product each part keeps its factor and its grid. */
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/exec/attention.h"
#include "lib/exec/lower.h"

typedef struct join {
    ptq_program *p;
    ptq_links links;
    bool *gone;          /* [steps] */
} join;

/* Products side by side, with the attention's slot that each is read in. */
typedef struct group {
    int n, step[PTQ_PRODUCT_PARTS], slot[PTQ_PRODUCT_PARTS];
    int64_t columns; /* of all */
} group;

static const ptq_qlinear_params *params_of(const join *j, int step)
{
    return j->p->steps.v[step].params;
}

static ptq_pvalue *value_of(const join *j, int v)
{
    return &j->p->values.v[v];
}

static ptq_pvalue *output_of(const join *j, int step)
{
    return value_of(j, j->p->steps.v[step].out[0]);
}

static const ptq_tensor *weight_of(const join *j, int step)
{
    return value_of(j, j->p->steps.v[step].in[1])->constant;
}

/* ---- which go together ---- */

/* A product to codes with symmetric int8 weights, with at most a bias and a factor behind. Its scale is plain: no
 * kernel of the CUDA backend takes parts of a product with another one (lib/gpu/k_mma_tail.cu). */
static bool is_plain(const join *j, int step)
{
    const ptq_step *s = &j->p->steps.v[step];
    const ptq_tensor *w = strcmp(s->def->name, "qgemm") == 0 && s->nin == 2 ? weight_of(j, step) : NULL;
    if (!w || w->rank != 2 || w->dtype != PTQ_DT_S8)
        return false;
    const ptq_qlinear_params *q = s->params;
    return !q->wzp && !q->trans_a && !q->float_out && !q->residual.kind && !q->tail.residual && !q->tail.gelu &&
           !q->nparts && ptq_plain_scale(q->y.scale) && q->channels > 0 && q->channels % PTQ_PART_COLUMNS == 0 &&
           ptq_is_8bit(output_of(j, step)->dtype);
}

static int64_t depth(const join *j, int step)
{
    return weight_of(j, step)->dims[params_of(j, step)->trans_b ? 1 : 0];
}

static bool go_together(const join *j, int a, int b)
{
    const ptq_qlinear_params *p = params_of(j, a), *q = params_of(j, b);
    return j->p->steps.v[a].in[0] == j->p->steps.v[b].in[0] && p->x.scale == q->x.scale && p->x.zp == q->x.zp &&
           p->trans_b == q->trans_b && depth(j, a) == depth(j, b) &&
           output_of(j, a)->dtype == output_of(j, b)->dtype && p->tail.on == q->tail.on &&
           (p->tail.on || (p->y.zp == q->y.zp && p->qlo == q->qlo && p->qhi == q->qhi));
}

static ptq_movers *movers_of(ptq_qattention_params *p, int slot)
{
    ptq_movers *const m[] = {&p->q_from, &p->k_from, &p->v_from};
    return m[slot];
}

/* The product that makes operand `slot` of an attention step for it alone; PTQ_LINK_NONE. */
static int product_of(const join *j, int attention, int slot)
{
    int v = j->p->steps.v[attention].in[slot], s = j->links.maker[v];
    return s >= 0 && j->links.reader[v] == attention && !value_of(j, v)->is_output && is_plain(j, s) ? s : PTQ_LINK_NONE;
}

/* Is each part a view of the whole, as far as sizes are known? Symbols stand for 2 here. */
static bool all_in_place(const join *j, int attention, const group *g)
{
    ptq_qattention_params p = *(const ptq_qattention_params *)j->p->steps.v[attention].params;
    int64_t dims[PTQ_MAX_RANK], from = 0;
    for (int i = 0; i < g->n; from += params_of(j, g->step[i++])->channels) {
        const ptq_shape *s = &output_of(j, g->step[i])->value->shape;
        if (s->rank < 1)
            return false;
        for (int d = 0; d < s->rank; d++) {
            if (s->dims[d].sym == PTQ_SYM_UNKNOWN)
                return false;
            dims[d] = 2 * s->dims[d].mul + s->dims[d].add;
        }
        ptq_movers *m = movers_of(&p, g->slot[i]);
        dims[s->rank - 1] = g->columns;
        m->from = from;
        m->columns = params_of(j, g->step[i])->channels;
        if (!ptq_attention_in_place(m, dims, s->rank))
            return false;
    }
    return true;
}

/* The products of an attention step that go together with the one in front of `first`. */
static void collect(const join *j, int attention, int first, group *g)
{
    *g = (group){0};
    for (int slot = first; slot < PTQ_PRODUCT_PARTS; slot++) {
        int s = product_of(j, attention, slot);
        if (s < 0 || (g->n && !go_together(j, g->step[0], s)) || (!g->n && slot > first))
            continue;
        g->step[g->n] = s;
        g->slot[g->n++] = slot;
        g->columns += params_of(j, s)->channels;
    }
}

/* ---- putting together ---- */

/* Rows of the joined weight: columns side by side, or (trans_b) one matrix behind the other. */
static ptq_status join_weights(join *j, const group *g, int *out)
{
    const ptq_tensor *first = weight_of(j, g->step[0]);
    bool trans = params_of(j, g->step[0])->trans_b;
    int64_t k = depth(j, g->step[0]), at = 0;
    ptq_tensor *t = ptq_arena_alloc(j->p->arena, sizeof *t);
    if (!t)
        return ptq_fail_nomem();
    *t = *first;
    t->dims[trans ? 0 : 1] = g->columns;
    t->nbytes = (size_t)(g->columns * k);
    PTQ_TRY(ptq_program_alloc(j->p, t->nbytes, &t->data));
    for (int i = 0; i < g->n; i++) {
        int64_t n = params_of(j, g->step[i])->channels;
        const uint8_t *w = weight_of(j, g->step[i])->data;
        for (int64_t r = 0; r < k && !trans; r++)
            memcpy((uint8_t *)t->data + r * g->columns + at, w + r * n, (size_t)n);
        if (trans)
            memcpy((uint8_t *)t->data + at * k, w, (size_t)(n * k));
        at += n;
    }
    const ptq_pvalue v = {.name = value_of(j, j->p->steps.v[g->step[0]].in[1])->name, .dtype = t->dtype, .constant = t,
                          .first = -1, .last = -1};
    return ptq_lower_new_value(j->p, v, out);
}

typedef struct tables { /* [columns] */
    float *wscale, *mult, *tail;
    int32_t *bias;
} tables;

static void fill_tables(const ptq_qlinear_params *p, int64_t at, tables *t)
{
    for (int64_t c = 0; c < p->channels; c++, at++) {
        int64_t i = p->nw == 1 ? 0 : c;
        t->wscale[at] = p->wscale[i];
        t->mult[at] = p->mult[i];
        t->tail[at] = p->tail.bias ? p->tail.bias[c] : 0.0f;
        t->bias[at] = p->bias ? p->bias[c] : 0;
    }
}

static ptq_status join_params(const join *j, const group *g, const void **out)
{
    ptq_arena *a = j->p->arena;
    size_t n = (size_t)g->columns;
    ptq_qlinear_params *q = ptq_arena_alloc(a, sizeof *q);
    tables t = {ptq_arena_array(a, n, sizeof *t.wscale), ptq_arena_array(a, n, sizeof *t.mult),
                ptq_arena_array(a, n, sizeof *t.tail), ptq_arena_array(a, n, sizeof *t.bias)};
    int64_t at = 0;
    if (!q || !t.wscale || !t.mult || !t.tail || !t.bias)
        return ptq_fail_nomem();
    *q = *params_of(j, g->step[0]);
    for (int i = 0; i < g->n; i++) {
        const ptq_qlinear_params *p = params_of(j, g->step[i]);
        fill_tables(p, at, &t);
        at += p->channels;
        q->part[i] = (ptq_product_part){at, p->y, p->qlo, p->qhi, p->tail.scaled ? p->tail.factor : 1.0f};
    }
    q->nparts = q->tail.on ? g->n : 0;
    q->channels = g->columns;
    q->nw = (int)g->columns;
    q->wscale = t.wscale;
    q->mult = t.mult;
    q->bias = t.bias;
    q->tail.bias = t.tail;
    *out = q;
    return PTQ_OK;
}

/* Attention takes its operands out of value v. */
static ptq_status take_columns(join *j, int attention, const group *g, int v)
{
    ptq_step *s = &j->p->steps.v[attention];
    ptq_qattention_params *p = ptq_arena_alloc(j->p->arena, sizeof *p);
    int64_t from = 0;
    if (!p)
        return ptq_fail_nomem();
    *p = *(const ptq_qattention_params *)s->params;
    for (int i = 0; i < g->n; i++) {
        ptq_movers *m = movers_of(p, g->slot[i]);
        m->from = from;
        m->columns = params_of(j, g->step[i])->channels;
        from += m->columns;
        s->in[g->slot[i]] = v;
    }
    s->params = p;
    return PTQ_OK;
}

/* The first product in the program becomes that of all; the others go. */
static ptq_status put_together(join *j, int attention, const group *g)
{
    int w, v, first = g->step[0];
    const void *params = NULL;
    const ptq_pvalue *made = output_of(j, first);
    const ptq_pvalue y = {.name = made->name, .dtype = made->dtype, .first = -1, .last = -1};
    double macs = 0.0;
    PTQ_TRY(join_weights(j, g, &w));
    PTQ_TRY(join_params(j, g, &params));
    PTQ_TRY(ptq_lower_new_value(j->p, y, &v));
    PTQ_TRY(take_columns(j, attention, g, v));
    for (int i = 0; i < g->n; i++) {
        first = g->step[i] < first ? g->step[i] : first;
        macs += j->p->steps.v[g->step[i]].macs;
        j->gone[g->step[i]] = true;
    }
    ptq_step *s = &j->p->steps.v[first];
    j->gone[first] = false;
    s->name = ptq_arena_printf(j->p->arena, "%s and %d more", s->name, g->n - 1);
    s->in[1] = w;
    s->out[0] = v;
    s->params = params;
    s->macs = macs;
    return s->name ? PTQ_OK : ptq_fail_nomem();
}

static ptq_status join_all(join *j)
{
    ptq_program *p = j->p;
    for (int a = 0; a < (int)p->steps.n; a++) {
        if (strcmp(p->steps.v[a].def->name, "qattention") != 0)
            continue;
        for (int first = 0; first + 1 < PTQ_PRODUCT_PARTS; first++) {
            group g;
            collect(j, a, first, &g);
            if (g.n < 2 || !all_in_place(j, a, &g))
                continue;
            PTQ_TRY(put_together(j, a, &g));
            break; /* one of three is left at most */
        }
    }
    ptq_lower_drop(p, j->gone);
    return PTQ_OK;
}

ptq_status ptq_lower_join(ptq_lower_ctx *l)
{
    const ptq_lower_options *o = l->opt;
    if (!o->rearrange || !o->integer || !o->fuse || o->keep)
        return PTQ_OK;
    join j = {.p = l->p, .gone = ptq_arena_array(l->scratch, l->p->steps.n, sizeof *j.gone)};
    if (!j.gone)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_lower_links(l, &j.links));
    return join_all(&j);
}

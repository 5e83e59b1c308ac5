/* SPDX-License-Identifier: Apache-2.0 */
/* qattention: one kernel where that fits, else scores, rows and products one after the other. qnorm. */
#include "lib/exec/attention.h"
#include "lib/exec/float_args.h"
#include "lib/gpu/gf.h"

enum { OPERANDS = 4 }; /* q, k, v, y */

typedef struct job {
    ptq_gpu *g;
    const ptq_step_run *r;
    const ptq_qattention_params *p;
    ptq_attention at;
    const void *data[OPERANDS - 1]; /* as the steps of `at` read them */
    void *y;                        /* as they write */
    uint8_t *room;                  /* scratch for movers that is left */
} job;

static size_t round256(size_t n)
{
    return (n + 255) & ~(size_t)255;
}

static int64_t elements(const ptq_attention *a, int64_t rows, int64_t cols)
{
    return a->batch * rows * cols;
}

static void *take(job *j, size_t n)
{
    void *p = j->room;
    j->room += round256(n);
    return p;
}

/* ---- operands whose movers cannot be told as steps ---- */

/* The view, laid out dense. */
static ptq_status lay_out(job *j, const ptq_view *v, const void *src, void *dst, size_t bytes)
{
    ptq_walk w;
    int parts = v->first[v->rank];
    int64_t one = 1, none = 0;
    ptq_walk_init(&w, parts ? parts : 1, parts ? v->size : &one);
    ptq_walk_add_steps(&w, parts ? v->step : &none, v->offset);
    return ptq_gpu_copy(j->g, &w, dst, src, bytes, NULL);
}

/* Takes a dense tensor through movers, into dst or (NULL) through scratch; *out is where it ends. */
static ptq_status move(job *j, const ptq_movers *m, const int64_t *dims, int rank, const void *src, size_t bytes,
                       void *dst, const void **out)
{
    ptq_view v;
    int at = 0;
    ptq_view_start(m, dims, rank, &v);
    for (;;) {
        int64_t now[PTQ_MAX_RANK], n = 1;
        PTQ_TRY(ptq_view_through(m, &at, &v));
        for (int i = 0; i < v.rank; i++)
            n *= now[i] = ptq_view_dim(&v, i);
        void *to = at == m->n && dst ? dst : take(j, (size_t)n * bytes);
        PTQ_TRY(lay_out(j, &v, src, to, bytes));
        src = to;
        if (at == m->n)
            break;
        ptq_view_dense(now, v.rank, &v);
    }
    *out = src;
    return PTQ_OK;
}

/* Scratch for moving a tensor of so many bytes, never none: each node may stop it. */
static size_t moving(const ptq_movers *m, int64_t n, size_t bytes)
{
    return (size_t)(m->n + 1) * round256((size_t)n * bytes + 1);
}

static const ptq_movers *movers_of(const job *j, int i)
{
    const ptq_movers *m[OPERANDS] = {&j->p->q_from, &j->p->k_from, &j->p->v_from, &j->p->y_to};
    return m[i];
}

static const ptq_attention_steps *steps_of(const job *j, int i)
{
    const ptq_attention_steps *s[OPERANDS] = {&j->at.q, &j->at.k, &j->at.v, &j->at.y};
    return s[i];
}

static size_t out_bytes(const job *j)
{
    return j->p->float_out ? sizeof(float) : 1;
}

static ptq_status gather(job *j)
{
    for (int i = 0; i < OPERANDS - 1; i++) {
        const ptq_tensor *t = j->r->in[i];
        j->data[i] = t->data;
        if (steps_of(j, i)->apart)
            PTQ_TRY(move(j, movers_of(j, i), t->dims, t->rank, t->data, 1, NULL, &j->data[i]));
    }
    j->y = j->at.y.apart ? take(j, (size_t)elements(&j->at, j->at.m, j->at.dv) * out_bytes(j)) : j->r->out[0].data;
    return PTQ_OK;
}

/* From the dense result to where the movers behind it take it. */
static ptq_status scatter(job *j)
{
    const void *end;
    return j->at.y.apart ? move(j, &j->p->y_to, j->at.ydims, j->at.yrank, j->y, out_bytes(j), j->r->out[0].data, &end)
                         : PTQ_OK;
}

/* ---- the two ways ---- */

static ptq_k_side side(const ptq_attention_steps *s, int nbd)
{
    ptq_k_side k = {.row = s->row, .col = s->col};
    for (int i = 0; i < nbd; i++)
        k.batch[i] = s->batch[i];
    return k;
}

static ptq_k_attention whole(const job *j)
{
    const ptq_attention *t = &j->at;
    const ptq_qattention_params *p = j->p;
    const ptq_tensor *mask = ptq_in(j->r, 3);
    ptq_k_attention a = {
        .q = (const uint8_t *)j->data[0] + t->q.offset, .k = (const uint8_t *)j->data[1] + t->k.offset,
        .v = (const uint8_t *)j->data[2] + t->v.offset, .y = (char *)j->y + t->y.offset * (int64_t)out_bytes(j),
        .mask = mask ? (const float *)mask->data + t->mask.offset : NULL,
        .nbd = t->nbd, .m = (int32_t)t->m, .n = (int32_t)t->n, .d = (int32_t)t->d, .dv = (int32_t)t->dv,
        .batch = t->batch,
        .qs = side(&t->q, t->nbd), .ks = side(&t->k, t->nbd), .vs = side(&t->v, t->nbd), .ys = side(&t->y, t->nbd),
        .ms = side(&t->mask, t->nbd), .q_signed = j->r->in[0]->dtype == PTQ_DT_S8,
        .k_signed = j->r->in[1]->dtype == PTQ_DT_S8, .v_signed = j->r->in[2]->dtype == PTQ_DT_S8, .scores = p->scores,
        .requant = p->requant, .float_out = p->float_out, .zq = p->q.zp, .zk = p->k.zp, .zv = p->v.zp, .zp = p->p.zp,
        .zy = p->y.zp, .plo = p->plo, .phi = p->phi, .lo = p->qlo, .hi = p->qhi, .qk_mult = p->qk_mult,
        .factor = p->factor, .pv_mult = p->pv_mult, .sp = p->p.scale, .sy = p->y.scale, .fast = j->g->fast};
    for (int i = 0; i < t->nbd; i++)
        a.bdim[i] = t->bdim[i];
    return a;
}

static ptq_status product(job *j, const ptq_k_matmul *a)
{
    ptq_k_matmul_run fast = ptq_k_matmul_fast(j->g->dev, a);
    return fast ? fast(j->g->dev, a) : ptq_k_run_matmul(j->g->dev, a);
}

/* a times b, both by steps; what remains of the struct is the caller's. */
static ptq_k_matmul matmul(const ptq_k_attention *t, int64_t m, int64_t n, int64_t k, const ptq_k_side *a,
                           const ptq_k_side *b)
{
    ptq_k_matmul p = {.batch = t->batch, .m = m, .n = n, .k = k, .a_row = a->row, .a_col = a->col, .b_row = b->row,
                      .b_col = b->col, .nbd = t->nbd};
    for (int i = 0; i < t->nbd; i++) {
        p.bdim[i] = t->bdim[i];
        p.a_step[i] = a->batch[i];
        p.b_step[i] = b->batch[i];
    }
    return p;
}

static ptq_k_side dense(const ptq_k_attention *t, int64_t rows, int64_t cols)
{
    ptq_k_side s = {.row = cols, .col = 1};
    int64_t step = rows * cols;
    for (int i = t->nbd - 1; i >= 0; i--) {
        s.batch[i] = step;
        step *= t->bdim[i];
    }
    return s;
}

/* Multipliers and zero points of both products, on the device: qk_mult, pv_mult, k.zp, v.zp. */
typedef struct tables {
    float mult[2];
    int32_t zp[2];
} tables;

static ptq_status rows(job *j, const ptq_k_attention *t, const float *x, uint8_t *c)
{
    ptq_k_attention_rows a = {.x = x, .mask = t->mask, .y = c, .batch = t->batch, .m = t->m, .n = t->n, .nbd = t->nbd,
                              .scores = t->scores, .mask_row = t->ms.row, .mask_col = t->ms.col, .factor = t->factor,
                              .s = t->sp, .z = t->zp, .lo = t->plo, .hi = t->phi};
    for (int i = 0; i < t->nbd; i++) {
        a.bdim[i] = t->bdim[i];
        a.mask_step[i] = t->ms.batch[i];
    }
    return ptq_k_run_attention_rows(j->g->dev, &a);
}

static bool is_dense(const ptq_k_attention *t)
{
    ptq_k_side d = dense(t, t->m, t->dv);
    bool same = t->ys.col == 1 && (t->ys.row == d.row || t->m == 1);
    for (int i = 0; i < t->nbd; i++)
        same = same && (t->ys.batch[i] == d.batch[i] || t->bdim[i] == 1);
    return same;
}

static ptq_status spread(job *j, const ptq_k_attention *t, const void *y)
{
    int64_t dims[PTQ_MAX_RANK + 2], step[PTQ_MAX_RANK + 2];
    ptq_walk w;
    for (int i = 0; i < t->nbd; i++) {
        dims[i] = t->bdim[i];
        step[i] = t->ys.batch[i];
    }
    dims[t->nbd] = t->m;
    dims[t->nbd + 1] = t->dv;
    step[t->nbd] = t->ys.row;
    step[t->nbd + 1] = t->ys.col;
    ptq_walk_init(&w, t->nbd + 2, dims);
    ptq_walk_add(&w, t->nbd + 2, dims);
    for (int i = 0; i < w.rank; i++)
        w.step[0][i] = step[i];
    return ptq_gpu_copy(j->g, &w, t->y, y, out_bytes(j), NULL);
}

static ptq_status apart(job *j, const ptq_k_attention *t)
{
    const tables *c = j->r->state;
    size_t scores = (size_t)elements(&j->at, t->m, t->n);
    size_t at_codes = round256(scores * sizeof(float)), at_y = at_codes + round256(scores + 1); /* never 0 */
    bool straight = is_dense(t);
    void *x;
    PTQ_TRY(ptq_gpu_scratch(j->g, 1, at_y + (straight ? 0 : (size_t)elements(&j->at, t->m, t->dv) * out_bytes(j)), &x));
    uint8_t *codes = (uint8_t *)x + at_codes;
    ptq_k_side cs = dense(t, t->m, t->n);
    ptq_k_matmul a = matmul(t, t->m, t->n, t->d, &t->qs, &t->ks), b = matmul(t, t->m, t->dv, t->n, &cs, &t->vs);
    a.a = t->q;
    a.b = t->k;
    a.y = x;
    a.e = (ptq_k_epilogue){.mult = c->mult, .wzp = t->zk ? c->zp : NULL, .nw = 1, .zx = t->zq, .x_signed = t->q_signed,
                           .w_signed = t->k_signed, .float_out = 1};
    PTQ_TRY(product(j, &a));
    PTQ_TRY(rows(j, t, x, codes));
    b.a = codes;
    b.b = t->v;
    b.y = straight ? t->y : (uint8_t *)x + at_y;
    b.e = (ptq_k_epilogue){.mult = c->mult + 1, .wzp = t->zv ? c->zp + 1 : NULL, .nw = 1, .zx = t->zp, .zy = t->zy,
                           .lo = t->lo, .hi = t->hi, .x_signed = j->p->ptype == PTQ_DT_S8, .w_signed = t->v_signed,
                           .float_out = t->float_out};
    if (!t->requant && !t->float_out)
        b.e.tail = (ptq_k_tail){.on = 1, .codes = 1, .factor = 1.0f, .s = t->sy};
    PTQ_TRY(product(j, &b));
    return straight ? PTQ_OK : spread(j, t, b.y);
}

/* ---- the step ---- */

static bool supports(const ptq_program *p, const ptq_step *s, const char **why)
{
    for (int i = 0; i < 3; i++)
        if (!ptq_gpu_is8(ptq_gpu_dtype(p, s, i))) {
            if (why)
                *why = "only 8-bit operands";
            return false;
        }
    return true;
}

static void release(ptq_gpu *g, void *p)
{
    ptq_dev_free(g->dev, p);
}

static ptq_status prepare(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **out)
{
    const ptq_qattention_params *q = s->params;
    const tables t = {{q->qk_mult, q->pv_mult}, {q->k.zp, q->v.zp}};
    (void)p;
    return ptq_gpu_keep(g, &t, sizeof t, out);
}

/* Scratch for all movers of a run, in one piece. They make nothing larger than what they are given. */
static ptq_status room(job *j)
{
    size_t y = (size_t)elements(&j->at, j->at.m, j->at.dv), bytes = 0;
    void *p;
    for (int i = 0; i < OPERANDS; i++)
        if (steps_of(j, i)->apart)
            bytes += i == 3 ? round256(y * out_bytes(j)) + moving(movers_of(j, i), (int64_t)y, out_bytes(j))
                            : moving(movers_of(j, i), ptq_tensor_elements(j->r->in[i]), 1);
    if (bytes == 0)
        return PTQ_OK;
    PTQ_TRY(ptq_gpu_scratch(j->g, 0, bytes, &p));
    j->room = p;
    return PTQ_OK;
}

static ptq_status run(ptq_gpu *g, const ptq_step_run *r)
{
    job j = {.g = g, .r = r, .p = r->step->params};
    PTQ_TRY(ptq_attention_of(r, &j.at));
    if (elements(&j.at, j.at.m, j.at.dv) == 0)
        return PTQ_OK;
    if (j.at.m > INT32_MAX || j.at.n > INT32_MAX || j.at.d > INT32_MAX || j.at.dv > INT32_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: attention over more than 2^31 rows; use fewer samples at a time",
                        r->step->name);
    PTQ_TRY(room(&j));
    PTQ_TRY(gather(&j));
    ptq_k_attention a = whole(&j);
    ptq_k_attention_run fast = ptq_k_attention_fast(g->dev, &a);
    PTQ_TRY(fast ? fast(g->dev, &a) : apart(&j, &a));
    return scatter(&j);
}

extern const ptq_gpu_kernel ptq_gpu_int_qattention, ptq_gpu_int_qnorm;
const ptq_gpu_kernel ptq_gpu_int_qattention = {.name = "qattention", .supports = supports, .prepare = prepare,
                                               .release = release, .run = run};

/* ---- qnorm ---- */

/* What it reads, and its result in float. */
uint32_t ptq_gpu_qnorm_halves(void)
{
    return 1u | 1u << (PTQ_HALF_OUTPUT + 1);
}

static ptq_status run_qnorm(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_qnorm_params *p = r->step->params;
    const ptq_tensor *x = r->in[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", -1), x->rank);
    ptq_k_qnorm a = {.x = x->data, .y = r->out[0].data,
                     .f = r->step->nout > 1 && r->step->out[1] >= 0 ? r->out[1].data : NULL,
                     .rows = ptq_product(x->dims, 0, axis), .n = ptq_product(x->dims, axis, x->rank),
                     .eps = ptq_attr_float(r->step->node, "epsilon", 1e-5f), .s = p->y.scale, .z = p->y.zp,
                     .lo = p->qlo, .hi = p->qhi, .fast = g->fast, .x_half = x->dtype == PTQ_DT_F16,
                     .f_half = r->step->nout > 1 && r->out[1].dtype == PTQ_DT_F16};
    PTQ_TRY(ptq_gf_spread_norm(g, r, axis, a.n, &a.scale, &a.bias));
    return a.n > 0 ? ptq_k_run_qnorm(g->dev, &a) : PTQ_OK;
}
const ptq_gpu_kernel ptq_gpu_int_qnorm = {.name = "qnorm", .run = run_qnorm};

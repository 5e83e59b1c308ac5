/* SPDX-License-Identifier: Apache-2.0 */
/* LSTM, GRU, RNN. The inputs of all steps pass their weights in one product; then each step is a
 * product of the state and the cell on every row of the batch. Per gate
 *   a = (chain over x from +0, + (Wb + Rb)) + chain over h from +0
 * and, with peepholes, fmaf(P, C, a); then the clip, then the function (doc/numerics.md). */
#include <math.h>

#include "lib/cpu/gemm.h"
#include "lib/cpu/recurrent.h"

typedef struct cell {
    const ptq_f32_fns *f;
    const ptq_recurrent *r;
    int dir;
    const int32_t *lens; /* NULL: all steps */
    int64_t step;
    float *gx;       /* [rows of X][gates h] */
    float *gh;       /* [batch][gates h] */
    float *h, *c;    /* [batch][h]; c: LSTM's, or GRU's reset state */
    float *work;     /* [batch][h] */
    const float *p;  /* peepholes [3][h], or NULL */
    float *y;        /* NULL: not asked for */
} cell;

/* ---- where things lie ---- */

static int64_t length_of(const cell *v, int64_t b)
{
    return v->lens ? v->lens[b] : v->r->seq;
}

/* The row of X, W or Y of batch item b in the current step. */
static int64_t row_of(const cell *v, int64_t b)
{
    const ptq_recurrent *r = v->r;
    int64_t t = r->reverse[v->dir] ? length_of(v, b) - 1 - v->step : v->step;
    return r->batch_first ? b * r->seq + t : t * r->batch + b;
}

static float *y_of(const cell *v, int64_t b)
{
    const ptq_recurrent *r = v->r;
    int64_t row = row_of(v, b);
    if (r->batch_first)
        return v->y + (row * r->dirs + v->dir) * r->h;
    return v->y + ((row / r->batch * r->dirs + v->dir) * r->batch + b) * r->h;
}

/* State of batch item b in a tensor of [dirs, batch, h], or with layout 1 [batch, dirs, h]. */
static int64_t state_at(const ptq_recurrent *r, int dir, int64_t b)
{
    return (r->batch_first ? b * r->dirs + dir : dir * r->batch + b) * r->h;
}

/* ---- one gate ---- */

static void gate(const cell *v, float *g, int act)
{
    float bound[2] = {-v->r->clip, v->r->clip};
    if (isfinite(v->r->clip))
        v->f->clip(g, g, v->r->h, bound);
    ptq_cell_apply(v->f, &v->r->act[v->dir][act], g, v->r->h);
}

static void peep(const cell *v, int which, const float *c, float *g)
{
    for (int64_t i = 0; v->p && i < v->r->h; i++)
        g[i] = fmaf(v->p[which * v->r->h + i], c[i], g[i]);
}

/* ---- cells: one row of the batch ---- */

static void lstm_row(const cell *v, float *gx, const float *gh, int64_t b)
{
    int64_t h = v->r->h;
    float *c = v->c + b * h, *y = v->h + b * h, *work = v->work + b * h;
    float *gi = gx, *go = gx + h, *gf = gx + 2 * h, *gc = gx + 3 * h;
    v->f->add(gx, 1, gh, 1, gx, 4 * h);
    peep(v, 0, c, gi);
    peep(v, 2, c, gf);
    gate(v, gi, 0);
    if (v->r->input_forget)
        for (int64_t i = 0; i < h; i++)
            gf[i] = 1.0f - gi[i];
    else
        gate(v, gf, 0);
    gate(v, gc, 1);
    for (int64_t i = 0; i < h; i++)
        c[i] = fmaf(gf[i], c[i], gi[i] * gc[i]);
    peep(v, 1, c, go);
    gate(v, go, 0);
    memcpy(work, c, (size_t)h * sizeof *c);
    ptq_cell_apply(v->f, &v->r->act[v->dir][2], work, h);
    v->f->mul(go, 1, work, 1, y, h);
}

/* Update and reset gates; without linear_before_reset v->c becomes r * H for the second product. */
static void gru_gates(const cell *v, float *gx, const float *gh, int64_t b)
{
    int64_t h = v->r->h;
    v->f->add(gx, 1, gh, 1, gx, 2 * h);
    gate(v, gx, 0);
    gate(v, gx + h, 0);
    if (!v->r->linear_before_reset)
        v->f->mul(gx + h, 1, v->h + b * h, 1, v->c + b * h, h);
}

static void gru_row(const cell *v, float *gx, const float *gh, int64_t b)
{
    int64_t h = v->r->h;
    const float *z = gx, *reset = gx + h;
    float *n = gx + 2 * h, *y = v->h + b * h;
    if (v->r->linear_before_reset)
        for (int64_t i = 0; i < h; i++)
            n[i] = fmaf(reset[i], gh[2 * h + i], n[i]);
    else
        v->f->add(n, 1, gh + 2 * h, 1, n, h);
    gate(v, n, 1);
    for (int64_t i = 0; i < h; i++)
        y[i] = fmaf(z[i], y[i], (1.0f - z[i]) * n[i]);
}

static void rnn_row(const cell *v, float *gx, const float *gh, int64_t b)
{
    int64_t h = v->r->h;
    v->f->add(gx, 1, gh, 1, gx, h);
    gate(v, gx, 0);
    memcpy(v->h + b * h, gx, (size_t)h * sizeof *gx);
}

typedef struct rows {
    const cell *v;
    void (*row)(const cell *v, float *gx, const float *gh, int64_t b);
    bool finish; /* the state is new: give it out */
} rows;

static void rows_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const rows *q = ctx;
    const cell *v = q->v;
    int64_t g = v->r->gates * v->r->h;
    (void)worker;
    for (int64_t b = from; b < to; b++) {
        if (v->step >= length_of(v, b))
            continue;
        q->row(v, v->gx + row_of(v, b) * g, v->gh + b * g, b);
        if (q->finish && v->y)
            memcpy(y_of(v, b), v->h + b * v->r->h, (size_t)v->r->h * sizeof(float));
    }
}

static ptq_status each_row(ptq_cpu *c, const cell *v, void (*row)(const cell *, float *, const float *, int64_t),
                           bool finish)
{
    rows q = {v, row, finish};
    return ptq_cpu_ranges(c, v->r->batch, 1 + 4096 / (v->r->gates * v->r->h + 1), rows_part, &q);
}

/* ---- products ---- */

static void job_of(const void *ctx, int64_t i, ptq_gemm_job *out)
{
    (void)i;
    *out = *(const ptq_gemm_job *)ctx;
}

/* y [m, n] = x [m, k] times w [n, k] transposed (packed), + bias; rows of y ldc apart. */
static ptq_status product(ptq_cpu *c, const float *x, int64_t m, int64_t k, const float *packed, int64_t n,
                          const float *bias, float *y, int64_t ldc)
{
    ptq_gemm_job j = {.a = x, .a_row = k, .a_col = 1, .pb = packed, .c = y, .ldc = ldc, .image = n,
                      .bias_col = bias};
    ptq_gemm_plan p = {.m = m, .n = n, .k = k, .njobs = 1, .job = job_of, .ctx = &j};
    return ptq_gemm_run(c, &p);
}

/* ---- one direction ---- */

typedef struct buffers {
    float *block; /* one allocation for all of these */
    float *gx, *gh, *h, *c, *work, *bias, *rbias, *pw, *pr, *pr2;
} buffers;

static ptq_status take_buffers(const ptq_recurrent *r, buffers *u)
{
    size_t g = (size_t)(r->gates * r->h), state = (size_t)(r->batch * r->h);
    size_t first = r->gates == 3 ? 2 * (size_t)r->h : g;
    size_t n[] = {(size_t)(r->seq * r->batch) * g, (size_t)r->batch * g, state, state, state, g, g,
                  ptq_gemm_packed_b_floats((int64_t)g, r->in), ptq_gemm_packed_b_floats((int64_t)first, r->h),
                  ptq_gemm_packed_b_floats((int64_t)(g - first), r->h)};
    float **at[] = {&u->gx, &u->gh, &u->h, &u->c, &u->work, &u->bias, &u->rbias, &u->pw, &u->pr, &u->pr2};
    size_t total = 0;
    for (size_t i = 0; i < PTQ_COUNT(n); i++)
        total += (n[i] + 15) & ~(size_t)15;
    u->block = ptq_alloc_aligned(total * sizeof(float));
    if (!u->block)
        return ptq_fail_nomem();
    total = 0;
    for (size_t i = 0; i < PTQ_COUNT(n); i++) {
        *at[i] = u->block + total;
        total += (n[i] + 15) & ~(size_t)15;
    }
    return PTQ_OK;
}

/* bias: what the product of X ends with; rbias: of the candidate's product with the state. */
static void read_bias(const ptq_recurrent *r, const ptq_tensor *t, int dir, buffers *u)
{
    int64_t g = r->gates * r->h;
    const float *wb = t ? (const float *)t->data + 2 * g * dir : NULL;
    bool apart = r->gates == 3 && r->linear_before_reset;
    for (int64_t i = 0; i < g; i++) {
        bool own = apart && i >= 2 * r->h;
        u->bias[i] = !wb ? 0.0f : own ? wb[i] : wb[i] + wb[g + i];
        u->rbias[i] = wb && own ? wb[g + i] : 0.0f;
    }
}

static void read_state(const ptq_recurrent *r, const ptq_tensor *t, int dir, float *state)
{
    for (int64_t b = 0; b < r->batch; b++) {
        size_t n = (size_t)r->h * sizeof *state;
        if (t)
            memcpy(state + b * r->h, (const float *)t->data + state_at(r, dir, b), n);
        else
            memset(state + b * r->h, 0, n);
    }
}

static void write_state(const ptq_recurrent *r, const float *state, int dir, ptq_tensor *t)
{
    for (int64_t b = 0; t->data && b < r->batch; b++)
        memcpy((float *)t->data + state_at(r, dir, b), state + b * r->h, (size_t)r->h * sizeof *state);
}

static ptq_status gru_step(ptq_cpu *c, const cell *v, const buffers *u)
{
    const ptq_recurrent *r = v->r;
    int64_t h = r->h, g = 3 * h;
    PTQ_TRY(product(c, v->h, r->batch, h, u->pr, 2 * h, NULL, v->gh, g));
    PTQ_TRY(each_row(c, v, gru_gates, false));
    const float *x = r->linear_before_reset ? v->h : v->c;
    PTQ_TRY(product(c, x, r->batch, h, u->pr2, h, u->rbias + 2 * h, v->gh + 2 * h, g));
    return each_row(c, v, gru_row, true);
}

static ptq_status step(ptq_cpu *c, const cell *v, const buffers *u)
{
    const ptq_recurrent *r = v->r;
    int64_t g = r->gates * r->h;
    if (r->gates == 3)
        return gru_step(c, v, u);
    PTQ_TRY(product(c, v->h, r->batch, r->h, u->pr, g, NULL, v->gh, g));
    return each_row(c, v, r->gates == 4 ? lstm_row : rnn_row, true);
}

static ptq_status run_direction(ptq_cpu *c, const ptq_step_run *run, const ptq_recurrent *r, int dir, buffers *u)
{
    int64_t g = r->gates * r->h, first = r->gates == 3 ? 2 * r->h : g;
    const ptq_tensor *lens = ptq_in(run, 4), *p = ptq_in(run, 7);
    const float *w = (const float *)run->in[1]->data + dir * g * r->in;
    const float *rw = (const float *)run->in[2]->data + dir * g * r->h;
    cell v = {.f = ptq_cpu_f32(c), .r = r, .dir = dir, .lens = lens ? lens->data : NULL, .gx = u->gx, .gh = u->gh,
              .h = u->h, .c = u->c, .work = u->work, .y = run->out[0].data,
              .p = p && r->gates == 4 ? (const float *)p->data + 3 * r->h * dir : NULL};
    read_bias(r, ptq_in(run, 3), dir, u);
    read_state(r, ptq_in(run, 5), dir, v.h);
    read_state(r, r->gates == 4 ? ptq_in(run, 6) : NULL, dir, v.c);
    ptq_gemm_pack_all_b(w, 1, r->in, g, r->in, u->pw);
    ptq_gemm_pack_all_b(rw, 1, r->h, first, r->h, u->pr);
    if (first < g)
        ptq_gemm_pack_all_b(rw + first * r->h, 1, r->h, g - first, r->h, u->pr2);
    PTQ_TRY(product(c, run->in[0]->data, r->seq * r->batch, r->in, u->pw, g, u->bias, v.gx, g));
    for (v.step = 0; v.step < r->seq; v.step++)
        PTQ_TRY(step(c, &v, u));
    if (run->step->nout > 1)
        write_state(r, v.h, dir, &run->out[1]);
    if (run->step->nout > 2 && r->gates == 4)
        write_state(r, v.c, dir, &run->out[2]);
    return PTQ_OK;
}

/* ---- the operator ---- */

static ptq_status check_lengths(const ptq_step_run *run, const ptq_recurrent *r)
{
    const ptq_tensor *t = ptq_in(run, 4);
    if (t && t->dtype != PTQ_DT_S32)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: sequence_lens is %s, not int32", run->step->name, ptq_dtype_name(t->dtype));
    for (int64_t b = 0; t && b < r->batch; b++) {
        int32_t n = ((const int32_t *)t->data)[b];
        if (n < 0 || n > r->seq)
            return ptq_fail(PTQ_ERR_DATA, "node %s: sequence_lens[%lld] is %d, the input has %lld steps",
                            run->step->name, (long long)b, (int)n, (long long)r->seq);
    }
    return PTQ_OK;
}

static ptq_status recurrent_run(ptq_cpu *c, const ptq_step_run *run)
{
    ptq_recurrent r = *(const ptq_recurrent *)run->state;
    const int64_t *x = run->in[0]->dims;
    buffers u;
    int64_t elements;
    r.seq = x[r.batch_first ? 1 : 0];
    r.batch = x[r.batch_first ? 0 : 1];
    r.in = x[2];
    r.h = run->in[2]->dims[2];
    if (!ptq_shape_elements(4, (int64_t[]){r.seq, r.batch, r.gates * r.h, 8}, &elements))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the input is too large", run->step->name);
    PTQ_TRY(check_lengths(run, &r));
    PTQ_TRY(take_buffers(&r, &u));
    if (run->out[0].data) /* behind a sequence's end */
        memset(run->out[0].data, 0, run->out[0].nbytes);
    ptq_status s = PTQ_OK;
    for (int d = 0; d < r.dirs && s == PTQ_OK; d++)
        s = run_direction(c, run, &r, d, &u);
    free(u.block);
    return s;
}

static ptq_status recurrent_prepare(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state)
{
    (void)c;
    (void)p;
    ptq_recurrent *r = ptq_calloc(1, sizeof *r);
    if (!r)
        return ptq_fail_nomem();
    ptq_status st = ptq_recurrent_read(s->node, r);
    if (st == PTQ_OK)
        *state = r;
    else
        free(r);
    return st;
}

/* Other float types are converted on the way; lengths stay as they are. */
#define RECURRENT_ROW(symbol, op)                                                                                      \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                                    \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .takes = PTQ_TAKES_F32, .keep_in = 1u << 4,                 \
                                               .prepare = recurrent_prepare, .run = recurrent_run};
RECURRENT_ROW(lstm, "LSTM")
RECURRENT_ROW(gru, "GRU")
RECURRENT_ROW(rnn, "RNN")

/* SPDX-License-Identifier: Apache-2.0 */
/* qattention: per batch element keys and values are packed once; then blocks of rows go through both
 * products and the softmax between them in memory that stays in the cache. */
#include <string.h>

#include "lib/cpu/int_attention.h"
#include "lib/cpu/walk.h"

static bool supports(const ptq_program *p, const ptq_step *s, const char **why)
{
    ptq_dtype y = p->values.v[s->out[0]].dtype;
    bool ok = ptq_int_is8(y) || y == PTQ_DT_F32;
    for (int i = 0; i < 3; i++)
        ok = ok && ptq_int_is8(p->values.v[s->in[i]].dtype);
    if (!ok || (s->nin > 3 && p->values.v[s->in[3]].dtype != PTQ_DT_F32))
        *why = "qattention takes int8 or uint8 and a mask in float32";
    else
        return true;
    return false;
}

/* ---- operands whose movers cannot be told as steps ---- */

static ptq_status copy_view(ptq_cpu *c, const ptq_view *v, void *dst, const void *src, size_t bytes)
{
    ptq_walk w;
    ptq_walk_init(&w, v->first[v->rank], v->size);
    ptq_walk_add_steps(&w, v->step, v->offset);
    return ptq_walk_copy(c, &w, dst, src, bytes);
}

/* src, a dense tensor, through the movers into dst; `room`: twice its bytes. */
static ptq_status move(ptq_cpu *c, const ptq_movers *m, const int64_t *dims, int rank, void *dst, const void *src,
                       size_t bytes, uint8_t *room)
{
    ptq_view v;
    int64_t have[PTQ_MAX_RANK];
    size_t total = (size_t)ptq_product(dims, 0, rank) * bytes;
    ptq_view_start(m, dims, rank, &v);
    for (int from = 0, turn = 0;; turn ^= 1) {
        PTQ_TRY(ptq_view_through(m, &from, &v));
        if (from == m->n)
            return copy_view(c, &v, dst, src, bytes);
        PTQ_TRY(copy_view(c, &v, room + (turn ? total : 0), src, bytes));
        src = room + (turn ? total : 0);
        for (int i = 0; i < v.rank; i++)
            have[i] = ptq_view_dim(&v, i);
        ptq_view_dense(have, v.rank, &v);
    }
}

/* Bytes of a dense copy with the room that making it needs. */
static size_t apart_bytes(const ptq_attention_steps *s, const ptq_tensor *t, size_t bytes)
{
    return s->apart ? 3 * ptq_int_round64((size_t)ptq_tensor_elements(t) * bytes) : 0;
}

/* Operand i in place, or moved into *mem, which goes on. */
static ptq_status take(ptq_cpu *c, const ptq_step_run *r, int i, const ptq_attention_steps *s, const ptq_movers *m,
                       uint8_t **mem, const uint8_t **out)
{
    const ptq_tensor *t = r->in[i];
    size_t bytes = apart_bytes(s, t, 1);
    *out = (const uint8_t *)t->data + s->offset;
    if (!s->apart)
        return PTQ_OK;
    PTQ_TRY(move(c, m, t->dims, t->rank, *mem, t->data, 1, *mem + bytes / 3));
    *out = *mem;
    *mem += bytes;
    return PTQ_OK;
}

/* ---- the fast form ---- */

enum { ROWS = 48 };

typedef struct job {
    const ptq_int_attention *t;
    const ptq_int_dot *d;
    const ptq_int_vec *vec;
    const ptq_f32_fns *f;
    ptq_qlinear_params qk, pv;
    ptq_cpu serial;
    int64_t splits, rows; /* of the rows of a matrix between tasks */
    size_t keys, values, scores, codes, result, product; /* bytes of each thread's memory */
    uint8_t *mem;
} job;

static size_t thread_bytes(const job *j)
{
    return j->keys + j->values + j->scores + j->codes + j->result + j->product;
}

static void set_params(job *j)
{
    const ptq_qattention_params *p = j->t->p;
    j->qk = (ptq_qlinear_params){.x = p->q, .nw = 1, .wscale = &p->k.scale, .mult = &p->qk_mult,
                                 .wzp = p->k.zp ? &p->k.zp : NULL, .float_out = true};
    j->pv = (ptq_qlinear_params){.x = p->p, .y = p->y, .nw = 1, .wscale = &p->v.scale, .mult = &p->pv_mult,
                                 .wzp = p->v.zp ? &p->v.zp : NULL, .qlo = p->qlo, .qhi = p->qhi,
                                 .float_out = p->float_out, .tail.on = !p->float_out && !p->requant};
}

static void set_sizes(job *j, int threads)
{
    const ptq_attention *a = &j->t->a;
    const ptq_int_dot *d = j->d;
    j->splits = a->batch < threads ? (threads + a->batch - 1) / a->batch : 1;
    j->rows = (a->m + j->splits - 1) / j->splits;
    j->splits = (a->m + j->rows - 1) / j->rows;
    j->keys = ptq_int_round64(ptq_int_packed_bytes(d, a->d, a->n));
    j->values = ptq_int_round64(ptq_int_packed_bytes(d, a->n, a->dv));
    j->scores = ptq_int_round64(2 * ROWS * (size_t)a->n * sizeof(float)); /* and their exponentials */
    j->codes = ptq_int_round64(ROWS * (size_t)a->n);
    j->result = ptq_int_round64(ROWS * (size_t)a->dv * j->t->ybytes);
    int64_t k = a->d > a->n ? a->d : a->n;
    j->product = ptq_int_product_scratch(&j->serial, d, ROWS, (k + d->kgroup - 1) / d->kgroup);
}

/* m rows of scores to probabilities' codes; e has room for as many floats. */
static void softmax_rows(const job *j, float *s, const float *mask, int64_t m, float *e, uint8_t *codes)
{
    const ptq_qattention_params *p = j->t->p;
    const ptq_attention *a = &j->t->a;
    const int64_t n = a->n;
    if (p->scores == PTQ_SCORES_TIMES)
        j->f->mul(s, 1, &p->factor, 0, s, m * n);
    else if (p->scores == PTQ_SCORES_OVER)
        j->f->div(s, 1, &p->factor, 0, s, m * n);
    for (int64_t r = 0; r < m; r++) {
        float *x = s + r * n, *y = e + r * n;
        if (mask)
            j->f->add(x, 1, mask + r * a->mask.row, a->mask.col != 0, x, n);
        float inv = 1.0f / j->f->exp_sum(x, j->f->max_of(x, n), y, n);
        j->f->mul(y, 1, &inv, 0, y, n);
    }
    j->vec->quantize(e, codes, (size_t)(m * n), &p->p.scale, &p->p.zp, 0, (ptq_qgrid){p->plo, p->phi});
}

static ptq_status multiply(job *j, const ptq_qlinear_params *p, const ptq_int_rows *a, int64_t m, void *y,
                           size_t ldy, uint8_t *scratch)
{
    ptq_int_product g = {.w = a->w, .m = m, .y = y, .ldy = ldy, .p = p, .f = j->f, .vec = j->vec, .scratch = scratch};
    ptq_int_set_rows(&g, a);
    return ptq_int_run_product(&j->serial, j->d, &g);
}

/* Results [m][dv] to places with a step between the columns. */
static void scatter(const job *j, const uint8_t *from, int64_t m, uint8_t *to)
{
    const ptq_attention_steps *y = &j->t->a.y;
    int64_t dv = j->t->a.dv;
    for (int64_t r = 0; r < m; r++)
        for (int64_t i = 0; i < dv; i++)
            memcpy(to + (size_t)(r * y->row + i * y->col) * j->t->ybytes, from + (size_t)(r * dv + i) * j->t->ybytes,
                   j->t->ybytes);
}

typedef struct batch {
    const uint8_t *q;
    const float *mask;
    uint8_t *y;
    ptq_int_packed k, v;
} batch;

static ptq_status rows(job *j, const batch *b, int64_t r0, int64_t m, uint8_t *mem)
{
    const ptq_attention *a = &j->t->a;
    float *s = (float *)(void *)(mem + j->keys + j->values);
    uint8_t *codes = (uint8_t *)s + j->scores, *result = codes + j->codes, *scratch = result + j->result;
    ptq_int_rows q = {j->d, &b->k, b->q + r0 * a->q.row, a->q.row, a->q.col};
    ptq_int_rows c = {j->d, &b->v, codes, a->n, 1};
    PTQ_TRY(multiply(j, &j->qk, &q, m, s, (size_t)a->n * sizeof *s, scratch));
    softmax_rows(j, s, b->mask ? b->mask + r0 * a->mask.row : NULL, m, s + ROWS * a->n, codes);
    uint8_t *y = b->y + (size_t)(r0 * a->y.row) * j->t->ybytes;
    bool in_place = a->y.col == 1 || a->dv == 1;
    PTQ_TRY(multiply(j, &j->pv, &c, m, in_place ? y : result,
                     (size_t)(in_place ? a->y.row : a->dv) * j->t->ybytes, scratch));
    if (!in_place)
        scatter(j, result, m, y);
    return PTQ_OK;
}

static void pack(const job *j, const uint8_t *data, bool sgn, bool a_sgn, int64_t k, int64_t n,
                 const ptq_attention_steps *s, const ptq_qlinear_params *p, void *mem, ptq_int_packed *out)
{
    ptq_int_b b = {.data = data, .sgn = sgn, .a_sgn = a_sgn, .k = k, .n = n, .k_step = s->row, .n_step = s->col,
                   .p = p};
    ptq_int_pack(j->d, &b, mem, out);
}

static ptq_status task(void *arg, size_t i, int worker)
{
    job *j = arg;
    const ptq_int_attention *t = j->t;
    const ptq_attention *a = &t->a;
    int64_t n = (int64_t)i / j->splits, from = (int64_t)i % j->splits * j->rows;
    int64_t to = from + j->rows < a->m ? from + j->rows : a->m;
    uint8_t *mem = j->mem + (size_t)worker * thread_bytes(j);
    batch b = {.q = t->q + ptq_int_attention_at(a, &a->q, n),
               .y = t->y + (size_t)ptq_int_attention_at(a, &a->y, n) * t->ybytes,
               .mask = t->mask ? t->mask + ptq_int_attention_at(a, &a->mask, n) : NULL};
    pack(j, t->k + ptq_int_attention_at(a, &a->k, n), t->k_sgn, t->q_sgn, a->d, a->n, &a->k, &j->qk, mem, &b.k);
    pack(j, t->v + ptq_int_attention_at(a, &a->v, n), t->v_sgn, t->p_sgn, a->n, a->dv, &a->v, &j->pv,
         mem + j->keys, &b.v);
    for (int64_t r = from; r < to; r += ROWS)
        PTQ_TRY(rows(j, &b, r, to - r < ROWS ? to - r : ROWS, mem));
    return PTQ_OK;
}

/* ---- together ---- */

static ptq_status run_operands(ptq_cpu *c, job *j, const ptq_int_attention *t, uint8_t *mem)
{
    if (!j->d) {
        ptq_int_ref_qattention(t, mem);
        return PTQ_OK;
    }
    j->mem = mem;
    return ptq_pool_for(c->pool, (size_t)(t->a.batch * j->splits), task, j);
}

static ptq_status run_attention(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    const ptq_qattention_params *p = r->step->params;
    ptq_int_attention t = {.p = p, .ybytes = p->float_out ? sizeof(float) : 1, .p_sgn = ptq_int_signed(p->ptype)};
    ptq_attention *a = &t.a;
    const ptq_tensor *mask = ptq_in(r, 3), *y = &r->out[0];
    PTQ_TRY(ptq_attention_of(r, a));
    if (ptq_tensor_elements(y) == 0)
        return PTQ_OK;
    job j = {.t = &t, .d = isa && a->n && a->d ? isa->dot : NULL, .vec = isa ? isa->vec : NULL,
             .f = ptq_cpu_f32(c), .serial = *c};
    j.serial.pool = NULL;
    int threads = ptq_pool_threads(c->pool);
    size_t work = (size_t)a->n * 8, ybytes = apart_bytes(&a->y, y, t.ybytes);
    if (j.d) {
        set_params(&j);
        set_sizes(&j, threads);
        work = thread_bytes(&j) * (size_t)threads;
    }
    work = ptq_int_round64(work);
    uint8_t *mem = ptq_cpu_scratch(c, work + ybytes + apart_bytes(&a->q, r->in[0], 1) +
                                          apart_bytes(&a->k, r->in[1], 1) + apart_bytes(&a->v, r->in[2], 1) + 64);
    if (!mem)
        return ptq_fail_nomem();
    uint8_t *at = mem + work + ybytes;
    PTQ_TRY(take(c, r, 0, &a->q, &p->q_from, &at, &t.q));
    PTQ_TRY(take(c, r, 1, &a->k, &p->k_from, &at, &t.k));
    PTQ_TRY(take(c, r, 2, &a->v, &p->v_from, &at, &t.v));
    t.q_sgn = ptq_int_signed(r->in[0]->dtype);
    t.k_sgn = ptq_int_signed(r->in[1]->dtype);
    t.v_sgn = ptq_int_signed(r->in[2]->dtype);
    t.mask = mask ? mask->data : NULL;
    t.y = a->y.apart ? mem + work : r->out[0].data;
    PTQ_TRY(run_operands(c, &j, &t, mem));
    if (!a->y.apart)
        return PTQ_OK;
    return move(c, &p->y_to, a->ydims, a->yrank, y->data, t.y, t.ybytes, mem + work + ybytes / 3);
}

extern const ptq_cpu_kernel ptq_cpu_int_qattention;
const ptq_cpu_kernel ptq_cpu_int_qattention = {.name = "qattention", .supports = supports, .run = run_attention};

/* SPDX-License-Identifier: Apache-2.0 */
/* qgemm (the weight is packed once) and qmatmul (both sides computed: packed in each run). */
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/int.h"

typedef struct state {
    const ptq_int_isa *isa;
    ptq_int_packed w; /* its memory follows in `mem` */
    void *mem;
} state;

static bool supports8(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_int_is8(p->values.v[s->in[0]].dtype) && ptq_int_is8(p->values.v[s->in[1]].dtype))
        return true;
    *why = "integer products take int8 or uint8";
    return false;
}

static bool supports_gemm(const ptq_program *p, const ptq_step *s, const char **why)
{
    const ptq_tensor *w = p->values.v[s->in[1]].constant;
    if (!supports8(p, s, why))
        return false;
    if (!w || w->rank != 2) {
        *why = "qgemm takes a constant weight of rank 2";
        return false;
    }
    return true;
}

static void release(void *p)
{
    state *s = p;
    if (s)
        free(s->mem);
    free(s);
}

static ptq_status prepare_gemm(ptq_cpu *c, const ptq_program *prog, const ptq_step *step, void **out)
{
    const ptq_qlinear_params *p = step->params;
    const ptq_tensor *w = prog->values.v[step->in[1]].constant;
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    if (!isa)
        return PTQ_OK;
    ptq_int_b b = {.data = w->data, .sgn = ptq_int_signed(w->dtype),
                   .a_sgn = ptq_int_signed(prog->values.v[step->in[0]].dtype), .p = p};
    b.k = w->dims[p->trans_b ? 1 : 0];
    b.n = w->dims[p->trans_b ? 0 : 1];
    b.k_step = p->trans_b ? 1 : b.n;
    b.n_step = p->trans_b ? b.k : 1;
    state *s = ptq_calloc(1, sizeof *s);
    void *mem = ptq_alloc_aligned(ptq_int_packed_bytes(isa->dot, b.k, b.n));
    if (!s || !mem) {
        free(s);
        free(mem);
        return ptq_fail_nomem();
    }
    s->isa = isa;
    s->mem = mem;
    ptq_int_pack(isa->dot, &b, mem, &s->w);
    *out = s;
    return PTQ_OK;
}

static ptq_status one(ptq_cpu *c, const ptq_int_isa *isa, const ptq_int_packed *w, const ptq_step_run *r,
                      const ptq_int_mm *mm, int64_t m, const uint8_t *a, uint8_t *y, uint8_t *scratch)
{
    const ptq_qlinear_params *p = r->step->params;
    ptq_int_skip skip = ptq_int_skip_of(r);
    const ptq_int_dot *d = isa->dot;
    ptq_int_rows rows = {d, w, a, mm->a_row, mm->a_col};
    ptq_int_product pr = {.w = w, .m = m, .y = y, .p = p, .scratch = scratch};
    pr.ldy = (size_t)mm->n * (p->float_out ? sizeof(float) : 1);
    ptq_int_set_rows(&pr, &rows);
    if (skip.law.kind) {
        skip.ld = (size_t)mm->n;
        pr.skip = &skip;
    }
    if (p->tail.on) {
        pr.f = ptq_cpu_f32(c);
        pr.vec = isa->vec;
        pr.add = p->tail.residual ? r->in[2]->data : NULL;
    }
    return ptq_int_run_product(c, d, &pr);
}

static ptq_status run_gemm(ptq_cpu *c, const ptq_step_run *r)
{
    const state *s = r->state;
    ptq_int_mm mm;
    if (!s)
        return ptq_int_ref_qgemm(r);
    PTQ_TRY(ptq_int_mm_of(r, &mm));
    const ptq_int_dot *d = s->isa->dot;
    /* the weight has no batch: all rows of A are one matrix (a transposed A is of rank 2) */
    int64_t m = mm.batch * mm.m;
    uint8_t *scratch = ptq_cpu_scratch(c, ptq_int_product_scratch(c, d, m, s->w.kgroups));
    if (!scratch)
        return ptq_fail_nomem();
    return one(c, s->isa, &s->w, r, &mm, m, r->in[0]->data, r->out[0].data, scratch);
}

/* Batches whose products are small are shared out whole; each thread packs its own. */
typedef struct batch_job {
    ptq_cpu *c;
    const ptq_int_isa *isa;
    const ptq_int_dot *d;
    const ptq_step_run *r;
    ptq_int_mm mm;
    uint8_t *scratch;
    size_t packed, product;
    ptq_cpu serial;
} batch_job;

static ptq_status batch_one(batch_job *j, ptq_cpu *c, int64_t i, uint8_t *mem)
{
    const ptq_step_run *r = j->r;
    const ptq_qlinear_params *p = r->step->params;
    int64_t a0, b0;
    ptq_int_mm_offsets(&j->mm, i, &a0, &b0);
    ptq_int_b b = {.data = (const uint8_t *)r->in[1]->data + b0, .sgn = ptq_int_signed(r->in[1]->dtype),
                   .a_sgn = ptq_int_signed(r->in[0]->dtype), .k = j->mm.k, .n = j->mm.n,
                   .k_step = j->mm.b_row, .n_step = j->mm.b_col, .p = p};
    ptq_int_packed w;
    ptq_int_pack(j->d, &b, mem, &w);
    size_t ys = (size_t)(j->mm.m * j->mm.n) * (p->float_out ? sizeof(float) : 1);
    return one(c, j->isa, &w, r, &j->mm, j->mm.m, (const uint8_t *)r->in[0]->data + a0,
               (uint8_t *)r->out[0].data + (size_t)i * ys, mem + j->packed);
}

static ptq_status batch_task(void *arg, size_t i, int worker)
{
    batch_job *j = arg;
    return batch_one(j, &j->serial, (int64_t)i, j->scratch + (size_t)worker * (j->packed + j->product));
}

static ptq_status run_matmul(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    if (!isa)
        return ptq_int_ref_qmatmul(r);
    batch_job j = {.c = c, .isa = isa, .d = isa->dot, .r = r, .serial = *c};
    PTQ_TRY(ptq_int_mm_of(r, &j.mm));
    if (j.mm.batch * j.mm.m * j.mm.n == 0)
        return PTQ_OK;
    j.serial.pool = NULL;
    int64_t kgroups = (j.mm.k + j.d->kgroup - 1) / j.d->kgroup;
    int threads = ptq_pool_threads(c->pool);
    bool whole = j.mm.batch >= threads;
    j.packed = ptq_int_round64(ptq_int_packed_bytes(j.d, j.mm.k, j.mm.n));
    j.product = ptq_int_product_scratch(whole ? &j.serial : c, j.d, j.mm.m, kgroups);
    j.scratch = ptq_cpu_scratch(c, (j.packed + j.product) * (size_t)(whole ? threads : 1));
    if (!j.scratch)
        return ptq_fail_nomem();
    if (whole)
        return ptq_pool_for(c->pool, (size_t)j.mm.batch, batch_task, &j);
    for (int64_t i = 0; i < j.mm.batch; i++)
        PTQ_TRY(batch_one(&j, c, i, j.scratch));
    return PTQ_OK;
}

extern const ptq_cpu_kernel ptq_cpu_int_qgemm, ptq_cpu_int_qmatmul;
const ptq_cpu_kernel ptq_cpu_int_qgemm = {
    .name = "qgemm",
    .supports = supports_gemm,
    .prepare = prepare_gemm,
    .release = release,
    .run = run_gemm,
};
const ptq_cpu_kernel ptq_cpu_int_qmatmul = {
    .name = "qmatmul",
    .supports = supports8,
    .run = run_matmul,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* MatMul (numpy rules, any rank) and Gemm. A constant right operand is packed once. */
#include "lib/cpu/fkernel.h"
#include "lib/cpu/gemm.h"

typedef struct matmul_ctx {
    int64_t m, n, k;
    int rank; /* batch dimensions of the output */
    const int64_t *dims;
    int64_t a_step[PTQ_MAX_RANK], b_step[PTQ_MAX_RANK]; /* 0 where broadcast */
    const float *a, *b, *pb, *bias_row, *bias_col;
    float *y;
    bool trans_a, trans_b;
} matmul_ctx;

static ptq_status pack_right(const float *b, int64_t row, int64_t col, int64_t n, int64_t k,
                             void **state)
{
    float *p = ptq_alloc_aligned(ptq_gemm_packed_b_floats(n, k) * sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    ptq_gemm_pack_all_b(b, row, col, n, k, p);
    *state = p;
    return PTQ_OK;
}

static void matmul_job(const void *ctx, int64_t i, ptq_gemm_job *out)
{
    const matmul_ctx *v = ctx;
    int64_t ao = 0, bo = 0, rest = i;
    for (int d = v->rank - 1; d >= 0; d--) {
        ao += rest % v->dims[d] * v->a_step[d];
        bo += rest % v->dims[d] * v->b_step[d];
        rest /= v->dims[d];
    }
    *out = (ptq_gemm_job){
        .a = v->a + ao,
        .a_row = v->trans_a ? 1 : v->k,
        .a_col = v->trans_a ? v->m : 1,
        .pb = v->pb,
        .b = v->b + bo,
        .b_row = v->trans_b ? 1 : v->n,
        .b_col = v->trans_b ? v->k : 1,
        .c = v->y + i * v->m * v->n,
        .ldc = v->n,
        .image = v->n,
        .bias_row = v->bias_row,
        .bias_col = v->bias_col,
    };
}

/* ---- MatMul ---- */

static ptq_status matmul_prepare(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state)
{
    (void)c;
    const ptq_tensor *b = ptq_const_in(p, s, 1);
    if (!b || b->rank != 2)
        return PTQ_OK;
    return pack_right(b->data, b->dims[1], 1, b->dims[1], b->dims[0], state);
}

/* Element steps of the batch dimensions of an operand against the output's. */
static void batch_steps(const ptq_tensor *t, int64_t matrix, int rank, int64_t *step)
{
    int own = t->rank > 2 ? t->rank - 2 : 0;
    int64_t at = matrix;
    for (int d = 0; d < rank; d++)
        step[d] = 0;
    for (int d = own - 1; d >= 0; d--) {
        step[rank - own + d] = t->dims[d] == 1 ? 0 : at;
        at *= t->dims[d];
    }
}

static ptq_status matmul_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *a = r->in[0], *b = r->in[1], *y = &r->out[0];
    matmul_ctx v = {.a = a->data, .b = b->data, .pb = r->state, .y = y->data};
    if (a->rank < 1 || b->rank < 1)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: MatMul of a scalar", r->step->name);
    v.k = a->dims[a->rank - 1];
    v.m = a->rank > 1 ? a->dims[a->rank - 2] : 1;
    v.n = b->rank > 1 ? b->dims[b->rank - 1] : 1;
    /* the output lacks the dimension that a vector operand stands for */
    v.rank = y->rank - (a->rank > 1) - (b->rank > 1);
    v.dims = y->dims;
    batch_steps(a, v.m * v.k, v.rank, v.a_step);
    batch_steps(b, v.k * v.n, v.rank, v.b_step);
    int64_t jobs = ptq_product(y->dims, 0, v.rank);
    if (b->rank <= 2) { /* one right operand: the rows of all batches are one matrix */
        v.m *= jobs;
        jobs = 1;
        v.rank = 0;
    }
    ptq_gemm_plan p = {.m = v.m, .n = v.n, .k = v.k, .njobs = jobs, .job = matmul_job, .ctx = &v,
                       .act = ptq_step_act(r->step)};
    return ptq_gemm_run(c, &p);
}

extern const ptq_cpu_kernel ptq_cpu_f_matmul;
const ptq_cpu_kernel ptq_cpu_f_matmul = {
    .name = "MatMul",
    .takes = PTQ_TAKES_F32,
    .prepare = matmul_prepare,
    .unprepared = true,
    .run = matmul_run,
};

/* ---- Gemm: alpha A' B' + beta C ----
 * With alpha = beta = 1 and C per row or column the bias rides along; otherwise the product is
 * finished in a second pass: fmaf(alpha, product, beta * C), then the clamp. */

static ptq_status gemm_prepare(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state)
{
    (void)c;
    const ptq_tensor *b = ptq_const_in(p, s, 1);
    if (!b || b->rank != 2)
        return PTQ_OK;
    bool t = ptq_attr_int(s->node, "transB", 0) != 0;
    int64_t n = b->dims[t ? 0 : 1], k = b->dims[t ? 1 : 0];
    return pack_right(b->data, t ? 1 : n, t ? k : 1, n, k, state);
}

static void finish_gemm(const matmul_ctx *v, const ptq_tensor *t, float alpha, float beta,
                        ptq_act act)
{
    const float *src = t ? t->data : NULL;
    int64_t cols = t && t->rank > 0 ? t->dims[t->rank - 1] : 1;
    int64_t rows = t && t->rank > 1 ? t->dims[0] : 1;
    for (int64_t i = 0; i < v->m; i++)
        for (int64_t j = 0; j < v->n; j++) {
            float x = v->y[i * v->n + j];
            if (src)
                x = fmaf(alpha, x, beta * src[(rows > 1 ? i : 0) * cols + (cols > 1 ? j : 0)]);
            else
                x *= alpha;
            v->y[i * v->n + j] = act.on ? ptq_fclamp(x, act.lo, act.hi) : x;
        }
}

static ptq_status gemm_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *a = r->in[0], *b = r->in[1], *t = ptq_in(r, 2);
    const ptq_node *node = r->step->node;
    ptq_act act = ptq_step_act(r->step);
    float alpha = ptq_attr_float(node, "alpha", 1.0f), beta = ptq_attr_float(node, "beta", 1.0f);
    matmul_ctx v = {.a = a->data, .b = b->data, .pb = r->state, .y = r->out[0].data,
                    .trans_a = ptq_attr_int(node, "transA", 0) != 0,
                    .trans_b = ptq_attr_int(node, "transB", 0) != 0};
    if (a->rank != 2 || b->rank != 2)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: Gemm needs matrices, has ranks %d and %d",
                        r->step->name, a->rank, b->rank);
    v.m = a->dims[v.trans_a ? 1 : 0];
    v.k = a->dims[v.trans_a ? 0 : 1];
    v.n = b->dims[v.trans_b ? 0 : 1];
    bool row = t && ptq_tensor_elements(t) == v.n && (t->rank < 2 || t->dims[0] == 1) && t->rank > 0;
    bool col = !row && t && t->rank == 2 && t->dims[0] == v.m && t->dims[1] == 1;
    bool rides = alpha == 1.0f && (!t || (beta == 1.0f && (row || col)));
    if (rides && row)
        v.bias_col = t->data;
    if (rides && col)
        v.bias_row = t->data;
    ptq_gemm_plan p = {.m = v.m, .n = v.n, .k = v.k, .njobs = 1, .job = matmul_job, .ctx = &v,
                       .act = rides ? act : (ptq_act){0}};
    PTQ_TRY(ptq_gemm_run(c, &p));
    if (!rides)
        finish_gemm(&v, t, alpha, beta, act);
    return PTQ_OK;
}

extern const ptq_cpu_kernel ptq_cpu_f_gemm;
const ptq_cpu_kernel ptq_cpu_f_gemm = {
    .name = "Gemm",
    .takes = PTQ_TAKES_F32,
    .prepare = gemm_prepare,
    .unprepared = true,
    .run = gemm_run,
};

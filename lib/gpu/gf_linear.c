/* SPDX-License-Identifier: Apache-2.0 */
/* Conv, ConvTranspose, MatMul, Gemm of floats. */
#include "lib/gpu/gf_half.h"

static ptq_status run_conv_as(ptq_gpu *g, const ptq_step_run *r, bool transposed)
{
    const ptq_tensor *bias = ptq_in(r, 2);
    const float *add = NULL;
    ptq_conv_geometry q;
    PTQ_TRY(ptq_conv_geometry_of(r, transposed, &q));
    if (q.osize >= INT32_MAX || q.c >= INT32_MAX || q.m >= INT32_MAX) /* the kernels count in 32 bits */
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "an image of %lld elements is too large", (long long)q.osize);
    if (!transposed)
        PTQ_TRY(ptq_conv_sum_of(r, &add));
    ptq_kf_conv a = {.x = r->in[0]->data, .w = r->in[1]->data, .bias = bias ? bias->data : NULL, .add = add,
                     .y = r->out[0].data, .n = q.batch, .c = q.c, .m = q.m, .groups = q.group,
                     .mirrored = transposed, .pointwise = q.pointwise, .act = ptq_gf_act(r)};
    for (int d = 0; d < 3; d++) {
        a.in[d] = q.in[d];
        a.out[d] = q.out[d];
        a.kernel[d] = q.k[d];
        a.stride[d] = q.stride[d];
        a.dilation[d] = q.dil[d];
        a.pad[d] = q.pad[d];
        a.up[d] = q.up[d];
    }
    return r->step->half ? ptq_gf_half_run_conv(g, r, &a) : ptq_kf_run_conv(g->dev, &a);
}

static ptq_status run_conv(ptq_gpu *g, const ptq_step_run *r)
{
    return run_conv_as(g, r, false);
}

static ptq_status run_conv_transpose(ptq_gpu *g, const ptq_step_run *r)
{
    return run_conv_as(g, r, true);
}
PTQ_GF_ROW(conv, .name = "Conv", .supports = ptq_supports_f32, .host_inputs = ptq_gf_half_inputs,
           .prepare = ptq_gf_half_prepare_conv, .release = ptq_gf_half_release, .run = run_conv,
           .half = ptq_gf_half_conv);
PTQ_GF_ROW(conv_transpose, .name = "ConvTranspose", .supports = ptq_supports_f32, .run = run_conv_transpose,
           .half = ptq_gf_half_never);

static ptq_status product(const ptq_step_run *r, bool trans_a, bool trans_b, ptq_kf_matmul *a)
{
    ptq_int_mm mm;
    PTQ_TRY(ptq_mm_of(r, trans_a, trans_b, &mm));
    *a = (ptq_kf_matmul){.a = r->in[0]->data, .b = r->in[1]->data, .y = r->out[0].data, .batch = mm.batch,
                         .m = mm.m, .n = mm.n, .k = mm.k, .a_row = mm.a_row, .a_col = mm.a_col,
                         .b_row = mm.b_row, .b_col = mm.b_col, .nbd = mm.nbd, .alpha = 1.0f, .beta = 1.0f,
                         .act = ptq_gf_act(r)};
    for (int i = 0; i < mm.nbd; i++) {
        a->bdim[i] = mm.bdim[i];
        a->a_step[i] = mm.a_step[i];
        a->b_step[i] = mm.b_step[i];
    }
    return PTQ_OK;
}

/* One right operand for dense batches: their rows are those of one matrix. */
static void join_batches(const ptq_tensor *left, ptq_kf_matmul *a)
{
    bool one = a->a_col == 1 && left->rank > 1;
    for (int i = 0; i < a->nbd; i++)
        one = one && a->b_step[i] == 0 && (a->a_step[i] != 0 || a->bdim[i] == 1);
    if (!one)
        return;
    a->m *= a->batch;
    a->batch = 1;
    a->nbd = 0;
}

static ptq_status run_product(ptq_gpu *g, const ptq_step_run *r, const ptq_kf_matmul *a)
{
    return r->step->half ? ptq_gf_half_run_product(g, r, a) : ptq_kf_run_matmul(g->dev, a);
}

static ptq_status run_matmul(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_kf_matmul a;
    PTQ_TRY(product(r, false, false, &a));
    join_batches(r->in[0], &a);
    return run_product(g, r, &a);
}
PTQ_GF_ROW(matmul, .name = "MatMul", .supports = ptq_supports_f32, .host_inputs = ptq_gf_half_inputs,
           .prepare = ptq_gf_half_prepare_product, .release = ptq_gf_half_release, .run = run_matmul,
           .half = ptq_gf_half_product);

static ptq_status run_gemm(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_node *n = r->step->node;
    const ptq_tensor *c = ptq_in(r, 2);
    ptq_kf_matmul a;
    if (r->in[0]->rank != 2 || r->in[1]->rank != 2)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: Gemm needs matrices, has ranks %d and %d", r->step->name,
                        r->in[0]->rank, r->in[1]->rank);
    PTQ_TRY(product(r, ptq_attr_int(n, "transA", 0) != 0, ptq_attr_int(n, "transB", 0) != 0, &a));
    a.alpha = ptq_attr_float(n, "alpha", 1.0f);
    a.beta = ptq_attr_float(n, "beta", 1.0f);
    a.scaled = a.alpha != 1.0f || (c && a.beta != 1.0f);
    if (c) {
        int64_t cols = c->rank > 0 ? c->dims[c->rank - 1] : 1, rows = c->rank > 1 ? c->dims[0] : 1;
        a.c = c->data;
        a.c_row = rows > 1 ? cols : 0;
        a.c_col = cols > 1 ? 1 : 0;
    }
    return run_product(g, r, &a);
}
PTQ_GF_ROW(gemm, .name = "Gemm", .supports = ptq_supports_f32, .host_inputs = ptq_gf_half_inputs,
           .prepare = ptq_gf_half_prepare_product, .release = ptq_gf_half_release, .run = run_gemm,
           .half = ptq_gf_half_product);

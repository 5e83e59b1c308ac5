/* SPDX-License-Identifier: Apache-2.0 */
/* Products of floats in float16 (precision fp16): which they are, and their weights. */
#include "lib/gpu/gf_half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/cast.h"

/* Sums and rows of outputs that the matrix units would be too large for. Short sums also hold what must stay exact:
 * positions times frequencies, coordinates. */
enum { LEAST_K = 16, LEAST_OUTPUTS = 4 };

static const char too_small[] = "too small for the matrix units";
static const char out_of_range[] = "its weights are outside of the range of float16";

/* None beyond the largest number, and the largest of them none of those that lose bits. */
static bool in_range(const ptq_tensor *t)
{
    const float *v = t->data;
    float most = 0.0f;
    for (int64_t i = 0, n = ptq_tensor_elements(t); i < n; i++) {
        float a = fabsf(v[i]);
        if (!(a <= 65504.0f))
            return false;
        most = a > most ? a : most;
    }
    return most == 0.0f || most >= 0x1p-14f;
}

bool ptq_gf_half_conv(const ptq_program *p, const ptq_step *s, const char **why)
{
    const ptq_tensor *w = ptq_gpu_constant(p, s, 1);
    int64_t groups = ptq_attr_int(s->node, "group", 1);
    if (!w || w->rank < 3)
        *why = "its weights are computed";
    else if (groups < 1 || w->dims[0] / groups < LEAST_OUTPUTS || ptq_product(w->dims, 1, w->rank) < LEAST_K)
        *why = too_small;
    else if (!in_range(w))
        *why = out_of_range;
    return !*why;
}

bool ptq_gf_half_never(const ptq_program *p, const ptq_step *s, const char **why)
{
    (void)p;
    (void)s;
    *why = "there is no kernel in float16 for it";
    return false;
}

/* Products of a sum, -1 where only a run tells. */
static int64_t known_k(const ptq_step *s, bool trans_a)
{
    const ptq_shape *a = &s->node->in[0]->shape;
    if (a->rank < 1 || (trans_a && a->rank < 2))
        return -1;
    ptq_dim d = a->dims[a->rank - (trans_a ? 2 : 1)];
    return ptq_dim_known(d) ? d.add : -1;
}

static bool transposed(const ptq_step *s, const char *side)
{
    return strcmp(s->node->op, "Gemm") == 0 && ptq_attr_int(s->node, side, 0) != 0;
}

/* Of the right operand, [..., k, n]. */
static void sizes_of(const ptq_tensor *b, bool trans, int64_t *k, int64_t *n)
{
    int64_t last = b->rank > 1 ? b->dims[b->rank - 1] : 1, before = b->rank > 1 ? b->dims[b->rank - 2] : b->dims[0];
    *k = trans ? last : before;
    *n = trans ? before : last;
}

bool ptq_gf_half_product(const ptq_program *p, const ptq_step *s, const char **why)
{
    const ptq_tensor *a = ptq_gpu_constant(p, s, 0), *b = ptq_gpu_constant(p, s, 1);
    int64_t k = known_k(s, transposed(s, "transA")), n = INT64_MAX;
    if (b && b->rank > 0)
        sizes_of(b, transposed(s, "transB"), &k, &n);
    if ((k >= 0 && k < LEAST_K) || n < LEAST_OUTPUTS)
        *why = too_small;
    else if ((a && !in_range(a)) || (b && !in_range(b)))
        *why = out_of_range;
    return !*why;
}

uint32_t ptq_gf_half_inputs(const ptq_program *p, const ptq_step *s)
{
    return s->half && ptq_gpu_constant(p, s, 1) ? 1u << 1 : 0;
}

void ptq_gf_half_pack(const float *src, int64_t rows, int64_t row_step, int64_t outer_step, int64_t inner_step,
                      const ptq_kf_half_order *o, uint16_t *dst)
{
    memset(dst, 0, (size_t)(rows * o->row) * sizeof *dst);
    for (int64_t r = 0; r < rows; r++, src += row_step, dst += o->row)
        for (int64_t i = 0; i < o->outer; i++)
            for (int64_t j = 0; j < o->inner; j++)
                dst[i * o->pad + j] = ptq_float_to_half(src[i * outer_step + j * inner_step]);
}

static ptq_status keep(ptq_gpu *g, uint16_t *packed, size_t n, void **state)
{
    ptq_status s = packed ? ptq_gpu_keep(g, packed, n ? n : 1, state) : ptq_fail_nomem();
    free(packed);
    return s;
}

ptq_status ptq_gf_half_prepare_conv(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    if (!s->half)
        return PTQ_OK;
    const ptq_tensor *w = ptq_gpu_constant(p, s, 1);
    int64_t taps = ptq_product(w->dims, 2, w->rank), k = w->dims[1] * taps;
    ptq_kf_half_order o = ptq_kf_half_order_of(w->dims[1], taps);
    size_t n = (size_t)(w->dims[0] * o.row) * sizeof(uint16_t);
    uint16_t *packed = malloc(n ? n : 1);
    if (packed)
        ptq_gf_half_pack(w->data, w->dims[0], k, o.by_tap ? 1 : 0, o.by_tap ? taps : 1, &o, packed);
    return keep(g, packed, n, state);
}

ptq_status ptq_gf_half_prepare_product(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    const ptq_tensor *b = ptq_gpu_constant(p, s, 1);
    int64_t k, n;
    if (!s->half || !b)
        return PTQ_OK;
    bool trans = transposed(s, "transB");
    sizes_of(b, trans, &k, &n);
    ptq_kf_half_order o = ptq_kf_half_order_of(k, 1);
    int64_t matrices = ptq_tensor_elements(b) / (k * n);
    size_t bytes = (size_t)(matrices * n * o.row) * sizeof(uint16_t);
    uint16_t *packed = malloc(bytes ? bytes : 1);
    for (int64_t i = 0; packed && i < matrices; i++)
        ptq_gf_half_pack((const float *)b->data + i * k * n, n, trans ? k : 1, 0, trans ? 1 : n, &o,
                         packed + i * n * o.row);
    return keep(g, packed, bytes, state);
}

void ptq_gf_half_release(ptq_gpu *g, void *state)
{
    ptq_dev_free(g->dev, state);
}

ptq_status ptq_gf_half_run_conv(ptq_gpu *g, const ptq_step_run *r, const ptq_kf_conv *f)
{
    ptq_kf_half_conv a = {.f = *f, .w = r->state,
                          .order = ptq_kf_half_order_of(f->c / f->groups, f->kernel[0] * f->kernel[1] * f->kernel[2])};
    return ptq_kf_run_half_conv(g->dev, &a);
}

ptq_status ptq_gf_half_run_product(ptq_gpu *g, const ptq_step_run *r, const ptq_kf_matmul *f)
{
    ptq_kf_half_matmul a = {.f = *f, .b = r->state, .row = ptq_kf_half_order_of(f->k, 1).row};
    return f->k < LEAST_K ? ptq_kf_run_matmul(g->dev, f) : ptq_kf_run_half_matmul(g->dev, &a);
}

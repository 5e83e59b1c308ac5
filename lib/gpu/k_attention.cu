/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of attention scores to codes, and LayerNormalization to codes: one row per thread, the specification
 * on the device. rows_wide.cuh has the faster kernels, rows_fast.cuh those of fast math, k_attend.cu attention in one
 * kernel. */
#include "lib/exec/steps.h"
#include "lib/gpu/kf.h"
#ifdef __CUDACC__
#include "lib/gpu/rows_fast.cuh"
#include "lib/gpu/rows_wide.cuh"
#endif

/* Score k of a row as the softmax sees it. */
PTQ_DEVICE float score(const ptq_k_attention_rows *a, const float *x, const float *mask, int64_t k)
{
    float v = x[k];
    v = a->scores == PTQ_SCORES_TIMES ? v * a->factor : a->scores == PTQ_SCORES_OVER ? v / a->factor : v;
    return mask ? v + mask[k * a->mask_col] : v;
}

PTQ_DEVICE const float *mask_row(const ptq_k_attention_rows *a, int64_t row)
{
    int64_t i, b = ptq_kf_divide(row, a->m, &i), k;
    if (!a->mask)
        return NULL;
    const float *p = a->mask + i * a->mask_row;
    for (int d = a->nbd - 1; d >= 0; d--) {
        b = ptq_kf_divide(b, a->bdim[d], &k);
        p += k * a->mask_step[d];
    }
    return p;
}

PTQ_DEVICE float max_score(const ptq_k_attention_rows *a, const float *x, const float *mask)
{
    float p[PTQ_MAX_LANES];
    for (int l = 0; l < PTQ_MAX_LANES; l++)
        p[l] = score(a, x, mask, 0);
    for (int64_t i = 0; i < a->n; i += PTQ_MAX_LANES)
        for (int l = 0; l < PTQ_MAX_LANES; l++)
            if (i + l < a->n)
                p[l] = ptq_maxf(p[l], score(a, x, mask, i + l));
    return ptq_max_fold64(p);
}

PTQ_KERNEL(attention_rows, ptq_k_attention_rows a)
{
    PTQ_EACH(row, a.batch * a.m)
    {
        const float *x = a.x + row * a.n, *mask = mask_row(&a, row);
        uint8_t *y = a.y + row * a.n;
        float max = max_score(&a, x, mask), p[PTQ_LANES] = {0};
        for (int64_t i = 0; i < a.n; i += PTQ_LANES)
            for (int l = 0; l < PTQ_LANES; l++)
                if (i + l < a.n)
                    p[l] += ptq_expf(score(&a, x, mask, i + l) - max);
        float inv = 1.0f / ptq_fold16(p);
        for (int64_t i = 0; i < a.n; i++)
            y[i] = (uint8_t)ptq_quantize(ptq_expf(score(&a, x, mask, i) - max) * inv, a.s, a.z, a.lo, a.hi);
    }
}

ptq_status ptq_k_run_attention_rows(ptq_dev *d, const ptq_k_attention_rows *a)
{
#ifdef __CUDACC__
    if (rows_wide_fit(a->n))
        return attention_rows_wide(d, a);
#endif
    return a->n > 0 ? PTQ_LAUNCH(d, attention_rows, a->batch * a->m, *a) : PTQ_OK;
}

PTQ_KERNEL(qnorm, ptq_k_qnorm a)
{
    PTQ_EACH(row, a.rows)
    {
        const float *x = (const float *)a.x + row * a.n;
        float mean = ptq_sum16(x, a.n, 1) / (float)a.n;
        float rstd = 1.0f / sqrtf(ptq_sumsq16(x, mean, a.n, 1) / (float)a.n + a.eps);
        for (int64_t i = 0; i < a.n; i++) {
            float v = ptq_normalizef(x[i], mean, rstd, a.scale[i], a.bias ? a.bias[i] : 0.0f);
            a.y[row * a.n + i] = (uint8_t)ptq_quantize(v, a.s, a.z, a.lo, a.hi);
            if (a.f)
                ((float *)a.f)[row * a.n + i] = v;
        }
    }
}

/* With halves, and plain sums. */
PTQ_KERNEL(qnorm_half, ptq_k_qnorm a)
{
    PTQ_EACH(row, a.rows)
    {
        float sum = 0.0f, squares = 0.0f;
        for (int64_t i = 0; i < a.n; i++)
            sum += ptq_k_load_float(a.x, row * a.n + i, a.x_half);
        float mean = sum / (float)a.n;
        for (int64_t i = 0; i < a.n; i++) {
            float d = ptq_k_load_float(a.x, row * a.n + i, a.x_half) - mean;
            squares = fmaf(d, d, squares);
        }
        float rstd = 1.0f / sqrtf(squares / (float)a.n + a.eps);
        for (int64_t i = 0; i < a.n; i++) {
            float v = ptq_normalizef(ptq_k_load_float(a.x, row * a.n + i, a.x_half), mean, rstd, a.scale[i],
                                     a.bias ? a.bias[i] : 0.0f);
            a.y[row * a.n + i] = (uint8_t)ptq_quantize(v, a.s, a.z, a.lo, a.hi);
            if (a.f)
                ptq_k_store_float(a.f, row * a.n + i, v, a.f_half);
        }
    }
}

ptq_status ptq_k_run_qnorm(ptq_dev *d, const ptq_k_qnorm *a)
{
#ifdef __CUDACC__
    if (qnorm_fast_fits(a))
        return qnorm_fast_run(d, a);
#endif
    if (a->x_half || a->f_half)
        return PTQ_LAUNCH(d, qnorm_half, a->rows, *a);
#ifdef __CUDACC__
    if (qnorm_wide_fits(a))
        return qnorm_wide_run(d, a);
#endif
    return PTQ_LAUNCH(d, qnorm, a->rows, *a);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, normalizations and reductions: one row per thread, the specification on the device.
 * kf_lanes.cuh has the faster kernels. */
#include "lib/gpu/kf.h"
#ifdef __CUDACC__
#include "lib/gpu/kf_lanes.cuh"
#endif

/* ---- Softmax ---- */

PTQ_KERNEL(softmax, ptq_kf_softmax a)
{
    PTQ_EACH(row, a.outer * a.inner)
    {
        int64_t i, o = ptq_kf_divide(row, a.inner, &i), step = a.inner;
        const float *x = a.x + o * a.n * step + i;
        float *y = a.y + o * a.n * step + i, max = ptq_max64(x, a.n, step);
        for (int64_t k = 0; k < a.n; k++)
            y[k * step] = ptq_expf(x[k * step] - max);
        float sum = ptq_sum16(y, a.n, step), l = ptq_logf(sum), inv = 1.0f / sum;
        for (int64_t k = 0; k < a.n; k++)
            y[k * step] = a.logarithm ? (x[k * step] - max) - l : y[k * step] * inv;
    }
}

ptq_status ptq_kf_run_softmax(ptq_dev *d, const ptq_kf_softmax *a)
{
#ifdef __CUDACC__
    if (a->inner == 1 && ptq_kf_lanes_fit(a->n))
        return ptq_kf_lanes_softmax(d, a);
#endif
    return PTQ_LAUNCH(d, softmax, a->outer * a->inner, *a);
}

/* ---- LayerNormalization ---- */

PTQ_KERNEL(layer_norm, ptq_kf_layer_norm a)
{
    PTQ_EACH(row, a.rows)
    {
        const float *x = a.x + row * a.n;
        float *y = a.y + row * a.n, mean = ptq_sum16(x, a.n, 1) / (float)a.n;
        float rstd = 1.0f / sqrtf(ptq_sumsq16(x, mean, a.n, 1) / (float)a.n + a.eps);
        for (int64_t i = 0; i < a.n; i++)
            y[i] = ptq_normalizef(x[i], mean, rstd, a.scale[i], a.bias ? a.bias[i] : 0.0f);
        if (a.mean)
            a.mean[row] = mean;
        if (a.rstd)
            a.rstd[row] = rstd;
    }
}

ptq_status ptq_kf_run_layer_norm(ptq_dev *d, const ptq_kf_layer_norm *a)
{
#ifdef __CUDACC__
    if (ptq_kf_lanes_fit(a->n))
        return ptq_kf_lanes_layer_norm(d, a);
#endif
    return PTQ_LAUNCH(d, layer_norm, a->rows, *a);
}

/* ---- BatchNormalization, InstanceNormalization ---- */

PTQ_KERNEL(batch_norm, ptq_kf_planes a)
{
    PTQ_EACH(i, a.n * a.channels * a.size)
    {
        int64_t c, k;
        ptq_kf_divide(ptq_kf_divide(i, a.size, &k), a.channels, &c);
        float s = a.scale[c] / sqrtf(a.var[c] + a.eps);
        a.y[i] = ptq_kf_clamp(&a.act, fmaf(a.x[i], s, a.bias[c] - a.mean[c] * s));
    }
}

PTQ_KERNEL(instance_norm, ptq_kf_planes a)
{
    PTQ_EACH(plane, a.n * a.channels)
    {
        const float *x = a.x + plane * a.size;
        int64_t c;
        ptq_kf_divide(plane, a.channels, &c);
        float mean = ptq_sum16(x, a.size, 1) / (float)a.size;
        float var = ptq_sumsq16(x, mean, a.size, 1) / (float)a.size;
        float s = a.scale[c] / sqrtf(var + a.eps), b = a.bias[c] - mean * s;
        for (int64_t i = 0; i < a.size; i++)
            a.y[plane * a.size + i] = fmaf(x[i], s, b);
    }
}

ptq_status ptq_kf_run_planes(ptq_dev *d, const ptq_kf_planes *a)
{
    if (a->mean)
        return PTQ_LAUNCH(d, batch_norm, a->n * a->channels * a->size, *a);
    return PTQ_LAUNCH(d, instance_norm, a->n * a->channels, *a);
}

/* ---- reductions ---- */

PTQ_DEVICE int64_t place(const ptq_kf_walk *w, int64_t i)
{
    int64_t at;
    if (w->nd == 1)
        return i * w->step[1][0];
    ptq_kf_locate(w, i, 1, &at);
    return at;
}

PTQ_DEVICE float sum_of(const ptq_kf_reduce *a, const float *x, float shift)
{
    float p[PTQ_LANES] = {0};
    for (int64_t i = 0; i < a->n; i += PTQ_LANES)
        for (int l = 0; l < PTQ_LANES; l++)
            if (i + l < a->n)
                p[l] = ptq_kf_add(a->op, p[l], x[place(&a->gone, i + l)], shift);
    return ptq_fold16(p);
}

PTQ_DEVICE float max_of(const ptq_kf_reduce *a, const float *x)
{
    float p[PTQ_MAX_LANES];
    for (int l = 0; l < PTQ_MAX_LANES; l++)
        p[l] = a->n > 0 ? x[0] : -INFINITY;
    for (int64_t i = 0; i < a->n; i += PTQ_MAX_LANES)
        for (int l = 0; l < PTQ_MAX_LANES; l++)
            if (i + l < a->n)
                p[l] = ptq_maxf(p[l], x[place(&a->gone, i + l)]);
    return ptq_max_fold64(p);
}

PTQ_DEVICE float fold_of(const ptq_kf_reduce *a, const float *x)
{
    float v = a->op == PTQ_KF_MIN ? INFINITY : 1.0f;
    for (int64_t i = 0; i < a->n; i++) {
        float u = x[place(&a->gone, i)];
        v = a->op == PTQ_KF_MIN ? ptq_minf(v, u) : v * u;
    }
    return v;
}

PTQ_DEVICE int64_t best_of(const ptq_kf_reduce *a, const float *x)
{
    int64_t best = 0;
    float v = a->n > 0 ? x[0] : 0.0f;
    for (int64_t i = 1; i < a->n; i++) {
        float u = x[place(&a->gone, i)];
        if ((a->op == PTQ_KF_ARGMIN ? u < v : u > v) || (a->last && u == v)) {
            best = i;
            v = u;
        }
    }
    return best;
}

PTQ_KERNEL(reduce, ptq_kf_reduce a)
{
    PTQ_EACH(i, a.outputs)
    {
        const float *x = a.x + place(&a.stay, i);
        float shift = 0.0f;
        if (a.op == PTQ_KF_ARGMAX || a.op == PTQ_KF_ARGMIN) {
            ((int64_t *)a.y)[i] = best_of(&a, x);
            continue;
        }
        float v;
        if (a.op == PTQ_KF_MIN || a.op == PTQ_KF_PROD) {
            v = fold_of(&a, x);
        } else {
            if (a.op == PTQ_KF_MAX || a.op == PTQ_KF_LOGEXP)
                shift = max_of(&a, x);
            v = a.op == PTQ_KF_MAX ? shift : ptq_kf_end(a.op, sum_of(&a, x, ptq_kf_shift(shift)), a.n, shift);
        }
        ((float *)a.y)[i] = v;
    }
}

ptq_status ptq_kf_run_reduce(ptq_dev *d, const ptq_kf_reduce *a)
{
#ifdef __CUDACC__
    bool rows = a->stay.nd == 1 && a->gone.nd == 1 && a->gone.step[1][0] == 1;
    if (rows && ptq_kf_lanes_fit(a->n) && (a->op == PTQ_KF_SUM || a->op == PTQ_KF_MEAN || a->op == PTQ_KF_MAX))
        return ptq_kf_lanes_reduce(d, a);
#endif
    return PTQ_LAUNCH(d, reduce, a->outputs, *a);
}

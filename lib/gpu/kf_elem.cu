/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise functions, comparisons, Where and Cast: one element per thread. */
#include "lib/core/cast.h"
#include "lib/gpu/kf.h"

PTQ_DEVICE float unary_of(int op, float v, float p0, float p1)
{
    switch (op) {
#define PTQ_UNARY(name, expr)                                                                      \
    case PTQ_KF_UNARY_##name: return expr;
#include "lib/gpu/functions.def"
    default: return v;
    }
}

PTQ_DEVICE float binary_of(int op, float u, float v)
{
    switch (op) {
#define PTQ_BINARY(name, expr)                                                                     \
    case PTQ_KF_BINARY_##name: return expr;
#include "lib/gpu/functions.def"
    default: return u;
    }
}

PTQ_DEVICE int compare_floats(int op, float u, float v)
{
    switch (op) {
#define PTQ_COMPARE(name, expr)                                                                    \
    case PTQ_KF_COMPARE_##name: return expr;
#include "lib/gpu/functions.def"
    default: return 0;
    }
}

PTQ_DEVICE int compare_ints(int op, int64_t u, int64_t v)
{
    switch (op) {
#define PTQ_COMPARE(name, expr)                                                                    \
    case PTQ_KF_COMPARE_##name: return expr;
#define PTQ_LOGIC(name, expr)                                                                      \
    case PTQ_KF_COMPARE_##name: return expr;
#include "lib/gpu/functions.def"
    default: return 0;
    }
}

PTQ_KERNEL(unary, ptq_kf_unary a)
{
    PTQ_EACH(i, a.n)
    {
        a.y[i] = ptq_kf_clamp(&a.act, unary_of(a.op, a.x[i], a.p0, a.p1));
    }
}

ptq_status ptq_kf_run_unary(ptq_dev *d, const ptq_kf_unary *a)
{
    return PTQ_LAUNCH(d, unary, a->n, *a);
}

PTQ_KERNEL(binary, ptq_kf_binary a)
{
    PTQ_EACH(i, a.n)
    {
        int64_t at[2];
        ptq_kf_locate(&a.w, i, 2, at);
        a.y[i] = ptq_kf_clamp(&a.act, binary_of(a.op, a.a[at[0]], a.b[at[1]]));
    }
}

#ifdef __CUDACC__
/* Four elements at a time, where operands run along with the output or stay, in one or two dimensions: a bias, or
 * what is added to every sample. */
struct wide {
    uint32_t n, inner;      /* vectors of the output, of its last dimension */
    uint32_t outer[2];      /* steps of the operands in the other one, in vectors */
    int32_t one[2];         /* the operand stays within the last dimension */
};

static __device__ __forceinline__ float4 wide_operand(const float *p, uint32_t row, uint32_t at, uint32_t outer, int one)
{
    if (one) {
        float v = __ldg(p + (int64_t)row * outer);
        return make_float4(v, v, v, v);
    }
    return __ldg((const float4 *)p + (int64_t)row * outer + at);
}

static __global__ void __launch_bounds__(256) binary_wide(const __grid_constant__ ptq_kf_binary a,
                                                          const __grid_constant__ wide w)
{
    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < w.n; i += gridDim.x * blockDim.x) {
        uint32_t row = i / w.inner, at = i - row * w.inner;
        float4 u = wide_operand(a.a, row, at, w.outer[0], w.one[0]), v = wide_operand(a.b, row, at, w.outer[1], w.one[1]);
        float4 y = make_float4(binary_of(a.op, u.x, v.x), binary_of(a.op, u.y, v.y), binary_of(a.op, u.z, v.z),
                               binary_of(a.op, u.w, v.w));
        ((float4 *)a.y)[i] = make_float4(ptq_kf_clamp(&a.act, y.x), ptq_kf_clamp(&a.act, y.y), ptq_kf_clamp(&a.act, y.z),
                                         ptq_kf_clamp(&a.act, y.w));
    }
}

static bool wide_of(const ptq_kf_binary *a, wide *w)
{
    const float *p[2] = {a->a, a->b};
    int l = a->w.nd - 1;
    bool good = !ptq_kf_reference_only() && (a->w.nd == 1 || a->w.nd == 2) && a->w.dim[l] % 4 == 0 && a->n > 0 &&
                a->n / 4 < INT32_MAX && (uintptr_t)a->y % 16 == 0 && a->a != a->y && a->b != a->y;
    for (int o = 0; o < 2 && good; o++) {
        int64_t inner = a->w.step[1 + o][l], outer = l ? a->w.step[1 + o][0] : 0;
        w->one[o] = inner == 0;
        good = outer >= 0 && outer < INT32_MAX &&
               (inner == 0 || (inner == 1 && outer % 4 == 0 && (uintptr_t)p[o] % 16 == 0));
        w->outer[o] = (uint32_t)(inner ? outer / 4 : outer);
    }
    w->n = (uint32_t)(a->n / 4);
    w->inner = good ? (uint32_t)(a->w.dim[l] / 4) : 1;
    return good;
}
#endif

ptq_status ptq_kf_run_binary(ptq_dev *d, const ptq_kf_binary *a)
{
#ifdef __CUDACC__
    wide w;
    if (wide_of(a, &w)) {
        binary_wide<<<ptq_grid(w.n), 256, 0, (cudaStream_t)ptq_dev_stream(d)>>>(*a, w);
        return ptq_dev_launched(d, "binary_wide");
    }
#endif
    return PTQ_LAUNCH(d, binary, a->n, *a);
}

PTQ_KERNEL(compare, ptq_kf_compare a)
{
    PTQ_EACH(i, a.n)
    {
        int64_t at[2];
        ptq_kf_locate(&a.w, i, 2, at);
        if (a.dtype == PTQ_DT_F32)
            a.y[i] = (uint8_t)compare_floats(a.op, ((const float *)a.a)[at[0]], ((const float *)a.b)[at[1]]);
        else if (a.dtype == PTQ_DT_BOOL) /* as the bytes they are, like u8 */
            a.y[i] = (uint8_t)compare_ints(a.op, ((const uint8_t *)a.a)[at[0]], ((const uint8_t *)a.b)[at[1]]);
        else
            a.y[i] = (uint8_t)compare_ints(a.op, ptq_number_load(a.dtype, a.a, at[0]).i,
                                           ptq_number_load(a.dtype, a.b, at[1]).i);
    }
}

ptq_status ptq_kf_run_compare(ptq_dev *d, const ptq_kf_compare *a)
{
    return PTQ_LAUNCH(d, compare, a->n, *a);
}

PTQ_KERNEL(where, ptq_kf_where a)
{
    PTQ_EACH(i, a.n)
    {
        int64_t at[3];
        ptq_kf_locate(&a.w, i, 3, at);
        if (a.cond[at[0]])
            ptq_kf_copy(a.y, i, a.a, at[1], a.bytes);
        else
            ptq_kf_copy(a.y, i, a.b, at[2], a.bytes);
    }
}

ptq_status ptq_kf_run_where(ptq_dev *d, const ptq_kf_where *a)
{
    return PTQ_LAUNCH(d, where, a->n, *a);
}

PTQ_KERNEL(cast, ptq_kf_cast a)
{
    PTQ_EACH(i, a.n)
    {
        ptq_number_store(a.to, a.y, i, ptq_number_load(a.from, a.x, i), a.from == PTQ_DT_U64);
    }
}

ptq_status ptq_kf_run_cast(ptq_dev *d, const ptq_kf_cast *a)
{
    return PTQ_LAUNCH(d, cast, a->n, *a);
}

PTQ_KERNEL(logical_not, ptq_kf_cast a)
{
    PTQ_EACH(i, a.n)
    {
        ((uint8_t *)a.y)[i] = ((const uint8_t *)a.x)[i] == 0;
    }
}

ptq_status ptq_kf_run_not(ptq_dev *d, const ptq_kf_cast *a)
{
    return PTQ_LAUNCH(d, logical_not, a->n, *a);
}

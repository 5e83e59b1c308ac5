/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/core/sequence.h"

static const struct {
    const char *name;
    int bits;
} dtypes[PTQ_DT_COUNT] = {
    [PTQ_DT_UNDEFINED] = {"undefined", 0},
    [PTQ_DT_F32] = {"float32", 32},
    [PTQ_DT_U8] = {"uint8", 8},
    [PTQ_DT_S8] = {"int8", 8},
    [PTQ_DT_U16] = {"uint16", 16},
    [PTQ_DT_S16] = {"int16", 16},
    [PTQ_DT_S32] = {"int32", 32},
    [PTQ_DT_S64] = {"int64", 64},
    [PTQ_DT_STRING] = {"string", 0},
    [PTQ_DT_BOOL] = {"bool", 8},
    [PTQ_DT_F16] = {"float16", 16},
    [PTQ_DT_F64] = {"float64", 64},
    [PTQ_DT_U32] = {"uint32", 32},
    [PTQ_DT_U64] = {"uint64", 64},
    [PTQ_DT_C64] = {"complex64", 64},
    [PTQ_DT_C128] = {"complex128", 128},
    [PTQ_DT_BF16] = {"bfloat16", 16},
    [PTQ_DT_F8E4M3FN] = {"float8e4m3fn", 8},
    [PTQ_DT_F8E4M3FNUZ] = {"float8e4m3fnuz", 8},
    [PTQ_DT_F8E5M2] = {"float8e5m2", 8},
    [PTQ_DT_F8E5M2FNUZ] = {"float8e5m2fnuz", 8},
    [PTQ_DT_U4] = {"uint4", 4},
    [PTQ_DT_S4] = {"int4", 4},
    [PTQ_DT_F4E2M1] = {"float4e2m1", 4},
};

const char *ptq_dtype_name(ptq_dtype t)
{
    if (ptq_is_sequence(t))
        return "sequence";
    return (unsigned)t < PTQ_DT_COUNT ? dtypes[t].name : "undefined";
}

int ptq_dtype_bits(ptq_dtype t)
{
    return (unsigned)t < PTQ_DT_COUNT ? dtypes[t].bits : 0;
}

bool ptq_shape_elements(int rank, const int64_t *dims, int64_t *out)
{
    int64_t n = 1;
    if (rank < 0 || rank > PTQ_MAX_RANK)
        return false;
    for (int i = 0; i < rank; i++)
        if (dims[i] < 0 || __builtin_mul_overflow(n, dims[i], &n))
            return false;
    *out = n;
    return true;
}

bool ptq_tensor_nbytes(ptq_dtype t, int rank, const int64_t *dims, size_t *out)
{
    int64_t n;
    size_t bits;
    if (!ptq_shape_elements(rank, dims, &n))
        return false;
    if (!ptq_mul_size((size_t)n, (size_t)ptq_dtype_bits(t), &bits) || bits > SIZE_MAX - 7)
        return false;
    *out = (bits + 7) / 8;
    return true;
}

ptq_status ptq_tensor_alloc(ptq_tensor *t)
{
    char buf[128];
    size_t nbytes;
    if (!ptq_tensor_nbytes(t->dtype, t->rank, t->dims, &nbytes))
        return ptq_fail(PTQ_ERR_MODEL, "tensor shape %s is too large",
                        ptq_shape_str(t->rank, t->dims, buf, sizeof buf));
    void *p = ptq_alloc_aligned(nbytes);
    if (!p)
        return ptq_fail_nomem();
    t->data = p;
    t->nbytes = nbytes;
    return PTQ_OK;
}

const char *ptq_shape_str(int rank, const int64_t *dims, char *buf, size_t n)
{
    size_t at = (size_t)snprintf(buf, n, "[");
    for (int i = 0; i < rank && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%lld", i ? "," : "", (long long)dims[i]);
    if (at < n)
        snprintf(buf + at, n - at, "]");
    return buf;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* TensorProto: its elements may lie in raw_data or in one of six typed fields. */
#include <limits.h>
#include <string.h>

#include "lib/onnx/onnx_priv.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little-endian");

enum { IN_NONE, IN_FLOAT, IN_INT32, IN_INT64, IN_DOUBLE, IN_UINT64, IN_STRING, IN_COUNT };

/* The typed field of each element type and how many of its entries make an element. lo and hi
 * bound what int32_data may hold for types narrower than 32 bits; 4-bit types are bytes of two. */
static const struct {
    uint8_t field, per;
    int32_t lo, hi;
} home[PTQ_DT_COUNT] = {
    [PTQ_DT_F32] = {IN_FLOAT, 1, 0, 0},
    [PTQ_DT_C64] = {IN_FLOAT, 2, 0, 0},
    [PTQ_DT_F64] = {IN_DOUBLE, 1, 0, 0},
    [PTQ_DT_C128] = {IN_DOUBLE, 2, 0, 0},
    [PTQ_DT_S64] = {IN_INT64, 1, 0, 0},
    [PTQ_DT_U32] = {IN_UINT64, 1, 0, 0},
    [PTQ_DT_U64] = {IN_UINT64, 1, 0, 0},
    [PTQ_DT_STRING] = {IN_STRING, 1, 0, 0},
    [PTQ_DT_S32] = {IN_INT32, 1, INT32_MIN, INT32_MAX},
    [PTQ_DT_S16] = {IN_INT32, 1, INT16_MIN, INT16_MAX},
    [PTQ_DT_S8] = {IN_INT32, 1, INT8_MIN, INT8_MAX},
    [PTQ_DT_U16] = {IN_INT32, 1, 0, UINT16_MAX},
    [PTQ_DT_U8] = {IN_INT32, 1, 0, UINT8_MAX},
    [PTQ_DT_BOOL] = {IN_INT32, 1, 0, 1},
    [PTQ_DT_F16] = {IN_INT32, 1, 0, UINT16_MAX},
    [PTQ_DT_BF16] = {IN_INT32, 1, 0, UINT16_MAX},
    [PTQ_DT_F8E4M3FN] = {IN_INT32, 1, 0, UINT8_MAX},
    [PTQ_DT_F8E4M3FNUZ] = {IN_INT32, 1, 0, UINT8_MAX},
    [PTQ_DT_F8E5M2] = {IN_INT32, 1, 0, UINT8_MAX},
    [PTQ_DT_F8E5M2FNUZ] = {IN_INT32, 1, 0, UINT8_MAX},
    [PTQ_DT_U4] = {IN_INT32, 1, INT8_MIN, UINT8_MAX},
    [PTQ_DT_S4] = {IN_INT32, 1, INT8_MIN, UINT8_MAX},
    [PTQ_DT_F4E2M1] = {IN_INT32, 1, INT8_MIN, UINT8_MAX},
};

static const char *const field_names[IN_COUNT] = {"raw_data",    "float_data",  "int32_data",
                                                  "int64_data",  "double_data", "uint64_data",
                                                  "string_data"};

const char *ptq_onnx_tensor_name(const pb_tensor *t)
{
    return t->name && *t->name ? t->name : "(unnamed)";
}

static size_t field_count(const pb_tensor *t, int field)
{
    switch (field) {
    case IN_FLOAT:
        return t->n_float_data;
    case IN_INT32:
        return t->n_int32_data;
    case IN_INT64:
        return t->n_int64_data;
    case IN_DOUBLE:
        return t->n_double_data;
    case IN_UINT64:
        return t->n_uint64_data;
    case IN_STRING:
        return t->n_string_data;
    default:
        return 0;
    }
}

/* Element type and dims; *elements and *nbytes (0 for strings) follow. */
static ptq_status check_dims(const pb_tensor *t, int64_t *elements, size_t *nbytes)
{
    const char *name = ptq_onnx_tensor_name(t);
    int64_t dims[PTQ_MAX_RANK];
    char shape[256];
    if (t->data_type <= PTQ_DT_UNDEFINED || t->data_type >= PTQ_DT_COUNT)
        return ptq_fail(t->data_type > 0 ? PTQ_ERR_UNSUPPORTED : PTQ_ERR_MODEL,
                        "tensor '%s': element type %d is not known", name, (int)t->data_type);
    if (t->segment)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "tensor '%s' is split into segments", name);
    if (t->n_dims > PTQ_MAX_RANK)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "tensor '%s' has rank %zu; at most %d is supported",
                        name, t->n_dims, PTQ_MAX_RANK);
    for (size_t i = 0; i < t->n_dims; i++)
        dims[i] = t->dims[i];
    int rank = (int)t->n_dims;
    if (!ptq_shape_elements(rank, dims, elements) ||
        !ptq_tensor_nbytes((ptq_dtype)t->data_type, rank, dims, nbytes))
        return ptq_fail(PTQ_ERR_MODEL, "tensor '%s': shape %s is negative or too large", name,
                        ptq_shape_str(rank, dims, shape, sizeof shape));
    return PTQ_OK;
}

static ptq_status wrong_size(const pb_tensor *t, const char *field, size_t has, const char *unit,
                             size_t needs)
{
    char shape[256];
    return ptq_fail(PTQ_ERR_MODEL, "tensor '%s': %s holds %zu %s, shape %s of %s needs %zu",
                    ptq_onnx_tensor_name(t), field, has, unit,
                    ptq_shape_str((int)t->n_dims, t->dims, shape, sizeof shape),
                    ptq_dtype_name((ptq_dtype)t->data_type), needs);
}

static ptq_status check_range(const pb_tensor *t)
{
    int32_t lo = home[t->data_type].lo, hi = home[t->data_type].hi;
    for (size_t i = 0; i < t->n_int32_data; i++)
        if (t->int32_data[i] < lo || t->int32_data[i] > hi)
            return ptq_fail(PTQ_ERR_MODEL, "tensor '%s': element %zu is %d, which no %s can be",
                            ptq_onnx_tensor_name(t), i, (int)t->int32_data[i],
                            ptq_dtype_name((ptq_dtype)t->data_type));
    if (t->data_type == PTQ_DT_U32)
        for (size_t i = 0; i < t->n_uint64_data; i++)
            if (t->uint64_data[i] > UINT32_MAX)
                return ptq_fail(PTQ_ERR_MODEL, "tensor '%s': element %zu is too large for uint32",
                                ptq_onnx_tensor_name(t), i);
    return PTQ_OK;
}

ptq_status ptq_onnx_tensor_check(ptq_onnx_file *f, pb_tensor *t)
{
    const char *name = ptq_onnx_tensor_name(t);
    int64_t elements;
    size_t nbytes;
    PTQ_TRY(check_dims(t, &elements, &nbytes));
    int used = IN_NONE;
    for (int i = IN_FLOAT; i < IN_COUNT; i++) {
        if (field_count(t, i) == 0)
            continue;
        if (used != IN_NONE || t->has_raw_data)
            return ptq_fail(PTQ_ERR_MODEL, "tensor '%s' holds its elements twice, in %s and %s", name,
                            field_names[used], field_names[i]);
        used = i;
    }
    bool external = t->has_data_location &&
                    t->data_location == PTQ_ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    int want = home[t->data_type].field;
    if (external) {
        if (used != IN_NONE || t->has_raw_data)
            return ptq_fail(PTQ_ERR_MODEL, "tensor '%s' holds its elements here and in external data",
                            name);
        if (want == IN_STRING)
            return ptq_fail(PTQ_ERR_MODEL, "tensor '%s': strings cannot be external data", name);
        return ptq_onnx_external_resolve(f, t, nbytes);
    }
    if (t->has_raw_data) {
        if (want == IN_STRING)
            return ptq_fail(PTQ_ERR_MODEL, "tensor '%s': strings cannot be in raw_data", name);
        return t->raw_data.len == nbytes ? PTQ_OK
                                         : wrong_size(t, "raw_data", t->raw_data.len, "bytes", nbytes);
    }
    if (used != IN_NONE && used != want)
        return ptq_fail(PTQ_ERR_MODEL, "tensor '%s': elements of type %s belong into %s, not %s", name,
                        ptq_dtype_name((ptq_dtype)t->data_type), field_names[want],
                        field_names[used]);
    size_t needs = (size_t)elements * home[t->data_type].per;
    if (ptq_dtype_bits((ptq_dtype)t->data_type) == 4)
        needs = nbytes;
    if (field_count(t, want) != needs)
        return wrong_size(t, field_names[want], field_count(t, want), "numbers", needs);
    return check_range(t);
}

/* The low `size` bytes of each int32 (or uint64 for uint32). */
static void *narrow(ptq_arena *a, const void *src, size_t stride, size_t n, size_t size)
{
    char *to = ptq_arena_array(a, n, size);
    for (size_t i = 0; to && i < n; i++)
        memcpy(to + i * size, (const char *)src + i * stride, size);
    return to;
}

static const void *typed_data(ptq_arena *a, const pb_tensor *t)
{
    int bits = ptq_dtype_bits((ptq_dtype)t->data_type);
    switch (home[t->data_type].field) {
    case IN_FLOAT:
        return t->float_data;
    case IN_DOUBLE:
        return t->double_data;
    case IN_INT64:
        return t->int64_data;
    case IN_UINT64:
        return bits == 64 ? (const void *)t->uint64_data
                          : narrow(a, t->uint64_data, 8, t->n_uint64_data, 4);
    default:
        return bits == 32 ? (const void *)t->int32_data
                          : narrow(a, t->int32_data, 4, t->n_int32_data, bits == 16 ? 2 : 1);
    }
}

ptq_status ptq_onnx_tensor_view(ptq_arena *a, const pb_tensor *t, ptq_tensor *out)
{
    ptq_tensor v = {.dtype = (ptq_dtype)t->data_type, .rank = (int)t->n_dims};
    int64_t elements;
    const void *data;
    PTQ_TRY(check_dims(t, &elements, &v.nbytes));
    for (int i = 0; i < v.rank; i++)
        v.dims[i] = t->dims[i];
    if (v.dtype == PTQ_DT_STRING) {
        *out = v;
        return PTQ_OK;
    }
    size_t align = (size_t)ptq_dtype_bits(v.dtype) / 8;
    if (v.dtype == PTQ_DT_C64 || v.dtype == PTQ_DT_C128)
        align /= 2;
    if (v.nbytes == 0) {
        data = ptq_arena_alloc(a, 0);
    } else if (!t->has_raw_data) {
        data = typed_data(a, t);
    } else {
        data = t->raw_data.data;
        /* protobuf puts payloads anywhere; kernels may expect whole elements aligned. */
        if (align > 1 && (uintptr_t)data % align != 0) {
            void *copy = ptq_arena_alloc(a, v.nbytes);
            if (copy)
                memcpy(copy, data, v.nbytes);
            data = copy;
        }
    }
    if (!data)
        return ptq_fail_nomem();
    v.data = (void *)(uintptr_t)data;
    *out = v;
    return PTQ_OK;
}

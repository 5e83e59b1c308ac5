/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/conformance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/cast.h"
#include "lib/onnx/onnx_priv.h"

enum { MAX_FILE = 1 << 28 };

ptq_status conf_read_tensor(ptq_arena *a, const char *path, ptq_tensor *out)
{
    char *bytes;
    size_t n;
    PTQ_TRY(ptq_read_file(path, MAX_FILE, &bytes, &n));
    void *copy = ptq_arena_alloc(a, n);
    if (copy)
        memcpy(copy, bytes, n);
    pb_tensor *t = ptq_onnx__tensor_proto__unpack(NULL, n, (uint8_t *)bytes);
    free(bytes);
    ptq_status s = t ? PTQ_OK : ptq_fail(PTQ_ERR_UNSUPPORTED, "%s: is no tensor", path);
    if (s == PTQ_OK && t->has_data_location)
        s = ptq_fail(PTQ_ERR_UNSUPPORTED, "%s: has external data", path);
    if (s == PTQ_OK)
        s = ptq_onnx_tensor_check(NULL, t);
    if (s == PTQ_OK)
        s = ptq_onnx_tensor_view(a, t, out);
    if (s == PTQ_OK && out->dtype == PTQ_DT_STRING)
        s = ptq_fail(PTQ_ERR_UNSUPPORTED, "%s: strings", path);
    if (s == PTQ_OK) { /* the view may point into the message */
        void *data = ptq_arena_alloc(a, out->nbytes);
        if (data && out->nbytes)
            memcpy(data, out->data, out->nbytes);
        out->data = data;
        s = data ? PTQ_OK : ptq_fail_nomem();
    }
    if (t)
        ptq_onnx__tensor_proto__free_unpacked(t, NULL);
    return s;
}

static bool close_enough(double got, double want, double relative)
{
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got);
    if (isinf(want) || isinf(got))
        return want == got;
    return fabs(got - want) <= 1e-7 + relative * fabs(want);
}

/* That of the ONNX runner; data in bfloat16 were made by cutting bits off. */
static double tolerance(ptq_dtype t)
{
    return t == PTQ_DT_BF16 ? 0x1p-7 : 1e-3;
}

static bool is_float(ptq_dtype t)
{
    return t == PTQ_DT_F32 || t == PTQ_DT_F64 || t == PTQ_DT_F16 || t == PTQ_DT_BF16;
}

static bool same_floats(const ptq_tensor *got, const ptq_tensor *want, char *why, size_t n)
{
    for (int64_t i = 0, count = ptq_tensor_elements(want); i < count; i++) {
        double g = ptq_number_load(got->dtype, got->data, i).d;
        double w = ptq_number_load(want->dtype, want->data, i).d;
        if (close_enough(g, w, tolerance(want->dtype)))
            continue;
        snprintf(why, n, "element %lld is %.9g, not %.9g", (long long)i, g, w);
        return false;
    }
    return true;
}

static double f32_at(const ptq_tensor *t, int64_t i)
{
    return ((const float *)t->data)[i];
}

/* Complex: both parts. */
static bool same_complex(const ptq_tensor *got, const ptq_tensor *want)
{
    for (int64_t i = 0, count = 2 * ptq_tensor_elements(want); i < count; i++)
        if (!close_enough(f32_at(got, i), f32_at(want, i), tolerance(want->dtype)))
            return false;
    return true;
}

bool conf_same(const ptq_tensor *got, const ptq_tensor *want, char *why, size_t n)
{
    char a[128], b[128];
    bool same = got->dtype == want->dtype && got->rank == want->rank;
    for (int d = 0; same && d < want->rank; d++)
        same = got->dims[d] == want->dims[d];
    if (!same) {
        snprintf(why, n, "gives %s %s, not %s %s", ptq_dtype_name(got->dtype),
                 ptq_shape_str(got->rank, got->dims, a, sizeof a), ptq_dtype_name(want->dtype),
                 ptq_shape_str(want->rank, want->dims, b, sizeof b));
        return false;
    }
    if (is_float(want->dtype))
        return same_floats(got, want, why, n);
    if (want->dtype == PTQ_DT_C64)
        return same_complex(got, want);
    size_t size = (size_t)ptq_dtype_bits(want->dtype) / 8;
    for (size_t i = 0; i < want->nbytes; i++)
        if (((const uint8_t *)got->data)[i] != ((const uint8_t *)want->data)[i]) {
            snprintf(why, n, "element %zu of %s differs", size ? i / size : 2 * i,
                     ptq_dtype_name(want->dtype));
            return false;
        }
    return true;
}

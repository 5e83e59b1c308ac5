/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/conformance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/cast.h"
#include "lib/core/sequence.h"
#include "lib/onnx/onnx_priv.h"

enum { MAX_FILE = 1 << 28 };

static ptq_status read_tensor(ptq_arena *a, const char *path, const uint8_t *bytes, size_t n, ptq_tensor *out)
{
    pb_tensor *t = ptq_onnx__tensor_proto__unpack(NULL, n, bytes);
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

/* ---- SequenceProto and OptionalProto: elem_type 2, then what there is; the schema here lacks them ---- */

typedef struct cursor {
    const uint8_t *p, *end;
} cursor;

static uint64_t varint(cursor *c)
{
    uint64_t v = 0;
    for (int shift = 0; c->p < c->end && shift < 64; shift += 7) {
        v |= (uint64_t)(*c->p & 0x7f) << shift;
        if (!(*c->p++ & 0x80))
            break;
    }
    return v;
}

/* The next field: its number, and its payload where it has one. */
static unsigned field(cursor *c, cursor *in)
{
    uint64_t key = varint(c), n = varint(c);
    *in = (cursor){c->p, c->p};
    if ((key & 7) == 2) {
        in->end = n <= (uint64_t)(c->end - c->p) ? c->p + n : c->end;
        c->p = in->end;
    }
    return (unsigned)(key >> 3);
}

static ptq_status read_sequence(ptq_arena *a, const char *path, cursor c, ptq_dtype element, ptq_tensor *out)
{
    enum { MAX = 256 };
    ptq_tensor items[MAX], packed;
    const ptq_tensor *p[MAX];
    size_t n = 0;
    cursor in;
    while (c.p < c.end && n < MAX)
        if (field(&c, &in) == 3) {
            PTQ_TRY(read_tensor(a, path, in.p, (size_t)(in.end - in.p), &items[n]));
            p[n] = &items[n];
            n++;
        }
    PTQ_TRY(ptq_sequence_pack(element, p, n, &packed));
    *out = packed;
    out->data = ptq_arena_alloc(a, packed.nbytes);
    if (out->data)
        memcpy(out->data, packed.data, packed.nbytes);
    free(packed.data);
    return out->data ? PTQ_OK : ptq_fail_nomem();
}

static ptq_status read_optional(ptq_arena *a, const char *path, cursor c, ptq_dtype t, ptq_tensor *out)
{
    cursor in;
    *out = (ptq_tensor){.dtype = (ptq_dtype)PTQ_SEQUENCE, .data = ptq_arena_alloc(a, 1)};
    while (c.p < c.end) {
        unsigned f = field(&c, &in);
        if (f == 3)
            return read_tensor(a, path, in.p, (size_t)(in.end - in.p), out);
        if (f == 5)
            return read_sequence(a, path, in, ptq_sequence_element(t), out);
    }
    return PTQ_OK;
}

ptq_status conf_read_value(ptq_arena *a, const char *path, ptq_dtype t, bool optional, ptq_tensor *out)
{
    char *bytes;
    size_t n;
    PTQ_TRY(ptq_read_file(path, MAX_FILE, &bytes, &n));
    cursor all = {(const uint8_t *)bytes, (const uint8_t *)bytes + n};
    ptq_status s = optional              ? read_optional(a, path, all, t, out)
                   : ptq_is_sequence(t) ? read_sequence(a, path, all, ptq_sequence_element(t), out)
                                         : read_tensor(a, path, all.p, n, out);
    free(bytes);
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

static bool same_tensor(const ptq_tensor *got, const ptq_tensor *want, char *why, size_t n)
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

bool conf_same(const ptq_tensor *got, const ptq_tensor *want, char *why, size_t n)
{
    bool lists = ptq_is_sequence(got->dtype) && !ptq_is_none(got) && got->dtype == want->dtype;
    if (!lists || got->dims[0] != want->dims[0])
        return same_tensor(got, want, why, n);
    for (int64_t i = 0; i < want->dims[0]; i++) {
        ptq_tensor g = ptq_sequence_get(got, i), w = ptq_sequence_get(want, i);
        if (!same_tensor(&g, &w, why, n))
            return false;
    }
    return true;
}

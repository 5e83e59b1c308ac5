/* SPDX-License-Identifier: Apache-2.0 */
/* Pad: constant, edge, reflect, wrap; negative pads cut away. */
#include "lib/cpu/walk.h"

typedef enum pad_mode { MODE_CONSTANT, MODE_EDGE, MODE_REFLECT, MODE_WRAP } pad_mode;

typedef struct pad_args {
    int64_t before[PTQ_MAX_RANK];
    pad_mode mode;
    unsigned char value[8];
} pad_args;

static ptq_status read_pads(const ptq_step_run *r, pad_args *a)
{
    const ptq_tensor *x = r->in[0], *t = ptq_in(r, 1), *axes_t = ptq_in(r, 3);
    int64_t pads[2 * PTQ_MAX_RANK] = {0}, axes[PTQ_MAX_RANK];
    int n = 0, na = x->rank;
    size_t count = 0;
    const int64_t *list = ptq_attr_ints(r->step->node, "pads", &count);
    for (int i = 0; i < PTQ_MAX_RANK; i++)
        axes[i] = i;
    bool ok = list ? count <= 2 * PTQ_MAX_RANK : t && ptq_ints_of(t, pads, 2 * PTQ_MAX_RANK, &n);
    for (size_t i = 0; ok && list && i < count; i++)
        pads[i] = list[i];
    n = list ? (int)count : n;
    ok = ok && (!axes_t || ptq_ints_of(axes_t, axes, PTQ_MAX_RANK, &na)) && n == 2 * na;
    for (int i = 0; ok && i < na; i++) {
        int d = ptq_axis(axes[i], x->rank);
        ok = d >= 0 && d < x->rank;
        if (ok)
            a->before[d] = pads[i];
    }
    if (!ok)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: pads do not fit an input of rank %d", r->step->name,
                        x->rank);
    return PTQ_OK;
}

static ptq_status read_mode(const ptq_step_run *r, pad_args *a)
{
    static const char *const names[] = {"constant", "edge", "reflect", "wrap"};
    const char *mode = ptq_attr_str(r->step->node, "mode", "constant");
    const ptq_tensor *value = ptq_in(r, 2);
    size_t e = ptq_elem_bytes(r->in[0]->dtype), m = 0;
    float f = ptq_attr_float(r->step->node, "value", 0.0f);
    while (m < PTQ_COUNT(names) && strcmp(mode, names[m]) != 0)
        m++;
    if (m == PTQ_COUNT(names))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Pad mode \"%s\" is not supported",
                        r->step->name, mode);
    a->mode = (pad_mode)m;
    if (value && ptq_tensor_elements(value) > 0)
        memcpy(a->value, value->data, e);
    else if (r->in[0]->dtype == PTQ_DT_F32)
        memcpy(a->value, &f, sizeof f);
    return PTQ_OK;
}

/* Source index of output index i, or -1 for the constant. */
static int64_t source(pad_mode mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == MODE_CONSTANT || n == 0)
        return -1;
    if (mode == MODE_EDGE)
        return i < 0 ? 0 : n - 1;
    int64_t period = mode == MODE_WRAP ? n : 2 * (n - 1);
    if (period == 0)
        return 0;
    i = (i % period + period) % period;
    return i < n ? i : period - i;
}

typedef struct pad_ctx {
    const ptq_tensor *x, *y;
    const pad_args *a;
    size_t e;
} pad_ctx;

static void put(char *d, const void *value, size_t e, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(d + (size_t)i * e, value, e);
}

/* Rows of the output along the last dimension. */
static void pad_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const pad_ctx *v = ctx;
    const ptq_tensor *x = v->x, *y = v->y;
    int last = y->rank - 1;
    int64_t n = y->dims[last], nx = x->dims[last], before = v->a->before[last];
    (void)worker;
    for (int64_t row = from; row < to; row++) {
        char *d = (char *)y->data + (size_t)(row * n) * v->e;
        int64_t at = 0, rest = row, step = 1;
        for (int k = last - 1; k >= 0 && at >= 0; k--) {
            int64_t s = source(v->a->mode, rest % y->dims[k] - v->a->before[k], x->dims[k]);
            rest /= y->dims[k];
            at = s < 0 ? -1 : at + s * step;
            step *= x->dims[k];
        }
        if (at < 0) {
            put(d, v->a->value, v->e, n);
            continue;
        }
        const char *s = (const char *)x->data + (size_t)(at * nx) * v->e;
        for (int64_t i = 0; i < n;) {
            int64_t from_x = source(v->a->mode, i - before, nx);
            if (from_x >= 0 && i >= before && i - before < nx) { /* the whole inner run */
                int64_t len = nx - from_x < n - i ? nx - from_x : n - i;
                memcpy(d + (size_t)i * v->e, s + (size_t)from_x * v->e, (size_t)len * v->e);
                i += len;
                continue;
            }
            memcpy(d + (size_t)i * v->e, from_x < 0 ? (const char *)v->a->value
                                                    : s + (size_t)from_x * v->e, v->e);
            i++;
        }
    }
}

static ptq_status pad_run(ptq_cpu *c, const ptq_step_run *r)
{
    pad_args a = {0};
    const ptq_tensor *y = &r->out[0];
    PTQ_TRY(read_pads(r, &a));
    PTQ_TRY(read_mode(r, &a));
    if (y->rank == 0) {
        memcpy(y->data, r->in[0]->data, y->nbytes);
        return PTQ_OK;
    }
    pad_ctx v = {r->in[0], y, &a, ptq_elem_bytes(y->dtype)};
    int64_t rows = ptq_product(y->dims, 0, y->rank - 1), n = y->dims[y->rank - 1];
    return ptq_cpu_ranges(c, rows, 1 + 16384 / (n + 1), pad_part, &v);
}

extern const ptq_cpu_kernel ptq_cpu_f_pad;
const ptq_cpu_kernel ptq_cpu_f_pad = {.name = "Pad", .run = pad_run};

/* SPDX-License-Identifier: Apache-2.0 */
/* Pad: constant, edge, reflect, wrap; negative pads cut away. */
#include "lib/cpu/walk.h"

typedef struct pad_ctx {
    const ptq_tensor *x, *y;
    const ptq_pad_args *a;
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
            int64_t s = ptq_pad_source(v->a->mode, rest % y->dims[k] - v->a->before[k], x->dims[k]);
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
            int64_t from_x = ptq_pad_source(v->a->mode, i - before, nx);
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
    ptq_pad_args a;
    const ptq_tensor *y = &r->out[0];
    PTQ_TRY(ptq_pad_args_of(r, &a));
    if (y->rank == 0) {
        memcpy(y->data, r->in[0]->data, y->nbytes);
        return PTQ_OK;
    }
    pad_ctx v = {r->in[0], y, &a, ptq_elem_bytes(y->dtype)};
    int64_t rows = ptq_product(y->dims, 0, y->rank - 1), n = y->dims[y->rank - 1];
    return ptq_cpu_ranges(c, rows, 1 + 16384 / (n + 1), pad_part, &v);
}

extern const ptq_cpu_kernel ptq_cpu_f_pad;
const ptq_cpu_kernel ptq_cpu_f_pad = {.name = "Pad", .run = pad_run, .takes = PTQ_TAKES_BYTES};

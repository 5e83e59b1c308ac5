/* SPDX-License-Identifier: Apache-2.0 */
/* Strided copies: the widest elements that steps and addresses allow, squares where rows and
 * columns change places. */
#include "lib/gpu/gpu.h"

static bool aligned(const ptq_k_move *a, int32_t bytes)
{
    return ((uintptr_t)a->x | (uintptr_t)a->y) % (uintptr_t)bytes == 0;
}

/* Are the steps of all dimensions below `last` multiples of n? */
static bool outer_steps(const ptq_k_move *a, int last, int64_t n)
{
    for (int d = 0; d < last; d++)
        if (a->xs[d] % n || a->ys[d] % n)
            return false;
    return true;
}

/* Two neighbours become one element of twice the size, as often as that goes. */
static void widen(ptq_k_move *a)
{
    int l = a->nd - 1;
    while (a->bytes < 16 && a->xs[l] == 1 && a->ys[l] == 1 && a->dim[l] % 2 == 0 && outer_steps(a, l, 2) &&
           aligned(a, 2 * a->bytes)) {
        a->dim[l] /= 2;
        a->bytes *= 2;
        for (int d = 0; d < l; d++) {
            a->xs[d] /= 2;
            a->ys[d] /= 2;
        }
    }
}

/* One dense run: whole elements of 16 bytes, and a tail. */
static bool flatten(ptq_k_move *a)
{
    int64_t total = a->dim[0] * a->bytes;
    if (a->nd != 1 || a->xs[0] != 1 || a->ys[0] != 1 || total < 16 || !aligned(a, 16))
        return false;
    a->bytes = 16;
    a->dim[0] = total / 16;
    a->tail = (int32_t)(total % 16);
    return true;
}

static void swap_dims(ptq_k_move *a, int i, int k)
{
    int64_t dim = a->dim[i], xs = a->xs[i], ys = a->ys[i];
    a->dim[i] = a->dim[k];
    a->xs[i] = a->xs[k];
    a->ys[i] = a->ys[k];
    a->dim[k] = dim;
    a->xs[k] = xs;
    a->ys[k] = ys;
}

/* The dimension in which x is dense goes next to the last one, in which y is. */
static bool find_squares(ptq_k_move *a)
{
    int l = a->nd - 1, along = -1;
    for (int d = 0; d < l; d++)
        if (a->xs[d] == 1)
            along = d;
    if (along < 0 || a->ys[l] != 1 || a->xs[l] % 4 || a->ys[along] % 4 || a->dim[l] % 4 || a->dim[along] % 4 ||
        a->bytes > 4 || a->table || !aligned(a, 4 * a->bytes))
        return false;
    swap_dims(a, along, l - 1);
    return outer_steps(a, l - 1, 4);
}

ptq_status ptq_gpu_copy(ptq_gpu *g, ptq_walk *w, void *dst, const void *src, size_t bytes,
                        const uint8_t *table)
{
    ptq_walk_merge(w);
    ptq_k_move a = {.x = (const char *)src + w->base[1] * (int64_t)bytes,
                    .y = (char *)dst + w->base[0] * (int64_t)bytes, .table = table, .nd = w->rank,
                    .bytes = (int32_t)bytes};
    for (int d = 0; d < w->rank; d++) {
        a.dim[d] = w->dims[d];
        a.ys[d] = w->step[0][d];
        a.xs[d] = w->step[1][d];
        if (a.dim[d] == 0)
            return PTQ_OK;
    }
    if (!table && a.nd == 1 && a.xs[0] == 1 && a.ys[0] == 1)
        return ptq_dev_copy(g->dev, a.y, a.x, (size_t)a.dim[0] * bytes);
    a.squares = find_squares(&a);
    if (!a.squares && !flatten(&a))
        widen(&a);
    a.n = 1;
    for (int d = 0; d < a.nd; d++)
        a.n *= a.dim[d];
    return ptq_k_run_move(g->dev, &a);
}

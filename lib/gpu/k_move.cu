/* SPDX-License-Identifier: Apache-2.0 */
/* Strided copies, with a table for the bytes where there is one. */
#include "lib/gpu/chunk.h"

PTQ_KERNEL(copy, ptq_k_move a)
{
    PTQ_EACH(i, a.n + (a.tail > 0))
    {
        int64_t x = 0, y = 0, rest = i;
        int bytes = i == a.n ? a.tail : a.bytes;
        for (int d = a.nd - 1; d > 0; d--) {
            int64_t at = rest % a.dim[d];
            rest /= a.dim[d];
            x += at * a.xs[d];
            y += at * a.ys[d];
        }
        x += rest * a.xs[0];
        y += rest * a.ys[0];
        ptq_k_chunk c = ptq_k_load((const uint8_t *)a.x + x * a.bytes, bytes);
        if (a.table) {
            ptq_k_chunk t = {{0, 0, 0, 0}};
            PTQ_UNROLL
            for (int e = 0; e < 16; e++)
                if ((e & ~3) < bytes) /* whole words: what lies behind is not stored */
                    ptq_k_put(&t, e, a.table[ptq_k_get(&c, e)]);
            c = t;
        }
        ptq_k_store((uint8_t *)a.y + y * a.bytes, c, bytes);
    }
}

/* Element e of a chunk of four elements of `size` bytes: no more than one word. */
PTQ_DEVICE uint32_t quarter(const ptq_k_chunk *c, int e, int size)
{
    return size == 4 ? c->w[e] : size == 2 ? c->w[e / 2] >> (16 * (e % 2)) & 0xffff : ptq_k_get(c, e);
}

/* A square of 4 x 4 elements: four reads along dim nd - 2, four writes along dim nd - 1. */
PTQ_DEVICE void square(const uint8_t *x, uint8_t *y, int64_t x_step, int64_t y_step, int size)
{
    ptq_k_chunk in[4];
    PTQ_UNROLL
    for (int r = 0; r < 4; r++)
        in[r] = ptq_k_load(x + r * x_step * size, 4 * size);
    PTQ_UNROLL
    for (int q = 0; q < 4; q++) {
        ptq_k_chunk out = {{0, 0, 0, 0}};
        PTQ_UNROLL
        for (int r = 0; r < 4; r++)
            out.w[r * size / 4] |= quarter(&in[r], q, size) << (8 * (r * size % 4));
        ptq_k_store(y + q * y_step * size, out, 4 * size);
    }
}

PTQ_KERNEL(turn, ptq_k_move a)
{
    int l = a.nd - 1;
    PTQ_EACH(i, a.n / 16)
    {
        int64_t rest = i, x = 0, y = 0;
        for (int d = l; d >= 0; d--) {
            int64_t wide = d >= l - 1 ? 4 : 1, n = a.dim[d] / wide, at = rest % n * wide;
            rest /= n;
            x += at * a.xs[d];
            y += at * a.ys[d];
        }
        const uint8_t *from = (const uint8_t *)a.x + x * a.bytes;
        uint8_t *to = (uint8_t *)a.y + y * a.bytes;
        if (a.bytes == 1)
            square(from, to, a.xs[l], a.ys[l - 1], 1);
        else if (a.bytes == 2)
            square(from, to, a.xs[l], a.ys[l - 1], 2);
        else
            square(from, to, a.xs[l], a.ys[l - 1], 4);
    }
}

ptq_status ptq_k_run_move(ptq_dev *d, const ptq_k_move *a)
{
    return a->squares ? PTQ_LAUNCH(d, turn, a->n / 16, *a) : PTQ_LAUNCH(d, copy, a->n + (a->tail > 0), *a);
}

PTQ_KERNEL(gather, ptq_k_gather a)
{
    PTQ_EACH(i, a.outer * a.count * a.chunks)
    {
        int64_t at = i % a.chunks, row = i / a.chunks, k = row % a.count;
        int64_t index = a.wide ? ((const int64_t *)a.index)[k] : ((const int32_t *)a.index)[k];
        index += index < 0 ? a.entries : 0;
        if (index < 0 || index >= a.entries) {
            *a.alarm = a.name;
            index = 0; /* whatever is read is not used: the run fails */
        }
        int64_t from = (row / a.count * a.entries + index) * a.chunks + at;
        ptq_k_chunk c = ptq_k_load((const uint8_t *)a.x + from * a.bytes, a.bytes);
        ptq_k_store((uint8_t *)a.y + i * a.bytes, c, a.bytes);
    }
}

ptq_status ptq_k_run_gather(ptq_dev *d, const ptq_k_gather *a)
{
    return PTQ_LAUNCH(d, gather, a->outer * a->count * a->chunks, *a);
}

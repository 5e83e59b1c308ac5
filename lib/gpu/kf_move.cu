/* SPDX-License-Identifier: Apache-2.0 */
/* Movers that are no strided copies: one element per thread. */
#include "lib/gpu/kf.h"

PTQ_KERNEL(pad, ptq_kf_pad a)
{
    PTQ_EACH(i, a.n)
    {
        int64_t rest = i, at = 0, step = 1, k;
        for (int d = a.rank - 1; d >= 0; d--) {
            rest = ptq_kf_divide(rest, a.ydim[d], &k);
            int64_t s = ptq_pad_source(a.mode, k - a.before[d], a.xdim[d]);
            at = s < 0 || at < 0 ? -1 : at + s * step;
            step *= a.xdim[d];
        }
        if (at < 0)
            ptq_kf_put(a.y, i, a.value, a.bytes);
        else
            ptq_kf_copy(a.y, i, a.x, at, a.bytes);
    }
}

ptq_status ptq_kf_run_pad(ptq_dev *d, const ptq_kf_pad *a)
{
    return PTQ_LAUNCH(d, pad, a->n, *a);
}

PTQ_KERNEL(trilu, ptq_kf_trilu a)
{
    PTQ_EACH(i, a.n)
    {
        int64_t col, row;
        ptq_kf_divide(ptq_kf_divide(i, a.cols, &col), a.rows, &row);
        if (a.upper ? col >= row + a.shift : col <= row + a.shift)
            ptq_kf_copy(a.y, i, a.x, i, a.bytes);
        else
            ptq_kf_put(a.y, i, 0, a.bytes);
    }
}

ptq_status ptq_kf_run_trilu(ptq_dev *d, const ptq_kf_trilu *a)
{
    return PTQ_LAUNCH(d, trilu, a->n, *a);
}

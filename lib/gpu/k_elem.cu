/* SPDX-License-Identifier: Apache-2.0 */
/* qadd, qmul: a chunk of up to 16 elements per thread. */
#include "lib/gpu/chunk.h"

typedef struct operands {
    ptq_k_chunk a, b;
    int64_t y;
    int bytes;
} operands;

PTQ_DEVICE operands fetch(const ptq_k_binary *a, int64_t i)
{
    int64_t at = 0, bt = 0, rest = i;
    operands o;
    o.y = 0;
    o.bytes = i == a->n ? a->tail : a->bytes;
    for (int d = a->nd - 1; d >= 0; d--) {
        int64_t k = d > 0 ? rest % a->dim[d] : rest;
        rest = d > 0 ? rest / a->dim[d] : 0;
        at += k * a->as[d];
        bt += k * a->bs[d];
        o.y += k * a->ys[d];
    }
    const uint8_t *pa = (const uint8_t *)a->a + at, *pb = (const uint8_t *)a->b + bt;
    o.a = a->a_one ? ptq_k_splat(*pa) : ptq_k_load(pa, o.bytes);
    o.b = a->b_one ? ptq_k_splat(*pb) : ptq_k_load(pb, o.bytes);
    return o;
}

PTQ_KERNEL(qadd, ptq_k_binary a)
{
    PTQ_EACH(i, a.n + (a.tail > 0))
    {
        operands o = fetch(&a, i);
        ptq_k_chunk y = {{0, 0, 0, 0}};
        PTQ_UNROLL
        for (int e = 0; e < 16; e++)
            if ((e & ~3) < o.bytes) /* whole words: what lies behind is not stored */
                ptq_k_put(&y, e, (uint32_t)ptq_qadd(ptq_k_code(&o.a, e, a.sgn), ptq_k_code(&o.b, e, a.sgn), a.add,
                                                    a.lo, a.hi));
        ptq_k_store((uint8_t *)a.y + o.y, y, o.bytes);
    }
}

PTQ_KERNEL(qmul, ptq_k_binary a)
{
    PTQ_EACH(i, a.n + (a.tail > 0))
    {
        operands o = fetch(&a, i);
        ptq_k_chunk y = {{0, 0, 0, 0}};
        PTQ_UNROLL
        for (int e = 0; e < 16; e++)
            if ((e & ~3) < o.bytes) /* whole words: what lies behind is not stored */
                ptq_k_put(&y, e, (uint32_t)ptq_qmul((ptq_k_code(&o.a, e, a.sgn) - a.za) *
                                                        (ptq_k_code(&o.b, e, a.sgn) - a.zb),
                                                    a.m, a.zy, a.lo, a.hi));
        ptq_k_store((uint8_t *)a.y + o.y, y, o.bytes);
    }
}

ptq_status ptq_k_run_qadd(ptq_dev *d, const ptq_k_binary *a)
{
    return PTQ_LAUNCH(d, qadd, a->n + (a->tail > 0), *a);
}

ptq_status ptq_k_run_qmul(ptq_dev *d, const ptq_k_binary *a)
{
    return PTQ_LAUNCH(d, qmul, a->n + (a->tail > 0), *a);
}

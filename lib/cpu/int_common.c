/* SPDX-License-Identifier: Apache-2.0 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "lib/cpu/int.h"

const ptq_int_isa *ptq_int_isa_of(const ptq_cpu *c)
{
    if (c->int_isa)
        return c->int_isa->dot ? c->int_isa : NULL;
#if defined(PTQ_X86)
    static const ptq_int_isa isas[] = {
        [PTQ_ISA_REF] = {"ref", NULL, NULL},
        [PTQ_ISA_AVX2] = {"avx2", &ptq_int_dot_avx2, &ptq_int_vec_avx2},
        [PTQ_ISA_AVX512] = {"avx512", &ptq_int_dot_avx512, &ptq_int_vec_avx512},
        [PTQ_ISA_VNNI] = {"vnni", &ptq_int_dot_vnni, &ptq_int_vec_avx512},
    };
    static const ptq_int_isa vbmi = {"vnni", &ptq_int_dot_vnni, &ptq_int_vec_vbmi};
    if (c->isa == PTQ_ISA_VNNI && __builtin_cpu_supports("avx512vbmi"))
        return &vbmi;
    if ((size_t)c->isa < PTQ_COUNT(isas) && isas[c->isa].dot)
        return &isas[c->isa];
#endif
    return NULL;
}

int64_t ptq_int_tap(const ptq_window *w, const ptq_int_view *x, const int64_t *o, int64_t t)
{
    int64_t k[3], pixel = 0;
    ptq_split3(t, w->kernel, k);
    for (int i = 0; i < 3; i++) {
        int64_t at = o[i] * w->stride[i] - w->pad_begin[i] + k[i] * w->dilation[i];
        if (at < 0 || at >= x->d[i])
            return -1;
        pixel = pixel * x->d[i] + at;
    }
    return pixel;
}

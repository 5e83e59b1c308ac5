/* SPDX-License-Identifier: Apache-2.0 */
/* The products of wgmma_gemm.cuh that end in codes or floats, with or without a residual. */
#include "lib/gpu/wgmma_gemm.cuh"

template <int GROUPS, int BN, int BK, int STAGES, int BLOCKS> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    if (is_matrix(a))
        return a->residual.kind ? launch_type<GROUPS, BN, BK, STAGES, BLOCKS, false, END_SKIP>(d, a)
                                : launch_type<GROUPS, BN, BK, STAGES, BLOCKS, false, END_PLAIN>(d, a);
    return a->residual.kind ? launch_type<GROUPS, BN, BK, STAGES, BLOCKS, true, END_SKIP>(d, a)
                            : launch_type<GROUPS, BN, BK, STAGES, BLOCKS, true, END_PLAIN>(d, a);
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return maps_fit(d, a) && !a->tail.on;
}

#define ROW(name, groups, bn, bk, stages, blocks)                                                  \
    extern const ptq_k_gemm_row ptq_k_gemm_##name;                                                 \
    const ptq_k_gemm_row ptq_k_gemm_##name = {#name, supports, run<groups, bn, bk, stages, blocks>};
extern "C" {
ROW(wgmma_128x256, 2, 256, 128, 4, 1)
ROW(wgmma_128x128, 2, 128, 128, 6, 1)
/* Several blocks on a processor: some multiply while others write. For short k. */
ROW(wgmma3_64x128, 1, 128, 64, 5, 3)
ROW(wgmma2_128x64, 2, 64, 64, 8, 2)
}

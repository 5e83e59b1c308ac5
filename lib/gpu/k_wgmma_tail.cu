/* SPDX-License-Identifier: Apache-2.0 */
/* The products of wgmma_gemm.cuh that end in float operations. Their ends are longer, so that it pays more
 * to have several blocks on a processor: some multiply while others write. */
#include "lib/gpu/wgmma_gemm.cuh"

template <int GROUPS, int BN, int BK, int STAGES, int BLOCKS> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    switch (tail_end(a)) {
    case TAIL_CODES: return launch_type<GROUPS, BN, BK, STAGES, BLOCKS, false, END_TAIL + TAIL_CODES>(d, a);
    case TAIL_GELU: return launch_type<GROUPS, BN, BK, STAGES, BLOCKS, false, END_TAIL + TAIL_GELU>(d, a);
    default: return launch_type<GROUPS, BN, BK, STAGES, BLOCKS, false, END_TAIL + TAIL_FLOATS>(d, a);
    }
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return maps_fit(d, a) && is_matrix(a) && tail_end(a) >= 0 && vectors_whole(a);
}

#define ROW(name, groups, bn, bk, stages, blocks)                                                  \
    extern const ptq_k_gemm_row ptq_k_gemm_##name;                                                 \
    const ptq_k_gemm_row ptq_k_gemm_##name = {#name, supports, run<groups, bn, bk, stages, blocks>};
extern "C" {
ROW(wgmma_tail_128x256, 2, 256, 128, 4, 1)
ROW(wgmma_tail2_128x128, 2, 128, 128, 3, 2)
ROW(wgmma_tail3_64x128, 1, 128, 64, 5, 3)
}

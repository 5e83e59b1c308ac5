/* SPDX-License-Identifier: Apache-2.0 */
/* The products of wgmma_still.cuh that end in float operations. */
#include "lib/gpu/wgmma_still.cuh"

template <int BM, int BN, int GROUPS> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    switch (tail_end(a)) {
    case TAIL_CODES: return launch_still_type<BM, BN, GROUPS, END_TAIL + TAIL_CODES>(d, a);
    case TAIL_GELU: return launch_still_type<BM, BN, GROUPS, END_TAIL + TAIL_GELU>(d, a);
    default: return launch_still_type<BM, BN, GROUPS, END_TAIL + TAIL_FLOATS>(d, a);
    }
}

template <int BM, int BN, int GROUPS> static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return tail_end(a) >= 0 && vectors_whole(a) && still_fits<BM, BN, GROUPS>(d, a);
}

extern "C" {
PTQ_STILL_ROW(wgmma_still_tail_64x256, 64, 256, 2)
PTQ_STILL_ROW(wgmma_still_tail_64x192, 64, 192, 2)
PTQ_STILL_ROW(wgmma_still_tail_128x128, 128, 128, 2)
PTQ_STILL_ROW(wgmma_still_tail_64x128, 64, 128, 3)
}

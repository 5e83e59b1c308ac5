/* SPDX-License-Identifier: Apache-2.0 */
/* The products of wgmma_still.cuh with the ends of fast math. */
#include "lib/gpu/wgmma_still.cuh"

template <int BM, int BN, int GROUPS> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    switch (fast_end(a)) {
    case FAST_CODES: return launch_still_type<BM, BN, GROUPS, END_FAST + FAST_CODES>(d, a);
    case FAST_GELU: return launch_still_type<BM, BN, GROUPS, END_FAST + FAST_GELU>(d, a);
    default: return launch_still_type<BM, BN, GROUPS, END_FAST + FAST_FLOATS>(d, a);
    }
}

template <int BM, int BN, int GROUPS> static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return fast_end(a) >= 0 && vectors_whole(a) && still_fits<BM, BN, GROUPS>(d, a);
}

extern "C" {
PTQ_STILL_ROW(wgmma_still_fast_64x256, 64, 256, 2)
PTQ_STILL_ROW(wgmma_still_fast_64x192, 64, 192, 2)
PTQ_STILL_ROW(wgmma_still_fast_128x128, 128, 128, 2)
PTQ_STILL_ROW(wgmma_still_fast_64x128, 64, 128, 3)
}

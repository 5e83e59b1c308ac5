/* SPDX-License-Identifier: Apache-2.0 */
/* The products of wgmma_still.cuh that end in codes, alone or with a residual in float. */
#include "lib/gpu/wgmma_still.cuh"

template <int BM, int BN, int GROUPS> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    return near_end(a) == END_NEAR ? launch_still_type<BM, BN, GROUPS, END_NEAR>(d, a)
                                   : launch_still_type<BM, BN, GROUPS, END_NEAR_SUM>(d, a);
}

template <int BM, int BN, int GROUPS> static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return near_end(a) >= 0 && still_fits<BM, BN, GROUPS>(d, a);
}

extern "C" {
PTQ_STILL_ROW(wgmma_still_64x256, 64, 256, 2)
PTQ_STILL_ROW(wgmma_still_64x192, 64, 192, 2)
PTQ_STILL_ROW(wgmma_still_128x128, 128, 128, 2)
PTQ_STILL_ROW(wgmma_still_64x128, 64, 128, 3)
PTQ_STILL_ROW(wgmma_still_64x64, 64, 64, 4)
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The products of mma_gemm.cuh that end in codes or floats, with or without a residual. */
#include "lib/gpu/mma_gemm.cuh"

template <int BM, int BN, int WM, int WN, int STAGES, bool PIXELS>
static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    return a->residual.kind ? launch_type<BM, BN, WM, WN, STAGES, PIXELS, END_SKIP>(d, a)
                            : launch_type<BM, BN, WM, WN, STAGES, PIXELS, END_PLAIN>(d, a);
}

static bool by_channels(const ptq_dev *d, const ptq_k_gemm *a)
{
    return fits(d, a) && !a->tail.on && a->c % 16 == 0;
}

static bool by_pixels(const ptq_dev *d, const ptq_k_gemm *a)
{
    return fits(d, a) && !a->tail.on && a->c == 4;
}

#define ROW(name, supports, bm, bn, wm, wn, stages, four)                                          \
    extern const ptq_k_gemm_row ptq_k_gemm_##name;                                                 \
    const ptq_k_gemm_row ptq_k_gemm_##name = {#name, supports, run<bm, bn, wm, wn, stages, four>};
extern "C" {
ROW(mma_128x128, by_channels, 128, 128, 32, 64, 4, false)
ROW(mma_128x64, by_channels, 128, 64, 32, 64, 4, false)
ROW(mma_64x64, by_channels, 64, 64, 16, 64, 4, false)
/* The first layer of a network on images. */
ROW(mma4_128x64, by_pixels, 128, 64, 32, 64, 4, true)
ROW(mma4_64x64, by_pixels, 64, 64, 16, 64, 4, true)
}

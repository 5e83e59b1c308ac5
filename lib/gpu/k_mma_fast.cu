/* SPDX-License-Identifier: Apache-2.0 */
/* The products of mma_gemm.cuh with the ends of fast math. */
#include "lib/gpu/mma_gemm.cuh"

template <int BM, int BN, int WM, int WN, int STAGES> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    switch (fast_end(a)) {
    case FAST_CODES: return launch_type<BM, BN, WM, WN, STAGES, false, END_FAST + FAST_CODES>(d, a);
    case FAST_GELU: return launch_type<BM, BN, WM, WN, STAGES, false, END_FAST + FAST_GELU>(d, a);
    default: return launch_type<BM, BN, WM, WN, STAGES, false, END_FAST + FAST_FLOATS>(d, a);
    }
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return fits(d, a) && a->c % 16 == 0 && fast_end(a) >= 0;
}

#define ROW(name, run)                                                                             \
    extern const ptq_k_gemm_row ptq_k_gemm_##name;                                                 \
    const ptq_k_gemm_row ptq_k_gemm_##name = {#name, supports, run};
extern "C" {
ROW(mma_fast_128x64, (run<128, 64, 32, 64, 4>))
ROW(mma_fast_64x64, (run<64, 64, 16, 64, 4>))
}

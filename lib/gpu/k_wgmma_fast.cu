/* SPDX-License-Identifier: Apache-2.0 */
/* The products of wgmma_gemm.cuh and wgmma_turns.cuh with the ends of fast math. */
#include "lib/gpu/wgmma_turns.cuh"

template <int GROUPS, int BN, int BK, int STAGES, int BLOCKS> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    switch (fast_end(a)) {
    case FAST_CODES: return launch_type<GROUPS, BN, BK, STAGES, BLOCKS, false, END_FAST + FAST_CODES>(d, a);
    case FAST_GELU: return launch_type<GROUPS, BN, BK, STAGES, BLOCKS, false, END_FAST + FAST_GELU>(d, a);
    default: return launch_type<GROUPS, BN, BK, STAGES, BLOCKS, false, END_FAST + FAST_FLOATS>(d, a);
    }
}

static ptq_status run_turns(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    switch (fast_end(a)) {
    case FAST_CODES: return launch_turns_type<false, END_FAST + FAST_CODES>(d, a);
    case FAST_GELU: return launch_turns_type<false, END_FAST + FAST_GELU>(d, a);
    default: return launch_turns_type<false, END_FAST + FAST_FLOATS>(d, a);
    }
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return maps_fit(d, a) && is_matrix(a) && fast_end(a) >= 0 && vectors_whole(a);
}

#define ROW(name, run)                                                                             \
    extern const ptq_k_gemm_row ptq_k_gemm_##name;                                                 \
    const ptq_k_gemm_row ptq_k_gemm_##name = {#name, supports, run};
extern "C" {
ROW(wgmma_fast_turns_128x128, run_turns)
ROW(wgmma_fast_128x256, (run<2, 256, 128, 4, 1>))
ROW(wgmma_fast2_128x128, (run<2, 128, 128, 3, 2>))
ROW(wgmma_fast3_64x128, (run<1, 128, 64, 5, 3>))
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The products of wgmma_turns.cuh by the law; k_wgmma_fast.cu has the ends of fast math. */
#include "lib/gpu/wgmma_turns.cuh"

template <bool WINDOW> static ptq_status run_end(ptq_dev *d, const ptq_k_gemm *a)
{
    switch (near_end(a)) {
    case END_NEAR: return launch_turns_type<WINDOW, END_NEAR>(d, a);
    case END_NEAR_SUM: return launch_turns_type<WINDOW, END_NEAR_SUM>(d, a);
    default: break;
    }
    return a->residual.kind ? launch_turns_type<WINDOW, END_SKIP>(d, a) : launch_turns_type<WINDOW, END_PLAIN>(d, a);
}

static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    return is_matrix(a) ? run_end<false>(d, a) : run_end<true>(d, a);
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return maps_fit(d, a) && !a->tail.on;
}

static ptq_status run_tail(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    switch (tail_end(a)) {
    case TAIL_CODES: return launch_turns_type<false, END_TAIL + TAIL_CODES>(d, a);
    case TAIL_GELU: return launch_turns_type<false, END_TAIL + TAIL_GELU>(d, a);
    default: return launch_turns_type<false, END_TAIL + TAIL_FLOATS>(d, a);
    }
}

static bool supports_tail(const ptq_dev *d, const ptq_k_gemm *a)
{
    return maps_fit(d, a) && is_matrix(a) && tail_end(a) >= 0 && vectors_whole(a);
}

extern "C" {
extern const ptq_k_gemm_row ptq_k_gemm_wgmma_turns_128x128, ptq_k_gemm_wgmma_turns_tail_128x128;
const ptq_k_gemm_row ptq_k_gemm_wgmma_turns_128x128 = {"wgmma_turns_128x128", supports, run};
const ptq_k_gemm_row ptq_k_gemm_wgmma_turns_tail_128x128 = {"wgmma_turns_tail_128x128", supports_tail, run_tail};
}

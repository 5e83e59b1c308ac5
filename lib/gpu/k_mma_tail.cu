/* SPDX-License-Identifier: Apache-2.0 */
/* The products of mma_gemm.cuh that end in float operations; mma_any takes those that no other row does, but no parts
 * (ptq_k_part): those have plain scales (lib/exec/lower_join.c), which the other rows take. */
#include "lib/gpu/mma_gemm.cuh"

template <int BM, int BN, int WM, int WN, int STAGES> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    switch (tail_end(a)) {
    case TAIL_CODES: return launch_type<BM, BN, WM, WN, STAGES, false, END_TAIL + TAIL_CODES>(d, a);
    case TAIL_GELU: return launch_type<BM, BN, WM, WN, STAGES, false, END_TAIL + TAIL_GELU>(d, a);
    default: return launch_type<BM, BN, WM, WN, STAGES, false, END_TAIL + TAIL_FLOATS>(d, a);
    }
}

static ptq_status run_any(ptq_dev *d, const ptq_k_gemm *a)
{
    return launch_type<64, 64, 16, 64, 4, false, END_TAIL + TAIL_ANY>(d, a);
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return fits(d, a) && a->c % 16 == 0 && tail_end(a) >= 0;
}

static bool supports_any(const ptq_dev *d, const ptq_k_gemm *a)
{
    return fits(d, a) && a->c % 16 == 0 && tail_is(a, TAIL_ANY) && !a->tail.parts;
}

#define ROW(name, supports, run)                                                                   \
    extern const ptq_k_gemm_row ptq_k_gemm_##name;                                                 \
    const ptq_k_gemm_row ptq_k_gemm_##name = {#name, supports, run};
extern "C" {
ROW(mma_tail_128x64, supports, (run<128, 64, 32, 64, 4>))
ROW(mma_tail_64x64, supports, (run<64, 64, 16, 64, 4>))
ROW(mma_any_64x64, supports_any, run_any)
}

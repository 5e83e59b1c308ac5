/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of integer products on the device, fastest instructions first. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"
#include "lib/gpu/kernels.h"

#define PTQ_K_GEMM_ROW(name) extern const ptq_k_gemm_row ptq_k_gemm_##name;
#include "lib/gpu/gemm.def"
#undef PTQ_K_GEMM_ROW

static const ptq_k_gemm_row *const rows[] = {
#define PTQ_K_GEMM_ROW(name) &ptq_k_gemm_##name,
#include "lib/gpu/gemm.def"
#undef PTQ_K_GEMM_ROW
};

const ptq_k_gemm_row *ptq_k_gemm_at(int i)
{
    return i >= 0 && (size_t)i < PTQ_COUNT(rows) ? rows[i] : NULL;
}

/* Tiles of the row over the device's processors, in whole waves: the padding that is computed. */
static double waste(const ptq_dev *d, const ptq_k_gemm *a, const ptq_k_gemm_row *r)
{
    int bm = 0, bn = 0;
    const char *tile = strrchr(r->name, '_');
    if (!tile || sscanf(tile, "_%dx%d", &bm, &bn) != 2)
        return 1e300;
    double tiles = (double)((a->m + bm - 1) / bm) * (double)((a->n + bn - 1) / bn);
    double p = (double)ptq_dev_processors(d), waves = (double)(int64_t)((tiles + p - 1) / p);
    return waves * p * bm * bn / ((double)a->m * a->n) * (1.0 + 24.0 / bm + 24.0 / bn);
}

/* PTQ_GPU_GEMM names a row for tests and measurements; "none": the reference. */
const ptq_k_gemm_row *ptq_k_gemm_choose(const ptq_dev *d, const ptq_k_gemm *a)
{
    const char *forced = getenv("PTQ_GPU_GEMM");
    const ptq_k_gemm_row *best = NULL;
    double least = 0.0;
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        if (forced && *forced && strcmp(forced, rows[i]->name) != 0)
            continue;
        double w = waste(d, a, rows[i]);
        if ((!best || w < least) && rows[i]->supports(d, a)) { /* asked last: some load a library to tell */
            best = rows[i];
            least = w;
        }
    }
    return best;
}

ptq_status ptq_k_gemm_unmapped(const ptq_k_gemm *a)
{
    return ptq_fail(PTQ_ERR_DEVICE, "CUDA: the driver makes no tensor maps for a product of %lld x %d x %d; install a "
                    "newer driver, or set PTQ_GPU_GEMM=none to do without tensor cores",
                    (long long)a->m, a->n, a->kernel_h * a->kernel_w * a->c);
}

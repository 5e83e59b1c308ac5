/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_QUANT_KL_H
#define PTQ_QUANT_KL_H

#include "lib/core/core.h"

/* KL divergence between a histogram clipped to the bins [first, last) and the same quantized to
 * `levels` levels:
 *   P = hist[first..last) with everything outside added to the end bins;
 *   Q = hist[first..last) (nothing added) with the mass of each level spread evenly over the
 *       level's non-empty bins; level of bin first + k: floor(k * levels / (last - first));
 *   D = sum P ln(P / Q), both normalized; infinite where Q = 0 and P > 0, or all is empty. */
enum { PTQ_KL_SHORT = 16 }; /* bins of a level whose terms are computed once: 2048 bins of 128 levels */
typedef struct ptq_kl {
    size_t n;
    const double *hist;  /* [n], as given; borrowed */
    double *mass;        /* [n + 1] of all bins before */
    double *entropy;     /* [n + 1] sum of h ln h before */
    uint32_t *used;      /* [n + 1] number of non-empty bins before */
    double *log_count;   /* [n + 1] ln(i) */
    double *term;        /* [n][PTQ_KL_SHORT] of a level of 1, 2, ... bins from there: its sum of P ln Q */
} ptq_kl;

ptq_status ptq_kl_make(const double *hist, size_t n, ptq_kl *out);
void ptq_kl_clear(ptq_kl *k);
double ptq_kl_divergence(const ptq_kl *k, size_t first, size_t last, size_t levels);

/* TensorRT's search (GTC 2017): the number m in [levels, n] of bins kept from the start that has
 * the least divergence, the first of equals; n when none is finite. */
size_t ptq_kl_search_end(const ptq_kl *k, size_t first, size_t levels);

#endif

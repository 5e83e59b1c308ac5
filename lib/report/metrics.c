/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/report/metrics.h"

#include <math.h>

static const double z95 = 1.959963984540054;

void ptq_wilson(double k, double n, double *lo, double *hi)
{
    if (n <= 0.0) {
        *lo = 0.0;
        *hi = 1.0;
        return;
    }
    double p = k / n, z2 = z95 * z95;
    double mid = p + z2 / (2.0 * n);
    double half = z95 * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    *lo = (mid - half) / (1.0 + z2 / n);
    *hi = (mid + half) / (1.0 + z2 / n);
}

void ptq_paired_interval(double gained, double lost, double n, double *diff, double *half)
{
    *diff = *half = 0.0;
    if (n <= 0.0)
        return;
    double d = gained - lost;
    *diff = d / n;
    double var = (gained + lost - d * d / n) / (n * n);
    *half = z95 * sqrt(var > 0.0 ? var : 0.0);
}

void ptq_distance_add(ptq_distance *d, const float *ref, const float *cand, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double r = ref[i], c = cand[i], e = fabs(r - c);
        if (!isfinite(r) || !isfinite(c)) {
            d->nonfinite++;
            continue;
        }
        d->signal += r * r;
        d->noise += e * e;
        d->dot += r * c;
        d->cand2 += c * c;
        if (e > d->max_abs)
            d->max_abs = e;
        d->n++;
    }
}

double ptq_distance_sqnr(const ptq_distance *d)
{
    if (d->n == 0)
        return NAN;
    if (d->noise <= 0.0)
        return INFINITY;
    return d->signal > 0.0 ? 10.0 * log10(d->signal / d->noise) : NAN;
}

double ptq_distance_cosine(const ptq_distance *d)
{
    double norm = sqrt(d->signal) * sqrt(d->cand2);
    return norm > 0.0 ? d->dot / norm : NAN;
}

int64_t ptq_label_rank(const float *logits, int64_t classes, int64_t label)
{
    int64_t rank = 0;
    if (isnan(logits[label]))
        return classes;
    for (int64_t i = 0; i < classes; i++)
        if (i != label && (logits[i] > logits[label] || (logits[i] == logits[label] && i < label)))
            rank++;
    return rank;
}

int64_t ptq_argmax(const float *logits, int64_t classes)
{
    int64_t best = -1;
    for (int64_t i = 0; i < classes; i++)
        if (!isnan(logits[i]) && (best < 0 || logits[i] > logits[best]))
            best = i;
    return best;
}

double ptq_cross_entropy(const float *logits, int64_t classes, int64_t label)
{
    double top = logits[0], sum = 0.0;
    for (int64_t i = 1; i < classes; i++)
        top = logits[i] > top ? logits[i] : top;
    for (int64_t i = 0; i < classes; i++)
        sum += exp((double)logits[i] - top);
    return log(sum) + top - (double)logits[label];
}

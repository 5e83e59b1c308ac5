/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/accuracy.h"

#include <math.h>
#include <string.h>

static ptq_status labels_of(const ptq_accuracy *a, const ptq_samples *s, size_t i, size_t rows,
                            const int64_t **labels)
{
    size_t n;
    PTQ_TRY(s->labels(s->ctx, i, labels, &n));
    if (n != rows)
        return ptq_fail(PTQ_ERR_DATA, "sample %zu has %zu labels, the model's first output has %zu rows of %lld classes",
                        i, n, rows, (long long)a->classes);
    for (size_t k = 0; k < n; k++)
        if ((*labels)[k] < 0 || (*labels)[k] >= a->classes)
            return ptq_fail(PTQ_ERR_DATA, "sample %zu has label %lld, the model has classes 0 to %lld", i,
                            (long long)(*labels)[k], (long long)a->classes - 1);
    return PTQ_OK;
}

/* One sample: `rows` rows of logits for each model. */
static void add_rows(ptq_accuracy *a, const float *const *logits, const int64_t *labels, size_t rows)
{
    double diff = 0.0;
    for (size_t r = 0; r < rows; r++) {
        bool right[PTQ_LOOP_MODELS] = {false};
        size_t at = r * (size_t)a->classes;
        for (size_t m = 0; m < a->nmodels && labels; m++) {
            int64_t rank = ptq_label_rank(logits[m] + at, a->classes, labels[r]);
            double nats = ptq_cross_entropy(logits[m] + at, a->classes, labels[r]);
            right[m] = rank == 0;
            a->top1[m] += rank == 0;
            a->top5[m] += rank < 5;
            a->nats[m] += nats;
            diff += m == 1 ? nats : -nats;
        }
        a->n += 1.0;
        if (a->nmodels == 2) {
            a->gained += right[1] && !right[0];
            a->lost += right[0] && !right[1];
            int64_t first = ptq_argmax(logits[0] + at, a->classes);
            a->agree += first >= 0 && first == ptq_argmax(logits[1] + at, a->classes);
        }
    }
    diff /= (double)rows;
    a->seqs += 1.0;
    a->diff += diff;
    a->diff2 += diff * diff;
}

/* Floats, and of the same shape in both models: the names alone tell little. */
static ptq_status check_outputs(const ptq_accuracy *a, const ptq_batch *b)
{
    for (size_t k = 0; k < b->noutputs; k++) {
        const ptq_tensor *r = &b->outputs[0][k];
        for (size_t m = 0; m < a->nmodels; m++) {
            const ptq_tensor *t = &b->outputs[m][k];
            char have[128], want[128];
            if (t->dtype != PTQ_DT_F32)
                return ptq_fail(PTQ_ERR_UNSUPPORTED, "output %zu is %s; only float32 outputs are compared", k,
                                ptq_dtype_name(t->dtype));
            if (t->rank != r->rank || memcmp(t->dims, r->dims, sizeof *t->dims * (size_t)t->rank) != 0)
                return ptq_fail(PTQ_ERR_MODEL, "output %zu has shape %s in the reference and %s in the candidate: "
                                "these are not two forms of one model", k,
                                ptq_shape_str(r->rank, r->dims, want, sizeof want),
                                ptq_shape_str(t->rank, t->dims, have, sizeof have));
        }
    }
    return PTQ_OK;
}

ptq_status ptq_accuracy_add(ptq_accuracy *a, const ptq_samples *samples, const ptq_batch *b)
{
    a->nout = b->noutputs < PTQ_COUNT(a->out) ? b->noutputs : PTQ_COUNT(a->out);
    PTQ_TRY(check_outputs(a, b));
    const ptq_tensor *first = &b->outputs[0][0];
    a->labelled = samples->labels != NULL;
    a->classes = first->rank >= 2 ? first->dims[first->rank - 1] : 0;
    a->samples += (double)b->n;
    for (size_t i = 0; i < b->n; i++) {
        const float *logits[PTQ_LOOP_MODELS] = {NULL};
        size_t n = 0;
        for (size_t k = 0; k < a->nout && a->nmodels == 2; k++) {
            const float *r = ptq_batch_row(b, 0, k, i, &n), *c = ptq_batch_row(b, 1, k, i, &n);
            ptq_distance_add(&a->out[k], r, c, n);
        }
        for (size_t m = 0; m < a->nmodels; m++)
            logits[m] = ptq_batch_row(b, m, 0, i, &n);
        if (a->classes < 1 || (!a->labelled && b->noutputs > 1))
            continue;
        size_t rows = n / (size_t)a->classes;
        const int64_t *labels = NULL;
        if (a->labelled)
            PTQ_TRY(labels_of(a, samples, b->index[i], rows, &labels));
        a->tokens = rows > 1;
        add_rows(a, logits, labels, rows);
    }
    return PTQ_OK;
}

static ptq_status share_json(double k, double n, json_t *obj, const char *key)
{
    double lo, hi;
    ptq_wilson(k, n, &lo, &hi);
    json_t *o = json_object();
    PTQ_TRY(ptq_json_set(obj, key, o));
    PTQ_TRY(ptq_json_set(o, "percent", ptq_json_real(100.0 * k / n)));
    PTQ_TRY(ptq_json_set(o, "ci95_low", ptq_json_real(100.0 * lo)));
    return ptq_json_set(o, "ci95_high", ptq_json_real(100.0 * hi));
}

ptq_status ptq_accuracy_json(const ptq_accuracy *a, size_t m, json_t *obj)
{
    if (!a->labelled || a->n == 0.0)
        return PTQ_OK;
    PTQ_TRY(ptq_json_set(obj, a->tokens ? "tokens" : "samples", json_integer((json_int_t)a->n)));
    PTQ_TRY(share_json(a->top1[m], a->n, obj, "top1"));
    if (a->classes > 5)
        PTQ_TRY(share_json(a->top5[m], a->n, obj, "top5"));
    return ptq_json_set(obj, a->tokens ? "nats_per_token" : "cross_entropy", ptq_json_real(a->nats[m] / a->n));
}

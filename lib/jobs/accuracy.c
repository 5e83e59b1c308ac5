/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/accuracy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static ptq_status labels_of(const ptq_accuracy *a, const ptq_samples *s, size_t i, size_t rows,
                            const int64_t **labels)
{
    size_t n;
    PTQ_TRY(s->labels(s->ctx, i, labels, &n));
    if (n != rows)
        return ptq_fail(PTQ_ERR_DATA, "sample %zu has %zu labels, the model's scores have %zu rows of %lld classes",
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

/* Of one type and shape in both models: the names alone tell little. */
static ptq_status check_outputs(const ptq_accuracy *a, const ptq_batch *b)
{
    for (size_t k = 0; k < b->noutputs; k++) {
        const ptq_tensor *r = &b->outputs[0][k];
        for (size_t m = 1; m < a->nmodels; m++) {
            const ptq_tensor *t = &b->outputs[m][k];
            char have[128], want[128];
            if (t->dtype != r->dtype || t->rank != r->rank ||
                memcmp(t->dims, r->dims, sizeof *t->dims * (size_t)t->rank) != 0)
                return ptq_fail(PTQ_ERR_MODEL, "output %zu is %s %s in the reference and %s %s in the candidate: "
                                "these are not two forms of one model", k, ptq_dtype_name(r->dtype),
                                ptq_shape_str(r->rank, r->dims, want, sizeof want), ptq_dtype_name(t->dtype),
                                ptq_shape_str(t->rank, t->dims, have, sizeof have));
        }
    }
    return PTQ_OK;
}

static void count_equal(ptq_output_distance *o, const ptq_tensor *r, const ptq_tensor *c)
{
    size_t bits = (size_t)ptq_dtype_bits(r->dtype), size = bits > 8 ? bits / 8 : 1;
    for (size_t at = 0; at + size <= r->nbytes; at += size) {
        o->equal += memcmp((const char *)r->data + at, (const char *)c->data + at, size) == 0;
        o->n++;
    }
}

/* Distances of all outputs. */
static void add_distances(ptq_accuracy *a, const ptq_batch *b)
{
    for (size_t k = 0; k < a->nout; k++) {
        const ptq_tensor *r = &b->outputs[0][k], *c = &b->outputs[1][k];
        a->out[k].dtype = r->dtype;
        if (r->dtype == PTQ_DT_F32)
            ptq_distance_add(&a->out[k].d, r->data, c->data, (size_t)ptq_tensor_elements(r));
        else
            count_equal(&a->out[k], r, c);
    }
}

/* Index of the output with the scores, the first of float32; noutputs: none. Without labels rows of scores are
 * guessed, from [batch, classes] or [batch, time, classes] as the only output: a map of pixels has its
 * classes elsewhere. */
static size_t find_scores(const ptq_accuracy *a, const ptq_batch *b)
{
    size_t k = 0;
    while (k < b->noutputs && b->outputs[0][k].dtype != PTQ_DT_F32)
        k++;
    if (k == b->noutputs || b->outputs[0][k].rank < 2)
        return b->noutputs;
    return a->labelled || (b->noutputs == 1 && b->outputs[0][k].rank <= 3) ? k : b->noutputs;
}

ptq_status ptq_accuracy_parts(ptq_accuracy *a, size_t noutputs, ptq_part *parts, size_t *nparts)
{
    parts[0] = (ptq_part){a, offsetof(ptq_accuracy, out)};
    *nparts = 1;
    if (a->nmodels < 2)
        return PTQ_OK;
    a->nout = noutputs;
    a->out = ptq_calloc(noutputs, sizeof *a->out);
    if (!a->out)
        return ptq_fail_nomem();
    parts[(*nparts)++] = (ptq_part){a->out, noutputs * sizeof *a->out};
    return PTQ_OK;
}

ptq_status ptq_accuracy_add(ptq_accuracy *a, const ptq_samples *samples, const ptq_batch *b)
{
    PTQ_TRY(check_outputs(a, b));
    a->samples += (double)b->n;
    a->labelled = samples->labels != NULL;
    if (a->nmodels == 2) {
        a->nout = b->noutputs;
        if (!a->out)
            a->out = ptq_calloc(a->nout, sizeof *a->out);
        if (!a->out)
            return ptq_fail_nomem();
        add_distances(a, b);
    }
    size_t k = find_scores(a, b);
    if (k == b->noutputs)
        return PTQ_OK;
    const ptq_tensor *scores = &b->outputs[0][k];
    a->classes = scores->dims[scores->rank - 1];
    for (size_t i = 0; i < b->n && a->classes > 0; i++) {
        const float *logits[PTQ_LOOP_MODELS] = {NULL};
        const int64_t *labels = NULL;
        size_t n = 0;
        for (size_t m = 0; m < a->nmodels; m++)
            logits[m] = ptq_batch_row(b, m, k, i, &n);
        size_t rows = n / (size_t)a->classes;
        if (a->labelled)
            PTQ_TRY(labels_of(a, samples, b->index[i], rows, &labels));
        a->tokens = rows > 1;
        add_rows(a, logits, labels, rows);
    }
    return PTQ_OK;
}

void ptq_accuracy_clear(ptq_accuracy *a)
{
    free(a->out);
    a->out = NULL;
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

ptq_status ptq_distance_json(const ptq_distance *d, json_t *o)
{
    double sqnr = ptq_distance_sqnr(d);
    if (isinf(sqnr)) {
        PTQ_TRY(ptq_json_set(o, "identical", json_true()));
        sqnr = NAN;
    }
    PTQ_TRY(ptq_json_set(o, "sqnr_db", ptq_json_real(sqnr)));
    PTQ_TRY(ptq_json_set(o, "cosine", ptq_json_real(ptq_distance_cosine(d))));
    PTQ_TRY(ptq_json_set(o, "max_abs", ptq_json_real(d->max_abs)));
    return d->nonfinite ? ptq_json_set(o, "nonfinite", json_integer((json_int_t)d->nonfinite)) : PTQ_OK;
}

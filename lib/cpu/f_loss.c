/* SPDX-License-Identifier: Apache-2.0 */
/* NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss, in double. */
#include "lib/cpu/fkernel.h"

typedef struct loss {
    int64_t n, classes, inner; /* scores are [n, classes, inner] */
    const int64_t *target;     /* [n, inner] */
    const double *weight;      /* [classes] or NULL */
    int64_t ignored;
    bool has_ignored;
    char reduction; /* 'n'one, 's'um, 'm'ean */
    double *y;
} loss;

static ptq_status read_loss(const ptq_step_run *r, loss *v)
{
    const ptq_tensor *x = r->in[0], *w = ptq_in(r, 2);
    const ptq_attr *ignored = ptq_attr_find(r->step->node, "ignore_index");
    *v = (loss){.n = x->dims[0], .classes = x->dims[1], .inner = ptq_product(x->dims, 2, x->rank),
                .target = r->in[1]->data, .weight = w ? w->data : NULL, .y = r->out[0].data,
                .ignored = ignored ? ignored->i : 0, .has_ignored = ignored != NULL,
                .reduction = ptq_attr_str(r->step->node, "reduction", "mean")[0]};
    if (ptq_tensor_elements(r->in[1]) != v->n * v->inner || (w && ptq_tensor_elements(w) != v->classes))
        return ptq_bad_args(r);
    return PTQ_OK;
}

/* -log p of the target class of each place, `logp` as the scores. */
static ptq_status run_loss(const ptq_step_run *r, const loss *v, const double *logp)
{
    double sum = 0, weights = 0;
    for (int64_t i = 0; i < v->n * v->inner; i++) {
        int64_t k = v->target[i];
        bool skip = v->has_ignored && k == v->ignored;
        if (!skip && (k < 0 || k >= v->classes))
            return ptq_fail(PTQ_ERR_DATA, "node %s: class %lld of %lld", r->step->name, (long long)k,
                            (long long)v->classes);
        double w = skip ? 0.0 : v->weight ? v->weight[k] : 1.0;
        double l = skip ? 0.0 : -w * logp[(i / v->inner * v->classes + k) * v->inner + i % v->inner];
        sum += l;
        weights += w;
        if (v->reduction == 'n')
            v->y[i] = l;
    }
    if (v->reduction != 'n')
        *v->y = v->reduction == 's' ? sum : sum / weights;
    return PTQ_OK;
}

static ptq_status nll_loss_run(ptq_cpu *c, const ptq_step_run *r)
{
    loss v;
    (void)c;
    PTQ_TRY(read_loss(r, &v));
    return run_loss(r, &v, r->in[0]->data);
}

static void log_softmax(const double *x, double *y, int64_t n, int64_t step)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, x[i * step]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i * step] - max);
    for (int64_t i = 0; i < n; i++)
        y[i * step] = x[i * step] - max - log(sum);
}

static ptq_status softmax_loss_run(ptq_cpu *c, const ptq_step_run *r)
{
    loss v;
    PTQ_TRY(read_loss(r, &v));
    double *logp = r->step->nout > 1 ? r->out[1].data : NULL;
    if (!logp)
        logp = ptq_cpu_scratch(c, r->in[0]->nbytes);
    if (!logp)
        return ptq_fail_nomem();
    for (int64_t i = 0; i < v.n * v.inner; i++) {
        int64_t at = i / v.inner * v.classes * v.inner + i % v.inner;
        log_softmax((const double *)r->in[0]->data + at, logp + at, v.classes, v.inner);
    }
    return run_loss(r, &v, logp);
}

extern const ptq_cpu_kernel ptq_cpu_f_nll_loss, ptq_cpu_f_softmax_loss;
const ptq_cpu_kernel ptq_cpu_f_nll_loss = {
    .name = "NegativeLogLikelihoodLoss", .takes = PTQ_TAKES(PTQ_DT_F64) | PTQ_TAKES_S64, .run = nll_loss_run};
const ptq_cpu_kernel ptq_cpu_f_softmax_loss = {
    .name = "SoftmaxCrossEntropyLoss", .takes = PTQ_TAKES(PTQ_DT_F64) | PTQ_TAKES_S64, .run = softmax_loss_run};

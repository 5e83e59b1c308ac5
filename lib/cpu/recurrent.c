/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/cpu/recurrent.h"

#include <ctype.h>
#include <math.h>

typedef struct ptq_cell_fn {
    const char *name;
    int npar;
    float par[2]; /* defaults: those of the operator of that name */
    size_t vector; /* the instruction set's loop, as an offset into ptq_f32_fns; 0: `one` */
    float (*one)(float x, const float *par);
} ptq_cell_fn;

static float affine(float x, const float *p) { return fmaf(p[0], x, p[1]); }
static float thresholded_relu(float x, const float *p) { return x > p[0] ? x : 0.0f; }
static float scaled_tanh(float x, const float *p) { return p[0] * ptq_tanhf(p[1] * x); }
static float softsign(float x, const float *p)
{
    (void)p;
    return x / (1.0f + fabsf(x));
}

#define VECTOR(fn) offsetof(ptq_f32_fns, fn), NULL
static const ptq_cell_fn functions[] = {
    {"Relu", 0, {0.0f, INFINITY}, VECTOR(clip)},
    {"Tanh", 0, {0.0f, 0.0f}, VECTOR(tanh)},
    {"Sigmoid", 0, {0.0f, 0.0f}, VECTOR(sigmoid)},
    {"Softplus", 0, {0.0f, 0.0f}, VECTOR(softplus)},
    {"Softsign", 0, {0.0f, 0.0f}, 0, softsign},
    {"Affine", 2, {1.0f, 0.0f}, 0, affine},
    {"LeakyRelu", 1, {0.01f, 0.0f}, VECTOR(leaky_relu)},
    {"ThresholdedRelu", 1, {1.0f, 0.0f}, 0, thresholded_relu},
    {"ScaledTanh", 2, {1.0f, 1.0f}, 0, scaled_tanh},
    {"HardSigmoid", 2, {0.2f, 0.5f}, VECTOR(hard_sigmoid)},
    {"Elu", 1, {1.0f, 0.0f}, VECTOR(elu)},
};

void ptq_cell_apply(const ptq_f32_fns *f, const ptq_cell_act *a, float *x, int64_t n)
{
    if (a->fn->vector) {
        ptq_f32_unary loop;
        memcpy(&loop, (const char *)f + a->fn->vector, sizeof loop);
        loop(x, x, n, a->par);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        x[i] = a->fn->one(x[i], a->par);
}

/* Names are written in any case by some exporters. */
static bool same_name(const char *a, const char *b)
{
    while (*a && tolower((unsigned char)*a) == tolower((unsigned char)*b)) {
        a++;
        b++;
    }
    return *a == *b;
}

static ptq_status find_function(const ptq_node *n, const char *name, ptq_cell_act *out)
{
    for (size_t i = 0; i < PTQ_COUNT(functions); i++)
        if (same_name(name, functions[i].name)) {
            *out = (ptq_cell_act){&functions[i], {functions[i].par[0], functions[i].par[1]}};
            return PTQ_OK;
        }
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: activation \"%s\" is not known", n->name, name);
}

/* alpha and beta are taken by the functions that have them, in order. */
static ptq_status read_acts(const ptq_node *n, ptq_recurrent *r)
{
    static const char *const lstm[] = {"Sigmoid", "Tanh", "Tanh"};
    const char *const *dflt = r->gates == 1 ? lstm + 1 : lstm;
    const ptq_attr *names = ptq_attr_find(n, "activations");
    size_t nalpha, nbeta, a = 0, b = 0, want = (size_t)(r->dirs * r->nacts);
    const float *alpha = ptq_attr_floats(n, "activation_alpha", &nalpha);
    const float *beta = ptq_attr_floats(n, "activation_beta", &nbeta);
    if (names && (names->type != PTQ_ATTR_STRINGS || names->n != want))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: activations has %zu names, %s needs %zu", n->name, names->n,
                        n->op, want);
    for (size_t i = 0; i < want; i++) {
        ptq_cell_act *act = &r->act[i / (size_t)r->nacts][i % (size_t)r->nacts];
        PTQ_TRY(find_function(n, names ? names->strings[i] : dflt[i % (size_t)r->nacts], act));
        if (act->fn->npar > 0 && a < nalpha)
            act->par[0] = alpha[a++];
        if (act->fn->npar > 1 && b < nbeta)
            act->par[1] = beta[b++];
    }
    return PTQ_OK;
}

ptq_status ptq_recurrent_read(const ptq_node *n, ptq_recurrent *out)
{
    const char *direction = ptq_attr_str(n, "direction", "forward");
    bool both = strcmp(direction, "bidirectional") == 0, lstm = n->op[0] == 'L', gru = n->op[0] == 'G';
    ptq_recurrent r = {.gates = lstm ? 4 : gru ? 3 : 1, .nacts = lstm ? 3 : gru ? 2 : 1, .dirs = both ? 2 : 1};
    r.batch_first = ptq_attr_int(n, "layout", 0) != 0;
    r.reverse[0] = strcmp(direction, "reverse") == 0;
    r.reverse[1] = true;
    r.linear_before_reset = ptq_attr_int(n, "linear_before_reset", 0) != 0;
    r.input_forget = ptq_attr_int(n, "input_forget", 0) != 0;
    r.clip = ptq_attr_float(n, "clip", INFINITY);
    if (!(r.clip > 0.0f)) /* 0 is how some exporters write "none" */
        r.clip = INFINITY;
    PTQ_TRY(read_acts(n, &r));
    *out = r;
    return PTQ_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a graph with and without fusions and rewriting: what steps come out, and the bytes of the outputs. With
 * PTQ_TEST_GPU the fused runs are the device's. */
#ifndef PTQ_TESTS_FUSED_H
#define PTQ_TESTS_FUSED_H

#include <math.h>

#include "lib/exec/session.h"
#include "lib/graph/ops.h"
#ifdef PTQ_TEST_GPU
#include "tests/gpu.h"
#endif
#include "tests/graph_text.h"

#ifdef PTQ_TEST_GPU
static const ptq_backend_ops *fused_ops = &ptq_backend_cuda; /* of the fused runs */
#endif

typedef struct outputs {
    ptq_tensor t[4];
    size_t n;
} outputs;

static const ptq_lower_options plain = {.integer = true, .nhwc = true, .float_out = true};
static const ptq_lower_options fused = {.integer = true, .nhwc = true, .float_out = true, .fuse = true};
static const ptq_lower_options whole = {.integer = true, .nhwc = true, .float_out = true, .fuse = true, .rearrange = true};

/* Constants of type s8 or s32 that were given no values get some of their own. */
static inline ptq_graph *parse(const char *text)
{
    ptq_graph *g = gt_parse(text);
    ptq_rng r;
    ptq_rng_seed(&r, 11);
    for (size_t i = 0; i < g->values.n; i++) {
        const ptq_tensor *t = g->values.v[i] ? g->values.v[i]->constant : NULL;
        if (t && t->dtype == PTQ_DT_S8 && t->rank > 1)
            for (size_t k = 0; k < t->nbytes; k++)
                ((int8_t *)t->data)[k] = (int8_t)((int)ptq_rng_below(&r, 255) - 127);
    }
    ck_assert_ok(ptq_infer_graph(g));
    return g;
}

static inline void fill(ptq_tensor *t, ptq_rng *r)
{
    for (int64_t i = 0; i < ptq_tensor_elements(t); i++)
        ((float *)t->data)[i] = 4.0f * (ptq_rng_uniform(r) - 0.5f);
}

static inline void free_outputs(outputs *o)
{
    for (size_t i = 0; i < o->n; i++)
        free(o->t[i].data);
}

/* "qnorm qgemm Reshape ...": float steps by their operator; views, which cost nothing, are left out. */
static inline void write_steps(const ptq_program *p, char *text, size_t n)
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < p->steps.n && at + 64 < n; i++) {
        const ptq_step *s = &p->steps.v[i];
        bool is_float = strcmp(s->def->name, "float") == 0;
        bool moves = is_float || strcmp(s->def->name, "qmove") == 0;
        if (moves && s->node->def && (s->node->def->flags & PTQ_OPF_VIEW))
            continue;
        at += (size_t)snprintf(text + at, n - at, "%s%s", at ? " " : "", is_float ? s->node->op : s->def->name);
    }
}

static inline outputs run(const ptq_graph *g, const ptq_lower_options *lower, int64_t batch, char *steps, size_t nsteps)
{
    ptq_session *s;
    ptq_session_options o = {.lower = *lower};
#ifdef PTQ_TEST_GPU
    if (lower->fuse)
        o.ops = fused_ops;
#endif
    ptq_tensor in[4], out[4];
    outputs all = {.n = g->outputs.n};
    ptq_rng r;
    ptq_rng_seed(&r, 5);
    ck_assert_ok(ptq_session_new(g, &o, &s));
    write_steps(ptq_session_program(s), steps, nsteps);
    for (size_t i = 0; i < g->inputs.n; i++) {
        const ptq_shape *shape = &g->inputs.v[i]->shape;
        in[i] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = shape->rank};
        for (int d = 0; d < shape->rank; d++)
            in[i].dims[d] = ptq_dim_known(shape->dims[d]) ? shape->dims[d].add : batch;
        ck_assert_ok(ptq_tensor_alloc(&in[i]));
        fill(&in[i], &r);
    }
    ck_assert_ok(ptq_session_run(s, in, g->inputs.n, out, g->outputs.n));
    for (size_t i = 0; i < g->outputs.n; i++) {
        all.t[i] = out[i];
        ck_assert_ok(ptq_tensor_alloc(&all.t[i]));
        memcpy(all.t[i].data, out[i].data, out[i].nbytes);
    }
    for (size_t i = 0; i < g->inputs.n; i++)
        free(in[i].data);
    ptq_session_free(s);
    return all;
}

static inline void check_same(const outputs *a, const outputs *b)
{
    for (size_t i = 0; i < a->n; i++) {
        ck_assert_int_eq(a->t[i].rank, b->t[i].rank);
        for (int d = 0; d < a->t[i].rank; d++)
            ck_assert_int_eq(a->t[i].dims[d], b->t[i].dims[d]);
        ck_assert_uint_eq(a->t[i].nbytes, b->t[i].nbytes);
        ck_assert_mem_eq(a->t[i].data, b->t[i].data, a->t[i].nbytes);
    }
}

/* Everything that the texts below share: sizes E = 8 = H * D, H = 2, D = 4, T = 5 tokens. */
#define SHARED                                                                                                        \
    "const s f32 [] 0.05\nconst z s8 [] 0\nconst sp f32 [] 0.0078\nconst sw f32 [] 0.004\nconst sv f32 [] 0.1\n"      \
    "const lw f32 [8] 1 1.5 0.5\nconst lb f32 [8]\nconst half f32 [] 0.5\nconst one f32 [] 1\n"                      \
    "const root f32 [] 1.41421354\nconst factor f32 [1] 0.7\n"
#endif

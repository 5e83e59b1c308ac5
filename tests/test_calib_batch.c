/* SPDX-License-Identifier: Apache-2.0 */
/* Samples run together where the batch is not axis 0 of every value: each sample's part of each value is what the
 * sample gives alone, and the statistics are those of one sample at a time. */
#include "lib/calib/calibrate.h"
#include "lib/graph/infer.h"
#include "lib/jobs/jobs.h"
#include "tests/graph_text.h"

enum { SAMPLES = 7, VALUES = 64 };

typedef struct fixture {
    ptq_model *m;
    const ptq_graph *g;
    ptq_sample_source source;
    bool select[VALUES];
    ptq_batch_place place[VALUES];
    float *alone[VALUES][SAMPLES];
    size_t n[VALUES]; /* of one sample */
    size_t sample;    /* that runs; SAMPLES: all */
    size_t checked;
} fixture;

static ptq_status read_sample(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    const fixture *f = ctx;
    ptq_rng r;
    ptq_rng_seed(&r, 40 + i);
    for (size_t k = 0; k < n; k++) {
        const ptq_shape *s = &f->g->inputs.v[k]->shape;
        in[k] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = s->rank, .dims = {1}};
        for (int d = 1; d < s->rank; d++)
            in[k].dims[d] = s->dims[d].add;
        PTQ_TRY(ptq_tensor_alloc(&in[k]));
        for (int64_t e = 0; e < ptq_tensor_elements(&in[k]); e++)
            ((float *)in[k].data)[e] = ptq_rng_normal(&r) * (float)(1 + i);
    }
    return PTQ_OK;
}

static bool selected(void *ctx, const ptq_value *v)
{
    return ((fixture *)ctx)->select[v->id];
}

static fixture *start(const char *text)
{
    fixture *f = calloc(1, sizeof *f);
    ck_assert_ok(ptq_model_wrap(gt_parse(text), &f->m));
    ck_assert_ok(ptq_infer_graph((ptq_graph *)f->m->graph));
    f->g = f->m->graph;
    f->source = (ptq_sample_source){.ctx = f, .count = SAMPLES, .read = read_sample};
    ck_assert_uint_le(f->g->values.n, VALUES);
    for (size_t i = 0; i < f->g->values.n; i++) {
        const ptq_value *v = f->g->values.v[i];
        f->select[i] = v && !v->constant && v->dtype == PTQ_DT_F32;
    }
    return f;
}

static void finish(fixture *f)
{
    for (size_t i = 0; i < VALUES; i++)
        for (size_t k = 0; k < SAMPLES; k++)
            free(f->alone[i][k]);
    ptq_model_free(f->m);
    free(f);
}

static ptq_status look(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    fixture *f = ctx;
    const size_t id = (size_t)v->value->id, all = (size_t)ptq_tensor_elements(t);
    const float *x = t->data;
    if (f->sample < SAMPLES) {
        f->n[id] = all;
        f->alone[id][f->sample] = malloc((all + 1) * sizeof *x);
        memcpy(f->alone[id][f->sample], x, all * sizeof *x);
        return PTQ_OK;
    }
    const size_t blocks = (size_t)f->place[id].outer, length = f->n[id] / blocks;
    ck_assert_uint_eq(all, f->n[id] * SAMPLES);
    ck_assert_uint_eq(f->n[id] % blocks, 0);
    ck_assert_uint_eq((size_t)t->dims[f->place[id].axis] % SAMPLES, 0);
    for (size_t i = 0; i < SAMPLES; i++)
        for (size_t b = 0; b < blocks; b++)
            ck_assert_msg(memcmp(x + (b * SAMPLES + i) * length, f->alone[id][i] + b * length, length * sizeof *x) == 0,
                          "%s: sample %zu, block %zu of %zu", v->name, i, b, blocks);
    f->checked++;
    return PTQ_OK;
}

/* Samples alone, then all together. */
static void compare_values(fixture *f)
{
    const size_t idx[SAMPLES] = {0, 1, 2, 3, 4, 5, 6};
    ptq_feed feed = {.source = &f->source, .graph = f->g, .limit = SAMPLES};
    ptq_session_options o = {.tap = look, .tap_select = selected, .tap_ctx = f};
    ptq_session *s;
    ptq_tensor in[2], out[2];
    size_t kept[SAMPLES], nkept, used;
    ck_assert_ok(ptq_session_new(f->g, &o, &s));
    for (f->sample = 0; f->sample <= SAMPLES; f->sample++) {
        const bool all = f->sample == SAMPLES;
        ck_assert_ok(ptq_feed_batch(&feed, all ? idx : idx + f->sample, all ? SAMPLES : 1, in, kept, &nkept, &used));
        ck_assert_ok(ptq_session_run(s, in, f->g->inputs.n, out, f->g->outputs.n));
        ptq_feed_release(f->g, in);
    }
    ptq_session_free(s);
}

static ptq_statistics *calibrated(fixture *f, size_t batch, ptq_pool *pool)
{
    const char *names[VALUES];
    ptq_dtype types[VALUES];
    ptq_statistics *s;
    size_t n = 0;
    for (size_t i = 0; i < f->g->values.n; i++)
        if (f->select[i]) {
            names[n] = f->g->values.v[i]->name;
            types[n++] = PTQ_DT_F32;
        }
    ck_assert_ok(ptq_statistics_new(names, types, n, SAMPLES, "", &s));
    ptq_calibrate_options o = {.select = f->select, .batch = batch, .pool = pool};
    ck_assert_ok(ptq_calibrate(f->g, &f->source, &o, s));
    return s;
}

static void compare_statistics(fixture *f)
{
    static const size_t batches[] = {2, 4, 7, 16};
    ptq_statistics *want = calibrated(f, 1, NULL);
    for (size_t k = 0; k < PTQ_COUNT(batches); k++) {
        ptq_pool *pool;
        ck_assert_ok(ptq_pool_new(1 + (int)k, &pool));
        ptq_statistics *got = calibrated(f, batches[k], pool);
        for (size_t i = 0; i < want->ntensors; i++)
            ck_assert_msg(ptq_stats_equal(want->tensors[i], got->tensors[i]), "batches of %zu: %s", batches[k],
                          want->tensors[i]->name);
        ptq_statistics_free(got);
        ptq_pool_free(pool);
    }
    ptq_statistics_free(want);
}

/* Attention with the sequence first, as torch.nn.MultiheadAttention exports it. */
static const char attention[] =
    "opset 20\n"
    "input x f32 [batch,5,8]\n"
    "const token f32 [1,1,8]\n"
    "const ones s64 [2] 1 1\n"
    "const zero s64 [1] 0\n"
    "const one s64 [1] 1\n"
    "const axes s64 [1] 0\n"
    "const last s64 [1] -2\n"
    "const first s64 [] 0\n"
    "const second s64 [] 1\n"
    "const third s64 [] 2\n"
    "const w1 f32 [8,24]\n"
    "const b1 f32 [24]\n"
    "const w2 f32 [8,8]\n"
    "const b2 f32 [8]\n"
    "const gain f32 [8]\n"
    "const s1 s64 [4] 6 -1 3 8\n"
    "const s2 s64 [3] 6 -1 4\n"
    "const s3 s64 [4] -1 2 6 4\n"
    "const s4 s64 [2] -1 8\n"
    "const s5 s64 [3] 6 -1 8\n"
    "all = Shape(x)\n"
    "count = Slice(all, zero, one)\n"
    "tokens = Concat(count, ones) axis=0\n"
    "many = Expand(token, tokens)\n"
    "c = Concat(many, x) axis=1\n"
    "l = LayerNormalization(c, gain, b2)\n"
    "t = Transpose(l) perm=[1,0,2]\n"
    "m = MatMul(t, w1)\n"
    "a = Add(m, b1)\n"
    "r = Reshape(a, s1)\n"
    "u = Unsqueeze(r, axes)\n"
    "v = Transpose(u) perm=[3,1,2,0,4]\n"
    "w = Squeeze(v, last)\n"
    "q0 = Gather(w, first) axis=0\n"
    "k0 = Gather(w, second) axis=0\n"
    "v0 = Gather(w, third) axis=0\n"
    "q1 = Reshape(q0, s2)\n"
    "k1 = Reshape(k0, s2)\n"
    "v1 = Reshape(v0, s2)\n"
    "q2 = Transpose(q1) perm=[1,0,2]\n"
    "k2 = Transpose(k1) perm=[1,2,0]\n"
    "v2 = Transpose(v1) perm=[1,0,2]\n"
    "p = MatMul(q2, k2)\n"
    "s = Softmax(p) axis=-1\n"
    "o = MatMul(s, v2)\n"
    "o4 = Reshape(o, s3)\n"
    "ot = Transpose(o4) perm=[2,0,1,3]\n"
    "f = Reshape(ot, s4)\n"
    "h = Gemm(f, w2, b2)\n"
    "g = Gelu(h)\n"
    "z = Reshape(g, s5)\n"
    "y = Transpose(z) perm=[1,0,2]\n"
    "e = Add(y, c)\n"
    "output e\n";

/* Heads are part of axis 0, behind and in front of the sample; the output is in front again. */
static const char split[] =
    "opset 17\n"
    "input x f32 [batch,4,6]\n"
    "input z f32 [batch,6]\n"
    "const s1 s64 [3] -1 2 6\n"
    "const s2 s64 [4] -1 2 2 6\n"
    "const s3 s64 [3] 2 -1 12\n"
    "const s4 s64 [2] -1 12\n"
    "const slope f32 [12]\n"
    "a = Reshape(x, s1)\n"
    "b = Relu(a)\n"
    "c = Reshape(b, s2)\n"
    "d = Transpose(c) perm=[1,0,2,3]\n"
    "e = Reshape(d, s3)\n"
    "f = Neg(e)\n"
    "g = Add(f, e)\n"
    "h = Reshape(g, s4)\n"
    "i = PRelu(h, slope)\n"
    "j = Mul(i, slope)\n"
    "k, l = Split(j) axis=1\n"
    "n = Concat(l, k, j) axis=1\n"
    "o = Softmax(n) axis=1\n"
    "q = Relu(z)\n"
    "output o\n"
    "output q\n";

START_TEST(values__are_where_the_places_say)
{
    static const char *const texts[] = {attention, split};
    bool proven;
    fixture *f = start(texts[_i]);
    char why[128];
    ck_assert(!ptq_batch_proven(f->g, selected, f, why, sizeof why));
    ck_assert_ok(ptq_batch_places(f->g, selected, f, f->place, &proven));
    ck_assert(proven);
    compare_values(f);
    ck_assert_uint_gt(f->checked, 10);
    compare_statistics(f);
    finish(f);
}
END_TEST

/* Samples that meet, or whose places are not known: one at a time, so that the statistics stay the same. */
START_TEST(samples__that_cannot_be_told_apart)
{
    static const char *const bodies[] = {
        "t = Transpose(x) perm=[1,0,2]\nconst s s64 [3] -1 4 6\ny = Reshape(t, s)\n", /* other bytes in axis 0 */
        "t = Transpose(x) perm=[1,0,2]\ny = Softmax(t) axis=1\n",
        "t = Transpose(x) perm=[1,0,2]\nl = CumSum(t, one)\ny = Relu(l)\nconst one s64 [] 1\n",
        "t = Transpose(x) perm=[1,2,0]\nu = Relu(t)\nm = MatMul(x, u)\nconst s s64 [3] 4 -1 4\ny = Relu(m)\n",
        "t = ReduceMean(x) axes=[0] keepdims=1\nu = Add(x, t)\ny = Transpose(u) perm=[1,0,2]\n",
        "a = Concat(x, x) axis=0\nb = Relu(a)\ny = Transpose(b) perm=[1,0,2]\n",
        "t = Transpose(x) perm=[1,0,2]\nconst s s64 [2] -1 6\nr = Reshape(t, s)\nconst w f32 [5,3]\n"
        "g = Transpose(r) perm=[1,0]\ny = Gemm(g, g) transA=1\n",
    };
    char text[512];
    bool proven;
    snprintf(text, sizeof text, "opset 17\ninput x f32 [batch,4,6]\n%soutput y\n", bodies[_i]);
    fixture *f = start(text);
    ck_assert_ok(ptq_batch_places(f->g, selected, f, f->place, &proven));
    ck_assert(!proven);
    compare_statistics(f);
    finish(f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_batch");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, values__are_where_the_places_say, 0, 2);
    tcase_add_loop_test(t, samples__that_cannot_be_told_apart, 0, 7);
    suite_add_tcase(s, t);
    return unit_run(s);
}

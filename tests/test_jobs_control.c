/* SPDX-License-Identifier: Apache-2.0 */
/* The main job on models with subgraphs: what is around them runs in integers, what is inside stays as it was,
 * and no figure depends on the batch, although a branch is chosen by the data. */
#include "tests/unit.h"

#include "lib/observers/stats.h"
#include "lib/onnx/onnx_io.h"
#include "tests/jobs_kit.h"

/* A branch by the mean of its input, with a weight that a convolution around shares; then a loop. */
static const char text[] =
    "opset 17\n"
    "input x f32 [batch,3,8,8]\n"
    "const w1 f32 [8,3,3,3]\n"
    "const w2 f32 [8,8,1,1]\n"
    "const w3 f32 [6,8]\n"
    "const zero f32 [] 0.0001\n"
    "const two s64 [] 2\n"
    "const flat s64 [2] 0 -1\n"
    "c1 = Conv(x, w1) pads=[1,1,1,1]\n"
    "m = ReduceMean(x) keepdims=0\n"
    "k = Greater(m, zero)\n"
    "sub up\nouter c1\nouter w2\na = Conv(c1, w2)\nvalue a f32 [batch,8,8,8]\noutput a\nend\n"
    "sub down\nouter c1\nb = Neg(c1)\nvalue b f32 [batch,8,8,8]\noutput b\nend\n"
    "i = If(k) then_branch=@up else_branch=@down\n"
    "c2 = Conv(i, w2)\n"
    "r2 = Relu(c2)\n"
    "sub body\nouter c1\ninput n s64 []\ninput go bool []\ninput s f32 [batch,8,8,8]\nt = Add(s, c1)\n"
    "value t f32 [batch,8,8,8]\noutput go\noutput t\nend\n"
    "l = Loop(two, , r2) body=@body\n"
    "p = GlobalAveragePool(l)\n"
    "f = Reshape(p, flat)\n"
    "y = Gemm(f, w3) transB=1\n"
    "value y f32 [batch,6]\n"
    "output y\n";

static char *whole_job(const ptq_model *m, jobs_data *d, size_t batch, int threads, ptq_statistics **stats, ptq_model **q)
{
    ptq_calib_options c = PTQ_CALIB_OPTIONS_INIT;
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    ptq_compare_options co = PTQ_COMPARE_OPTIONS_INIT;
    ptq_report *r, *e;
    char *json;
    c.loop.batch = batch;
    c.loop.threads = threads;
    ck_assert_ok(ptq_model_calibrate(m, &d->samples, &c, NULL, stats));
    o.loop = co.loop = c.loop;
    ck_assert_ok(ptq_model_quantize(m, *stats, &d->samples, &o, q, &r));
    co.layers = true;
    co.latency_seconds = -1.0;
    ck_assert_ok(ptq_compare(m, *q, &d->samples, &co, &e));
    ck_assert_ok(ptq_report_json(e, &json));
    ptq_report_free(r);
    ptq_report_free(e);
    return json;
}

START_TEST(control__same_figures)
{
    jobs_data d;
    jobs_data_init(&d);
    ptq_model *m = jobs_model_of(text), *qa, *qb;
    ptq_statistics *a, *b;
    char *one = whole_job(m, &d, 1, 1, &a, &qa), *many = whole_job(m, &d, 0, 2, &b, &qb);
    ck_assert_str_eq(one, many);
    for (size_t i = 0; i < a->ntensors; i++)
        ck_assert(ptq_summary_equal(&a->tensors[i]->summary, &b->tensors[i]->summary));
    free(one);
    free(many);
    ptq_statistics_free(a);
    ptq_statistics_free(b);
    ptq_model_free(qa);
    ptq_model_free(qb);
    ptq_model_free(m);
}
END_TEST

START_TEST(control__inside_stays)
{
    jobs_data d;
    jobs_data_init(&d);
    ptq_model *m = jobs_model_of(text), *q;
    ptq_statistics *stats;
    free(whole_job(m, &d, 0, 1, &stats, &q));
    const ptq_graph *g = q->graph;
    const ptq_node *branch = ptq_graph_find(g, "i")->producer, *conv = ptq_graph_find(g, "c2") ? ptq_graph_find(g, "c2")->producer : NULL;
    ck_assert_str_eq(branch->op, "If");
    /* The weight is codes for the convolution around, and still itself for the one inside. */
    const ptq_value *w = ptq_graph_find(g, "w2");
    ck_assert(w && w->constant && w->constant->dtype == PTQ_DT_F32);
    ck_assert(conv && strcmp(conv->in[1]->producer->op, "DequantizeLinear") == 0);
    const ptq_graph *up = ptq_node_body(branch, "then_branch");
    ck_assert_int_eq(up->nnodes, 1);
    ck_assert_str_eq(up->first->in[1]->name, "w2");
    /* And so in the file. */
    void *bytes;
    size_t n;
    ptq_graph *back;
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &n));
    ck_assert_ok(ptq_onnx_load_memory(bytes, n, NULL, NULL, &back));
    branch = ptq_graph_find(back, "i")->producer;
    ck_assert_int_eq(branch->ncaptures, 2);
    ck_assert_str_eq(ptq_node_body(ptq_graph_find(back, "l")->producer, "body")->outputs.v[1]->name, "t");
    ptq_graph_free(back);
    free(bytes);
    ptq_statistics_free(stats);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs control");
    TCase *t = tcase_create("control");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, control__same_figures);
    tcase_add_test(t, control__inside_stays);
    suite_add_tcase(s, t);
    return unit_run(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A comparison's figures against the same figures computed here from the outputs of both models,
 * run one sample at a time. */
#include "tests/unit.h"

#include <math.h>

#include "lib/report/report.h"
#include "tests/jobs_kit.h"

static const double z95 = 1.959963984540054;

static double number(const ptq_report *r, const char *path)
{
    double v;
    ck_assert_ok(ptq_report_number(r, path, &v));
    return v;
}

/* Log weights, so that the two models differ much. */
static ptq_model *quantized(const ptq_model *m, jobs_data *d)
{
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    ptq_statistics *stats;
    ptq_report *r;
    ptq_model *q;
    o.method = "minmax";
    o.weight = "log2";
    ck_assert_ok(ptq_model_calibrate(m, &d->samples, NULL, NULL, &stats));
    ck_assert_ok(ptq_model_quantize(m, stats, NULL, &o, &q, &r));
    ptq_report_free(r);
    ptq_statistics_free(stats);
    return q;
}

static void run_all(const ptq_model *m, jobs_data *d, float (*y)[JOBS_CLASSES])
{
    ptq_runner *run;
    ck_assert_ok(ptq_runner_new(m, NULL, &run));
    for (size_t i = 0; i < JOBS_SAMPLES; i++) {
        ptq_tensor in, out;
        ck_assert_ok(d->samples.read(d->samples.ctx, i, &in, 1));
        ck_assert_ok(ptq_runner_run(run, &in, 1, &out, 1));
        ck_assert_uint_eq(out.nbytes, sizeof y[i]);
        memcpy(y[i], out.data, out.nbytes);
        free(in.data);
    }
    ptq_runner_free(run);
}

static int best(const float *v)
{
    int at = 0;
    for (int i = 1; i < JOBS_CLASSES; i++)
        at = v[i] > v[at] ? i : at;
    return at;
}

static double nats(const float *v, int label)
{
    double sum = 0;
    for (int i = 0; i < JOBS_CLASSES; i++)
        sum += exp((double)v[i] - (double)v[label]);
    return log(sum);
}

typedef struct moments {
    double mean, half; /* with the 95 % interval of the mean */
} moments;

static moments moments_of(const double *v)
{
    double mean = 0, var = 0;
    for (int i = 0; i < JOBS_SAMPLES; i++)
        mean += v[i] / JOBS_SAMPLES;
    for (int i = 0; i < JOBS_SAMPLES; i++)
        var += (v[i] - mean) * (v[i] - mean) / JOBS_SAMPLES;
    return (moments){mean, z95 * sqrt(var / JOBS_SAMPLES)};
}

static void check_interval(const ptq_report *r, const char *object, const char *value, moments m, double unit)
{
    static const char *const ends[] = {"ci95_low", "ci95_high"};
    char path[64];
    snprintf(path, sizeof path, "%s.%s", object, value);
    ck_assert_double_eq_tol(number(r, path), unit * m.mean, 1e-9);
    for (int e = 0; e < 2; e++) {
        snprintf(path, sizeof path, "%s.%s", object, ends[e]);
        ck_assert_double_eq_tol(number(r, path), unit * (m.mean + (e ? m.half : -m.half)), 1e-6);
    }
}

START_TEST(compare__figures)
{
    static const size_t batches[] = {1, 7, 16};
    float y[2][JOBS_SAMPLES][JOBS_CLASSES];
    double change[JOBS_SAMPLES], more[JOBS_SAMPLES], agree = 0, right[2] = {0}, signal = 0, noise = 0;
    jobs_data d;
    jobs_data_init(&d);
    ptq_model *m = jobs_chain(), *q = quantized(m, &d);
    run_all(m, &d, y[0]);
    run_all(q, &d, y[1]);
    for (int i = 0; i < JOBS_SAMPLES; i++) {
        const int label = i % JOBS_CLASSES, a = best(y[0][i]), b = best(y[1][i]);
        change[i] = (b == label) - (a == label);
        more[i] = nats(y[1][i], label) - nats(y[0][i], label);
        agree += a == b;
        right[0] += a == label;
        right[1] += b == label;
        for (int k = 0; k < JOBS_CLASSES; k++) {
            double r = (double)y[0][i][k], e = (double)y[1][i][k] - r;
            signal += r * r;
            noise += e * e;
        }
    }
    ck_assert(agree < JOBS_SAMPLES && right[0] > 0); /* there is something to count */
    ptq_compare_options o = PTQ_COMPARE_OPTIONS_INIT;
    ptq_report *r;
    o.latency_seconds = -1.0;
    o.loop.batch = batches[_i];
    o.loop.threads = 1 + _i;
    ck_assert_ok(ptq_compare(m, q, &d.samples, &o, &r));
    ck_assert(number(r, "samples") == JOBS_SAMPLES);
    check_interval(r, "top1_change", "points", moments_of(change), 100);
    check_interval(r, "nats_change", "nats", moments_of(more), 1);
    ck_assert_double_eq_tol(number(r, "agreement"), 100 * agree / JOBS_SAMPLES, 1e-9);
    ck_assert_double_eq_tol(number(r, "reference_accuracy.top1.percent"), 100 * right[0] / JOBS_SAMPLES, 1e-9);
    ck_assert_double_eq_tol(number(r, "candidate_accuracy.top1.percent"), 100 * right[1] / JOBS_SAMPLES, 1e-9);
    ck_assert_double_eq_tol(number(r, "outputs.0.sqnr_db"), 10 * log10(signal / noise), 1e-9);
    void *bytes;
    size_t n[2];
    for (int k = 0; k < 2; k++) {
        ck_assert_ok(ptq_model_save_memory(k ? q : m, &bytes, &n[k]));
        free(bytes);
    }
    ck_assert_double_eq_tol(number(r, "size_ratio"), (double)n[0] / (double)n[1], 1e-12);
    ptq_report_free(r);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

/* Errors add up along the network; a layer fed with the reference's values has its own alone. */
START_TEST(compare__layers_alone_and_together)
{
    jobs_data d;
    jobs_data_init(&d);
    ptq_model *m = jobs_chain(), *q = quantized(m, &d);
    ptq_compare_options o = PTQ_COMPARE_OPTIONS_INIT;
    ptq_report *r;
    o.latency_seconds = -1.0;
    o.layers = true;
    ck_assert_ok(ptq_compare(m, q, &d.samples, &o, &r));
    const json_t *layers = json_object_get(r->root, "layers");
    size_t n = json_array_size(layers), better = 0;
    ck_assert_uint_ge(n, 4);
    for (size_t i = 0; i < n; i++) {
        const json_t *l = json_array_get(layers, i);
        double entire = ptq_json_num(json_object_get(l, "entire"), "sqnr_db", NAN);
        double single = ptq_json_num(json_object_get(l, "single"), "sqnr_db", NAN);
        const char *name = ptq_json_str(l, "tensor", "?");
        if (strcmp(name, "x") == 0 || strcmp(name, "r1") == 0)
            ck_assert_msg(i == 0 ? entire == single : entire <= single, "%s: %g, alone %g", name, entire, single);
        better += single > entire;
    }
    ck_assert_uint_ge(better, n - 2);
    ptq_report_free(r);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

static void check_gates(const ptq_report *r)
{
    const char *key;
    json_t *v;
    json_object_foreach (r->root, key, v) {
        char gate[128];
        bool holds;
        snprintf(gate, sizeof gate, "%s.0>1", key);
        if (json_is_object(v) || json_is_array(v) || json_is_real(v))
            ck_assert_ok(ptq_report_gate(NULL, gate, &holds));
    }
}

/* Every figure that a report has may be named by a gate before there is a report. */
START_TEST(gates__know_the_figures)
{
    jobs_data d;
    jobs_data_init(&d);
    ptq_model *m = jobs_chain(), *q = quantized(m, &d);
    ptq_compare_options o = PTQ_COMPARE_OPTIONS_INIT;
    ptq_report *r;
    o.layers = true;
    o.latency_seconds = 0.001;
    ck_assert_ok(ptq_compare(m, q, &d.samples, &o, &r));
    ck_assert(json_object_size(r->root) > 10);
    check_gates(r);
    ptq_report_free(r);
    ck_assert_ok(ptq_eval(m, &d.samples, NULL, &r));
    check_gates(r);
    ptq_report_free(r);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

/* Samples fit both models or none: which model wants what is told. */
START_TEST(compare__of_different_inputs)
{
    static const struct {
        const char *input, *says; /* NULL: may be the same */
    } rows[] = {
        {"[1,8]", NULL}, {"[n,8]", NULL}, {"[n,m]", NULL},
        {"[n,9]", "float32 [n,8] in the reference a.onnx and float32 [n,9] in the candidate b.onnx"},
        {"[8]", "float32 [8] in the candidate b.onnx"},
    };
    jobs_data d;
    ptq_report *r;
    jobs_data_init(&d);
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        char text[128];
        snprintf(text, sizeof text, "input x f32 %s\ny = Relu(x)\noutput y\n", rows[i].input);
        ptq_model *a = jobs_model_of("input x f32 [n,8]\ny = Relu(x)\noutput y\n"), *b = jobs_model_of(text);
        free(a->path);
        free(b->path);
        a->path = strdup("a.onnx");
        b->path = strdup("b.onnx");
        ptq_status s = ptq_compare(a, b, &d.samples, NULL, &r);
        ck_assert_int_ne(s, PTQ_OK); /* the samples have another form than all of these */
        if (rows[i].says)
            ck_assert_says(rows[i].says);
        else
            ck_assert_ptr_null(strstr(ptq_last_error(), "in the candidate"));
        ptq_model_free(a);
        ptq_model_free(b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_compare");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, compare__figures, 0, 3);
    tcase_add_test(t, compare__layers_alone_and_together);
    tcase_add_test(t, gates__know_the_figures);
    tcase_add_test(t, compare__of_different_inputs);
    suite_add_tcase(s, t);
    return unit_run(s);
}

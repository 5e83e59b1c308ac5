/* SPDX-License-Identifier: Apache-2.0 */
/* What is found out about a quantized model: damage of each kind is named, and the distance between the
 * two runs is the one that is computed here. */
#include "tests/unit.h"

#include <math.h>

#include "lib/report/report.h"
#include "tests/jobs_kit.h"

static double number(const ptq_report *r, const char *path)
{
    double v;
    ck_assert_ok(ptq_report_number(r, path, &v));
    return v;
}

static ptq_model *quantized(jobs_data *d, const char *target, const char *format)
{
    ptq_model *m = jobs_model(), *q;
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    ptq_statistics *stats;
    ptq_report *r;
    o.method = "mse";
    o.target = target;
    o.format = format;
    ck_assert_ok(ptq_model_calibrate(m, &d->samples, NULL, NULL, &stats));
    ck_assert_ok(ptq_model_quantize(m, stats, NULL, &o, &q, &r));
    ck_assert_ok(ptq_model_optimize(q));
    ptq_report_free(r);
    ptq_statistics_free(stats);
    ptq_model_free(m);
    return q;
}

static void run(const ptq_model *m, jobs_data *d, bool simulate, size_t i, float *y)
{
    ptq_runner *r;
    ptq_runner_options o = PTQ_RUNNER_OPTIONS_INIT;
    ptq_tensor in, out;
    o.simulate = simulate;
    ck_assert_ok(ptq_runner_new(m, &o, &r));
    ck_assert_ok(d->samples.read(d->samples.ctx, i, &in, 1));
    ck_assert_ok(ptq_runner_run(r, &in, 1, &out, 1));
    memcpy(y, out.data, JOBS_CLASSES * sizeof *y);
    free(in.data);
    ptq_runner_free(r);
}

static void check_outputs(const ptq_report *r, const ptq_model *q, jobs_data *d, int samples)
{
    double signal = 0, noise = 0;
    for (int i = 0; i < samples; i++) {
        float a[JOBS_CLASSES], b[JOBS_CLASSES];
        run(q, d, true, (size_t)i, a);
        run(q, d, false, (size_t)i, b);
        for (int k = 0; k < JOBS_CLASSES; k++) {
            double s = (double)a[k], e = (double)b[k] - s;
            signal += s * s;
            noise += e * e;
        }
    }
    double want = noise > 0 ? 10 * log10(signal / noise) : INFINITY;
    double got = number(r, "simulation.outputs.0.sqnr_db");
    ck_assert(isinf(want) ? isinf(got) : fabs(got - want) < 1e-6);
}

START_TEST(check__of_a_sound_model)
{
    static const char *const targets[] = {"portable", "ort", "tensorrt"};
    jobs_data d;
    jobs_data_init(&d);
    for (size_t i = 0; i < PTQ_COUNT(targets); i++) {
        ptq_model *q = quantized(&d, targets[i], "qdq");
        ptq_loop_options o = PTQ_LOOP_OPTIONS_INIT;
        ptq_report *r;
        char *text;
        o.samples = i == 0 ? 3 : 0;
        int samples = i == 0 ? 3 : 8;
        ck_assert_ok(ptq_model_check(q, &d.samples, &o, &r));
        ck_assert_uint_eq(json_array_size(json_object_get(r->root, "problems")), 0);
        ck_assert(number(r, "scales") > 20);
        ck_assert_double_eq(number(r, "simulation.samples"), samples);
        /* x, r1 and more have 8-bit tensors: at least the input and one map of 8 channels per sample */
        ck_assert(number(r, "simulation.bytes") >= samples * (3 + 8) * 64);
        ck_assert(number(r, "simulation.integer_steps") >= 5);
        double equal = number(r, "simulation.equal_percent");
        ck_assert(equal > 99.0 && equal <= 100.0);
        ck_assert((equal == 100.0) == (number(r, "simulation.largest_steps") == 0.0));
        check_outputs(r, q, &d, samples);
        ck_assert_ok(ptq_report_text(r, 80, false, &text));
        ck_assert_ptr_nonnull(strstr(text, "zero points ok"));
        free(text);
        ptq_report_free(r);
        ptq_model_free(q);
    }
}
END_TEST

/* One number of the file is wrong. */
static const struct {
    const char *what, *says;
} damages[] = {
    {"scale 0", "scale 0 of"}, {"scale nan", "scale 0 of"},         {"scale -1", "scale 0 of"},
    {"tiny", "scale 0 of"},    {"bias", "bias scale 0 is"},         {"zp", "of an int32 bias"},
};

static void damage(ptq_model *q, const char *what)
{
    PTQ_GRAPH_EACH_NODE (q->graph, n) {
        if (strcmp(n->op, "DequantizeLinear") != 0 || !n->in[0]->constant)
            continue;
        bool is_bias = n->in[0]->constant->dtype == PTQ_DT_S32;
        float *scale = n->in[1]->constant->data;
        if (is_bias != (what[0] == 'b' || what[0] == 'z'))
            continue;
        if (strcmp(what, "scale 0") == 0)
            scale[0] = 0.0f;
        else if (strcmp(what, "scale nan") == 0)
            scale[0] = NAN;
        else if (strcmp(what, "scale -1") == 0)
            scale[0] = -1.0f;
        else if (strcmp(what, "tiny") == 0)
            scale[0] = 1e-41f;
        else if (strcmp(what, "bias") == 0)
            scale[0] *= 1.5f;
        else
            ((int32_t *)n->in[2]->constant->data)[0] = 1;
        return;
    }
    ck_abort_msg("nothing to damage");
}

START_TEST(check__names_damage)
{
    jobs_data d;
    jobs_data_init(&d);
    ptq_model *q = quantized(&d, "portable", "qdq");
    ptq_report *r;
    char *json, *text;
    damage(q, damages[_i].what);
    ck_assert_ok(ptq_model_check(q, NULL, NULL, &r));
    ck_assert_ok(ptq_report_json(r, &json));
    ck_assert_msg(strstr(json, damages[_i].says), "%s: %s", damages[_i].what, json);
    ck_assert_ptr_nonnull(strstr(json, "\"simulation\": null"));
    ck_assert_ok(ptq_report_text(r, 80, false, &text));
    ck_assert_ptr_nonnull(strstr(text, "NOT ok"));
    ck_assert_ptr_nonnull(strstr(text, "\nproblem   "));
    free(text);
    free(json);
    ptq_report_free(r);
    ptq_model_free(q);
}
END_TEST

START_TEST(check__other_models)
{
    jobs_data d;
    ptq_report *r;
    char *json;
    jobs_data_init(&d);
    ptq_model *q = quantized(&d, "ort", "qoperator"), *m = jobs_model(), *raw;
    ck_assert_ok(ptq_model_check(q, &d.samples, NULL, &r));
    ck_assert_ok(ptq_report_json(r, &json));
    ck_assert_ptr_nonnull(strstr(json, "no float simulation"));
    ck_assert(number(r, "scales") > 20);
    free(json);
    ptq_report_free(r);
    ck_assert_ok(ptq_model_check(m, &d.samples, NULL, &r)); /* not quantized: nothing to run */
    ck_assert_double_eq(number(r, "scales"), 0);
    ptq_report_free(r);
    ck_assert_ok(ptq_model_wrap(gt_parse("input x f32 [1,4]\ny = Relu(x)\noutput y\n"), &raw));
    ck_assert_fails(ptq_model_check(raw, NULL, NULL, &r), PTQ_ERR_ARG);
    ck_assert_says("must be optimized");
    ptq_model_free(raw);
    ptq_model_free(m);
    ptq_model_free(q);
}
END_TEST

static bool stop(void *ctx, const char *what, size_t done, size_t total)
{
    (void)ctx;
    (void)total;
    return strcmp(what, "checking") != 0 || done < 2;
}

START_TEST(check__can_be_interrupted)
{
    jobs_data d;
    ptq_report *r;
    ptq_loop_options o = PTQ_LOOP_OPTIONS_INIT;
    jobs_data_init(&d);
    ptq_model *q = quantized(&d, "portable", "qdq");
    o.progress = stop;
    ck_assert_fails(ptq_model_check(q, &d.samples, &o, &r), PTQ_ERR_INTERRUPTED);
    ptq_model_free(q);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_check");
    TCase *t = tcase_create("all");
    tcase_add_test(t, check__of_a_sound_model);
    tcase_add_loop_test(t, check__names_damage, 0, PTQ_COUNT(damages));
    tcase_add_test(t, check__other_models);
    tcase_add_test(t, check__can_be_interrupted);
    suite_add_tcase(s, t);
    return unit_run(s);
}

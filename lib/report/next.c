/* SPDX-License-Identifier: Apache-2.0 */
/* What to do next, from the figures of the other reports. Each rule is one function that adds steps: a
 * code for programs and a sentence for persons. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/clocale.h"
#include "lib/report/report.h"

/* What a rule takes for much. */
static const double DROP = 1.0;      /* points of top-1 */
static const double NATS = 0.01;     /* of cross-entropy, relative */
static const double AGREEMENT = 95.0; /* percent of the samples, at most */
static const double SQNR = 20.0;     /* dB, where nothing else is known */
static const double FLOAT_MACS = 0.005;
enum { FEW_SAMPLES = 100 };

typedef struct facts {
    const json_t *q, *check, *cmp; /* cmp may be NULL */
    bool seen;                     /* compared on the calibration samples */
    bool told;                     /* that more samples are needed */
    json_t *steps;
    ptq_status status;
} facts;

static void PTQ_PRINTF(3, 4) step(facts *f, const char *code, const char *fmt, ...)
{
    ptq_text t = {0};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ptq_text_name(&t, text, 0); /* names of layers are in it */
    json_t *o = json_object();
    if (f->status == PTQ_OK)
        f->status = t.failed ? ptq_fail_nomem() : ptq_json_push(f->steps, o);
    else
        json_decref(o);
    if (f->status == PTQ_OK)
        f->status = ptq_json_set(o, "code", json_string(code));
    if (f->status == PTQ_OK)
        f->status = ptq_json_set(o, "text", json_string(t.v ? t.v : ""));
    ptq_text_clear(&t);
}

static double num(const json_t *root, const char *object, const char *key)
{
    return ptq_json_num(json_object_get(root, object), key, NAN);
}

static bool is(const json_t *o, const char *key, const char *value)
{
    return strcmp(ptq_json_str(o, key, ""), value) == 0;
}

/* ---- what is lost ---- */

/* The layer that loses most by itself; NULL: none was measured. */
static const char *worst_layer(const facts *f, double *db)
{
    const char *name = NULL;
    size_t i;
    json_t *o;
    json_array_foreach (json_object_get(f->cmp, "layers"), i, o) {
        double v = num(o, "single", "sqnr_db");
        const char *node = ptq_json_str(o, "node", "");
        if (*node && !isnan(v) && (!name || v < *db)) {
            name = node;
            *db = v;
        }
    }
    return name;
}

static void remedies(facts *f)
{
    double samples = ptq_json_num(f->q, "samples", NAN), db = 0.0;
    const char *layer = worst_layer(f, &db);
    if (json_is_true(json_object_get(f->q, "act_log2")))
        step(f, "act", "leave --act log2 out: its steps are coarse where values are large");
    if (is(f->q, "weight", "log2") || is(f->q, "weight", "log2x2"))
        step(f, "weight", "--weight log2x16, or s8: more levels than %s", ptq_json_str(f->q, "weight", "?"));
    if (json_is_false(json_object_get(f->q, "per_channel")))
        step(f, "per_channel", "leave --per-tensor out: one weight scale per channel");
    if (!is(f->q, "method", "auto"))
        step(f, "method", "--method auto: tries every method on the model's output, may leave layers in float");
    if (is(f->q, "target", "portable") && json_is_true(json_object_get(f->q, "act_symmetric")))
        step(f, "target", "--target ort: activations with zero points use all codes of one-sided tensors");
    if (samples < FEW_SAMPLES)
        step(f, "samples", "more calibration samples: %.0f were used", samples);
    if (layer)
        step(f, "exclude", "--exclude '%s': the worst layer by itself (%.1f dB)", layer, db);
}

static bool lost_top1(facts *f)
{
    double change = num(f->cmp, "top1_change", "points"), low = num(f->cmp, "top1_change", "ci95_low");
    double high = num(f->cmp, "top1_change", "ci95_high");
    if (!(change < -DROP))
        return false;
    if (high >= 0.0) {
        step(f, "chance", "top-1 falls by %.2f points, which may be chance (95%% %+.2f .. %+.2f): --eval PATH with more "
             "samples tells", -change, low, high);
        f->told = true;
        return false;
    }
    step(f, "drop", "top-1 falls by %.2f points; try one by one:", -change);
    return true;
}

static bool lost_output(facts *f)
{
    const json_t *out = json_array_get(json_object_get(f->cmp, "outputs"), 0);
    double agree = num(f->cmp, "agreement", "percent"), db = ptq_json_num(out, "sqnr_db", NAN);
    if (num(f->cmp, "agreement", "ci95_high") < AGREEMENT)
        step(f, "drop", "only %.1f %% of the samples keep their first choice; try one by one:", agree);
    else if (isnan(agree) && db < SQNR)
        step(f, "drop", "the output has %.1f dB of signal to noise; try one by one:", db);
    else
        return false;
    return true;
}

static void loss(facts *f)
{
    double nats = num(f->cmp, "nats_change", "nats"), low = num(f->cmp, "nats_change", "ci95_low");
    double before = num(f->cmp, "reference_accuracy", "nats_per_token");
    bool labelled = !isnan(num(f->cmp, "top1_change", "points")), lost = false;
    if (labelled && !isnan(before)) {
        lost = nats > NATS * before && low > 0.0;
        if (lost)
            step(f, "drop", "cross-entropy rises by %.4f nats per token; try one by one:", nats);
    } else {
        lost = (labelled && lost_top1(f)) || lost_output(f);
    }
    if (lost)
        remedies(f);
}

/* ---- how much is known ---- */

static void certainty(facts *f)
{
    double n = ptq_json_num(f->cmp, "samples", NAN);
    double low = num(f->cmp, "top1_change", "ci95_low"), high = num(f->cmp, "top1_change", "ci95_high");
    if (isnan(low) && !isnan(num(f->cmp, "agreement", "percent")))
        step(f, "labels", "accuracy is not known: the samples have no labels (--labels, or --eval PATH with labels)");
    /* Rows of tokens are many more than samples; their own interval says enough. With no sample that
     * changes, up to 3 in n still may (the rule of three). */
    double half = isnan(num(f->cmp, "reference_accuracy", "nats_per_token")) ? 300.0 / n : 0.0;
    half = (high - low) / 2.0 > half ? (high - low) / 2.0 : half;
    if (f->told)
        return;
    if (half > DROP && !isnan(low))
        step(f, "uncertain", "top-1 of %.0f samples tells a change to +-%.1f points only: --eval PATH with more", n, half);
    else if (f->seen)
        step(f, "seen", "the figures are of the calibration samples: --eval PATH with others");
}

/* ---- time ---- */

static void speed(facts *f)
{
    const json_t *latency = json_object_get(f->cmp, "latency_ms"), *sim = json_object_get(f->check, "simulation");
    double s = ptq_json_num(latency, "speedup", NAN), share = ptq_json_num(f->q, "int8_mac_share", 1.0);
    double integer = ptq_json_num(sim, "integer_steps", NAN), all = ptq_json_num(sim, "steps", NAN);
    if (json_is_true(json_object_get(f->q, "float_weights")))
        step(f, "log_speed", "%s weights are multiplied in float%s; --weight s8 or log2 runs in integers",
             ptq_json_str(f->q, "weight", "these"), s < 1.0 ? ", which makes it slower than fp32" : "");
    else if (s < 1.0 && share < 0.5)
        step(f, "slow", "slower than fp32: only %.0f %% of the MACs run in int8", 100.0 * share);
    else if (s < 1.0 && integer < 0.5 * all)
        step(f, "slow", "slower than fp32: %.0f of %.0f steps run in float, with conversions between", all - integer, all);
    else if (s < 1.0 && strstr(ptq_json_str(latency, "machine", ""), "cpu (") &&
             !strstr(ptq_json_str(latency, "machine", ""), "vnni"))
        step(f, "slow", "slower than fp32: %s has no int8 dot product (VNNI)", ptq_json_str(latency, "machine", "?"));
    else if (s < 1.0)
        step(f, "slow", "slower than fp32 on %s: measure where it will run", ptq_json_str(latency, "machine", "?"));
}

/* ---- what stayed in float ---- */

static bool by_choice(const char *reason)
{
    return strstr(reason, "--only") || strstr(reason, "--exclude") || strcmp(reason, "left in float by auto") == 0;
}

static void in_float(facts *f)
{
    const json_t *layers = json_object_get(json_object_get(f->q, "auto"), "float_layers");
    const char *most = NULL;
    double macs = 0.0, top = 0.0, nodes = 0.0, percent = 0.0;
    size_t i;
    json_t *o;
    json_array_foreach (layers, i, o)
        percent += ptq_json_num(o, "macs_percent", 0.0);
    if (i)
        step(f, "auto_float", "auto left %zu layer%s in float (%.1f %% of the MACs); another --method quantizes %s too",
             i, i == 1 ? "" : "s", percent, i == 1 ? "it" : "them");
    json_array_foreach (json_object_get(f->q, "left_in_float"), i, o) {
        double m = ptq_json_num(o, "macs", 0.0);
        if (m <= 0.0 || by_choice(ptq_json_str(o, "reason", "")))
            continue;
        macs += m;
        nodes += 1.0;
        if (m > top) {
            top = m;
            most = ptq_json_str(o, "reason", "?");
        }
    }
    if (most && 1.0 - ptq_json_num(f->q, "int8_mac_share", 1.0) > FLOAT_MACS)
        step(f, "float", "%.0f node%s with %.1f M MACs stay in float, the largest because: %s (-v lists them)", nodes,
             nodes == 1.0 ? "" : "s", macs / 1e6, most);
}

/* ---- all of it ---- */

static void rules(facts *f)
{
    if (json_array_size(json_object_get(f->check, "problems"))) {
        step(f, "problems", "do not use the file: its scales are not sound (see above)");
        return;
    }
    if (json_object_size(json_object_get(f->q, "int8_nodes")) == 0 &&
        json_array_size(json_object_get(f->q, "weights")) == 0) {
        step(f, "nothing", "nothing is quantized: `quantize inspect -v` tells why");
        return;
    }
    if (f->cmp) {
        loss(f);
        certainty(f);
    } else {
        step(f, "compare", "not compared with fp32 yet: `quantize compare` does it");
    }
    speed(f);
    in_float(f);
    if (json_array_size(f->steps) == 0)
        step(f, "done", "nothing to do: no loss beyond chance%s", isnan(num(f->cmp, "latency_ms", "speedup"))
             ? "" : ", and faster than fp32");
}

ptq_status ptq_report_next(const ptq_report *quantized, const ptq_report *checked, const ptq_report *compared,
                           bool seen, ptq_report **out)
{
    ptq_report *r;
    PTQ_NEEDS(quantized);
    PTQ_NEEDS(out);
    PTQ_TRY(ptq_report_new("next", &r));
    facts f = {.q = quantized->root, .check = checked ? checked->root : NULL,
               .cmp = compared ? compared->root : NULL, .seen = seen, .steps = json_array()};
    f.status = ptq_json_set(r->root, "steps", f.steps);
    ptq_clocale locale = ptq_clocale_enter();
    if (f.status == PTQ_OK)
        rules(&f);
    ptq_clocale_leave(locale);
    if (f.status != PTQ_OK) {
        ptq_report_free(r);
        return f.status;
    }
    *out = r;
    return PTQ_OK;
}

static void text(const json_t *root, int columns, bool verbose, ptq_text *t)
{
    size_t i;
    json_t *o;
    (void)columns;
    (void)verbose;
    json_array_foreach (json_object_get(root, "steps"), i, o) {
        ptq_text_add(t, "%-10s", i ? "" : "next");
        ptq_text_name(t, ptq_json_str(o, "text", "?"), 0);
        ptq_text_add(t, "\n");
    }
}

const ptq_report_kind ptq_report_kind_next = {"next", text};

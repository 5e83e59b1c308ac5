/* SPDX-License-Identifier: Apache-2.0 */
/* DFT, STFT, window functions and MelWeightMatrix, in double. */
#include "lib/core/cast.h"
#include "lib/cpu/fkernel.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};
enum { SIGNAL = PTQ_TAKES(PTQ_DT_F64) | PTQ_TAKES_S64 };
static const double PI = 3.14159265358979323846;

/* ---- one transform: sums over a table of roots ---- */

typedef struct transform {
    const double *x;
    int64_t n, parts, step; /* values, numbers of one (1 or 2), numbers from one to the next */
    int64_t length, bins;   /* of the transform (zeros behind n), of the output */
    const double *window;   /* or NULL */
    const double *root;     /* [length][2]: e^(-2 pi i k / length), turned around for the inverse */
    double scale;
} transform;

static double *make_roots(double *root, int64_t length, bool inverse)
{
    for (int64_t k = 0; k < length; k++) {
        double a = (inverse ? 2.0 : -2.0) * PI * (double)k / (double)length;
        root[2 * k] = cos(a);
        root[2 * k + 1] = sin(a);
    }
    return root;
}

static void run_transform(const transform *t, double *y, int64_t ystep)
{
    int64_t n = t->n < t->length ? t->n : t->length;
    for (int64_t k = 0; k < t->bins; k++) {
        double re = 0, im = 0;
        for (int64_t i = 0, at = 0; i < n; i++, at = (at + k) % t->length) {
            const double *x = t->x + i * t->step, *w = t->root + 2 * at;
            double g = t->window ? t->window[i] : 1.0, a = g * x[0], b = t->parts == 2 ? g * x[1] : 0.0;
            re += a * w[0] - b * w[1];
            im += a * w[1] + b * w[0];
        }
        y[k * ystep] = re * t->scale;
        y[k * ystep + 1] = im * t->scale;
    }
}

static int64_t whole(const ptq_tensor *t, int64_t dflt)
{
    return t && ptq_tensor_elements(t) == 1 ? ptq_number_whole(ptq_number_load(t->dtype, t->data, 0)) : dflt;
}

/* ---- DFT: [..., n, ..., parts] ---- */

static ptq_status dft_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    bool inverse = ptq_attr_int(r->step->node, "inverse", 0) != 0, old = ptq_state_opset(r) < 20;
    int64_t a = old ? ptq_attr_int(r->step->node, "axis", 1) : whole(ptq_in(r, 2), -2);
    int axis = ptq_axis(a, x->rank);
    if (axis < 0 || axis >= x->rank - 1)
        return ptq_bad_args(r);
    int64_t parts = x->dims[x->rank - 1], length = whole(ptq_in(r, 1), x->dims[axis]);
    int64_t inner = ptq_product(x->dims, axis + 1, x->rank - 1), outer = ptq_product(x->dims, 0, axis);
    double *root = ptq_cpu_scratch(c, (size_t)(2 * length + 2) * sizeof *root);
    if (length < 1 || y->dims[axis] > length)
        return ptq_bad_args(r);
    if (!root)
        return ptq_fail_nomem();
    transform t = {.n = x->dims[axis], .parts = parts, .step = inner * parts, .length = length, .bins = y->dims[axis],
                   .root = make_roots(root, length, inverse), .scale = inverse ? 1.0 / (double)length : 1.0};
    for (int64_t i = 0; i < outer * inner; i++) {
        t.x = (const double *)x->data + (i / inner * t.n * inner + i % inner) * parts;
        run_transform(&t, (double *)y->data + (i / inner * t.bins * inner + i % inner) * 2, 2 * inner);
    }
    return PTQ_OK;
}
ROW(dft, "DFT", .takes = SIGNAL, .prepare = ptq_prepare_opset)

/* ---- STFT: [batch, n, parts] to [batch, frames, bins, 2] ---- */

static ptq_status stft_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *window = ptq_in(r, 2), *y = &r->out[0];
    int64_t step = whole(r->in[1], 0), parts = x->rank == 3 ? x->dims[2] : 1;
    int64_t length = whole(ptq_in(r, 3), window ? ptq_tensor_elements(window) : x->dims[1]);
    int64_t frames = y->dims[1], bins = y->dims[2];
    if (step < 1 || length < 1 || (window && ptq_tensor_elements(window) != length) || bins > length ||
        (frames - 1) * step + length > x->dims[1])
        return ptq_bad_args(r);
    double *root = ptq_cpu_scratch(c, (size_t)(2 * length) * sizeof *root);
    if (!root)
        return ptq_fail_nomem();
    transform t = {.n = length, .parts = parts, .step = parts, .length = length, .bins = bins, .scale = 1.0,
                   .window = window ? window->data : NULL, .root = make_roots(root, length, false)};
    for (int64_t i = 0; i < y->dims[0] * frames; i++) {
        t.x = (const double *)x->data + (i / frames * x->dims[1] + i % frames * step) * parts;
        run_transform(&t, (double *)y->data + i * bins * 2, 2);
    }
    return PTQ_OK;
}
ROW(stft, "STFT", .takes = SIGNAL)

/* ---- windows: a0 - a1 cos(2 pi i / n) + a2 cos(4 pi i / n) ---- */

static ptq_status run_window(const ptq_step_run *r, double a0, double a1, double a2)
{
    const ptq_tensor *y = &r->out[0];
    int64_t size = y->dims[0];
    double n = (double)(ptq_attr_int(r->step->node, "periodic", 1) ? size : size - 1);
    if (!ptq_castable(y->dtype))
        return ptq_bad_type(r, y->dtype);
    for (int64_t i = 0; i < size; i++) {
        double a = n > 0 ? 2.0 * PI * (double)i / n : 0;
        ptq_number_store(y->dtype, y->data, i, ptq_number_real(a0 - a1 * cos(a) + a2 * cos(2 * a)), 0);
    }
    return PTQ_OK;
}
#define WINDOW_ROW(symbol, op, a0, a1, a2)                                                         \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        (void)c;                                                                                   \
        return run_window(r, a0, a1, a2);                                                          \
    }                                                                                              \
    ROW(symbol, op, .takes = 0)
WINDOW_ROW(hann_window, "HannWindow", 0.5, 0.5, 0.0)
WINDOW_ROW(hamming_window, "HammingWindow", 25.0 / 46.0, 1.0 - 25.0 / 46.0, 0.0)
WINDOW_ROW(blackman_window, "BlackmanWindow", 0.42, 0.5, 0.08)

/* ---- MelWeightMatrix: triangles on the mel scale, 2595 log10(1 + f / 700) ---- */

static ptq_status mel_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *y = &r->out[0];
    if (ptq_tensor_elements(r->in[3]) != 1 || ptq_tensor_elements(r->in[4]) != 1)
        return ptq_bad_args(r);
    int64_t bins = y->dims[1], spectrum = y->dims[0], length = whole(r->in[1], 0), rate = whole(r->in[2], 0);
    double lo = ptq_number_load(r->in[3]->dtype, r->in[3]->data, 0).d;
    double hi = ptq_number_load(r->in[4]->dtype, r->in[4]->data, 0).d;
    int64_t *edge = ptq_cpu_scratch(c, (size_t)(bins + 2) * sizeof *edge);
    if (!edge)
        return ptq_fail_nomem();
    if (rate < 1 || length < 1 || !ptq_castable(y->dtype))
        return ptq_bad_args(r);
    double from = 2595.0 * log10(1.0 + lo / 700.0), to = 2595.0 * log10(1.0 + hi / 700.0);
    for (int64_t i = 0; i < bins + 2; i++) {
        double mel = from + (double)i * (to - from) / (double)(bins + 2);
        double f = floor((double)(length + 1) * 700.0 * (pow(10.0, mel / 2595.0) - 1.0) / (double)rate);
        edge[i] = f >= 0 && f < 0x1p40 ? (int64_t)f : 0;
    }
    memset(y->data, 0, y->nbytes);
    for (int64_t b = 0; b < bins; b++)
        for (int64_t k = edge[b]; k < spectrum && (k < edge[b + 2] || k == edge[b + 1]); k++) {
            bool rises = k <= edge[b + 1];
            double width = (double)(rises ? edge[b + 1] - edge[b] : edge[b + 2] - edge[b + 1]);
            double v = width == 0 ? 1.0 : (double)(rises ? k - edge[b] : edge[b + 2] - k) / width;
            ptq_number_store(y->dtype, y->data, k * bins + b, ptq_number_real(v), 0);
        }
    return PTQ_OK;
}
ROW(mel, "MelWeightMatrix", .takes = SIGNAL, .keep_out = 1)

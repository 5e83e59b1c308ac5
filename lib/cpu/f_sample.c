/* SPDX-License-Identifier: Apache-2.0 */
/* GridSample and AffineGrid, in double. */
#include "lib/cpu/fkernel.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* ---- GridSample ---- */

enum { MAX_SPATIAL = 3, MAX_TAPS = 4 };
typedef enum padding { PAD_ZEROS, PAD_BORDER, PAD_REFLECT } padding;

typedef struct sample_ctx {
    const ptq_tensor *x, *grid;
    double *y;
    int nd, taps; /* taps per dimension: 1 nearest, 2 linear, 4 cubic */
    padding pad;
    bool align;
    int64_t isize, osize;
} sample_ctx;

/* Into [lo, hi], mirrored at both ends. */
static double reflect(double x, double lo, double hi)
{
    double range = hi - lo;
    if (range <= 0)
        return lo;
    double d = fmod(fabs(x - lo), 2 * range);
    return d <= range ? lo + d : hi - (d - range);
}

static double bound(const sample_ctx *v, double x, int64_t n)
{
    double lo = v->align ? 0.0 : -0.5, hi = (double)n - (v->align ? 1.0 : 0.5);
    if (v->pad == PAD_BORDER)
        return fmin(fmax(x, 0.0), (double)(n - 1));
    return v->pad == PAD_REFLECT && (x < lo || x > hi) ? reflect(x, lo, hi) : x;
}

/* Element of a tap, -1 where there is none. */
static int64_t tap_at(const sample_ctx *v, double x, int64_t n)
{
    x = bound(v, x, n);
    return x > -1.0 && x < (double)n ? (int64_t)x : -1;
}

static void cubic(double f, double *w)
{
    const double A = -0.75;
    double g = 1 - f;
    w[0] = ((A * (f + 1) - 5 * A) * (f + 1) + 8 * A) * (f + 1) - 4 * A;
    w[1] = ((A + 2) * f - (A + 3)) * f * f + 1;
    w[2] = ((A + 2) * g - (A + 3)) * g * g + 1;
    w[3] = ((A * (g + 1) - 5 * A) * (g + 1) + 8 * A) * (g + 1) - 4 * A;
}

static void taps_of(const sample_ctx *v, double g, int64_t n, int64_t *at, double *w)
{
    double x = v->align ? (g + 1) / 2 * (double)(n - 1) : ((g + 1) * (double)n - 1) / 2;
    x = fmin(fmax(x, -1e9), 1e9); /* NaN too */
    if (v->taps < 4) /* cubic: each tap by itself */
        x = bound(v, v->taps == 1 ? rint(x) : x, n);
    double base = v->taps == 1 ? x : floor(x) - (v->taps == 4);
    w[0] = 1.0;
    if (v->taps == 2) {
        w[1] = x - base;
        w[0] = 1.0 - w[1];
    } else if (v->taps == 4) {
        cubic(x - base - 1.0, w);
    }
    for (int t = 0; t < v->taps; t++)
        at[t] = tap_at(v, base + t, n);
}

static void sample_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const sample_ctx *v = ctx;
    const int64_t *dims = v->x->dims + 2;
    int64_t channels = v->x->dims[1], total = v->taps;
    (void)worker;
    for (int d = 1; d < v->nd; d++)
        total *= v->taps;
    for (int64_t i = from; i < to; i++) { /* positions of all images */
        int64_t at[MAX_SPATIAL][MAX_TAPS], image = i / v->osize;
        double w[MAX_SPATIAL][MAX_TAPS];
        for (int d = 0; d < v->nd; d++) /* the grid names the last dimension first */
            taps_of(v, ((const double *)v->grid->data)[i * v->nd + v->nd - 1 - d], dims[d], at[d], w[d]);
        for (int64_t c = 0; c < channels; c++) {
            const double *x = (const double *)v->x->data + (image * channels + c) * v->isize;
            double sum = 0;
            for (int64_t t = 0; t < total; t++) {
                int64_t off = 0, rest = t, step = 1;
                double weight = 1;
                for (int d = v->nd - 1; d >= 0; d--) {
                    int64_t k = rest % v->taps;
                    off = off < 0 || at[d][k] < 0 ? -1 : off + at[d][k] * step;
                    weight *= w[d][k];
                    step *= dims[d];
                    rest /= v->taps;
                }
                sum += off < 0 ? 0 : x[off] * weight;
            }
            v->y[(image * channels + c) * v->osize + i % v->osize] = sum;
        }
    }
}

static ptq_status grid_sample_run(ptq_cpu *c, const ptq_step_run *r)
{
    static const char *const pads[] = {"zeros", "border", "reflection"};
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    const char *mode = ptq_attr_str(r->step->node, "mode", "linear");
    const char *pad = ptq_attr_str(r->step->node, "padding_mode", "zeros");
    size_t p = 0;
    while (p < PTQ_COUNT(pads) && strcmp(pads[p], pad) != 0)
        p++;
    sample_ctx v = {.x = x, .grid = r->in[1], .y = y->data, .nd = x->rank - 2, .pad = (padding)p,
                    .align = ptq_attr_int(r->step->node, "align_corners", 0) != 0,
                    .isize = ptq_product(x->dims, 2, x->rank), .osize = ptq_product(y->dims, 2, y->rank)};
    v.taps = strcmp(mode, "nearest") == 0 ? 1
             : strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0 ? 2
             : strcmp(mode, "cubic") == 0 || strcmp(mode, "bicubic") == 0   ? 4
                                                                            : 0;
    if (p == PTQ_COUNT(pads) || v.taps == 0 || v.nd < 1 || v.nd > MAX_SPATIAL || v.isize == 0)
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node %s: GridSample with mode %s, padding %s and rank %d is not supported",
                        r->step->name, mode, pad, x->rank);
    return ptq_cpu_ranges(c, x->dims[0] * v.osize, 64, sample_part, &v);
}
ROW(grid_sample, "GridSample", .takes = PTQ_TAKES(PTQ_DT_F64))

/* ---- AffineGrid ---- */

static double grid_place(int64_t i, int64_t n, bool align)
{
    if (align)
        return n > 1 ? -1.0 + 2.0 * (double)i / (double)(n - 1) : -1.0;
    return (2.0 * (double)i + 1.0) / (double)n - 1.0;
}

static ptq_status affine_grid_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *theta = r->in[0], *y = &r->out[0];
    int nd = y->rank - 2;
    bool align = ptq_attr_int(r->step->node, "align_corners", 0) != 0;
    int64_t positions = ptq_product(y->dims, 1, y->rank - 1);
    double *out = y->data;
    (void)c;
    for (int64_t i = 0; i < y->dims[0] * positions; i++) {
        const double *m = (const double *)theta->data + i / positions * nd * (nd + 1);
        double place[MAX_SPATIAL]; /* the last dimension first */
        for (int64_t d = nd, rest = i % positions; d >= 1; rest /= y->dims[d], d--)
            place[nd - d] = grid_place(rest % y->dims[d], y->dims[d], align);
        for (int k = 0; k < nd; k++) {
            double sum = m[k * (nd + 1) + nd];
            for (int d = 0; d < nd; d++)
                sum += m[k * (nd + 1) + d] * place[d];
            *out++ = sum;
        }
    }
    return PTQ_OK;
}
ROW(affine_grid, "AffineGrid", .takes = PTQ_TAKES(PTQ_DT_F64), .keep_in = 2)

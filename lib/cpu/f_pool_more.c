/* SPDX-License-Identifier: Apache-2.0 */
/* LpPool, GlobalLpPool, MaxUnpool, MaxRoiPool, RoiAlign. */
#include "lib/cpu/fkernel.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* ---- LpPool, GlobalLpPool: in double ---- */

static double power(double x, int64_t p)
{
    return p == 1 ? fabs(x) : p == 2 ? x * x : pow(fabs(x), (double)p);
}

static double root(double sum, int64_t p)
{
    return p == 1 ? sum : p == 2 ? sqrt(sum) : pow(sum, 1.0 / (double)p);
}

static double lp_window(const ptq_pool_geometry *g, const double *x, int64_t out, int64_t p)
{
    int64_t o[3], k[3], i[3];
    double sum = 0;
    ptq_split3(out, g->out, o);
    for (int64_t t = 0; t < ptq_product(g->k, 0, 3); t++) {
        bool inside = true;
        ptq_split3(t, g->k, k);
        for (int d = 0; d < 3; d++) {
            i[d] = o[d] * g->stride[d] + k[d] * g->dil[d] - g->pad[d];
            inside = inside && i[d] >= 0 && i[d] < g->in[d];
        }
        sum += inside ? power(x[(i[0] * g->in[1] + i[1]) * g->in[2] + i[2]], p) : 0;
    }
    return root(sum, p);
}

static ptq_status lp_pool_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int64_t p = ptq_attr_int(r->step->node, "p", 2);
    ptq_pool_geometry g;
    (void)c;
    PTQ_TRY(ptq_pool_geometry_of(r, &g));
    for (int64_t i = 0; i < x->dims[0] * x->dims[1]; i++)
        for (int64_t o = 0; o < g.osize; o++)
            ((double *)r->out[0].data)[i * g.osize + o] =
                lp_window(&g, (const double *)x->data + i * g.isize, o, p);
    return PTQ_OK;
}
ROW(lp_pool, "LpPool", .takes = PTQ_TAKES(PTQ_DT_F64))

static ptq_status global_lp_pool_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int64_t p = ptq_attr_int(r->step->node, "p", 2), n = ptq_product(x->dims, 2, x->rank);
    (void)c;
    for (int64_t i = 0; i < x->dims[0] * x->dims[1]; i++) {
        double sum = 0;
        for (int64_t j = 0; j < n; j++)
            sum += power(((const double *)x->data)[i * n + j], p);
        ((double *)r->out[0].data)[i] = root(sum, p);
    }
    return PTQ_OK;
}
ROW(global_lp_pool, "GlobalLpPool", .takes = PTQ_TAKES(PTQ_DT_F64))

/* ---- MaxUnpool: the indices are those of MaxPool, into a tensor of the size without padding ---- */

/* The size that MaxPool saw. */
static ptq_status pooled_size(const ptq_step_run *r, int64_t *dims)
{
    const ptq_tensor *x = r->in[0];
    int nd = x->rank - 2;
    ptq_window w;
    PTQ_TRY(ptq_window_read(r->step->node, nd, NULL, NULL, &w));
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    for (int d = 0; d < nd; d++) {
        dims[2 + d] = (x->dims[2 + d] - 1) * w.stride[d] + w.kernel[d] - w.pad_begin[d] - w.pad_end[d];
        if (dims[2 + d] < 1)
            return ptq_bad_args(r);
    }
    return PTQ_OK;
}

static ptq_status max_unpool_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *at = r->in[1], *y = &r->out[0];
    int64_t dims[PTQ_MAX_RANK], total = ptq_tensor_elements(y);
    const int64_t *index = at->data;
    size_t e = ptq_elem_bytes(x->dtype);
    (void)c;
    memset(y->data, 0, y->nbytes);
    if (ptq_tensor_elements(at) != ptq_tensor_elements(x) || at->dtype != PTQ_DT_S64)
        return ptq_bad_args(r);
    if (ptq_tensor_elements(x) == 0)
        return PTQ_OK;
    PTQ_TRY(pooled_size(r, dims));
    for (int64_t i = 0; i < ptq_tensor_elements(x); i++) {
        int64_t to = 0, step = 1, rest = index[i]; /* a larger output keeps the positions */
        for (int d = y->rank - 1; d >= 0; d--) {
            to += rest % dims[d] * step;
            step *= y->dims[d];
            rest /= dims[d];
        }
        if (index[i] < 0 || rest != 0 || to >= total)
            return ptq_fail(PTQ_ERR_DATA, "node %s: index %lld is outside of the pooled tensor", r->step->name,
                            (long long)index[i]);
        memcpy((char *)y->data + (size_t)to * e, (const char *)x->data + (size_t)i * e, e);
    }
    return PTQ_OK;
}
ROW(max_unpool, "MaxUnpool", .takes = PTQ_TAKES_BYTES)

/* ---- MaxRoiPool ---- */

/* Rows or columns [*lo, *hi) of bin k of `bins` over a region of n that starts at `first`. */
static void roi_bin(int64_t k, int64_t bins, int64_t first, int64_t n, int64_t limit, int64_t *lo, int64_t *hi)
{
    double size = (double)n / (double)bins;
    *lo = first + (int64_t)floor((double)k * size);
    *hi = first + (int64_t)ceil((double)(k + 1) * size);
    *lo = *lo < 0 ? 0 : *lo > limit ? limit : *lo;
    *hi = *hi < 0 ? 0 : *hi > limit ? limit : *hi;
}

/* The nearest pixel; far away for what is none. */
static int64_t pixel(double x)
{
    return (int64_t)round(fmin(fmax(x, -1e9), 1e9));
}

static ptq_status max_roi_pool_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *rois = r->in[1], *y = &r->out[0];
    double scale = (double)ptq_attr_float(r->step->node, "spatial_scale", 1.0f), *out = y->data;
    int64_t ch = x->dims[1], h = x->dims[2], w = x->dims[3], ph = y->dims[2], pw = y->dims[3];
    (void)c;
    for (int64_t n = 0; n < rois->dims[0]; n++) {
        const double *roi = (const double *)rois->data + n * 5;
        if (!(roi[0] >= 0 && roi[0] < (double)x->dims[0]))
            return ptq_fail(PTQ_ERR_DATA, "node %s: a region of image %g of %lld", r->step->name, roi[0],
                            (long long)x->dims[0]);
        int64_t x0 = pixel(roi[1] * scale), y0 = pixel(roi[2] * scale);
        int64_t rw = pixel(roi[3] * scale) - x0 + 1, rh = pixel(roi[4] * scale) - y0 + 1;
        for (int64_t i = 0; i < ch * ph * pw; i++) {
            const double *plane = (const double *)x->data + ((int64_t)roi[0] * ch + i / (ph * pw)) * h * w;
            int64_t lo[2], hi[2];
            roi_bin(i / pw % ph, ph, y0, rh < 1 ? 1 : rh, h, &lo[0], &hi[0]);
            roi_bin(i % pw, pw, x0, rw < 1 ? 1 : rw, w, &lo[1], &hi[1]);
            double best = lo[0] < hi[0] && lo[1] < hi[1] ? -INFINITY : 0;
            for (int64_t a = lo[0]; a < hi[0]; a++)
                for (int64_t b = lo[1]; b < hi[1]; b++)
                    best = plane[a * w + b] > best ? plane[a * w + b] : best;
            *out++ = best;
        }
    }
    return PTQ_OK;
}
ROW(max_roi_pool, "MaxRoiPool", .takes = PTQ_TAKES(PTQ_DT_F64))

/* ---- RoiAlign ---- */

typedef struct roi_ctx {
    const double *plane;
    int64_t h, w;
    bool max;
} roi_ctx;

/* Bilinear at (y, x); nothing outside of [-1, size]. With max the largest weighted neighbour counts. */
static double roi_sample(const roi_ctx *v, double y, double x)
{
    if (!(y >= -1 && y <= (double)v->h && x >= -1 && x <= (double)v->w))
        return 0; /* NaN too */
    y = y < 0 ? 0 : y;
    x = x < 0 ? 0 : x;
    int64_t y0 = (int64_t)y, x0 = (int64_t)x, y1, x1;
    y0 = y0 < v->h - 1 ? y0 : v->h - 1;
    x0 = x0 < v->w - 1 ? x0 : v->w - 1;
    y1 = y0 < v->h - 1 ? y0 + 1 : y0;
    x1 = x0 < v->w - 1 ? x0 + 1 : x0;
    double fy = y0 == v->h - 1 ? 0 : y - (double)y0, fx = x0 == v->w - 1 ? 0 : x - (double)x0;
    double a = v->plane[y0 * v->w + x0] * (1 - fy) * (1 - fx), b = v->plane[y0 * v->w + x1] * (1 - fy) * fx;
    double c = v->plane[y1 * v->w + x0] * fy * (1 - fx), d = v->plane[y1 * v->w + x1] * fy * fx;
    return v->max ? fmax(fmax(a, b), fmax(c, d)) : a + b + c + d;
}

typedef struct roi_grid {
    double y0, x0, bin_h, bin_w;
    int64_t ny, nx; /* samples of a bin */
} roi_grid;

static double roi_cell(const roi_ctx *v, const roi_grid *g, int64_t py, int64_t px)
{
    double sum = 0, best = -INFINITY;
    for (int64_t i = 0; i < g->ny * g->nx; i++) {
        double y = g->y0 + (double)py * g->bin_h + ((double)(i / g->nx) + 0.5) * g->bin_h / (double)g->ny;
        double x = g->x0 + (double)px * g->bin_w + ((double)(i % g->nx) + 0.5) * g->bin_w / (double)g->nx;
        double s = roi_sample(v, y, x);
        sum += s;
        best = s > best ? s : best;
    }
    return v->max ? best : sum / (double)(g->ny * g->nx);
}

/* Half a pixel is taken off from opset 16 on, unless told otherwise. */
static roi_grid roi_grid_of(const ptq_step_run *r, const double *roi, int64_t ph, int64_t pw)
{
    const ptq_node *n = r->step->node;
    double scale = (double)ptq_attr_float(n, "spatial_scale", 1.0f);
    bool half = strcmp(ptq_attr_str(n, "coordinate_transformation_mode",
                                    ptq_state_opset(r) < 16 ? "output_half_pixel" : "half_pixel"),
                       "half_pixel") == 0;
    double off = half ? 0.5 : 0.0;
    int64_t ratio = ptq_attr_int(n, "sampling_ratio", 0);
    double rw = (roi[2] - roi[0]) * scale, rh = (roi[3] - roi[1]) * scale;
    if (!half) {
        rw = rw < 1 ? 1 : rw;
        rh = rh < 1 ? 1 : rh;
    }
    roi_grid g = {roi[1] * scale - off, roi[0] * scale - off, rh / (double)ph, rw / (double)pw, ratio, ratio};
    if (ratio <= 0) { /* a sample for each pixel */
        g.ny = pixel(ceil(g.bin_h));
        g.nx = pixel(ceil(g.bin_w));
    }
    return g;
}

static ptq_status roi_align_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *rois = r->in[1], *at = r->in[2], *y = &r->out[0];
    int64_t ch = x->dims[1], ph = y->dims[2], pw = y->dims[3];
    double *out = y->data;
    (void)c;
    roi_ctx v = {.h = x->dims[2], .w = x->dims[3],
                 .max = strcmp(ptq_attr_str(r->step->node, "mode", "avg"), "max") == 0};
    for (int64_t n = 0; n < rois->dims[0]; n++) {
        int64_t image = ((const int64_t *)at->data)[n];
        if (image < 0 || image >= x->dims[0])
            return ptq_fail(PTQ_ERR_DATA, "node %s: a region of image %lld of %lld", r->step->name,
                            (long long)image, (long long)x->dims[0]);
        roi_grid g = roi_grid_of(r, (const double *)rois->data + n * 4, ph, pw);
        if (g.ny > 1 << 14 || g.nx > 1 << 14)
            return ptq_fail(PTQ_ERR_DATA, "node %s: region %lld needs %lld by %lld samples a bin", r->step->name,
                            (long long)n, (long long)g.ny, (long long)g.nx);
        for (int64_t i = 0; i < ch * ph * pw; i++) {
            v.plane = (const double *)x->data + (image * ch + i / (ph * pw)) * v.h * v.w;
            *out++ = roi_cell(&v, &g, i / pw % ph, i % pw);
        }
    }
    return PTQ_OK;
}
ROW(roi_align, "RoiAlign", .takes = PTQ_TAKES(PTQ_DT_F64) | PTQ_TAKES_S64, .prepare = ptq_prepare_opset)

/* SPDX-License-Identifier: Apache-2.0 */
/* Integer convolutions and matrix products: the fast kernels of each instruction set against the
 * reference, byte by byte, and the reference against a computation of its own in 64 bits. */
#include "tests/cpu_int_draw.h"

typedef struct linear {
    ptq_qlinear_params p;
    float wscale[512], mult[512];
    int32_t wzp[512], bias[512];
} linear;

/* Sums up to the ends of 32 bits; multipliers above and below 1/2, and that itself: times such sums they come to
 * what a conversion to integers holds, and beyond. */
static void far_sums(linear *l, int64_t channels)
{
    static const float out[] = {512.0f, 2.0f, 1.9f, 1.0f, 0.25f};
    l->p.x.scale = 1.0f;
    l->p.y.scale = out[pick(0, 4)];
    for (int64_t c = 0; c < channels + 1; c++) {
        l->wscale[c] = pick(0, 1) ? 1.0f : 0.75f;
        l->bias[c] = (pick(0, 1) ? 1 : -1) * (INT32_MAX - (1 << pick(5, 30)) - (1 << 27));
        l->mult[c] = ptq_requant_multiplier(l->p.x.scale, l->wscale[c], l->p.y.scale);
    }
}

static void any_linear(linear *l, ptq_dtype x, ptq_dtype w, ptq_dtype y, int64_t channels, int64_t k)
{
    memset(l, 0, sizeof *l);
    ptq_qlinear_params *p = &l->p;
    p->x = (ptq_affine){any_scale(), any_zp(x)};
    p->y = (ptq_affine){any_scale() * (float)(k + 8) * 2.0f, any_zp(y)};
    p->channels = channels;
    p->nw = pick(0, 1) && channels ? (int)channels : 1;
    p->float_out = pick(0, 5) == 0;
    bool zero = w == PTQ_DT_S8 && pick(0, 1);
    for (int64_t c = 0; c < channels + 1; c++) {
        l->wscale[c] = any_scale();
        l->wzp[c] = zero ? 0 : any_zp(w);
        l->bias[c] = (int32_t)pick(0, 40000) - 20000;
        l->mult[c] = ptq_requant_multiplier(p->x.scale, l->wscale[c], p->y.scale);
    }
    if (pick(0, 3) == 0)
        far_sums(l, channels);
    p->wscale = l->wscale;
    p->mult = l->mult;
    p->wzp = zero ? NULL : l->wzp;
    p->bias = channels && pick(0, 2) ? l->bias : NULL;
    p->qlo = lowest(y) + (pick(0, 3) == 0 ? 100 : 0);
    p->qhi = lowest(y) + (pick(0, 3) == 0 ? 200 : 255);
}

/* The requantization written out again, in double where that is exact. */
static int32_t requant_again(int64_t acc, float m, int32_t z, int32_t lo, int32_t hi)
{
    float f = (float)((double)(float)acc * (double)m); /* one rounding: a product of floats fits */
    double r = nearbyint((double)f) + z;
    return r < lo ? lo : r > hi ? hi : (int32_t)r;
}

/* One time in two something is added in the end; with scales that are multiples of one unit, so that
 * both roundings and the order of operands show. */
static void any_residual(bed *b, linear *l)
{
    ptq_qlinear_params *p = &l->p;
    ptq_residual_params *r = &p->residual;
    if (p->float_out || pick(0, 1))
        return;
    r->kind = pick(0, 1) ? PTQ_RESIDUAL_ROUNDED : PTQ_RESIDUAL_FLOAT;
    ptq_dtype t = r->kind == PTQ_RESIDUAL_ROUNDED ? b->out.dtype : any8();
    float unit = any_scale();
    r->skip_first = pick(0, 1);
    r->skip = (ptq_affine){r->kind == PTQ_RESIDUAL_FLOAT ? p->y.scale * (float)pick(1, 6) / 4.0f : tie_scale(unit),
                           any_zp(t)};
    r->product = (ptq_affine){tie_scale(unit), p->y.zp};
    r->sum = (ptq_affine){tie_scale(unit), any_zp(t)};
    r->qlo = lowest(t) + (pick(0, 3) == 0 ? 90 : 0);
    r->qhi = lowest(t) + 255;
    b->nin = 3;
    b->in[2] = bed_tensor(t, b->out.rank, b->out.dims);
    b->in_layout[2] = b->out_layout;
    fill8(&b->in[2]);
}

/* The laws written out again (doc/numerics.md). */
static int32_t residual_again(const ptq_qlinear_params *p, int64_t acc, float m, int32_t s, bool one)
{
    const ptq_residual_params *r = &p->residual;
    if (r->kind == PTQ_RESIDUAL_FLOAT) {
        float y = fmaf((float)s - (float)r->skip.zp, r->skip.scale / p->y.scale, (float)acc * m);
        double v = nearbyint((double)y) + p->y.zp;
        return v < p->qlo ? p->qlo : v > p->qhi ? p->qhi : (int32_t)v;
    }
    int32_t t = requant_again(acc, m, p->y.zp, p->qlo, p->qhi);
    bool skip_first = r->skip_first != one;
    ptq_affine a = skip_first ? r->skip : r->product, b = skip_first ? r->product : r->skip;
    float ra = a.scale / r->sum.scale, rb = b.scale / r->sum.scale;
    float fx = (float)r->sum.zp - fmaf(ra, (float)a.zp, rb * (float)b.zp);
    double v = nearbyint((double)fmaf((float)(skip_first ? s : t), ra, fmaf((float)(skip_first ? t : s), rb, fx)));
    return v < r->qlo ? r->qlo : v > r->qhi ? r->qhi : (int32_t)v;
}

typedef struct conv_case {
    int nd;
    int64_t n, c, m, group, in[3], k[3], stride[3], dil[3], pad[6], out[3];
} conv_case;

static bool any_conv(conv_case *v)
{
    static const int64_t channels[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 48, 64, 65};
    memset(v, 0, sizeof *v);
    v->nd = pick(0, 4) == 0 ? (int)pick(1, 3) : 2;
    v->n = ONE_OF(0, 1, 1, 1, 2, 7);
    v->group = 1;
    v->c = one_of(channels, PTQ_COUNT(channels));
    v->m = ONE_OF(1, 3, 5, 15, 16, 17, 32, 33, 48, 64, 65, 100, 130);
    int64_t shape = pick(0, 9);
    if (shape < 3) { /* depthwise */
        v->c = v->m = v->group = ONE_OF(1, 2, 5, 8, 16, 17, 24, 63, 64, 65, 130);
    } else if (shape == 3) {
        v->group = ONE_OF(2, 3);
        v->c = v->group * pick(1, 9);
        v->m = v->group * pick(1, 20);
    }
    bool one = pick(0, 3) == 0;
    for (int i = 0; i < v->nd; i++) {
        v->in[i] = pick(1, v->nd == 3 ? 5 : 11);
        v->k[i] = one ? 1 : pick(1, 4);
        v->stride[i] = pick(0, 2) ? 1 : pick(1, 3);
        v->dil[i] = pick(0, 3) ? 1 : pick(1, 3);
        v->pad[i] = one ? 0 : pick(0, 3);
        v->pad[v->nd + i] = one ? 0 : pick(0, 3);
        int64_t span = v->in[i] + v->pad[i] + v->pad[v->nd + i] - ((v->k[i] - 1) * v->dil[i] + 1);
        if (span < 0)
            return false;
        v->out[i] = span / v->stride[i] + 1;
    }
    return true;
}

static void conv_bed(bed *b, const conv_case *v, linear *l)
{
    int64_t x[5] = {v->n, v->c}, w[5] = {v->m, v->c / v->group}, y[5] = {v->n, v->m};
    int64_t k = v->c / v->group;
    for (int i = 0; i < v->nd; i++) {
        x[2 + i] = v->in[i];
        w[2 + i] = v->k[i];
        y[2 + i] = v->out[i];
        k *= v->k[i];
    }
    ptq_dtype xt = any8(), wt = any8(), yt = any8();
    any_linear(l, xt, wt, yt, v->m, k);
    *b = (bed){.kind = "qconv", .nin = 2, .constant = {false, true}, .params = &l->p};
    b->in[0] = bed_tensor(xt, 2 + v->nd, x);
    b->in[1] = bed_tensor(wt, 2 + v->nd, w);
    fill8(&b->in[0]);
    fill8(&b->in[1]);
    b->out = (ptq_tensor){.dtype = l->p.float_out ? PTQ_DT_F32 : yt, .rank = 2 + v->nd};
    memcpy(b->out.dims, y, sizeof y);
    if (v->nd == 2) {
        b->in_layout[0] = pick(0, 3) ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
        b->out_layout = pick(0, 3) ? b->in_layout[0] : PTQ_LAYOUT_PLAIN;
    }
    any_residual(b, l);
    bed_ints(b, "kernel_shape", v->nd, v->k);
    bed_ints(b, "strides", v->nd, v->stride);
    bed_ints(b, "dilations", v->nd, v->dil);
    bed_ints(b, "pads", 2 * v->nd, v->pad);
    bed_int(b, "group", v->group);
}

START_TEST(cpu_int__qconv)
{
    static linear l;
    ptq_rng_seed(&rng, 11 + (uint64_t)_i);
    for (int i = 0; i < 60; i++) {
        conv_case v;
        bed b;
        char what[200];
        if (!any_conv(&v))
            continue;
        conv_bed(&b, &v, &l);
        snprintf(what, sizeof what, "seed %d case %d: %lld x %lld -> %lld group %lld kernel %lld,%lld", _i, i,
                 (long long)v.n, (long long)v.c, (long long)v.m, (long long)v.group, (long long)v.k[0],
                 (long long)v.k[1]);
        check_all(&b, what);
        bed_close(&b);
    }
}
END_TEST

START_TEST(cpu_int__qconv_reference)
{
    static linear l;
    ptq_rng_seed(&rng, 900 + (uint64_t)_i);
    for (int i = 0; i < 40; i++) {
        conv_case v;
        bed b;
        if (!any_conv(&v) || v.nd != 2)
            continue;
        conv_bed(&b, &v, &l);
        b.in_layout[0] = b.in_layout[2] = b.out_layout = PTQ_LAYOUT_PLAIN;
        bed_open(&b);
        ptq_int_isa ref = {"ref", NULL, NULL};
        ptq_cpu c = {.int_isa = &ref};
        ck_assert_ok(bed_run(&b, &c, 1));
        const ptq_tensor *x = &b.in[0], *w = &b.in[1];
        int64_t cg = v.c / v.group, mg = v.m / v.group, at = 0;
        for (int64_t n = 0; n < v.n; n++)
            for (int64_t m = 0; m < v.m; m++)
                for (int64_t oh = 0; oh < v.out[0]; oh++)
                    for (int64_t ow = 0; ow < v.out[1]; ow++, at++) {
                        int64_t acc = l.p.bias ? l.bias[m] : 0;
                        int64_t ch = l.p.nw == 1 ? 0 : m;
                        for (int64_t kh = 0; kh < v.k[0]; kh++)
                            for (int64_t kw = 0; kw < v.k[1]; kw++) {
                                int64_t h = oh * v.stride[0] + kh * v.dil[0] - v.pad[0];
                                int64_t u = ow * v.stride[1] + kw * v.dil[1] - v.pad[1];
                                if (h < 0 || u < 0 || h >= v.in[0] || u >= v.in[1])
                                    continue;
                                for (int64_t ci = 0; ci < cg; ci++) {
                                    int64_t xi = ((n * v.c + m / mg * cg + ci) * v.in[0] + h) * v.in[1] + u;
                                    int64_t wi = ((m * cg + ci) * v.k[0] + kh) * v.k[1] + kw;
                                    acc += (int64_t)(ptq_int_byte(x->data, xi, x->dtype == PTQ_DT_S8) -
                                                     l.p.x.zp) *
                                           (ptq_int_byte(w->data, wi, w->dtype == PTQ_DT_S8) -
                                            (l.p.wzp ? l.wzp[ch] : 0));
                                }
                            }
                        bool same =
                            l.p.float_out
                                ? ((float *)b.out.data)[at] == (float)acc * (l.p.x.scale * l.wscale[ch])
                            : l.p.residual.kind
                                ? ((uint8_t *)b.out.data)[at] ==
                                      (uint8_t)residual_again(&l.p, acc, l.mult[ch],
                                                              ptq_int_byte(b.in[2].data, at, b.in[2].dtype == PTQ_DT_S8),
                                                              b.out.nbytes == 1)
                                : ((uint8_t *)b.out.data)[at] ==
                                      (uint8_t)requant_again(acc, l.mult[ch], l.p.y.zp, l.p.qlo, l.p.qhi);
                        if (!same)
                            ck_abort_msg("case %d, element %lld, sum %lld", i, (long long)at,
                                         (long long)acc);
                    }
        bed_close(&b);
    }
}
END_TEST

START_TEST(cpu_int__qconv_extremes)
{
    /* -128 * -128 and 255 * -128 in every tap, K above what pairs of 16 bits could hold */
    static linear l;
    for (int xt = 0; xt < 2; xt++)
        for (int wt = 0; wt < 2; wt++)
            for (int hi = 0; hi < 4; hi++) {
                ptq_dtype xd = xt ? PTQ_DT_S8 : PTQ_DT_U8, wd = wt ? PTQ_DT_S8 : PTQ_DT_U8;
                conv_case v = {.nd = 2, .n = 1, .c = 64, .m = 70, .group = 1, .in = {6, 6}, .k = {3, 3},
                               .stride = {1, 1}, .dil = {1, 1}, .pad = {1, 1, 1, 1}, .out = {6, 6}};
                bed b;
                ptq_rng_seed(&rng, 5);
                conv_bed(&b, &v, &l);
                for (int k = 0; k < b.nin; k++)
                    free(b.in[k].data);
                b.nin = 2;
                l.p.residual.kind = PTQ_RESIDUAL_NONE;
                b.in[0] = bed_tensor(xd, 4, (int64_t[]){1, 64, 6, 6});
                b.in[1] = bed_tensor(wd, 4, (int64_t[]){70, 64, 3, 3});
                memset(b.in[0].data, xt ? (hi & 1 ? 0x7f : 0x80) : (hi & 1 ? 0xff : 0), b.in[0].nbytes);
                memset(b.in[1].data, wt ? (hi & 2 ? 0x7f : 0x80) : (hi & 2 ? 0xff : 0), b.in[1].nbytes);
                l.p.x.zp = xt ? (hi & 1 ? -128 : 127) : (hi & 1 ? 0 : 255);
                for (int c = 0; c < 512; c++)
                    l.wzp[c] = wt ? 0 : (hi & 2 ? 0 : 255);
                l.p.wzp = l.wzp;
                l.p.float_out = true; /* every bit of the sum shows */
                b.out.dtype = PTQ_DT_F32;
                check_all(&b, "extremes");
                bed_close(&b);
            }
}
END_TEST

START_TEST(cpu_int__qgemm)
{
    static linear l;
    ptq_rng_seed(&rng, 40 + (uint64_t)_i);
    for (int i = 0; i < 40; i++) {
        int64_t m = ONE_OF(0, 1, 2, 5, 6, 7, 12, 13, 50), k = ONE_OF(1, 2, 3, 4, 7, 16, 63, 64, 129, 600);
        int64_t n = ONE_OF(1, 3, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 200);
        ptq_dtype at = any8(), wt = any8(), yt = any8();
        any_linear(&l, at, wt, yt, n, k);
        bool ta = pick(0, 4) == 0, tb = pick(0, 1);
        int64_t batch = ta ? 0 : pick(0, 2);
        l.p.trans_a = ta;
        l.p.trans_b = tb;
        bed b = {.kind = "qgemm", .nin = 2, .constant = {false, true}, .params = &l.p};
        if (batch)
            b.in[0] = bed_tensor(at, 3, (int64_t[]){batch, m, k});
        else
            b.in[0] = bed_tensor(at, 2, (int64_t[]){ta ? k : m, ta ? m : k});
        b.in[1] = bed_tensor(wt, 2, (int64_t[]){tb ? n : k, tb ? k : n});
        fill8(&b.in[0]);
        fill8(&b.in[1]);
        b.out = (ptq_tensor){.dtype = l.p.float_out ? PTQ_DT_F32 : yt, .rank = batch ? 3 : 2,
                             .dims = {m, n}};
        if (batch)
            memcpy(b.out.dims, (int64_t[]){batch, m, n}, sizeof(int64_t[3]));
        any_residual(&b, &l);
        char what[120];
        snprintf(what, sizeof what, "case %d: %lld x %lld x %lld trans %d %d", i, (long long)m, (long long)k,
                 (long long)n, ta, tb);
        check_all(&b, what);
        if (!batch && !l.p.float_out) /* the last run is a fast one: against 64 bits too */
            for (int64_t r = 0; r < m; r++)
                for (int64_t c = 0; c < n; c++) {
                    int64_t acc = l.p.bias ? l.bias[c] : 0, ch = l.p.nw == 1 ? 0 : c;
                    for (int64_t e = 0; e < k; e++)
                        acc += (int64_t)(ptq_int_byte(b.in[0].data, ta ? e * m + r : r * k + e,
                                                      at == PTQ_DT_S8) - l.p.x.zp) *
                               (ptq_int_byte(b.in[1].data, tb ? c * k + e : e * n + c, wt == PTQ_DT_S8) -
                                (l.p.wzp ? l.wzp[ch] : 0));
                    int32_t want =
                        l.p.residual.kind
                            ? residual_again(&l.p, acc, l.mult[ch],
                                             ptq_int_byte(b.in[2].data, r * n + c, b.in[2].dtype == PTQ_DT_S8),
                                             m * n == 1)
                            : requant_again(acc, l.mult[ch], l.p.y.zp, l.p.qlo, l.p.qhi);
                    if (((uint8_t *)b.out.data)[r * n + c] != (uint8_t)want)
                        ck_abort_msg("%s: row %lld column %lld", what, (long long)r, (long long)c);
                }
        bed_close(&b);
    }
}
END_TEST

START_TEST(cpu_int__qmatmul)
{
    static linear l;
    static const struct {
        int ra, rb, ry;
        int64_t a[5], b[5], y[5];
    } shapes[] = {
        {2, 2, 2, {7, 19}, {19, 33}, {7, 33}},
        {3, 3, 3, {5, 13, 8}, {5, 8, 13}, {5, 13, 13}},
        {4, 4, 4, {2, 3, 17, 16}, {2, 3, 16, 65}, {2, 3, 17, 65}},
        {4, 3, 4, {2, 3, 4, 6}, {1, 6, 5}, {2, 3, 4, 5}},
        {4, 4, 4, {2, 1, 4, 6}, {1, 3, 6, 5}, {2, 3, 4, 5}},
        {2, 4, 4, {4, 6}, {2, 3, 6, 70}, {2, 3, 4, 70}},
        {4, 4, 4, {1, 3, 67, 64}, {1, 3, 64, 67}, {1, 3, 67, 67}},
        {4, 4, 4, {2, 2, 65, 197}, {2, 2, 197, 64}, {2, 2, 65, 64}},
        {1, 2, 1, {6}, {6, 9}, {9}},
        {3, 1, 2, {3, 4, 6}, {6}, {3, 4}},
        {3, 3, 3, {0, 4, 6}, {0, 6, 2}, {0, 4, 2}},
    };
    ptq_rng_seed(&rng, 60 + (uint64_t)_i);
    for (size_t i = 0; i < PTQ_COUNT(shapes); i++) {
        ptq_dtype at = any8(), wt = any8(), yt = any8();
        any_linear(&l, at, wt, yt, 0, shapes[i].a[shapes[i].ra - 1]);
        l.p.channels = 0;
        bed b = {.kind = "qmatmul", .nin = 2, .params = &l.p};
        b.in[0] = bed_tensor(at, shapes[i].ra, shapes[i].a);
        b.in[1] = bed_tensor(wt, shapes[i].rb, shapes[i].b);
        fill8(&b.in[0]);
        fill8(&b.in[1]);
        b.out = (ptq_tensor){.dtype = l.p.float_out ? PTQ_DT_F32 : yt, .rank = shapes[i].ry};
        memcpy(b.out.dims, shapes[i].y, sizeof shapes[i].y);
        char what[40];
        snprintf(what, sizeof what, "qmatmul shape %zu", i);
        check_all(&b, what);
        bed_close(&b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu_int_linear");
    TCase *t = tcase_create("int");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, cpu_int__qconv_reference, 0, 3);
    tcase_add_loop_test(t, cpu_int__qconv, 0, 6);
    tcase_add_test(t, cpu_int__qconv_extremes);
    tcase_add_loop_test(t, cpu_int__qgemm, 0, 5);
    tcase_add_loop_test(t, cpu_int__qmatmul, 0, 5);
    suite_add_tcase(s, t);
    return unit_run(s);
}

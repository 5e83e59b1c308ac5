/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise qconv with int8 weights without zero points, which the VNNI kernel adds up in bytes:
 * every count of taps modulo 4, channels around multiples of 16 and 64, lines without any pixel
 * whose window lies inside; against the reference and against plain sums written here. */
#include "tests/cpu_int_draw.h"

typedef struct shape {
    int64_t c, in[2], k[2], stride[2], dil[2], pad[2];
} shape;

static int64_t out_size(const shape *s, int d)
{
    return (s->in[d] + 2 * s->pad[d] - (s->k[d] - 1) * s->dil[d] - 1) / s->stride[d] + 1;
}

static void make(bed *b, const shape *s, const ptq_qlinear_params *p, ptq_dtype xt, ptq_dtype yt)
{
    *b = (bed){.kind = "qconv", .nin = 2, .constant = {false, true}, .params = p};
    b->in[0] = bed_tensor(xt, 4, (int64_t[]){2, s->c, s->in[0], s->in[1]});
    b->in[1] = bed_tensor(PTQ_DT_S8, 4, (int64_t[]){s->c, 1, s->k[0], s->k[1]});
    fill8(&b->in[0]);
    fill8(&b->in[1]);
    b->in_layout[0] = b->out_layout = PTQ_LAYOUT_NHWC;
    b->out = (ptq_tensor){.dtype = yt, .rank = 4, .dims = {2, s->c, out_size(s, 0), out_size(s, 1)}};
    bed_ints(b, "strides", 2, s->stride);
    bed_ints(b, "dilations", 2, s->dil);
    bed_ints(b, "pads", 4, (int64_t[]){s->pad[0], s->pad[1], s->pad[0], s->pad[1]});
    bed_int(b, "group", s->c);
}

/* What doc/numerics.md says, for the NHWC output b has by now. */
static void check_plain(const bed *b, const shape *s, const ptq_qlinear_params *p)
{
    bool xs = b->in[0].dtype == PTQ_DT_S8, ys = b->out.dtype == PTQ_DT_S8;
    int64_t oh = b->out.dims[2], ow = b->out.dims[3];
    for (int64_t i = 0; i < ptq_tensor_elements(&b->out); i++) {
        int64_t c = i % s->c, x = i / s->c % ow, y = i / s->c / ow % oh, n = i / s->c / ow / oh;
        int64_t acc = p->bias[c];
        for (int64_t t = 0; t < s->k[0] * s->k[1]; t++) {
            int64_t iy = y * s->stride[0] + t / s->k[1] * s->dil[0] - s->pad[0];
            int64_t ix = x * s->stride[1] + t % s->k[1] * s->dil[1] - s->pad[1];
            if (iy < 0 || iy >= s->in[0] || ix < 0 || ix >= s->in[1])
                continue;
            int64_t at = ((n * s->in[0] + iy) * s->in[1] + ix) * s->c + c;
            acc += (ptq_int_byte(b->in[0].data, at, xs) - p->x.zp) *
                   ((const int8_t *)b->in[1].data)[c * s->k[0] * s->k[1] + t];
        }
        float v = rintf((float)(int32_t)acc * p->mult[c]);
        float lo = (float)(p->qlo - p->y.zp), hi = (float)(p->qhi - p->y.zp);
        int32_t want = (int32_t)(v < lo ? lo : v > hi ? hi : v) + p->y.zp;
        if (ptq_int_byte(b->out.data, i, ys) != want)
            ck_abort_msg("element %lld is %d, not %d", (long long)i, ptq_int_byte(b->out.data, i, ys), want);
    }
}

START_TEST(depthwise__bytes)
{
    static const int64_t kernels[][2] = {{1, 1}, {1, 2}, {3, 1}, {2, 2}, {1, 5}, {2, 3}, {7, 1},
                                         {3, 3}, {2, 5}, {1, 11}, {3, 4}, {5, 5}, {7, 7}};
    ptq_rng_seed(&rng, 300 + (uint64_t)_i);
    for (size_t i = 0; i < 2 * PTQ_COUNT(kernels); i++) {
        const int64_t *k = kernels[i / 2];
        shape s = {.c = ONE_OF(1, 15, 16, 17, 32, 63, 64, 65, 80, 128, 144, 200), .k = {k[0], k[1]},
                   .in = {pick(k[0], 14), pick(1, 20)}, .stride = {pick(1, 2), pick(1, 3)},
                   .dil = {1, pick(1, 2)}, .pad = {pick(0, 3), k[1]}};
        if (s.in[1] + 2 * s.pad[1] < (k[1] - 1) * s.dil[1] + 1)
            s.dil[1] = 1;
        ptq_dtype xt = any8(), yt = any8();
        float mult[200];
        int32_t bias[200];
        for (int64_t c = 0; c < s.c; c++) {
            mult[c] = 0.0005f + 0.02f * ptq_rng_uniform(&rng);
            bias[c] = (int32_t)pick(-3000, 3000);
        }
        ptq_qlinear_params p = {.x = {0.1f, any_zp(xt)}, .y = {0.1f, any_zp(yt)}, .nw = (int)s.c,
                                .wscale = mult, .mult = mult, .bias = bias, .channels = s.c,
                                .qlo = lowest(yt), .qhi = lowest(yt) + 255};
        if (i & 1)
            p.qlo = p.y.zp; /* a Relu: all values of int8 may still be negative */
        bed b;
        char what[80];
        snprintf(what, sizeof what, "case %d.%zu: %lld channels, %lldx%lld", _i, i, (long long)s.c,
                 (long long)k[0], (long long)k[1]);
        make(&b, &s, &p, xt, yt);
        check_all(&b, what); /* the last kernel set that ran is the best of the machine */
        check_plain(&b, &s, &p);
        bed_close(&b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu_int_depthwise");
    TCase *t = tcase_create("int");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, depthwise__bytes, 0, 6);
    suite_add_tcase(s, t);
    return unit_run(s);
}

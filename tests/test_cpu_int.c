/* SPDX-License-Identifier: Apache-2.0 */
/* Every row of kernels_int.def but the products (test_cpu_int_linear.c): the fast kernels of each
 * instruction set against the reference, byte by byte, on shapes that straddle the tiles, extreme
 * values and all zero points. */
#include "tests/cpu_int_draw.h"

/* ---- elementwise ---- */

START_TEST(cpu_int__binary)
{
    static const struct {
        int ra, rb, ry;
        int64_t a[4], b[4], y[4];
    } shapes[] = {
        {4, 4, 4, {2, 17, 5, 3}, {2, 17, 5, 3}, {2, 17, 5, 3}},
        {4, 4, 4, {2, 17, 5, 3}, {2, 17, 1, 1}, {2, 17, 5, 3}},
        {4, 4, 4, {2, 17, 1, 1}, {2, 17, 5, 3}, {2, 17, 5, 3}},
        {4, 4, 4, {2, 65, 7, 7}, {1, 65, 1, 1}, {2, 65, 7, 7}},
        {4, 4, 4, {1, 1, 5, 3}, {2, 33, 5, 3}, {2, 33, 5, 3}},
        {4, 3, 4, {2, 8, 5, 3}, {8, 1, 1}, {2, 8, 5, 3}},
        {4, 1, 4, {2, 8, 5, 3}, {1}, {2, 8, 5, 3}},
        {0, 4, 4, {0}, {2, 8, 5, 3}, {2, 8, 5, 3}},
        {4, 4, 4, {7, 1, 5, 1}, {1, 6, 1, 9}, {7, 6, 5, 9}},
        {2, 1, 2, {50, 40}, {40}, {50, 40}},
        {1, 1, 1, {20000}, {20000}, {20000}},
        {1, 1, 1, {1}, {1}, {1}},
        {4, 4, 4, {0, 3, 2, 2}, {0, 3, 2, 2}, {0, 3, 2, 2}},
        {4, 4, 4, {2, 48, 3, 5}, {2, 48, 1, 1}, {2, 48, 3, 5}},
        {4, 4, 4, {1, 24, 1, 1}, {2, 24, 3, 4}, {2, 24, 3, 4}},
        {4, 3, 4, {3, 20, 3, 4}, {20, 3, 4}, {3, 20, 3, 4}},
        {3, 3, 3, {6, 1, 64}, {6, 5, 64}, {6, 5, 64}},
        {3, 3, 3, {6, 5, 32}, {6, 5, 1}, {6, 5, 32}},
        {1, 1, 1, {20011}, {1}, {20011}},
    };
    ptq_rng_seed(&rng, 80 + (uint64_t)_i);
    for (size_t i = 0; i < PTQ_COUNT(shapes) * 4; i++) {
        size_t s = i / 4;
        ptq_dtype t = any8();
        ptq_qbinary_params p = {.a = {any_scale(), any_zp(t)}, .b = {any_scale(), any_zp(t)},
                                .qlo = lowest(t), .qhi = lowest(t) + 255};
        p.y = (ptq_affine){(p.a.scale + p.b.scale) * 0.5f, any_zp(t)};
        if (pick(0, 2) == 0)
            p.qlo += 90;
        bed b = {.kind = i & 1 ? "qadd" : "qmul", .nin = 2, .params = &p};
        if (!(i & 1))
            p.y.scale = p.a.scale * p.b.scale * 100.0f;
        b.in[0] = bed_tensor(t, shapes[s].ra, shapes[s].a);
        b.in[1] = bed_tensor(t, shapes[s].rb, shapes[s].b);
        fill8(&b.in[0]);
        fill8(&b.in[1]);
        b.out = (ptq_tensor){.dtype = t, .rank = shapes[s].ry};
        memcpy(b.out.dims, shapes[s].y, sizeof shapes[s].y);
        if (i & 2) {
            b.in_layout[0] = shapes[s].ra == 4 ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
            b.in_layout[1] = shapes[s].rb == 4 ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
            b.out_layout = shapes[s].ry == 4 ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
        }
        char what[60];
        snprintf(what, sizeof what, "%s shape %zu layout %d", b.kind, s, (int)(i & 2));
        check_all(&b, what);
        bed_close(&b);
    }
}
END_TEST

START_TEST(cpu_int__binary_all_pairs)
{
    /* every pair of bytes, against the formulas of doc/numerics.md written out again */
    ptq_int_isa isas[8];
    size_t n = bed_isas(isas);
    ptq_rng_seed(&rng, 100 + (uint64_t)_i);
    ptq_dtype t = any8();
    bool sgn = t == PTQ_DT_S8, add = _i & 1;
    float sa = any_scale(), sb = any_scale(), sy = add ? (sa + sb) / 3 : sa * sb * 120;
    if (_i & 2) {
        float unit = any_scale();
        sa = tie_scale(unit);
        sb = tie_scale(unit);
        sy = add ? tie_scale(unit) : tie_scale(unit) * 8 * unit;
    }
    int32_t za = any_zp(t), zb = any_zp(t), zy = any_zp(t);
    ptq_qbinary_params p = {{sa, za}, {sb, zb}, {sy, zy}, lowest(t), lowest(t) + 255};
    bed b = {.kind = add ? "qadd" : "qmul", .nin = 2, .params = &p};
    b.in[0] = bed_tensor(t, 1, (int64_t[]){65536});
    b.in[1] = bed_tensor(t, 1, (int64_t[]){65536});
    for (int i = 0; i < 65536; i++) {
        ((uint8_t *)b.in[0].data)[i] = (uint8_t)i;
        ((uint8_t *)b.in[1].data)[i] = (uint8_t)(i >> 8);
    }
    b.out = (ptq_tensor){.dtype = t, .rank = 1, .dims = {65536}};
    bed_open(&b);
    for (size_t i = 0; i < n; i++) {
        ptq_cpu c = {.int_isa = &isas[i]};
        ck_assert_ok(bed_run(&b, &c, 1));
        for (int e = 0; e < 65536; e++) {
            float va = (float)ptq_int_byte(b.in[0].data, e, sgn), vb = (float)ptq_int_byte(b.in[1].data, e, sgn);
            float ra = sa / sy, rb = sb / sy, m = sa * sb;
            float fx = fmaf(ra, (float)za, rb * (float)zb), prod = (va - (float)za) * (vb - (float)zb);
            fx = (float)zy - fx;
            m = m / sy;
            float y = prod * m;
            y = add ? fmaf(va, ra, fmaf(vb, rb, fx)) : y + (float)zy;
            y = rintf(y);
            y = y < (float)p.qlo ? (float)p.qlo : y > (float)p.qhi ? (float)p.qhi : y;
            if (ptq_int_byte(b.out.data, e, sgn) != (int32_t)y)
                ck_abort_msg("%s %s: pair %d gives %d, not %d", isas[i].name, b.kind, e,
                             ptq_int_byte(b.out.data, e, sgn), (int32_t)y);
        }
    }
    bed_close(&b);
}
END_TEST

/* A sum of single elements takes the second operand first (doc/numerics.md, the order of operands
 * in qadd), and so does one whose first operand is the single element. */
START_TEST(cpu_int__order_of_operands)
{
    ptq_int_isa isas[8];
    size_t n = bed_isas(isas);
    int telling = 0;
    ptq_rng_seed(&rng, 110 + (uint64_t)_i);
    for (int i = 0; i < 100000 && telling < 40; i++) {
        float unit = any_scale(), s[2] = {tie_scale(unit), tie_scale(unit)}, sy = tie_scale(unit);
        int32_t z[2] = {any_zp(PTQ_DT_U8), any_zp(PTQ_DT_U8)}, zy = any_zp(PTQ_DT_U8), v[2], want[2];
        for (int k = 0; k < 2; k++)
            v[k] = (int32_t)pick(0, 255);
        for (int f = 0; f < 2; f++) { /* which operand the outer fma takes */
            float r[2] = {s[0] / sy, s[1] / sy};
            float fx = (float)zy - fmaf(r[f], (float)z[f], r[1 - f] * (float)z[1 - f]);
            float y = rintf(fmaf((float)v[f], r[f], fmaf((float)v[1 - f], r[1 - f], fx)));
            want[f] = y < 0 ? 0 : y > 255 ? 255 : (int32_t)y;
        }
        if (want[0] == want[1])
            continue;
        telling++;
        int64_t na = _i == 1 ? 5 : 1, nb = _i == 2 ? 5 : 1; /* one + one, many + one, one + many */
        ptq_qbinary_params p = {{s[0], z[0]}, {s[1], z[1]}, {sy, zy}, 0, 255};
        bed b = {.kind = "qadd", .nin = 2, .params = &p};
        for (int k = 0; k < 2; k++) {
            b.in[k] = bed_tensor(PTQ_DT_U8, 1, k ? &nb : &na);
            memset(b.in[k].data, v[k], b.in[k].nbytes);
        }
        b.out = (ptq_tensor){.dtype = PTQ_DT_U8, .rank = 1, .dims = {na > nb ? na : nb}};
        bed_open(&b);
        for (size_t k = 0; k < n; k++) {
            ptq_cpu c = {.int_isa = &isas[k]};
            ck_assert_ok(bed_run(&b, &c, 1));
            for (size_t e = 0; e < b.out.nbytes; e++)
                ck_assert_int_eq(((uint8_t *)b.out.data)[e], want[_i != 1]);
        }
        bed_close(&b);
    }
    ck_assert_int_eq(telling, 40);
}
END_TEST

START_TEST(cpu_int__qlut_and_qconcat)
{
    ptq_rng_seed(&rng, 120);
    for (int i = 0; i < 60; i++) {
        ptq_qlut_params p;
        uint8_t tables[2][256];
        for (int v = 0; v < 256; v++) {
            p.table[v] = (uint8_t)ptq_rng_u64(&rng);
            tables[0][v] = (uint8_t)ptq_rng_u64(&rng);
            tables[1][v] = (uint8_t)ptq_rng_u64(&rng);
        }
        bed b = {.kind = "qlut", .nin = 1, .params = &p};
        int64_t len = ONE_OF(0, 1, 3, 63, 64, 65, 127, 1000, 70000);
        b.in[0] = bed_tensor(PTQ_DT_S8, 1, &len);
        fill8(&b.in[0]);
        b.out = (ptq_tensor){.dtype = PTQ_DT_U8, .rank = 1, .dims = {len}};
        check_all(&b, "qlut");
        bed_close(&b);

        const uint8_t *const ts[3] = {tables[0], NULL, tables[1]};
        ptq_qconcat_params q = {ts};
        int64_t axis = pick(0, 3), total = 0;
        int64_t dims[4] = {pick(1, 3), ONE_OF(1, 5, 17, 64), pick(1, 6), pick(1, 6)};
        b = (bed){.kind = "qconcat", .nin = 3, .params = &q};
        for (int e = 0; e < 3; e++) {
            int64_t d[4];
            memcpy(d, dims, sizeof d);
            d[axis] = ONE_OF(0, 1, 2, 7, 33);
            total += d[axis];
            b.in[e] = bed_tensor(PTQ_DT_U8, 4, d);
            fill8(&b.in[e]);
            b.in_layout[e] = i & 1 ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
        }
        b.out_layout = b.in_layout[0];
        dims[axis] = total;
        b.out = (ptq_tensor){.dtype = PTQ_DT_U8, .rank = 4};
        memcpy(b.out.dims, dims, sizeof dims);
        bed_int(&b, "axis", pick(0, 1) ? axis : axis - 4);
        check_all(&b, "qconcat");
        bed_close(&b);
    }
}
END_TEST

/* ---- pools ---- */

START_TEST(cpu_int__pools)
{
    ptq_rng_seed(&rng, 140 + (uint64_t)_i);
    for (int i = 0; i < 60; i++) {
        ptq_dtype t = any8();
        ptq_qpool_params p = {{any_scale(), any_zp(t)}, {any_scale(), any_zp(t)}, lowest(t), lowest(t) + 255};
        int64_t x[4] = {ONE_OF(0, 1, 2, 7), ONE_OF(1, 3, 5, 16, 17, 33, 64, 1030), pick(1, 9), pick(1, 9)};
        int64_t k[2], s[2], pad[4], y[4] = {x[0], x[1], 1, 1}, dil[2] = {1, 1};
        const char *kinds[] = {"qavgpool", "qmaxpool", "qglobalavgpool"};
        bed b = {.kind = kinds[i % 3], .nin = 1, .params = &p};
        bool fits = true;
        for (int d = 0; d < 2; d++) {
            k[d] = pick(1, 4);
            s[d] = pick(1, 3);
            dil[d] = i % 3 == 1 ? pick(1, 2) : 1;
            pad[d] = pick(0, k[d] - 1);
            pad[2 + d] = pick(0, k[d] - 1);
            int64_t span = x[2 + d] + pad[d] + pad[2 + d] - ((k[d] - 1) * dil[d] + 1);
            fits = fits && span >= 0;
            if (i % 3 != 2)
                y[2 + d] = span / s[d] + 1;
        }
        if (!fits)
            continue;
        b.in[0] = bed_tensor(t, 4, x);
        fill8(&b.in[0]);
        b.in_layout[0] = b.out_layout = pick(0, 2) ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
        b.out = (ptq_tensor){.dtype = t, .rank = 4};
        memcpy(b.out.dims, y, sizeof y);
        bed_ints(&b, "kernel_shape", 2, k);
        bed_ints(&b, "strides", 2, s);
        bed_ints(&b, "pads", 4, pad);
        if (i % 3 == 1)
            bed_ints(&b, "dilations", 2, dil);
        bed_int(&b, "count_include_pad", pick(0, 1));
        check_all(&b, b.kind);
        bed_close(&b);
    }
}
END_TEST

/* Windows of k elements in one line and averages of whole planes, by the formulas of
 * doc/numerics.md written out again. */
START_TEST(cpu_int__pool_laws)
{
    enum { C = 48 };
    ptq_int_isa isas[8];
    size_t n = bed_isas(isas);
    ptq_rng_seed(&rng, 200 + (uint64_t)_i);
    for (int i = 0; i < 60; i++) {
        ptq_dtype t = any8();
        bool sgn = t == PTQ_DT_S8, global = i & 1;
        float unit = any_scale();
        ptq_qpool_params p = {{tie_scale(unit), any_zp(t)}, {tie_scale(unit), any_zp(t)}, lowest(t), lowest(t) + 255};
        int64_t k = pick(2, 11), x[4] = {2, C, 1, global ? k : 3 * k}, window[2] = {1, k};
        bed b = {.kind = global ? "qglobalavgpool" : "qavgpool", .nin = 1, .params = &p};
        b.in[0] = bed_tensor(t, 4, x);
        fill8(&b.in[0]);
        b.out = (ptq_tensor){.dtype = t, .rank = 4, .dims = {2, C, 1, x[3] / k}};
        b.in_layout[0] = b.out_layout = i & 2 ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
        bed_ints(&b, "kernel_shape", 2, window);
        bed_ints(&b, "strides", 2, window);
        bed_open(&b);
        for (size_t m = 0; m < n; m++) {
            ptq_cpu c = {.int_isa = &isas[m]};
            ck_assert_ok(bed_run(&b, &c, 1));
            for (int64_t e = 0; e < 2 * C * b.out.dims[3]; e++) {
                int64_t ow = e % b.out.dims[3], ch = e / b.out.dims[3] % C, at = e / b.out.dims[3] / C;
                float sum = 0.0f, y;
                int32_t acc = 0;
                for (int64_t w = ow * k; w < ow * k + k; w++) {
                    int64_t xi = i & 2 ? (at * x[3] + w) * C + ch : (at * C + ch) * x[3] + w;
                    int32_t q = ptq_int_byte(b.in[0].data, xi, sgn) - p.x.zp;
                    sum = sum + (float)q * p.x.scale;
                    acc += q;
                }
                if (global)
                    y = rintf((float)acc * (p.x.scale / (p.y.scale * (float)k))) + (float)p.y.zp;
                else
                    y = rintf(sum / (float)k / p.y.scale + (float)p.y.zp);
                y = y < (float)p.qlo ? (float)p.qlo : y > (float)p.qhi ? (float)p.qhi : y;
                int64_t yi = i & 2 ? (at * b.out.dims[3] + ow) * C + ch : e;
                if (ptq_int_byte(b.out.data, yi, sgn) != (int32_t)y)
                    ck_abort_msg("%s %s, %lld elements: %d, not %d", isas[m].name, b.kind, (long long)k,
                                 ptq_int_byte(b.out.data, yi, sgn), (int32_t)y);
            }
        }
        bed_close(&b);
    }
}
END_TEST

START_TEST(cpu_int__global_average_is_exact)
{
    /* mean of all bytes 0..255 with equal scales: (0 + .. + 255) / 256 = 127.5, even: 128 */
    ptq_qpool_params p = {{0.5f, 0}, {0.5f, 0}, 0, 255};
    bed b = {.kind = "qglobalavgpool", .nin = 1, .params = &p};
    b.in[0] = bed_tensor(PTQ_DT_U8, 4, (int64_t[]){1, 1, 16, 16});
    for (int i = 0; i < 256; i++)
        ((uint8_t *)b.in[0].data)[i] = (uint8_t)i;
    b.out = (ptq_tensor){.dtype = PTQ_DT_U8, .rank = 4, .dims = {1, 1, 1, 1}};
    check_all(&b, "mean");
    ck_assert_int_eq(*(uint8_t *)b.out.data, 128);
    bed_close(&b);
}
END_TEST

/* ---- quantize, dequantize, relayout ---- */

START_TEST(cpu_int__quantize_and_back)
{
    static const ptq_dtype types[] = {PTQ_DT_U8, PTQ_DT_S8, PTQ_DT_U16, PTQ_DT_S16, PTQ_DT_S32};
    static const int32_t lo[] = {0, -128, 0, -32768, INT32_MIN}, hi[] = {255, 127, 65535, 32767, INT32_MAX};
    float scale[128];
    int32_t zp[128];
    ptq_rng_seed(&rng, 160 + (uint64_t)_i);
    for (int i = 0; i < 80; i++) {
        int t = (int)pick(0, 4);
        int64_t dims[4] = {pick(0, 3), ONE_OF(1, 3, 5, 17, 64, 100), pick(1, 7), pick(1, 7)};
        bool back = t == 4 || pick(0, 1);
        int64_t axis = pick(0, 3);
        ptq_quant_params p = {.axis = (int)axis, .n = pick(0, 1) && dims[axis] ? (int)dims[axis] : 1,
                              .scale = scale, .zp = zp, .qlo = lo[t], .qhi = hi[t]};
        for (int c = 0; c < 128; c++) {
            scale[c] = any_scale();
            zp[c] = t == 4 ? 0 : (int32_t)pick(lo[t], hi[t]);
        }
        if (pick(0, 4) == 0 || t == 4)
            p.zp = NULL;
        bed b = {.kind = back ? "dequantize" : "quantize", .nin = 1, .params = &p};
        b.in[0] = bed_tensor(back ? types[t] : PTQ_DT_F32, 4, dims);
        if (back)
            fill8(&b.in[0]);
        else
            for (int64_t e = 0; e < ptq_tensor_elements(&b.in[0]); e++) {
                float v = ((float)pick(0, 140000) - 70000.0f) * 0.5f * scale[0]; /* many ties */
                int64_t odd = pick(0, 40);
                v = odd == 0 ? NAN : odd == 1 ? INFINITY : odd == 2 ? -INFINITY : odd == 3 ? -0.0f : v;
                ((float *)b.in[0].data)[e] = t < 2 && odd > 8 ? v / 256 : v;
            }
        b.out = (ptq_tensor){.dtype = back ? PTQ_DT_F32 : types[t], .rank = 4};
        memcpy(b.out.dims, dims, sizeof dims);
        b.in_layout[0] = pick(0, 1) ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
        b.out_layout = pick(0, 2) ? b.in_layout[0] : (ptq_layout)(1 - (int)b.in_layout[0]);
        char what[80];
        snprintf(what, sizeof what, "%s %s axis %lld n %d", b.kind, ptq_dtype_name(types[t]),
                 (long long)axis, p.n);
        check_all(&b, what);
        bed_close(&b);
    }
}
END_TEST

/* More channels, along the last axis, than one piece of work holds. */
START_TEST(cpu_int__quantize_many_channels)
{
    enum { N = 40000 };
    static float scale[N];
    static int32_t zp[N];
    ptq_rng_seed(&rng, 170);
    for (int i = 0; i < 4; i++) {
        bool back = i & 1, s8 = i & 2;
        ptq_dtype t = s8 ? PTQ_DT_S8 : PTQ_DT_U8;
        ptq_quant_params p = {.axis = 1, .n = N, .scale = scale, .zp = zp, .qlo = lowest(t), .qhi = lowest(t) + 255};
        for (int c = 0; c < N; c++) {
            scale[c] = any_scale();
            zp[c] = any_zp(t);
        }
        bed b = {.kind = back ? "dequantize" : "quantize", .nin = 1, .params = &p};
        b.in[0] = bed_tensor(back ? t : PTQ_DT_F32, 2, (int64_t[]){2, N});
        if (back)
            fill8(&b.in[0]);
        for (int e = 0; e < 2 * N && !back; e++)
            ((float *)b.in[0].data)[e] = 10.0f * (ptq_rng_uniform(&rng) - 0.5f);
        b.out = (ptq_tensor){.dtype = back ? PTQ_DT_F32 : t, .rank = 2, .dims = {2, N}};
        check_all(&b, b.kind);
        bed_close(&b);
    }
}
END_TEST

START_TEST(cpu_int__relayout)
{
    ptq_rng_seed(&rng, 180);
    for (int i = 0; i < 60; i++) {
        static const ptq_dtype types[] = {PTQ_DT_U8, PTQ_DT_S16, PTQ_DT_F32, PTQ_DT_S64};
        int64_t dims[4] = {pick(0, 3), ONE_OF(1, 3, 5, 17, 64, 100), pick(1, 20), pick(1, 20)};
        bed b = {.kind = "relayout", .nin = 1};
        b.in[0] = bed_tensor(types[pick(0, 3)], 4, dims);
        fill8(&b.in[0]);
        b.out = b.in[0];
        b.in_layout[0] = pick(0, 1) ? PTQ_LAYOUT_NHWC : PTQ_LAYOUT_PLAIN;
        b.out_layout = pick(0, 4) ? (ptq_layout)(1 - (int)b.in_layout[0]) : b.in_layout[0];
        check_all(&b, "relayout");
        bed_close(&b);
    }
}
END_TEST

/* ---- movers: elements of every size ---- */

static const ptq_dtype moved[] = {PTQ_DT_S8, PTQ_DT_U8, PTQ_DT_S16, PTQ_DT_F32, PTQ_DT_S64};

static bed mover(const char *op, int rank, const int64_t *dims)
{
    bed b = {.kind = "qmove", .op = op, .nin = 1};
    b.in[0] = bed_tensor(moved[pick(0, PTQ_COUNT(moved) - 1)], rank, dims);
    b.out = (ptq_tensor){.dtype = b.in[0].dtype, .rank = rank};
    memcpy(b.out.dims, dims, sizeof *dims * (size_t)rank);
    fill8(&b.in[0]);
    return b;
}

/* Whole numbers beside the data, s32 or s64. */
static void beside(bed *b, int64_t n, const int64_t *v, bool constant)
{
    int i = b->nin++;
    b->in[i] = bed_tensor(pick(0, 1) ? PTQ_DT_S64 : PTQ_DT_S32, 1, &n);
    b->constant[i] = constant;
    for (int64_t k = 0; k < n; k++) {
        if (b->in[i].dtype == PTQ_DT_S64)
            ((int64_t *)b->in[i].data)[k] = v[k];
        else
            ((int32_t *)b->in[i].data)[k] = (int32_t)v[k];
    }
}

static void draw_dims(int rank, int64_t *dims)
{
    for (int d = 0; d < rank; d++)
        dims[d] = ONE_OF(1, 2, 3, 4, 7, 8, 12, 16);
    if (pick(0, 15) == 0)
        dims[pick(0, rank - 1)] = 0;
}

static void done(bed *b)
{
    check_all(b, b->op);
    bed_close(b);
}

START_TEST(cpu_int__transpose)
{
    ptq_rng_seed(&rng, 200);
    for (int i = 0; i < 150; i++) {
        int64_t dims[5], perm[5] = {0, 1, 2, 3, 4};
        int rank = (int)pick(1, 5);
        draw_dims(rank, dims);
        bed b = mover("Transpose", rank, dims);
        for (int d = rank - 1; d > 0; d--) {
            int64_t o = pick(0, d), t = perm[d];
            perm[d] = perm[o];
            perm[o] = t;
        }
        bool given = pick(0, 4) != 0;
        for (int d = 0; d < rank; d++)
            b.out.dims[d] = dims[given ? perm[d] : rank - 1 - d];
        if (given)
            bed_ints(&b, "perm", rank, perm);
        done(&b);
    }
}
END_TEST

START_TEST(cpu_int__slice_expand_tile)
{
    ptq_rng_seed(&rng, 201);
    for (int i = 0; i < 150; i++) {
        int64_t dims[4], from[4], to[4], axes[4], by[4], reps[4];
        int rank = (int)pick(1, 4);
        draw_dims(rank, dims);
        bed b = mover(i % 3 == 0 ? "Slice" : i % 3 == 1 ? "Expand" : "Tile", rank, dims);
        for (int d = 0; d < rank; d++) {
            bool one = dims[d] == 1;
            int64_t n = b.out.dims[d];
            reps[d] = i % 3 == 2 || one ? pick(1, 4) : 1;
            from[d] = pick(0, n > 0 ? n - 1 : 0);
            by[d] = ONE_OF(1, 1, 2, -1);
            to[d] = by[d] < 0 ? -1000 : pick(from[d], n + 1);
            axes[d] = pick(0, 1) ? d : d - rank;
            int64_t span = by[d] < 0 ? from[d] + 1 : (to[d] > n ? n : to[d]) - from[d];
            b.out.dims[d] = i % 3 ? n * reps[d] : n == 0 ? 0 : by[d] == 2 ? (span + 1) / 2 : span;
        }
        if (i % 3 == 0) {
            beside(&b, rank, from, true);
            beside(&b, rank, to, true);
            beside(&b, rank, axes, true);
            beside(&b, rank, by, true);
        } else {
            beside(&b, rank, i % 3 == 1 ? b.out.dims : reps, pick(0, 1));
        }
        done(&b);
    }
}
END_TEST

START_TEST(cpu_int__blocks_and_shapes)
{
    ptq_rng_seed(&rng, 202);
    for (int i = 0; i < 60; i++) {
        int64_t n = pick(1, 3), c = ONE_OF(1, 3, 4, 8), h = ONE_OF(1, 2, 5, 8), w = ONE_OF(1, 3, 4, 8), k = pick(1, 3);
        int64_t deep[4] = {n, c * k * k, h, w}, flat[4] = {n, c, h * k, w * k};
        bool to_space = pick(0, 1);
        bed b = mover(to_space ? "DepthToSpace" : "SpaceToDepth", 4, to_space ? deep : flat);
        memcpy(b.out.dims, to_space ? flat : deep, sizeof flat);
        bed_int(&b, "blocksize", k);
        if (pick(0, 1))
            b.attrs[b.nattrs++] = (ptq_attr){.name = "mode", .type = PTQ_ATTR_STRING, .s = "CRD", .n = 3};
        done(&b);
        static const char *const same[] = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"};
        b = mover(same[i % 5], 4, flat);
        b.out.rank = 2;
        b.out.dims[0] = n * c;
        b.out.dims[1] = h * k * w * k;
        done(&b);
    }
}
END_TEST

START_TEST(cpu_int__gather)
{
    ptq_rng_seed(&rng, 203);
    for (int i = 0; i < 80; i++) {
        int64_t dims[4], at[40], count = ONE_OF(1, 3, 8, 33);
        int rank = (int)pick(1, 4), axis = (int)pick(0, rank - 1);
        draw_dims(rank, dims);
        if (dims[axis] == 0)
            continue;
        bed b = mover("Gather", rank, dims);
        for (int64_t k = 0; k < count; k++)
            at[k] = pick(-dims[axis], dims[axis] - 1);
        b.out.dims[axis] = count;
        bool bad = i % 8 == 7;
        if (bad)
            at[count - 1] = dims[axis];
        beside(&b, count, at, pick(0, 1));
        bed_int(&b, "axis", pick(0, 1) ? axis : axis - rank);
        if (!bad) {
            done(&b);
            continue;
        }
        ptq_cpu c = {.pool = NULL};
        bed_open(&b);
        ck_assert_fails(bed_run(&b, &c, 1), PTQ_ERR_DATA);
#ifdef PTQ_TEST_GPU
        ck_assert_fails(bed_run_gpu(&b), PTQ_ERR_DATA);
        ck_assert_says("is outside of");
#endif
        bed_close(&b);
    }
}
END_TEST

START_TEST(cpu_int__every_row_is_known)
{
    static const char *const tested[] = {"qconv", "qgemm", "qmatmul", "qattention", "qnorm", "qadd", "qmul", "qlut", "qconcat",
                                         "qavgpool", "qglobalavgpool", "qmaxpool", "qmove", "quantize",
                                         "dequantize", "relayout", "plugin" /* test_jobs_engine.c */};
    static const char *const rows[] = {
#define PTQ_CPU_INT(name) #name,
#include "lib/cpu/kernels_int.def"
#undef PTQ_CPU_INT
    };
    ck_assert_uint_eq(PTQ_COUNT(rows), PTQ_COUNT(tested));
    for (size_t i = 0; i < PTQ_COUNT(tested); i++) {
        ck_assert_ptr_nonnull(ptq_cpu_kernel_int(tested[i]));
        ck_assert_str_eq(ptq_cpu_kernel_int(rows[i])->name, rows[i]);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu_int");
    TCase *t = tcase_create("int");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, cpu_int__every_row_is_known);
    tcase_add_loop_test(t, cpu_int__binary, 0, 5);
    tcase_add_loop_test(t, cpu_int__binary_all_pairs, 0, 12);
    tcase_add_loop_test(t, cpu_int__order_of_operands, 0, 3);
    tcase_add_test(t, cpu_int__qlut_and_qconcat);
    tcase_add_loop_test(t, cpu_int__pools, 0, 5);
    tcase_add_loop_test(t, cpu_int__pool_laws, 0, 8);
    tcase_add_test(t, cpu_int__global_average_is_exact);
    tcase_add_loop_test(t, cpu_int__quantize_and_back, 0, 5);
    tcase_add_test(t, cpu_int__quantize_many_channels);
    tcase_add_test(t, cpu_int__relayout);
    tcase_add_test(t, cpu_int__transpose);
    tcase_add_test(t, cpu_int__slice_expand_tile);
    tcase_add_test(t, cpu_int__blocks_and_shapes);
    tcase_add_test(t, cpu_int__gather);
    suite_add_tcase(s, t);
    return unit_run(s);
}

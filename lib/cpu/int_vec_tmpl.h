/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise rows, written once and compiled for each instruction set. The including file
 * defines LANES, VEC_NAME, vector types I (int32) and F (float) and:
 *   widen, narrow (8-bit <-> int32), load_f, store_f, load_i, store_i, each with the number of
 *   elements left (whole vectors when it is LANES or more),
 *   set_i, set_f, add_i, sub_i, mul_lo, to_f, to_i (half to even), add_f, mul_f, div_f, sub_f,
 *   fma_f, min_f, max_f, lut, max. */

static inline __attribute__((always_inline)) I finish(F y, ptq_qgrid g)
{
    y = min_f(max_f(y, set_f((float)g.lo)), set_f((float)g.hi));
    return to_i(y);
}

static void add(const uint8_t *a, int sa, const uint8_t *b, int sb, uint8_t *y, size_t n,
                ptq_qadd_coef k, ptq_qgrid g, bool sgn)
{
    const F ra = set_f(k.ra), rb = set_f(k.rb), fx = set_f(k.fx);
    const F a0 = set_f((float)ptq_int_byte(a, 0, sgn)), b0 = set_f((float)ptq_int_byte(b, 0, sgn));
    for (size_t i = 0; i < n; i += LANES) {
        F va = sa ? to_f(widen(a + i, n - i, sgn)) : a0;
        F vb = sb ? to_f(widen(b + i, n - i, sgn)) : b0;
        narrow(y + i, finish(fma_f(va, ra, fma_f(vb, rb, fx)), g), n - i);
    }
}

static void mul(const uint8_t *a, int sa, int32_t za, const uint8_t *b, int sb, int32_t zb, uint8_t *y,
                size_t n, float m, int32_t zy, ptq_qgrid g, bool sgn)
{
    const I ia = set_i(za), ib = set_i(zb);
    const I a0 = set_i(ptq_int_byte(a, 0, sgn)), b0 = set_i(ptq_int_byte(b, 0, sgn));
    const F vm = set_f(m), vz = set_f((float)zy);
    for (size_t i = 0; i < n; i += LANES) {
        I va = sa ? widen(a + i, n - i, sgn) : a0;
        I vb = sb ? widen(b + i, n - i, sgn) : b0;
        I p = mul_lo(sub_i(va, ia), sub_i(vb, ib));
        narrow(y + i, finish(add_f(mul_f(to_f(p), vm), vz), g), n - i);
    }
}

static void quantize(const float *x, uint8_t *y, size_t n, const float *scale, const int32_t *zp,
                     int step, ptq_qgrid g)
{
    F s = set_f(scale[0]), lo = set_f((float)(g.lo - zp[0])), hi = set_f((float)(g.hi - zp[0]));
    I z = set_i(zp[0]);
    for (size_t i = 0; i < n; i += LANES) {
        if (step) {
            s = load_f(scale + i, n - i);
            z = load_i(zp + i, n - i);
            lo = to_f(sub_i(set_i(g.lo), z));
            hi = to_f(sub_i(set_i(g.hi), z));
        }
        F v = min_f(max_f(div_f(load_f(x + i, n - i), s), lo), hi);
        narrow(y + i, add_i(to_i(v), z), n - i);
    }
}

static void dequantize(const uint8_t *x, float *y, size_t n, const float *scale, const int32_t *zp,
                       int step, bool sgn)
{
    F s = set_f(scale[0]);
    I z = set_i(zp[0]);
    for (size_t i = 0; i < n; i += LANES) {
        if (step) {
            s = load_f(scale + i, n - i);
            z = load_i(zp + i, n - i);
        }
        store_f(y + i, mul_f(to_f(sub_i(widen(x + i, n - i, sgn), z)), s), n - i);
    }
}

static void sum_i32(int32_t *acc, const uint8_t *x, size_t n, bool sgn)
{
    for (size_t i = 0; i < n; i += LANES)
        store_i(acc + i, add_i(load_i(acc + i, n - i), widen(x + i, n - i, sgn)), n - i);
}

static void sum_f32(float *acc, const uint8_t *x, size_t n, float scale, int32_t zp, bool sgn)
{
    const F s = set_f(scale);
    const I z = set_i(zp);
    for (size_t i = 0; i < n; i += LANES) {
        F v = mul_f(to_f(sub_i(widen(x + i, n - i, sgn), z)), s);
        store_f(acc + i, add_f(load_f(acc + i, n - i), v), n - i);
    }
}

static void avg(const float *acc, uint8_t *y, size_t n, int32_t count, float sy, int32_t zy, ptq_qgrid g)
{
    const F c = set_f((float)count), s = set_f(sy), z = set_f((float)zy);
    for (size_t i = 0; i < n; i += LANES)
        narrow(y + i, finish(add_f(div_f(div_f(load_f(acc + i, n - i), c), s), z), g), n - i);
}

static void requant(const int32_t *acc, uint8_t *y, size_t n, int32_t more, float m, int32_t zy,
                    ptq_qgrid g)
{
    const ptq_qgrid shifted = {g.lo - zy, g.hi - zy};
    const F vm = set_f(m);
    for (size_t i = 0; i < n; i += LANES) {
        F v = mul_f(to_f(add_i(load_i(acc + i, n - i), set_i(more))), vm);
        narrow(y + i, add_i(finish(v, shifted), set_i(zy)), n - i);
    }
}

const ptq_int_vec VEC_NAME = {
    .add = add,
    .mul = mul,
    .lut = lut,
    .quantize = quantize,
    .dequantize = dequantize,
    .max = max,
    .sum_i32 = sum_i32,
    .sum_f32 = sum_f32,
    .avg = avg,
    .requant = requant,
};

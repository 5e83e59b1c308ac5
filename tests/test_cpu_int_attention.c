/* SPDX-License-Identifier: Apache-2.0 */
/* qgemm with float operations in its end, qattention and qnorm: the kernels of each instruction set against
 * the reference, and the reference against the nodes done one by one. */
#include "tests/cpu_int_draw.h"

#include "lib/core/fmath.h"
#include "lib/exec/eval.h"
#include "tests/graph_kit.h"

static float any_float(float most)
{
    return most * (2.0f * ptq_rng_uniform(&rng) - 1.0f);
}

static void fill_floats(ptq_tensor *t, float most)
{
    for (int64_t i = 0; i < ptq_tensor_elements(t); i++)
        ((float *)t->data)[i] = any_float(most);
}

static void check_floats(const float *have, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++) /* which NaN is not part of the law */
        ck_assert_msg(ptq_float_bits(have[i]) == ptq_float_bits(want[i]) || (have[i] != have[i] && want[i] != want[i]),
                      "element %lld is %a, want %a", (long long)i, (double)have[i], (double)want[i]);
}

static void check_output(const bed *b, const float *want, const ptq_affine *y, int32_t lo, int32_t hi)
{
    int64_t n = ptq_tensor_elements(&b->out);
    if (b->out.dtype == PTQ_DT_F32) {
        check_floats(b->out.data, want, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        ck_assert_int_eq(((uint8_t *)b->out.data)[i], (uint8_t)ptq_quantize(want[i], y->scale, y->zp, lo, hi));
}

/* ---- float operations in the end of a product ---- */

typedef struct tail_case {
    ptq_qlinear_params p;
    float wscale[256], bias[256];
    int32_t wzp[256], ibias[256];
    float mult[256];
} tail_case;

static void tail_params(tail_case *v, ptq_dtype x, ptq_dtype y, int64_t n, int64_t k, int form)
{
    ptq_qlinear_params *p = &v->p;
    memset(v, 0, sizeof *v);
    p->x = (ptq_affine){any_scale(), any_zp(x)};
    p->channels = n;
    p->nw = pick(0, 1) ? (int)n : 1;
    p->trans_b = pick(0, 1);
    p->float_out = y == PTQ_DT_F32;
    for (int64_t c = 0; c < n; c++) {
        v->wscale[c] = any_scale() / (float)(k + 8);
        v->wzp[c] = (int32_t)pick(-5, 5);
        v->ibias[c] = (int32_t)pick(-20000, 20000);
        v->bias[c] = any_float(3.0f);
        v->mult[c] = p->x.scale * v->wscale[c];
    }
    p->wscale = v->wscale;
    p->mult = v->mult;
    p->wzp = pick(0, 2) ? NULL : v->wzp;
    p->bias = pick(0, 2) ? NULL : v->ibias;
    ptq_tail_params *t = &p->tail;
    t->on = true;
    t->bias = form & 1 ? v->bias : NULL;
    t->scaled = form & 2;
    t->factor = 0.35f;
    t->gelu = form >> 2 & 3;
    t->residual = form & 16;
    if (p->float_out)
        return;
    p->y = (ptq_affine){any_scale(), any_zp(y)};
    p->qlo = lowest(y) + (pick(0, 3) == 0 ? 90 : 0);
    p->qhi = lowest(y) + 255;
    int64_t blocks = n / PTQ_PART_COLUMNS, at = 0;
    if (form >= 4 || n % PTQ_PART_COLUMNS || blocks < 2)
        return;
    p->nparts = blocks == 2 ? 2 : (int)pick(2, PTQ_PRODUCT_PARTS);
    for (int i = 0; i < p->nparts; i++) {
        at = i == p->nparts - 1 ? blocks : at + pick(1, blocks - at - (p->nparts - 1 - i));
        p->part[i] = (ptq_product_part){at * PTQ_PART_COLUMNS, {any_scale(), any_zp(y)},
                                        lowest(y) + (pick(0, 3) == 0 ? 90 : 0), lowest(y) + 255,
                                        pick(0, 1) ? 0.35f : 1.0f};
    }
}

/* What holds for channel c. */
static ptq_product_part part_of(const ptq_qlinear_params *p, int64_t c)
{
    ptq_product_part all = {0, p->y, p->qlo, p->qhi, p->tail.scaled ? p->tail.factor : 1.0f};
    for (int i = p->nparts - 1; i >= 0; i--)
        all = c < p->part[i].end ? p->part[i] : all;
    return all;
}

static void check_tail(const bed *b, const float *want, const ptq_qlinear_params *p)
{
    if (!p->nparts) {
        check_output(b, want, &p->y, p->qlo, p->qhi);
        return;
    }
    for (int64_t i = 0; i < ptq_tensor_elements(&b->out); i++) {
        ptq_product_part part = part_of(p, i % p->channels);
        int32_t q = ptq_quantize(want[i], part.y.scale, part.y.zp, part.qlo, part.qhi);
        ck_assert_int_eq(((uint8_t *)b->out.data)[i], (uint8_t)q);
    }
}

/* The nodes one by one, on the exact sums. */
static void nodes_again(const bed *b, const tail_case *v, float *out)
{
    const ptq_qlinear_params *p = &v->p;
    const ptq_tail_params *t = &p->tail;
    int64_t n = p->channels, rows = ptq_tensor_elements(&b->out) / n, k = ptq_tensor_elements(&b->in[0]) / rows;
    for (int64_t i = 0; i < rows * n; i++) {
        int64_t c = i % n, acc = p->bias ? p->bias[c] : 0;
        for (int64_t e = 0; e < k; e++)
            acc += (ptq_int_byte(b->in[0].data, i / n * k + e, b->in[0].dtype == PTQ_DT_S8) - p->x.zp) *
                   (ptq_int_byte(b->in[1].data, p->trans_b ? c * k + e : e * n + c, b->in[1].dtype == PTQ_DT_S8) -
                    (p->wzp ? p->wzp[p->nw == 1 ? 0 : c] : 0));
        float x = (float)acc * (p->x.scale * p->wscale[p->nw == 1 ? 0 : c]);
        x = t->bias ? t->bias[c] + x : x;
        x = x * part_of(p, c).factor;
        float e = ptq_erff(x / 1.41421354f) + 1.0f;
        x = t->gelu == PTQ_GELU_NODES ? x * e * 0.5f : t->gelu == PTQ_GELU_HALVED ? x * (e * 0.5f)
            : t->gelu == PTQ_GELU_EXACT ? ptq_geluf(x) : x;
        out[i] = t->residual ? x + ((const float *)b->in[2].data)[i] : x;
    }
}

START_TEST(tail__qgemm)
{
    ptq_rng_seed(&rng, 900 + (uint64_t)_i);
    for (int round = 0; round < 60; round++) {
        static tail_case v;
        int form = (int)(pick(0, 3) ? pick(1, 31) : pick(1, 3)); /* parts have bias and factor at most */
        ptq_dtype x = any8(), w = any8(), y = pick(0, 2) ? any8() : PTQ_DT_F32;
        int64_t n = ONE_OF(1, 2, 15, 16, 17, 31, 48, 63, 64, 65, 96, 130, 160, 200), k = ONE_OF(1, 3, 4, 16, 33, 64);
        int64_t a[3] = {pick(1, 3), ONE_OF(1, 2, 5, 6, 7, 12, 40, 250), k}, o[3] = {a[0], a[1], n};
        tail_params(&v, x, y, n, k, form);
        bed b = {.kind = "qgemm", .op = "MatMul", .nin = form & 16 ? 3 : 2, .constant = {false, true}, .params = &v.p};
        b.in[0] = bed_tensor(x, 3, a);
        b.in[1] = bed_tensor(w, 2, v.p.trans_b ? (int64_t[]){n, k} : (int64_t[]){k, n});
        fill8(&b.in[0]);
        fill8(&b.in[1]);
        if (form & 16) {
            b.in[2] = bed_tensor(PTQ_DT_F32, 3, o);
            fill_floats(&b.in[2], 4.0f);
        }
        b.out = (ptq_tensor){.dtype = y, .rank = 3, .dims = {o[0], o[1], o[2]}};
        char what[64];
        snprintf(what, sizeof what, "tail %d of %lld x %lld x %lld", form, (long long)(a[0] * a[1]), (long long)n,
                 (long long)k);
        check_all(&b, what);
        float *want = malloc((size_t)(o[0] * o[1] * n) * sizeof *want);
        nodes_again(&b, &v, want);
        check_tail(&b, want, &v.p);
        free(want);
        bed_close(&b);
    }
}
END_TEST

/* Infinities and NaN that are added. */
START_TEST(tail__no_numbers)
{
    static tail_case v;
    ptq_rng_seed(&rng, 950);
    for (int round = 0; round < 10; round++) {
        ptq_dtype y = round & 1 ? any8() : PTQ_DT_F32;
        int64_t o[2] = {9, 70};
        tail_params(&v, PTQ_DT_S8, y, 70, 16, 17);
        v.bias[3] = INFINITY;
        bed b = {.kind = "qgemm", .op = "Gemm", .nin = 3, .constant = {false, true}, .params = &v.p};
        b.in[0] = bed_tensor(PTQ_DT_S8, 2, (int64_t[]){9, 16});
        b.in[1] = bed_tensor(PTQ_DT_S8, 2, v.p.trans_b ? (int64_t[]){70, 16} : (int64_t[]){16, 70});
        b.in[2] = bed_tensor(PTQ_DT_F32, 2, o);
        fill8(&b.in[0]);
        fill8(&b.in[1]);
        fill_floats(&b.in[2], 4.0f);
        for (int i = 0; i < 40; i++)
            ((float *)b.in[2].data)[pick(0, 629)] = pick(0, 1) ? NAN : pick(0, 1) ? INFINITY : -INFINITY;
        b.out = (ptq_tensor){.dtype = y, .rank = 2, .dims = {9, 70}};
        float want[630];
        nodes_again(&b, &v, want);
        if (y != PTQ_DT_F32) { /* of floats the bits of NaN may differ */
            check_all(&b, "no numbers");
        } else {
            bed_open(&b);
            ck_assert_ok(bed_run(&b, &(ptq_cpu){.isa = PTQ_ISA_REF}, 1));
        }
        check_tail(&b, want, &v.p);
        bed_close(&b);
    }
}
END_TEST

/* ---- attention ---- */

enum { MOVERS = 4 };

/* Movers of one operand, and the tensor in front of them. */
typedef struct route {
    ptq_graph *g;
    ptq_value *v;
    const ptq_node *node[MOVERS];
    int n, rank;
    int64_t dims[5]; /* of the tensor in front */
} route;

static void add(route *r, const char *op, const char *attr, int count, const int64_t *v)
{
    ptq_value *in[2] = {r->v, NULL};
    bool reshape = strcmp(op, "Reshape") == 0, gather = strcmp(op, "Gather") == 0;
    if (reshape || gather)
        in[1] = kit_const(r->g, "arg", PTQ_DT_S64, gather ? 0 : 1, (int64_t[]){count}, v);
    ptq_node *n = kit_op(r->g, op, "", ptq_graph_unique_name(r->g, "m"), in[1] ? 2 : 1, in);
    if (attr && gather)
        ck_assert_ok(ptq_attr_set_int(r->g, n, attr, 0));
    else if (attr)
        ck_assert_ok(ptq_attr_set_ints(r->g, n, attr, v, (size_t)count));
    r->node[r->n++] = n;
    r->v = n->out[0];
}
#define RESHAPE(r, ...) add(r, "Reshape", NULL, (int)PTQ_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__})
#define TRANSPOSE(r, ...) add(r, "Transpose", "perm", (int)PTQ_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__})

static void start(route *r, int rank, const int64_t *dims)
{
    *r = (route){.g = kit_graph(17), .rank = rank};
    memcpy(r->dims, dims, (size_t)rank * sizeof *dims);
    r->v = kit_input(r->g, "x", PTQ_DT_S8, rank, dims);
}

enum { FROM_FORMS = 8, TO_FORMS = 6 };

/* A tensor that movers make into [b, h, r, c]. */
static void from_route(route *t, int form, int64_t b, int64_t h, int64_t r, int64_t c)
{
    switch (form) {
    case 1: /* batch first, heads side by side */
        start(t, 3, (int64_t[]){b, r, h * c});
        RESHAPE(t, 0, r, h, c);
        TRANSPOSE(t, 0, 2, 1, 3);
        break;
    case 2: /* rows first, batch and heads as one */
        start(t, 3, (int64_t[]){r, b, h * c});
        RESHAPE(t, r, b * h, c);
        TRANSPOSE(t, 1, 0, 2);
        RESHAPE(t, b, h, r, c);
        break;
    case 3:
        start(t, 4, (int64_t[]){b, h, c, r});
        TRANSPOSE(t, 0, 1, 3, 2);
        break;
    case 4: /* keys of heads side by side */
        start(t, 3, (int64_t[]){b, c, h * r});
        RESHAPE(t, b, -1, h, r);
        TRANSPOSE(t, 0, 2, 3, 1);
        break;
    case 5: /* one of three in one tensor */
        start(t, 5, (int64_t[]){3, b, h, r, c});
        add(t, "Gather", "axis", 1, (int64_t[]){1});
        break;
    case 6: /* rows without one step */
        start(t, 2, (int64_t[]){h * c, b * r});
        TRANSPOSE(t, 1, 0);
        RESHAPE(t, b, h, r, c);
        break;
    case 7: /* a Reshape across what lies apart, twice */
        start(t, 3, (int64_t[]){c, h, b * r});
        TRANSPOSE(t, 2, 0, 1);
        RESHAPE(t, h, b * c, r);
        TRANSPOSE(t, 1, 2, 0);
        RESHAPE(t, b, h, r, c);
        break;
    default: start(t, 4, (int64_t[]){b, h, r, c}); break;
    }
}

/* Movers behind a result [b, h, r, c]. */
static void to_route(route *t, int form, int64_t b, int64_t h, int64_t r, int64_t c)
{
    start(t, 4, (int64_t[]){b, h, r, c});
    switch (form) {
    case 1:
        TRANSPOSE(t, 0, 2, 1, 3);
        RESHAPE(t, 0, r, -1);
        break;
    case 2:
        TRANSPOSE(t, 2, 0, 1, 3);
        RESHAPE(t, -1, h * c);
        RESHAPE(t, r, b, h * c);
        TRANSPOSE(t, 1, 0, 2);
        break;
    case 3: TRANSPOSE(t, 3, 1, 0, 2); break;
    case 4: RESHAPE(t, b * h, r * c); break;
    case 5: /* no steps */
        RESHAPE(t, r, b * h * c);
        TRANSPOSE(t, 1, 0);
        break;
    default: break;
    }
}

/* x through the movers; allocated. */
static ptq_tensor moved(const route *t, const ptq_tensor *x)
{
    ptq_evaluator *e;
    ptq_tensor now = *x;
    ck_assert_ok(ptq_tensor_alloc(&now));
    memcpy(now.data, x->data, now.nbytes);
    ck_assert_ok(ptq_evaluator_new(&e));
    for (int i = 0; i < t->n; i++) {
        const ptq_tensor *in[2] = {&now, t->node[i]->nin > 1 ? t->node[i]->in[1]->constant : NULL};
        ptq_tensor next;
        ck_assert_ok(ptq_evaluate(e, t->node[i], 17, in, &next));
        free(now.data);
        now = next;
    }
    ptq_evaluator_free(e);
    return now;
}

typedef struct attention_case {
    int64_t b, h, m, n, d, dv, bq, bk, bv; /* batch of the operands: b or 1 */
    route q, k, v, y;
    ptq_qattention_params p;
} attention_case;

static void any_attention(attention_case *c, const ptq_dtype t[3], ptq_dtype y)
{
    memset(c, 0, sizeof *c);
    c->b = pick(1, 3);
    c->h = pick(1, 3);
    c->m = ONE_OF(1, 2, 7, 16, 49, 50, 97);
    c->n = ONE_OF(1, 2, 5, 16, 31, 64, 65, 100);
    c->d = ONE_OF(1, 2, 4, 16, 31, 64);
    c->dv = ONE_OF(1, 2, 8, 32, 33, 64, 70);
    c->bq = pick(0, 4) ? c->b : 1;
    c->bk = pick(0, 4) ? c->b : 1;
    c->bv = c->bq == 1 && c->bk == 1 ? c->b : pick(0, 4) ? c->b : 1;
    from_route(&c->q, (int)pick(0, FROM_FORMS - 1), c->bq, c->h, c->m, c->d);
    from_route(&c->k, (int)pick(0, FROM_FORMS - 1), c->bk, c->h, c->d, c->n);
    from_route(&c->v, (int)pick(0, FROM_FORMS - 1), c->bv, c->h, c->n, c->dv);
    to_route(&c->y, (int)pick(0, TO_FORMS - 1), c->b, c->h, c->m, c->dv);
    ptq_qattention_params *p = &c->p;
    p->q = (ptq_affine){0.02f, any_zp(t[0])};
    p->k = (ptq_affine){0.03f, any_zp(t[1])};
    p->v = (ptq_affine){any_scale(), any_zp(t[2])};
    p->ptype = any8();
    p->p = (ptq_affine){1.0f / 255.0f, lowest(p->ptype) + (int32_t)pick(0, 20)};
    ptq_dtype_range(p->ptype, &p->plo, &p->phi);
    p->qk_mult = p->q.scale * p->k.scale;
    p->scores = (int)pick(0, 2);
    p->factor = p->scores == PTQ_SCORES_OVER ? 2.7f : 0.3f;
    p->float_out = y == PTQ_DT_F32;
    p->requant = !p->float_out && pick(0, 1);
    p->y = (ptq_affine){any_scale(), p->float_out ? 0 : any_zp(y)};
    p->pv_mult = p->requant ? ptq_requant_multiplier(p->p.scale, p->v.scale, p->y.scale) : p->p.scale * p->v.scale;
    p->qlo = lowest(y) + (pick(0, 3) == 0 ? 30 : 0);
    p->qhi = lowest(y) + 255;
    p->q_from = (ptq_movers){.node = c->q.node, .n = c->q.n};
    p->k_from = (ptq_movers){.node = c->k.node, .n = c->k.n};
    p->v_from = (ptq_movers){.node = c->v.node, .n = c->v.n};
    p->y_to = (ptq_movers){.node = c->y.node, .n = c->y.n};
}

static int32_t code(const ptq_tensor *t, int64_t i)
{
    return ptq_int_byte(t->data, i, t->dtype == PTQ_DT_S8);
}

/* One row of the result from the dense operands; mask: of the row, `step` apart; NULL. */
static void attention_row(const attention_case *c, const ptq_tensor *q, const ptq_tensor *k, const ptq_tensor *v,
                          int64_t b, int64_t h, int64_t m, const float *mask, int64_t step, uint8_t *out)
{
    const ptq_qattention_params *p = &c->p;
    float s[128];
    int64_t q0 = (((c->bq == 1 ? 0 : b) * c->h + h) * c->m + m) * c->d;
    int64_t k0 = ((c->bk == 1 ? 0 : b) * c->h + h) * c->d * c->n, v0 = ((c->bv == 1 ? 0 : b) * c->h + h) * c->n * c->dv;
    for (int64_t j = 0; j < c->n; j++) {
        int32_t acc = 0;
        for (int64_t i = 0; i < c->d; i++)
            acc += (code(q, q0 + i) - p->q.zp) * (code(k, k0 + i * c->n + j) - p->k.zp);
        s[j] = (float)acc * p->qk_mult;
        s[j] = p->scores == PTQ_SCORES_TIMES ? s[j] * p->factor : p->scores == PTQ_SCORES_OVER ? s[j] / p->factor : s[j];
        s[j] += mask ? mask[j * step] : 0.0f;
    }
    float max = ptq_max64(s, c->n, 1);
    for (int64_t j = 0; j < c->n; j++)
        s[j] = ptq_expf(s[j] - max);
    float inv = 1.0f / ptq_sum16(s, c->n, 1);
    for (int64_t e = 0; e < c->dv; e++) {
        int32_t acc = 0;
        for (int64_t j = 0; j < c->n; j++)
            acc += (ptq_quantize(s[j] * inv, p->p.scale, p->p.zp, p->plo, p->phi) - p->p.zp) *
                   (code(v, v0 + j * c->dv + e) - p->v.zp);
        float f = (float)acc * p->pv_mult;
        if (p->float_out)
            ((float *)(void *)out)[e] = f;
        else
            out[e] = (uint8_t)(p->requant ? ptq_requantize(acc, p->pv_mult, p->y.zp, p->qlo, p->qhi)
                                          : ptq_quantize(f, p->y.scale, p->y.zp, p->qlo, p->qhi));
    }
}

/* The result by plain loops over moved operands, moved itself. */
static ptq_tensor attention_again(const bed *b, const attention_case *c)
{
    ptq_tensor q = moved(&c->q, &b->in[0]), k = moved(&c->k, &b->in[1]), v = moved(&c->v, &b->in[2]);
    ptq_tensor dense = {.dtype = b->out.dtype, .rank = 4, .dims = {c->b, c->h, c->m, c->dv}};
    size_t row = (size_t)c->dv * (c->p.float_out ? 4 : 1);
    ck_assert_ok(ptq_tensor_alloc(&dense));
    for (int64_t i = 0; i < c->b * c->h * c->m; i++) {
        int64_t at[4] = {i / c->m / c->h, i / c->m % c->h, i % c->m, 0}, from = 0, step = 0;
        const ptq_tensor *mask = b->nin > 3 ? &b->in[3] : NULL;
        for (int d = 0; mask && d < mask->rank; d++) {
            int64_t size = mask->dims[d];
            from = from * size + (size == 1 ? 0 : at[4 - mask->rank + d]);
            step = size == 1 ? 0 : 1;
        }
        attention_row(c, &q, &k, &v, at[0], at[1], at[2], mask ? (const float *)mask->data + from : NULL, step,
                      (uint8_t *)dense.data + (size_t)i * row);
    }
    ptq_tensor y = moved(&c->y, &dense);
    free(q.data);
    free(k.data);
    free(v.data);
    free(dense.data);
    return y;
}

/* A mask of any shape that broadcasts; with -inf, whole rows of it, NaN. */
static ptq_tensor any_mask(const attention_case *c)
{
    int rank = (int)pick(0, 4);
    int64_t all[4] = {c->b, c->h, c->m, c->n}, dims[4];
    if (c->bq == 1 && c->bk == 1 && rank == 4)
        all[0] = 1; /* the scores have one */
    for (int i = 0; i < rank; i++)
        dims[i] = pick(0, 2) ? all[4 - rank + i] : 1;
    ptq_tensor t = bed_tensor(PTQ_DT_F32, rank, dims);
    fill_floats(&t, 3.0f);
    int64_t n = ptq_tensor_elements(&t), last = rank ? dims[rank - 1] : 1;
    for (int64_t i = 0; i < n; i++)
        if (pick(0, 3) == 0)
            ((float *)t.data)[i] = -INFINITY;
    if (pick(0, 2) == 0)
        for (int64_t i = 0; i < last; i++)
            ((float *)t.data)[i] = -INFINITY;
    if (pick(0, 3) == 0)
        ((float *)t.data)[pick(0, n - 1)] = NAN;
    return t;
}

START_TEST(attention__routes_and_shapes)
{
    ptq_rng_seed(&rng, 700 + (uint64_t)_i);
    for (int round = 0; round < 60; round++) {
        attention_case c;
        ptq_dtype t[3] = {any8(), any8(), any8()}, y = pick(0, 3) ? any8() : PTQ_DT_F32;
        any_attention(&c, t, y);
        const route *in[3] = {&c.q, &c.k, &c.v};
        bed b = {.kind = "qattention", .op = "Softmax", .nin = 3, .params = &c.p};
        for (int i = 0; i < 3; i++) {
            b.in[i] = bed_tensor(t[i], in[i]->rank, in[i]->dims);
            fill8(&b.in[i]);
        }
        if (pick(0, 1)) {
            b.in[3] = any_mask(&c);
            b.nin = 4;
        }
        b.out.dtype = y;
        ptq_tensor want = attention_again(&b, &c);
        b.out = want;
        char what[96];
        snprintf(what, sizeof what, "attention %lld %lld %lld %lld %lld %lld", (long long)c.b, (long long)c.h,
                 (long long)c.m, (long long)c.n, (long long)c.d, (long long)c.dv);
        check_all(&b, what);
        ck_assert_msg(memcmp(b.out.data, want.data, want.nbytes) == 0, "%s: another law", what);
        free(want.data);
        bed_close(&b);
        ptq_graph_free(c.q.g);
        ptq_graph_free(c.k.g);
        ptq_graph_free(c.v.g);
        ptq_graph_free(c.y.g);
    }
}
END_TEST

/* ---- LayerNormalization ---- */

START_TEST(norm__rows)
{
    ptq_rng_seed(&rng, 800);
    for (int round = 0; round < 60; round++) {
        int64_t dims[3] = {pick(1, 3), pick(1, 9), ONE_OF(1, 2, 15, 16, 17, 64, 100, 333)};
        int axis = pick(0, 3) ? 2 : 1, small = pick(0, 4) == 0;
        int64_t n = axis == 2 ? dims[2] : dims[1] * dims[2];
        ptq_dtype y = any8();
        ptq_qnorm_params p = {{any_scale(), any_zp(y)}, lowest(y), lowest(y) + 255};
        bed b = {.kind = "qnorm", .op = "LayerNormalization", .nin = pick(0, 2) ? 3 : 2, .params = &p};
        bed_int(&b, "axis", axis);
        b.in[0] = bed_tensor(PTQ_DT_F32, 3, dims);
        for (int i = 1; i < 3; i++) {
            b.in[i] = small ? bed_tensor(PTQ_DT_F32, 0, NULL) : bed_tensor(PTQ_DT_F32, 3 - axis, dims + axis);
            fill_floats(&b.in[i], 2.0f);
        }
        fill_floats(&b.in[0], 5.0f);
        if (pick(0, 5) == 0)
            ((float *)b.in[0].data)[0] = NAN;
        b.out = (ptq_tensor){.dtype = y, .rank = 3, .dims = {dims[0], dims[1], dims[2]}};
        check_all(&b, "norm");
        int64_t total = dims[0] * dims[1] * dims[2];
        float *want = malloc((size_t)total * sizeof *want);
        for (int64_t i = 0; i < total; i++) {
            const float *x = (const float *)b.in[0].data + i / n * n;
            float mean = ptq_sum16(x, n, 1) / (float)n, var = ptq_sumsq16(x, mean, n, 1) / (float)n;
            want[i] = ptq_normalizef(x[i % n], mean, 1.0f / sqrtf(var + 1e-5f),
                                     ((float *)b.in[1].data)[small ? 0 : i % n],
                                     b.nin > 2 ? ((float *)b.in[2].data)[small ? 0 : i % n] : 0.0f);
        }
        check_output(&b, want, &p.y, p.qlo, p.qhi);
        free(want);
        free(b.nin < 3 ? b.in[2].data : NULL);
        bed_close(&b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu_int_attention");
    TCase *t = tcase_create("steps");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, tail__qgemm, 0, 3);
    tcase_add_test(t, tail__no_numbers);
    tcase_add_loop_test(t, attention__routes_and_shapes, 0, 4);
    tcase_add_test(t, norm__rows);
    suite_add_tcase(s, t);
    return unit_run(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Merging, storing and the other observers. */
#include "tests/stats_kit.h"

#include <float.h>

/* Keeps the arrays that write() puts; a source for read() as well. */
struct store {
    struct entry {
        char name[32];
        ptq_dtype dtype;
        int rank;
        int64_t dims[PTQ_MAX_RANK];
        size_t bytes;
        unsigned char *data;
    } e[32];
    int n;
};

static ptq_status store_put(void *ctx, const char *name, ptq_dtype dtype, int rank,
                            const int64_t *dims, const void *data)
{
    struct store *st = ctx;
    struct entry *e = &st->e[st->n++];
    for (int i = 0; i < st->n - 1; i++)
        ck_assert_str_ne(st->e[i].name, name);
    snprintf(e->name, sizeof e->name, "%s", name);
    e->dtype = dtype;
    e->rank = rank;
    if (rank)
        memcpy(e->dims, dims, (size_t)rank * sizeof *dims);
    ck_assert(ptq_tensor_nbytes(dtype, rank, e->dims, &e->bytes));
    ck_assert_uint_gt(e->bytes, 0);
    e->data = malloc(e->bytes);
    memcpy(e->data, data, e->bytes);
    return PTQ_OK;
}

static ptq_status store_get(void *ctx, const char *name, ptq_dtype dtype, int *rank,
                            int64_t dims[PTQ_MAX_RANK], const void **data)
{
    struct store *st = ctx;
    for (int i = 0; i < st->n; i++) {
        if (strcmp(st->e[i].name, name) == 0) {
            if (st->e[i].dtype != dtype)
                return ptq_fail(PTQ_ERR_DATA, "%s: wrong type", name);
            *rank = st->e[i].rank;
            memcpy(dims, st->e[i].dims, sizeof st->e[i].dims);
            *data = st->e[i].data;
            return PTQ_OK;
        }
    }
    *data = NULL;
    return PTQ_OK;
}

static struct entry *store_find(struct store *st, const char *name)
{
    for (int i = 0; i < st->n; i++) {
        if (strcmp(st->e[i].name, name) == 0)
            return &st->e[i];
    }
    return NULL;
}

static void store_clear(struct store *st)
{
    for (int i = 0; i < st->n; i++)
        free(st->e[i].data);
    st->n = 0;
}

static void save(const ptq_tensor_stats *s, struct store *st)
{
    st->n = 0;
    ck_assert_ok(ptq_stats_write(s, &(ptq_field_sink){store_put, st}));
}

static bool same_bytes(const struct store *a, const struct store *b)
{
    if (a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++) {
        if (strcmp(a->e[i].name, b->e[i].name) != 0 || a->e[i].bytes != b->e[i].bytes ||
            memcmp(a->e[i].data, b->e[i].data, a->e[i].bytes) != 0)
            return false;
    }
    return true;
}

static void assert_same(const ptq_tensor_stats *a, const ptq_tensor_stats *b)
{
    struct store sa, sb;
    ck_assert(ptq_stats_equal(a, b) && ptq_stats_equal(b, a));
    save(a, &sa);
    save(b, &sb);
    ck_assert(same_bytes(&sa, &sb));
    store_clear(&sa);
    store_clear(&sb);
}

/* Samples of one tensor: same values, cut into samples of 100 as [20, 5] with the channel axis 1. */
static void observe_some(ptq_tensor_stats *s, const float *v, size_t from, size_t to, int axis)
{
    int64_t dims[2] = {20, 5};
    for (size_t i = from; i < to; i++)
        ck_assert_ok(ptq_stats_observe(s, v + i * 100, 100, 2, dims, axis));
}

START_TEST(stats__any_split_and_order_is_exact)
{
    static float v[STK_VALUES];
    if (stk_fill((size_t)_i, v) < STK_VALUES)
        for (size_t i = 1; i < STK_VALUES; i++)
            v[i] = v[0];
    ptq_tensor_stats *whole = stk_new();
    observe_some(whole, v, 0, 100, 1);
    ptq_rng r;
    ptq_rng_seed(&r, 99);
    for (int round = 0; round < 10; round++) {
        ptq_tensor_stats *part[5];
        for (int p = 0; p < 5; p++)
            part[p] = stk_new();
        int order[100];
        for (int i = 0; i < 100; i++)
            order[i] = i;
        for (uint32_t i = 99; i > 0; i--) {
            uint32_t j = ptq_rng_below(&r, i + 1);
            int t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        for (int i = 0; i < 100; i++)
            observe_some(part[ptq_rng_below(&r, 4)], v, (size_t)order[i], (size_t)order[i] + 1, 1);
        /* part[4] stays empty: the neutral element, on either side. */
        ck_assert_ok(ptq_stats_merge(part[4], part[round % 4]));
        for (int p = 0; p < 4; p++) {
            if (p != round % 4)
                ck_assert_ok(ptq_stats_merge(part[4], part[p]));
        }
        ptq_tensor_stats *empty = stk_new();
        ck_assert_ok(ptq_stats_merge(part[4], empty));
        assert_same(part[4], whole);
        ptq_stats_free(empty);
        for (int p = 0; p < 5; p++)
            ptq_stats_free(part[p]);
    }
    ptq_stats_free(whole);
}
END_TEST

START_TEST(stats__survives_write_and_read)
{
    static float v[STK_VALUES];
    size_t n = stk_fill((size_t)_i, v);
    ptq_tensor_stats *s = stk_new(), *t = stk_new();
    if (n == STK_VALUES)
        observe_some(s, v, 0, 100, 1);
    else
        ck_assert_ok(ptq_stats_observe(s, v, n, 0, NULL, -1));
    struct store st;
    save(s, &st);
    ck_assert_ok(ptq_stats_read(t, &(ptq_field_source){store_get, &st}));
    assert_same(s, t);
    store_clear(&st);
    ptq_stats_free(s);
    ptq_stats_free(t);
}
END_TEST

START_TEST(stats__empty_object)
{
    ptq_tensor_stats *s = stk_new(), *t = stk_new();
    struct store st;
    ck_assert_ok(ptq_stats_observe(t, NULL, 0, 0, NULL, -1)); /* a sample without values */
    ck_assert_uint_eq(t->samples.samples, 1);
    ck_assert_uint_eq(t->summary.finite, 0);
    save(s, &st);
    ck_assert_int_eq(st.n, 0);
    ptq_tensor_stats *u = stk_new();
    ck_assert_ok(ptq_stats_read(u, &(ptq_field_source){store_get, &st}));
    assert_same(s, u);
    ck_assert(!ptq_stats_equal(s, t));
    ptq_bin *bins;
    size_t n;
    ck_assert_ok(ptq_stats_bins(s, &bins, &n));
    ck_assert_uint_eq(n, 0);
    ptq_stats_free(s);
    ptq_stats_free(t);
    ptq_stats_free(u);
}
END_TEST

START_TEST(stats__read_refuses_contradictions)
{
    static const struct {
        const char *field;
        size_t offset; /* of the byte that is changed */
        unsigned char flip;
    } rows[] = {
        {"octaves", 3, 0x80},     {"octaves", 1, 4},          {"octaves", 0, 0xff},
        {"octave_counts", 8, 1},  {"counts", 0, 1},           {"range", 3, 0x40},
        {"range", 7, 0x80},       {"range", 2, 0xff},         {"samples", 0, 0x40},
        {"zeros", 0, 1},          {"channel_axis", 0, 0x20},  {"channel_axis", 4, 7},
        {"channel_ranges", 3, 0x7f},
    };
    static float v[STK_VALUES];
    stk_fill(4, v);
    ptq_tensor_stats *s = stk_new();
    observe_some(s, v, 0, 100, 1);
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        struct store st;
        save(s, &st);
        store_find(&st, rows[i].field)->data[rows[i].offset] ^= rows[i].flip;
        ptq_tensor_stats *t = stk_new();
        ptq_status status = ptq_stats_read(t, &(ptq_field_source){store_get, &st});
        ck_assert_msg(status == PTQ_ERR_DATA, "row %zu (%s): %d", i, rows[i].field, status);
        ptq_stats_free(t);
        store_clear(&st);
    }
    static const char *const fields[] = {"octaves", "octave_counts", "zeros", "counts", "range",
                                         "sample_sums", "samples", "channel_ranges"};
    for (size_t i = 0; i < PTQ_COUNT(fields); i++) { /* left out */
        struct store st;
        save(s, &st);
        store_find(&st, fields[i])->name[0] = '#';
        ptq_tensor_stats *t = stk_new();
        ck_assert_fails(ptq_stats_read(t, &(ptq_field_source){store_get, &st}), PTQ_ERR_DATA);
        ptq_stats_free(t);
        store_clear(&st);
    }
    ptq_stats_free(s);
}
END_TEST

START_TEST(exact_sum__is_exact)
{
    /* Terms that a double cannot add: the large ones cancel, the smallest subnormal stays. */
    static const float v[] = {FLT_MAX, 1.0f, 0x1p-149f, -FLT_MAX, -1.0f, 0x1p-149f};
    ptq_exact_sum s = {{0}};
    for (size_t i = 0; i < PTQ_COUNT(v); i++)
        ptq_exact_sum_add(&s, v[i]);
    ck_assert(ptq_exact_sum_value(&s) == 0x1p-148);
    ptq_exact_sum_add(&s, -0x1p-147f);
    ck_assert(ptq_exact_sum_value(&s) == -0x1p-148);
    ptq_exact_sum_add(&s, -0.0f);
    ptq_exact_sum_add(&s, 0x1p-148f);
    ck_assert(ptq_exact_sum_value(&s) == 0);
    /* Rounding: 2^54 + 1 is a tie (to even, down), 2^54 + 3 one too (up); a crumb breaks the tie. */
    s = (ptq_exact_sum){{0}};
    ptq_exact_sum_add(&s, 0x1p53f);
    ptq_exact_sum_add(&s, 1.0f);
    ck_assert(ptq_exact_sum_value(&s) == 0x1p53);
    ptq_exact_sum_add(&s, 0x1p-149f);
    ck_assert(ptq_exact_sum_value(&s) == 0x1p53 + 2);
    ptq_exact_sum_add(&s, -0x1p-149f);
    ptq_exact_sum_add(&s, 2.0f);
    ck_assert(ptq_exact_sum_value(&s) == 0x1p53 + 4);
    /* Integers times a power of two, against 64-bit integers. */
    ptq_rng r;
    ptq_rng_seed(&r, 3);
    for (int scale = -140; scale <= 80; scale += 23) {
        int64_t want = 0;
        s = (ptq_exact_sum){{0}};
        for (int i = 0; i < 1000; i++) {
            int32_t k = (int32_t)ptq_rng_below(&r, 1u << 24) - (1 << 23);
            int e = (int)ptq_rng_below(&r, 20);
            want += (int64_t)k * (1 << e);
            ptq_exact_sum_add(&s, ldexpf((float)k, e + scale));
        }
        ck_assert(ptq_exact_sum_value(&s) == ldexp((double)want, scale));
    }
}
END_TEST

START_TEST(sample_minmax__mean)
{
    static const float a[] = {1, -2, 3}, b[] = {5, 6, 7}, c[] = {NAN, NAN};
    ptq_tensor_stats *s = stk_new();
    double lo, hi;
    ck_assert(!ptq_stats_mean_minmax(s, &lo, &hi));
    ck_assert_ok(ptq_stats_observe(s, a, 3, 0, NULL, -1));
    ck_assert_ok(ptq_stats_observe(s, b, 3, 0, NULL, -1));
    ck_assert_ok(ptq_stats_observe(s, c, 2, 0, NULL, -1));
    ck_assert(ptq_stats_mean_minmax(s, &lo, &hi));
    ck_assert(lo == 1.5 && hi == 5.0);
    ck_assert_uint_eq(s->samples.samples, 3);
    ck_assert_uint_eq(s->summary.nan, 2);
    ptq_stats_free(s);
}
END_TEST

/* Few adjacent values of each channel, with and without NaN. */
START_TEST(channel_minmax__short_runs)
{
    static float v[3 * 56 * 5];
    ptq_rng r;
    ptq_rng_seed(&r, 9);
    for (size_t i = 0; i < PTQ_COUNT(v); i++)
        v[i] = _i && i % 11 == 0 ? NAN : i % 7 == 0 ? -0.0f : ptq_rng_normal(&r);
    ptq_tensor_stats *s = stk_new();
    ck_assert_ok(ptq_stats_observe(s, v, PTQ_COUNT(v), 3, (int64_t[]){3, 56, 5}, 1));
    for (int64_t c = 0; c < 56; c++) {
        float lo = INFINITY, hi = -INFINITY;
        for (int64_t i = 0; i < (int64_t)PTQ_COUNT(v); i++)
            if (i / 5 % 56 == c && isfinite(v[i])) {
                lo = fminf(lo, v[i] + 0.0f);
                hi = fmaxf(hi, v[i] + 0.0f);
            }
        ck_assert(s->channel.min[c] == lo && s->channel.max[c] == hi);
        ck_assert(!signbit(s->channel.max[c]) || s->channel.max[c] != 0.0f);
    }
    ptq_stats_free(s);
}
END_TEST

START_TEST(channel_minmax__every_layout)
{
    static float v[2 * 3 * 4 * 35];
    ptq_rng r;
    ptq_rng_seed(&r, 8);
    for (size_t i = 0; i < PTQ_COUNT(v); i++)
        v[i] = _i && i % 17 == 0 ? NAN : _i && i % 19 == 0 ? -INFINITY : ptq_rng_normal(&r);
    const int64_t dims[4] = {2, 3, 4, 35};
    for (int axis = 0; axis < 4; axis++) {
        ptq_tensor_stats *s = stk_new();
        ck_assert_ok(ptq_stats_observe(s, v, PTQ_COUNT(v), 4, dims, axis));
        ck_assert_int_eq(s->channel.channels, dims[axis]);
        for (int64_t c = 0; c < dims[axis]; c++) {
            float lo = INFINITY, hi = -INFINITY;
            for (int64_t i = 0; i < (int64_t)PTQ_COUNT(v); i++) {
                int64_t at[4] = {i / 420, i / 140 % 3, i / 35 % 4, i % 35};
                if (at[axis] == c && isfinite(v[i])) {
                    lo = fminf(lo, v[i]);
                    hi = fmaxf(hi, v[i]);
                }
            }
            ck_assert(s->channel.min[c] == lo && s->channel.max[c] == hi);
        }
        /* Another number of channels: given up, whichever comes first. */
        ptq_tensor_stats *t = stk_new();
        ck_assert_ok(ptq_stats_observe(t, v, 7, 1, (int64_t[]){7}, 0));
        ck_assert_ok(ptq_stats_merge(t, s));
        ck_assert_int_eq(t->channel.channels, -1);
        ck_assert_ok(ptq_stats_merge(s, t));
        ck_assert_int_eq(s->channel.channels, -1);
        /* As many channels along another axis: they are not the same channels. */
        for (int merged = 0; merged < 2; merged++) {
            ptq_tensor_stats *a = stk_new(), *b = merged ? stk_new() : a;
            ck_assert_ok(ptq_stats_observe(a, v, 9, 2, (int64_t[]){3, 3}, 0));
            ck_assert_ok(ptq_stats_observe(b, v, 9, 2, (int64_t[]){3, 3}, 1));
            if (merged) {
                ck_assert_ok(ptq_stats_merge(a, b));
                ptq_stats_free(b);
            }
            ck_assert_int_eq(a->channel.channels, -1);
            ptq_stats_free(a);
        }
        ck_assert_fails(ptq_stats_observe(s, v, 6, 1, (int64_t[]){7}, 0), PTQ_ERR_ARG);
        ck_assert_fails(ptq_stats_observe(s, v, 7, 1, (int64_t[]){7}, 1), PTQ_ERR_ARG);
        ptq_stats_free(s);
        ptq_stats_free(t);
    }
}
END_TEST

/* Every row alone, through its vtable: values in one call equal values in many. (A sample_minmax
 * cut differs by what a sample is: it is fed one value per sample on both sides.) */
START_TEST(observers__conformance)
{
    size_t n_rows;
    const ptq_observer *const *rows = ptq_observers(&n_rows);
    static float v[STK_VALUES];
    size_t n = stk_fill((size_t)_i, v);
    ck_assert_uint_ge(n_rows, 4);
    ck_assert_ptr_null(ptq_observer_find("nothing"));
    for (size_t k = 0; k < n_rows; k++) {
        const ptq_observer *o = rows[k];
        ck_assert_ptr_eq(ptq_observer_find(o->name), o);
        const bool per_sample = strcmp(o->name, "sample_minmax") == 0;
        void *a = malloc(o->size), *b = malloc(o->size), *c = malloc(o->size);
        o->init(a);
        o->init(b);
        o->init(c);
        ck_assert(o->equal(a, b));
        const int64_t one = 1;
        size_t step = per_sample ? 1 : n;
        for (size_t i = 0; i < n; i += step) {
            int64_t d[2] = {(int64_t)step, 1};
            ptq_sample s = {.values = v + i, .n = step, .rank = 2, .dims = d, .channel_axis = 1};
            ck_assert_ok(o->observe(a, &s));
        }
        for (size_t i = n; i-- > 0;) {
            ptq_sample s = {.values = v + i, .n = 1, .rank = 2, .channel_axis = 1};
            s.dims = (int64_t[]){one, one};
            ck_assert_ok(o->observe(i % 3 ? b : c, &s));
        }
        ck_assert_ok(o->merge(b, c));
        ck_assert(o->equal(a, b));
        struct store st = {.n = 0};
        ck_assert_ok(o->write(a, &(ptq_field_sink){store_put, &st}));
        o->clear(c);
        o->init(c);
        ck_assert_ok(o->read(c, &(ptq_field_source){store_get, &st}));
        ck_assert(o->equal(a, c));
        store_clear(&st);
        o->clear(a);
        o->clear(b);
        o->clear(c);
        free(a);
        free(b);
        free(c);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("observers_stats");
    TCase *t = tcase_create("stats");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, stats__any_split_and_order_is_exact, 0, STK_KINDS);
    tcase_add_loop_test(t, stats__survives_write_and_read, 0, STK_KINDS);
    tcase_add_test(t, stats__empty_object);
    tcase_add_test(t, stats__read_refuses_contradictions);
    tcase_add_test(t, exact_sum__is_exact);
    tcase_add_test(t, sample_minmax__mean);
    tcase_add_loop_test(t, channel_minmax__short_runs, 0, 2);
    tcase_add_loop_test(t, channel_minmax__every_layout, 0, 2);
    tcase_add_loop_test(t, observers__conformance, 0, STK_KINDS);
    suite_add_tcase(s, t);
    return unit_run(s);
}

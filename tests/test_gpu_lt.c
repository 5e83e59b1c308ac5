/* SPDX-License-Identifier: Apache-2.0 */
/* Sums by cuBLASLt (lib/gpu/lt.c) on the stand-in device, with functions of its names that this program has: what it is
 * asked for is a product of the memory as it lies, in chunks, with memory that is taken before anything is recorded. A
 * library that is missing or lacks a function makes the rows refuse; rows that cannot run leave a product to others
 * (lib/gpu/tune.c). The real library is held against the reference by tests/test_gpu_gemm and tests/test_gpu_fast. */
#pragma GCC visibility push(default)
#include <cublasLt.h>
#pragma GCC visibility pop
#include <unistd.h>

#include "lib/gpu/lt.h"
#include "lib/gpu/tune.h"
#include "tests/fake_dev.h"
#include "tests/gpu_kit.h"

/* ---- a library that is not there ---- */

typedef struct layout {
    cudaDataType type;
    int64_t rows, cols, ld;
} layout;
typedef struct product {
    cublasComputeType_t compute;
    cudaDataType scale;
    int32_t turned;
} product;
typedef struct wish {
    uint64_t space;
    uint32_t align[2];
} wish;

static int alive;            /* handles and descriptors */
static bool no_device;       /* no handle then */
static int64_t one_way_rows; /* a product of so many rows has one way, others two */
static cublasStatus_t fails; /* what products end with */
static int products;
static int asked_for_ways;
static int answers; /* of the library, until one fails; 0: none does */
enum { WORKSPACE = 5000 }; /* of the second way */

static cublasStatus_t make(void *out, size_t n)
{
    void *p = calloc(1, n);
    ck_assert_ptr_nonnull(p);
    memcpy(out, &p, sizeof p);
    alive++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t destroy(void *p)
{
    free(p);
    alive--;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h)
{
    return no_device ? CUBLAS_STATUS_NOT_INITIALIZED : make(h, 1);
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t h)
{
    return destroy(h);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t scale)
{
    make(d, sizeof **d);
    *(product *)(void *)*d = (product){compute, scale, CUBLAS_OP_N};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    return destroy(d);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attr,
                                              const void *value, size_t n)
{
    ck_assert_int_eq(attr, CUBLASLT_MATMUL_DESC_TRANSA);
    ck_assert_uint_eq(n, sizeof(int32_t));
    memcpy(&((product *)(void *)d)->turned, value, n);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    make(p, sizeof **p);
    *(wish *)(void *)*p = (wish){0, {256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    return destroy(p);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t attr, const void *value,
                                                    size_t n)
{
    wish *w = (wish *)(void *)p;
    void *to = attr == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES       ? (void *)&w->space
               : attr == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES ? (void *)&w->align[0]
               : attr == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES ? (void *)&w->align[1]
                                                                    : NULL;
    ck_assert_ptr_nonnull(to);
    ck_assert_uint_eq(n, to == &w->space ? sizeof w->space : sizeof w->align[0]);
    memcpy(to, value, n);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    make(l, sizeof **l);
    *(layout *)(void *)*l = (layout){type, (int64_t)rows, (int64_t)cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    return destroy(l);
}

/* What the integer kernels of the real one ask for. */
static void check_form(const product *p, const layout *a, const layout *b, const layout *d)
{
    ck_assert(p->compute == CUBLAS_COMPUTE_32I && p->scale == CUDA_R_32I && p->turned == CUBLAS_OP_T);
    ck_assert(a->type == CUDA_R_8I && b->type == CUDA_R_8I && d->type == CUDA_R_32I);
    ck_assert(a->rows == b->rows && a->cols == d->rows && b->cols == d->cols);
    ck_assert(a->rows % 4 == 0 && d->rows % 4 == 0 && a->ld % 4 == 0 && b->ld % 4 == 0 && d->ld % 4 == 0);
    ck_assert(a->ld >= a->rows && b->ld >= b->rows && d->ld >= d->rows && b->cols > 0);
}

/* Two ways; between them one that the library finds to be none. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t p, int asked,
                                              cublasLtMatmulHeuristicResult_t *found, int *n)
{
    const wish *w = (const wish *)(void *)p;
    check_form((product *)(void *)desc, (layout *)(void *)a, (layout *)(void *)b, (layout *)(void *)d);
    asked_for_ways++;
    if (answers > 0 && --answers == 0)
        return CUBLAS_STATUS_ALLOC_FAILED;
    ck_assert(h && c == d && asked == 3 && w->space >= WORKSPACE && w->align[0] == 16 && w->align[1] == 16);
    *n = ((layout *)(void *)b)->cols == one_way_rows ? 1 : 3;
    for (int i = 0; i < *n; i++) {
        found[i] = (cublasLtMatmulHeuristicResult_t){.workspaceSize = i == 2 ? WORKSPACE : 0};
        found[i].state = i == 1 ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
        found[i].algo.data[0] = (uint64_t)(10 + i);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t al, const void *b, cublasLtMatrixLayout_t bl, const void *beta,
                              const void *c, cublasLtMatrixLayout_t cl, void *d, cublasLtMatrixLayout_t dl,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t space, cudaStream_t stream)
{
    const layout *la = (layout *)(void *)al, *lb = (layout *)(void *)bl, *ld = (layout *)(void *)dl;
    check_form((product *)(void *)desc, la, lb, ld);
    ck_assert(h && *(const int32_t *)alpha == 1 && *(const int32_t *)beta == 0 && c == d && cl == dl && !stream);
    ck_assert(algo->data[0] == 10 || (algo->data[0] == 12 && lb->cols != one_way_rows));
    ck_assert((uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0);
    ck_assert(algo->data[0] == 10 || (workspace && space >= WORKSPACE));
    for (int64_t j = 0; j < ld->cols; j++)
        for (int64_t i = 0; i < ld->rows; i++) {
            const int8_t *x = (const int8_t *)a + i * la->ld, *y = (const int8_t *)b + j * lb->ld;
            int32_t sum = 0;
            for (int64_t k = 0; k < la->rows; k++)
                sum += x[k] * y[k];
            ((int32_t *)d)[j * ld->ld + i] = sum;
        }
    if (space) /* is elsewhere */
        memset(workspace, 0x77, space);
    products++;
    return fails;
}

/* ---- products ---- */

static ptq_lt *of_device; /* what the rows find */
ptq_lt *ptq_dev_lt(const ptq_dev *d)
{
    (void)d;
    return of_device;
}

static int8_t *plain; /* weights [n][c] */
static int32_t *results;
static int64_t ended; /* rows */

static ptq_k_gemm matrix(int64_t m, int n, int c)
{
    ptq_k_gemm a = {.m = m, .n = n, .npad = (n + PTQ_K_GEMM_N - 1) / PTQ_K_GEMM_N * PTQ_K_GEMM_N,
                    .kpad = (c + PTQ_K_GEMM_K - 1) / PTQ_K_GEMM_K * PTQ_K_GEMM_K, .c = c, .in_h = 1, .in_w = 1,
                    .out_h = 1, .out_w = 1, .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dil_h = 1,
                    .dil_w = 1, .lo = -128, .hi = 127, .x_signed = 1};
    return a;
}

/* What lies behind c in a row of the weights must not be read. */
static ptq_k_gemm draw(int64_t m, int n, int c)
{
    ptq_k_gemm a = matrix(m, n, c);
    uint8_t *x = malloc((size_t)(m * c)), *w = malloc((size_t)a.npad * (size_t)a.kpad);
    plain = malloc((size_t)n * (size_t)c);
    results = calloc((size_t)m * (size_t)n, sizeof *results);
    ck_assert(x && w && plain && results);
    memset(w, 0x55, (size_t)a.npad * (size_t)a.kpad);
    for (int64_t i = 0; i < m * c; i++)
        x[i] = pick(0, 9) ? (uint8_t)ptq_rng_u64(&rng) : 0x80;
    for (int j = 0; j < n; j++)
        for (int i = 0; i < c; i++) {
            int8_t v = (int8_t)(pick(0, 9) ? pick(-128, 127) : -128);
            plain[(int64_t)j * c + i] = v;
            w[ptq_k_gemm_row_of(j) * a.kpad + i] = (uint8_t)v;
        }
    a.x = device(x, (size_t)(m * c));
    a.w = device(w, (size_t)a.npad * (size_t)a.kpad);
    free(x);
    free(w);
    return a;
}

static void drop(void)
{
    free_all();
    free(plain);
    free(results);
}

static ptq_status keep(ptq_dev *d, const ptq_k_gemm *a, const int32_t *sums, int64_t first, int64_t rows)
{
    (void)d;
    ck_assert_int_eq(first, ended);
    ended += rows;
    ck_assert(rows % 16 == 0 || ended == a->m);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t n = 0; n < a->n; n++)
            results[(first + r) * a->n + n] = sums[r * ptq_lt_columns(a) + ptq_k_gemm_row_of(n)];
    return PTQ_OK;
}

static void check_results(const ptq_k_gemm *a)
{
    int64_t wrong = 0;
    ck_assert_int_eq(ended, a->m);
    for (int64_t r = 0; r < a->m; r++)
        for (int64_t n = 0; n < a->n; n++) {
            int32_t sum = 0;
            for (int64_t i = 0; i < a->c; i++)
                sum += ((const int8_t *)a->x)[r * a->c + i] * plain[n * a->c + i];
            wrong += results[r * a->n + n] != sum;
        }
    ck_assert_int_eq(wrong, 0);
}

static void check_product(ptq_lt *lt, int64_t m, int n, int c, int way, int chunks)
{
    ptq_k_gemm a = draw(m, n, c);
    ended = products = 0;
    ck_assert(ptq_lt_can(lt, &a, way));
    ck_assert_ok(ptq_lt_product(lt, dev, &a, way, keep));
    ck_assert_int_eq(products, chunks);
    check_results(&a);
    drop();
}

static void start(void)
{
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 77);
    no_device = false;
    one_way_rows = 0;
    asked_for_ways = 0;
    fails = CUBLAS_STATUS_SUCCESS;
    of_device = NULL;
}

static void stop(ptq_lt *lt)
{
    ptq_lt_close(lt, dev);
    ptq_dev_close(dev);
    ck_assert_int_eq(alive, 0);
    ck_assert_int_eq(ptq_fake_live, 0);
}

START_TEST(gpu_lt__products)
{
    start();
    ptq_lt *lt = ptq_lt_open(NULL);
    ck_assert_ptr_nonnull(lt);
    for (int way = 0; way < 2; way++) {
        check_product(lt, 1, 1, 16, way, 1);
        check_product(lt, 17, 65, 48, way, 1);
        check_product(lt, 128, 64, 64, way, 1);
        check_product(lt, 300, 200, 80, way, 1);
        check_product(lt, 140000, 33, 16, way, 3); /* 65,536 rows of 64 sums are 16 MiB */
        check_product(lt, 65536, 64, 16, way, 1);
        check_product(lt, 65537, 17, 16, way, 2);
    }
    one_way_rows = 140000 - 2 * 46720; /* the last chunk takes the way it has */
    check_product(lt, 140000, 33, 16, 1, 3);
    stop(lt);
}
END_TEST

/* A product is asked for before each run, and for each way: the library is asked once for each number of rows. */
START_TEST(gpu_lt__asked_once)
{
    start();
    ptq_lt *lt = ptq_lt_open(NULL);
    for (int way = 0; way < 2; way++)
        for (int run = 0; run < 2; run++)
            check_product(lt, 65537, 17, 16, way, 2); /* 32,896 rows and the rest */
    ck_assert_int_eq(asked_for_ways, 2);
    static const struct {
        int64_t m;
        int n, c;
    } others[] = {{65536, 17, 16}, {65536, 65, 16}, {65536, 65, 32}};
    for (size_t i = 0; i < PTQ_COUNT(others); i++) {
        ptq_k_gemm a = matrix(others[i].m, others[i].n, others[i].c);
        int before = asked_for_ways;
        ck_assert(ptq_lt_can(lt, &a, 0) && ptq_lt_can(lt, &a, 1) && !ptq_lt_can(lt, &a, 2));
        ck_assert_int_eq(asked_for_ways, before + 1);
        a.x += 8; /* what does not fit is not asked for, and what is kept stays */
        ck_assert(!ptq_lt_can(lt, &a, 0));
        a.x -= 8;
        ck_assert(ptq_lt_can(lt, &a, 0));
        ck_assert_int_eq(asked_for_ways, before + 1);
    }
    check_product(lt, 65537, 17, 16, 1, 2);
    stop(lt);
}
END_TEST

/* What failed once, for the rows of a chunk or those of the rest, is asked for again. */
START_TEST(gpu_lt__asked_again)
{
    start();
    ptq_lt *lt = ptq_lt_open(NULL);
    ptq_k_gemm a = matrix(65537, 17, 16);
    for (answers = 1; answers <= 2;) {
        const int first = answers;
        ck_assert(!ptq_lt_can(lt, &a, 0));
        ck_assert_int_eq(answers, 0);
        ck_assert(ptq_lt_can(lt, &a, 0) && ptq_lt_can(lt, &a, 1));
        check_product(lt, 65537, 17, 16, 1, 2);
        check_product(lt, 64, 17, 16, 0, 1); /* another is kept */
        answers = first + 1;
    }
    answers = 0;
    stop(lt);
}
END_TEST

/* The order that lib/gpu/k_lt.cu reads sums in. */
START_TEST(gpu_lt__order_of_sums)
{
    for (int g = 0; g < 3; g++)
        for (int q = 0; q < 4; q++)
            for (int j = 0; j < 8; j++)
                for (int e = 0; e < 2; e++)
                    ck_assert_int_eq(ptq_k_gemm_row_of(64 * g + 16 * q + 2 * j + e), 64 * g + 8 * j + 2 * q + e);
}
END_TEST

START_TEST(gpu_lt__memory)
{
    start();
    ptq_lt *lt = ptq_lt_open(NULL);
    ptq_k_gemm small = draw(40, 64, 32), large = small;
    large.m = 10; /* fewer rows, more columns: more memory than is kept */
    large.n = 64 * 40;
    void *graph;
    uint64_t before = ptq_dev_generation(dev);
    ended = 0;
    ck_assert_ok(ptq_lt_product(lt, dev, &small, 0, keep));
    ck_assert_uint_ne(ptq_dev_generation(dev), before); /* recordings are thrown away */

    before = ptq_dev_generation(dev);
    ck_assert_ok(ptq_dev_record(dev));
    ended = 0;
    ck_assert_ok(ptq_lt_product(lt, dev, &small, 0, keep));
    check_results(&small);
    ended = 0;
    ck_assert_fails(ptq_lt_product(lt, dev, &large, 1, keep), PTQ_ERR_DEVICE);
    ck_assert_says("not while a run is recorded");
    ck_assert_ok(ptq_dev_recorded(dev, true, &graph));
    ck_assert_ptr_null(graph);
    ck_assert_uint_eq(ptq_dev_generation(dev), before); /* what others recorded still holds */

    ptq_fake_memory = ptq_fake_bytes + 1000;
    ck_assert_fails(ptq_lt_product(lt, dev, &large, 1, keep), PTQ_ERR_NOMEM);
    ptq_fake_memory = 0;
    ended = 0;
    ck_assert_ok(ptq_lt_product(lt, dev, &small, 0, keep));
    check_results(&small);
    drop();
    stop(lt);
}
END_TEST

static ptq_status end_fails(ptq_dev *d, const ptq_k_gemm *a, const int32_t *sums, int64_t first, int64_t rows)
{
    (void)d;
    (void)a;
    (void)sums;
    (void)first;
    (void)rows;
    return ptq_fail(PTQ_ERR_DEVICE, "the end");
}

START_TEST(gpu_lt__failures)
{
    static const struct {
        cublasStatus_t from;
        ptq_status to;
    } rows[] = {{CUBLAS_STATUS_ALLOC_FAILED, PTQ_ERR_NOMEM}, {CUBLAS_STATUS_NOT_SUPPORTED, PTQ_ERR_UNSUPPORTED},
                {CUBLAS_STATUS_EXECUTION_FAILED, PTQ_ERR_DEVICE}};
    start();
    ptq_lt *lt = ptq_lt_open(NULL);
    ptq_k_gemm a = draw(20, 64, 32);
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        fails = rows[i].from;
        ended = 0;
        ck_assert_fails(ptq_lt_product(lt, dev, &a, 0, keep), rows[i].to);
        ck_assert_says("20 x 64 x 32");
        ck_assert_int_eq(ended, 0);
    }
    fails = CUBLAS_STATUS_SUCCESS;
    ck_assert_fails(ptq_lt_product(lt, dev, &a, 0, end_fails), PTQ_ERR_DEVICE);
    ck_assert(!ptq_lt_can(lt, &a, 2));
    ck_assert_fails(ptq_lt_product(lt, dev, &a, 2, keep), PTQ_ERR_UNSUPPORTED);
    drop();
    stop(lt);
}
END_TEST

/* ---- rows ---- */

extern const ptq_k_gemm_row ptq_k_gemm_lt1, ptq_k_gemm_lt2, ptq_k_gemm_lt3, ptq_k_gemm_lt_fast1, ptq_k_gemm_lt_fast3;

START_TEST(gpu_lt__no_library)
{
    start();
    ptq_k_gemm a = matrix(64, 64, 64);
    ck_assert_ptr_null(ptq_lt_open("libcublasLt-that-nobody-has.so.1"));
    ck_assert_ptr_null(ptq_lt_open("libm.so.6")); /* has none of its functions */
    no_device = true;
    ck_assert_ptr_null(ptq_lt_open(NULL));
    ck_assert(strncmp(ptq_lt_file, "libcublasLt.so.", 15) == 0 && strlen(ptq_lt_file) > 15);
    ck_assert(!ptq_lt_can(NULL, &a, 0));
    ck_assert(!ptq_k_gemm_lt1.supports(dev, &a) && !ptq_k_gemm_lt_fast1.supports(dev, &a));
    no_device = false;
    of_device = ptq_lt_open(NULL);
    ck_assert(ptq_k_gemm_lt1.supports(dev, &a));
    stop(of_device);
}
END_TEST

/* Which products the rows take. */
START_TEST(gpu_lt__rows)
{
    start();
    of_device = ptq_lt_open(NULL);
    float table[64] = {0};
    ptq_k_gemm a = matrix(64, 64, 64), b = a;
    ck_assert(ptq_k_gemm_lt1.supports(dev, &a) && ptq_k_gemm_lt2.supports(dev, &a));
    ck_assert(!ptq_k_gemm_lt3.supports(dev, &a)); /* there are two ways */
#define REFUSED(change)                                                                            \
    do {                                                                                           \
        b = a;                                                                                     \
        change;                                                                                    \
        ck_assert(!ptq_k_gemm_lt1.supports(dev, &b));                                              \
    } while (0)
    REFUSED(b.x_signed = 0);
    REFUSED(b.kernel_w = 3);
    REFUSED(b.stride_h = 2);
    REFUSED((b.pad_w = 1, b.out_w = 3));
    REFUSED(b.c = 4);
    REFUSED(b.x += 8);
    REFUSED(b.m = 0);
    REFUSED((b.c = 1 << 17, b.kpad = b.c));
    a.tail = (ptq_k_tail){.on = 1, .codes = 1, .factor = 1.0f, .s = 0.1f, .parts = 2};
    ck_assert(ptq_k_gemm_lt1.supports(dev, &a) && !ptq_k_gemm_lt_fast1.supports(dev, &a));
    REFUSED(b.tail.s = 1e30f); /* one element after the other, which parts cannot be */
    a.tail.fast_mult = table;
    ck_assert(!ptq_k_gemm_lt1.supports(dev, &a) && ptq_k_gemm_lt_fast1.supports(dev, &a));
    ck_assert(!ptq_k_gemm_lt_fast3.supports(dev, &a));
    a.tail = (ptq_k_tail){.on = 1, .factor = 1.0f, .y_half = 1};
    ck_assert(!ptq_k_gemm_lt1.supports(dev, &a));
    a.tail.fast_mult = table;
    ck_assert(ptq_k_gemm_lt_fast1.supports(dev, &a));
    stop(of_device);
}
END_TEST

/* ---- the tuner ---- */

static int calls[3];
static ptq_status outcome[3];
static int good_calls[3]; /* before the outcome */
static bool able[3];

static bool supports(int i)
{
    return able[i];
}
static ptq_status run(int i)
{
    calls[i]++;
    if (i == 2)
        usleep(20000);
    return outcome[i] == PTQ_OK || calls[i] <= good_calls[i] ? PTQ_OK : ptq_fail(outcome[i], "row %d", i);
}
#define ROW(i, name)                                                                               \
    static bool supports##i(const ptq_dev *d, const ptq_k_gemm *a)                                 \
    {                                                                                              \
        (void)d;                                                                                   \
        (void)a;                                                                                   \
        return supports(i);                                                                        \
    }                                                                                              \
    static ptq_status run##i(ptq_dev *d, const ptq_k_gemm *a)                                      \
    {                                                                                              \
        (void)d;                                                                                   \
        (void)a;                                                                                   \
        return run(i);                                                                             \
    }                                                                                              \
    static const ptq_k_gemm_row row##i = {name, supports##i, run##i};
ROW(0, "lt1")
ROW(1, "own_64x64")
ROW(2, "slow_64x64")

static const ptq_k_gemm_row *choose(const char *text, bool frozen, ptq_status *s)
{
    ptq_k_gemm a = matrix(64, 64, 64);
    ptq_gpu_tuner *t;
    const ptq_k_gemm_row *row = NULL;
    memset(calls, 0, sizeof calls);
    ck_assert_ok(ptq_gpu_tuner_new(&t));
    ck_assert_ok(ptq_gpu_tuner_read(t, text, frozen));
    *s = ptq_gpu_tuner_choose(t, dev, &a, &row);
    ptq_gpu_tuner_free(t);
    return row;
}

START_TEST(gpu_lt__tuner)
{
    static const ptq_status leaves[] = {PTQ_ERR_NOMEM, PTQ_ERR_UNSUPPORTED, PTQ_ERR_DEVICE};
    ptq_status s;
    start();
    static const ptq_k_gemm_row *const rows[] = {&row0, &row1, &row2, NULL};
    ptq_fake_rows = rows;
    able[0] = able[1] = able[2] = true;
    memset(outcome, 0, sizeof outcome);
    ck_assert_ptr_eq(choose("", false, &s), &row0);
    ck_assert_int_eq(calls[2], 3); /* takes so long that it is not timed */
    for (size_t i = 0; i < PTQ_COUNT(leaves); i++) {
        outcome[0] = leaves[i];
        outcome[1] = PTQ_OK;
        ck_assert_ptr_eq(choose("", false, &s), &row1);
        outcome[1] = leaves[i];
        able[2] = false;
        ck_assert_ptr_null(choose("", false, &s));
        ck_assert_int_eq(s, leaves[i]);
        able[2] = true;
    }
    /* memory for the first runs and not for the next: no choice, however fast those were; the row behind is tried */
    memset(outcome, 0, sizeof outcome);
    outcome[1] = PTQ_ERR_NOMEM;
    for (good_calls[1] = 1; good_calls[1] < 4; good_calls[1]++) {
        ck_assert_ptr_eq(choose("", false, &s), &row0);
        ck_assert_int_eq(calls[1], good_calls[1] + 1);
        ck_assert_int_eq(calls[2], 3);
    }
    outcome[0] = PTQ_ERR_DEVICE;
    outcome[1] = PTQ_OK;
    ptq_fake_fail(1, PTQ_ERR_DEVICE); /* the row has left a device that does not work */
    ck_assert_ptr_null(choose("", false, &s));
    ck_assert_int_eq(s, PTQ_ERR_DEVICE);
    ptq_fake_fail(0, PTQ_ERR_DEVICE);

    /* A plan that was made where the library was. */
    const char *plan = "gemm 64 64 64 64 1 1 1 1 1 1 1 1 1 1 0 1 0 0 0 0 lt1 5.000\n";
    memset(outcome, 0, sizeof outcome);
    ck_assert_ptr_eq(choose(plan, true, &s), &row0);
    able[0] = false;
    ck_assert_ptr_eq(choose(plan, true, &s), &row1);
    ck_assert_int_eq(calls[1], 0); /* not measured */
    ck_assert_ptr_eq(choose(plan, false, &s), &row1);
    ck_assert_int_gt(calls[1], 0);
    ptq_fake_rows = NULL;
    stop(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cuBLASLt");
    TCase *t = tcase_create("lt");
    tcase_add_test(t, gpu_lt__products);
    tcase_add_test(t, gpu_lt__asked_once);
    tcase_add_test(t, gpu_lt__asked_again);
    tcase_add_test(t, gpu_lt__order_of_sums);
    tcase_add_test(t, gpu_lt__memory);
    tcase_add_test(t, gpu_lt__failures);
    tcase_add_test(t, gpu_lt__no_library);
    tcase_add_test(t, gpu_lt__rows);
    tcase_add_test(t, gpu_lt__tuner);
    suite_add_tcase(s, t);
    return unit_run(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a row-major matrix is that of its transpose to cuBLASLt, whose matrices are column-major. So
 *     x       [m][c]                is  X, c x m,         step c
 *     weights [npad][kpad]          is  W, c x columns,   step kpad (what lies behind c is not read)
 *     sums    [m][columns]          is  S, columns x m,   step columns
 * and S = W^T X, the form ("TN") that its integer kernels have. Column j of the sums is of row j of the weights. */
#include "lib/gpu/lt.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
const char ptq_lt_file[] = "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR);

/* A product goes in chunks of rows whose sums stay in the second-level cache until they are read again. */
enum { SUMS = 16 << 20, WORKSPACE = 16 << 20, UNIT = 128, ALIGNMENT = 16, PLACE = 256 };
enum { MOST_K = 1 << 16 }; /* no sum is beyond 2^30 */

#define FUNCTIONS(F)                                                                               \
    F(cublasLtCreate) F(cublasLtDestroy) F(cublasLtMatmulDescCreate) F(cublasLtMatmulDescDestroy)  \
    F(cublasLtMatmulDescSetAttribute) F(cublasLtMatmulPreferenceCreate)                            \
    F(cublasLtMatmulPreferenceDestroy) F(cublasLtMatmulPreferenceSetAttribute)                     \
    F(cublasLtMatrixLayoutCreate) F(cublasLtMatrixLayoutDestroy) F(cublasLtMatmulAlgoGetHeuristic) \
    F(cublasLtMatmul)

/* Chunks of one number of rows. */
typedef struct chunk {
    int64_t rows;
    cublasLtMatrixLayout_t w, x, sums;
    cublasLtMatmulHeuristicResult_t way[PTQ_LT_WAYS];
    int ways;
} chunk;

typedef struct plan {
    int64_t m, columns, k, step; /* of which products; m 0: of none */
    chunk whole, rest;           /* rest: the last one, where it has less rows */
} plan;

struct ptq_lt {
    void *lib;
    struct {
#define FIELD(name) __typeof__(name) *name;
        FUNCTIONS(FIELD)
#undef FIELD
    } f;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasLtMatmulPreference_t wish;
    char *scratch; /* sums, then workspace */
    size_t bytes;
    plan plan; /* the last: a product is asked for before it is run, and for each way */
};

static bool good(cublasStatus_t e)
{
    return e == CUBLAS_STATUS_SUCCESS;
}

/* ---- the library ---- */

static bool find(void *lib, const char *name, void *function)
{
    void *f = dlsym(lib, name);
    memcpy(function, &f, sizeof f);
    return f != NULL;
}

/* Never unloaded: it has registered itself with the driver. */
static bool load(ptq_lt *lt, const char *file)
{
    lt->lib = dlopen(file, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
#define FIND(name) &&find(lt->lib, #name, &lt->f.name)
    return lt->lib FUNCTIONS(FIND);
#undef FIND
}

static bool begin(ptq_lt *lt)
{
    const int32_t turned = CUBLAS_OP_T;
    const uint64_t space = WORKSPACE;
    const uint32_t align = ALIGNMENT;
    return good(lt->f.cublasLtCreate(&lt->handle)) &&
           good(lt->f.cublasLtMatmulDescCreate(&lt->product, CUBLAS_COMPUTE_32I, CUDA_R_32I)) &&
           good(lt->f.cublasLtMatmulDescSetAttribute(lt->product, CUBLASLT_MATMUL_DESC_TRANSA, &turned,
                                                     sizeof turned)) &&
           good(lt->f.cublasLtMatmulPreferenceCreate(&lt->wish)) &&
           good(lt->f.cublasLtMatmulPreferenceSetAttribute(lt->wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &space,
                                                           sizeof space)) &&
           good(lt->f.cublasLtMatmulPreferenceSetAttribute(lt->wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                                           &align, sizeof align)) &&
           good(lt->f.cublasLtMatmulPreferenceSetAttribute(lt->wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                           &align, sizeof align));
}

ptq_lt *ptq_lt_open(const char *file)
{
    ptq_lt *lt = ptq_calloc(1, sizeof *lt);
    if (!lt || (load(lt, file) && begin(lt)))
        return lt;
    ptq_lt_close(lt, NULL);
    return NULL;
}

static void end_chunk(ptq_lt *lt, chunk *c)
{
    if (c->w)
        lt->f.cublasLtMatrixLayoutDestroy(c->w);
    if (c->x)
        lt->f.cublasLtMatrixLayoutDestroy(c->x);
    if (c->sums)
        lt->f.cublasLtMatrixLayoutDestroy(c->sums);
}

static void end_plan(ptq_lt *lt)
{
    end_chunk(lt, &lt->plan.whole);
    end_chunk(lt, &lt->plan.rest);
    lt->plan = (plan){.m = 0};
}

void ptq_lt_close(ptq_lt *lt, ptq_dev *d)
{
    if (!lt)
        return;
    end_plan(lt);
    if (lt->scratch)
        ptq_dev_free(d, lt->scratch);
    if (lt->wish)
        lt->f.cublasLtMatmulPreferenceDestroy(lt->wish);
    if (lt->product)
        lt->f.cublasLtMatmulDescDestroy(lt->product);
    if (lt->handle)
        lt->f.cublasLtDestroy(lt->handle);
    if (lt->lib)
        dlclose(lt->lib);
    free(lt);
}

/* ---- a product ---- */

/* A matrix product of signed bytes that start at 16 bytes. */
static bool fits(const ptq_k_gemm *a)
{
    return a->kernel_h == 1 && a->kernel_w == 1 && a->stride_h == 1 && a->stride_w == 1 && a->pad_h == 0 &&
           a->pad_w == 0 && a->out_h == a->in_h && a->out_w == a->in_w && a->x_signed && a->c % ALIGNMENT == 0 &&
           a->c <= MOST_K && a->m > 0 && a->m < INT32_MAX - 256 && a->n > 0 && (uintptr_t)a->x % ALIGNMENT == 0;
}

/* Chunks are about equal, so that none is left with a few rows. */
static int64_t chunk_rows(const ptq_k_gemm *a)
{
    int64_t most = SUMS / (int64_t)sizeof(int32_t) / ptq_lt_columns(a) / UNIT * UNIT;
    if (most < UNIT)
        most = UNIT;
    int64_t chunks = (a->m + most - 1) / most;
    return ((a->m + chunks - 1) / chunks + UNIT - 1) / UNIT * UNIT;
}

/* false: asking failed, which says nothing of the next time. No ways: there are none. */
static bool begin_chunk(ptq_lt *lt, const ptq_k_gemm *a, int64_t rows, chunk *c)
{
    uint64_t k = (uint64_t)a->c, m = (uint64_t)rows, columns = (uint64_t)ptq_lt_columns(a);
    cublasLtMatmulHeuristicResult_t found[PTQ_LT_WAYS];
    int n = 0;
    c->rows = rows;
    if (!good(lt->f.cublasLtMatrixLayoutCreate(&c->w, CUDA_R_8I, k, columns, a->kpad)) ||
        !good(lt->f.cublasLtMatrixLayoutCreate(&c->x, CUDA_R_8I, k, m, a->c)) ||
        !good(lt->f.cublasLtMatrixLayoutCreate(&c->sums, CUDA_R_32I, columns, m, (int64_t)columns)) ||
        !good(lt->f.cublasLtMatmulAlgoGetHeuristic(lt->handle, lt->product, c->w, c->x, c->sums, c->sums, lt->wish,
                                                   PTQ_LT_WAYS, found, &n)))
        return false;
    for (int i = 0; i < n; i++)
        if (good(found[i].state) && found[i].workspaceSize <= WORKSPACE)
            c->way[c->ways++] = found[i];
    return true;
}

/* A plan that could not be made is not kept. */
static void begin_plan(ptq_lt *lt, const ptq_k_gemm *a)
{
    int64_t rows = chunk_rows(a), rest = a->m % rows;
    end_plan(lt);
    lt->plan = (plan){.m = a->m, .columns = ptq_lt_columns(a), .k = a->c, .step = a->kpad};
    bool made = begin_chunk(lt, a, a->m < rows ? a->m : rows, &lt->plan.whole);
    if (made && a->m > rows && rest)
        made = begin_chunk(lt, a, rest, &lt->plan.rest);
    if (!made)
        end_plan(lt);
}

/* Until another product is asked for; NULL where the way cannot be gone. The rest may have fewer ways; it takes the
 * last it has. */
static const plan *plan_of(ptq_lt *lt, const ptq_k_gemm *a, int way)
{
    const plan *p = &lt->plan;
    if (!fits(a))
        return NULL;
    if (p->m != a->m || p->columns != ptq_lt_columns(a) || p->k != a->c || p->step != a->kpad)
        begin_plan(lt, a);
    return way < p->whole.ways && (!p->rest.rows || p->rest.ways > 0) ? p : NULL;
}

bool ptq_lt_can(ptq_lt *lt, const ptq_k_gemm *a, int way)
{
    return lt && plan_of(lt, a, way);
}

static const cublasLtMatmulHeuristicResult_t *way_of(const chunk *c, int way)
{
    return &c->way[way < c->ways ? way : c->ways - 1];
}

/* The new memory comes first: where a run is recorded that is refused, and the old must stay. */
static ptq_status room(ptq_lt *lt, ptq_dev *d, size_t bytes)
{
    void *more;
    if (bytes <= lt->bytes)
        return PTQ_OK;
    PTQ_TRY(ptq_dev_alloc(d, bytes, &more));
    ptq_dev_free(d, lt->scratch);
    lt->scratch = more;
    lt->bytes = bytes;
    return PTQ_OK;
}

static ptq_status run_chunk(ptq_lt *lt, ptq_dev *d, const ptq_k_gemm *a, const chunk *c, int way, int64_t first,
                            char *workspace, size_t space)
{
    const int32_t one = 1, none = 0;
    const cublasLtMatmulAlgo_t *algorithm = &way_of(c, way)->algo;
    cublasStatus_t e = lt->f.cublasLtMatmul(lt->handle, lt->product, &one, a->w, c->w, a->x + first * a->c, c->x, &none,
                                            lt->scratch, c->sums, lt->scratch, c->sums, algorithm, workspace, space,
                                            ptq_dev_stream(d));
    if (good(e))
        return PTQ_OK;
    ptq_status s = e == CUBLAS_STATUS_ALLOC_FAILED ? PTQ_ERR_NOMEM
                   : e == CUBLAS_STATUS_NOT_SUPPORTED || e == CUBLAS_STATUS_ARCH_MISMATCH ||
                             e == CUBLAS_STATUS_INVALID_VALUE
                       ? PTQ_ERR_UNSUPPORTED
                       : PTQ_ERR_DEVICE;
    return ptq_fail(s, "cuBLASLt: a product of %lld x %d x %d failed with status %d", (long long)c->rows, a->n, a->c,
                    (int)e);
}

static ptq_status run_plan(ptq_lt *lt, ptq_dev *d, const ptq_k_gemm *a, const plan *p, int way, ptq_lt_end end)
{
    size_t sums = (size_t)(p->whole.rows * ptq_lt_columns(a)) * sizeof(int32_t);
    size_t space = way_of(&p->whole, way)->workspaceSize;
    if (p->rest.rows && way_of(&p->rest, way)->workspaceSize > space)
        space = way_of(&p->rest, way)->workspaceSize;
    sums = (sums + PLACE - 1) / PLACE * PLACE;
    PTQ_TRY(room(lt, d, sums + space));
    char *workspace = space ? lt->scratch + sums : NULL;
    for (int64_t first = 0; first < a->m; first += p->whole.rows) {
        const chunk *c = a->m - first < p->whole.rows ? &p->rest : &p->whole;
        PTQ_TRY(run_chunk(lt, d, a, c, way, first, workspace, space));
        PTQ_TRY(end(d, a, (const int32_t *)(const void *)lt->scratch, first, c->rows));
    }
    return PTQ_OK;
}

ptq_status ptq_lt_product(ptq_lt *lt, ptq_dev *d, const ptq_k_gemm *a, int way, ptq_lt_end end)
{
    const plan *p = plan_of(lt, a, way);
    return p ? run_plan(lt, d, a, p, way, end)
             : ptq_fail(PTQ_ERR_UNSUPPORTED, "cuBLASLt has no way %d to a product of %lld x %d x %d", way,
                        (long long)a->m, a->n, a->c);
}

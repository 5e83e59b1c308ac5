/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend: instruction sets, scratch memory and the dispatch from steps to kernel rows. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "lib/cpu/cpu.h"
#include "lib/cpu/peaks.h"
#include "lib/cpu/widen.h"

#include <stdlib.h>
#include <string.h>

/* ---- instruction sets ---- */

static const char *const isa_names[] = {"ref", "avx2", "avx512", "vnni"};

ptq_isa ptq_isa_best(void)
{
#if defined(PTQ_X86)
    /* The compiler's run-time support reads cpuid and XCR0 (does the system save the registers?). */
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return PTQ_ISA_REF;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        return PTQ_ISA_AVX2;
    return __builtin_cpu_supports("avx512vnni") ? PTQ_ISA_VNNI : PTQ_ISA_AVX512;
#else
    return PTQ_ISA_REF;
#endif
}

const char *ptq_isa_name(ptq_isa isa)
{
    return (size_t)isa < PTQ_COUNT(isa_names) ? isa_names[isa] : "unknown";
}

ptq_status ptq_isa_parse(const char *name, ptq_isa *out)
{
    for (size_t i = 0; i < PTQ_COUNT(isa_names); i++) {
        if (strcmp(name, isa_names[i]) != 0)
            continue;
        if ((ptq_isa)i > ptq_isa_best())
            return ptq_fail(PTQ_ERR_UNSUPPORTED,
                            "instruction set %s: this machine has %s at most", name,
                            ptq_isa_name(ptq_isa_best()));
        *out = (ptq_isa)i;
        return PTQ_OK;
    }
    return ptq_fail(PTQ_ERR_ARG, "instruction set \"%s\" is not known; use ref, avx2, avx512 or vnni",
                    name);
}

/* ---- scratch and outputs ---- */

void *ptq_cpu_scratch(ptq_cpu *c, size_t nbytes)
{
    if (nbytes <= c->scratch_bytes && c->scratch)
        return c->scratch;
    size_t want = nbytes > c->scratch_bytes + c->scratch_bytes / 2
                      ? nbytes
                      : c->scratch_bytes + c->scratch_bytes / 2;
    free(c->scratch); /* its contents need not survive */
    c->scratch = ptq_alloc_aligned(want);
    c->scratch_bytes = c->scratch ? want : 0;
    return c->scratch;
}

ptq_status ptq_cpu_out(const ptq_step_run *r, int i, int rank, const int64_t *dims)
{
    ptq_tensor *t = &r->out[i];
    if (rank < 0 || rank > PTQ_MAX_RANK)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: output %d has rank %d, at most %d is supported",
                        r->step->name, i, rank, PTQ_MAX_RANK);
    t->rank = rank;
    for (int d = 0; d < rank; d++)
        t->dims[d] = dims[d];
    return ptq_tensor_alloc(t);
}

/* ---- pieces over the pool ---- */

typedef struct ranges {
    int64_t n, piece;
    ptq_range_fn fn;
    const void *ctx;
} ranges;

static ptq_status range_task(void *arg, size_t i, int worker)
{
    const ranges *r = arg;
    int64_t from = (int64_t)i * r->piece;
    int64_t to = from + r->piece < r->n ? from + r->piece : r->n;
    r->fn(r->ctx, from, to, worker);
    return PTQ_OK;
}

ptq_status ptq_cpu_ranges(ptq_cpu *c, int64_t n, int64_t grain, ptq_range_fn fn, const void *ctx)
{
    int threads = ptq_pool_threads(c->pool);
    if (n <= 0)
        return PTQ_OK;
    if (grain < 1)
        grain = 1;
    if (threads == 1 || n <= grain) {
        fn(ctx, 0, n, 0);
        return PTQ_OK;
    }
    int64_t pieces = n / grain, most = 4 * (int64_t)threads;
    pieces = pieces < most ? pieces : most;
    ranges r = {.n = n, .piece = (n + pieces - 1) / pieces, .fn = fn, .ctx = ctx};
    return ptq_pool_for(c->pool, (size_t)((n + r.piece - 1) / r.piece), range_task, &r);
}

/* ---- kernel rows ---- */

typedef struct float_row {
    const char *op, *domain;
    const ptq_cpu_kernel *kernel;
} float_row;

#define PTQ_CPU_FLOAT(op, domain, symbol) extern const ptq_cpu_kernel ptq_cpu_f_##symbol;
#include "lib/cpu/kernels_float.def"
#undef PTQ_CPU_FLOAT
#define PTQ_CPU_INT(name) extern const ptq_cpu_kernel ptq_cpu_int_##name;
#include "lib/cpu/kernels_int.def"
#undef PTQ_CPU_INT

static const float_row float_rows[] = {
#define PTQ_CPU_FLOAT(op, domain, symbol) {#op, domain, &ptq_cpu_f_##symbol},
#include "lib/cpu/kernels_float.def"
#undef PTQ_CPU_FLOAT
    {NULL, NULL, NULL}};

static const ptq_cpu_kernel *const int_rows[] = {
#define PTQ_CPU_INT(name) &ptq_cpu_int_##name,
#include "lib/cpu/kernels_int.def"
#undef PTQ_CPU_INT
    NULL};

const ptq_cpu_kernel *ptq_cpu_kernel_float(const char *op, const char *domain)
{
    if (strcmp(domain, "ai.onnx") == 0)
        domain = "";
    for (const float_row *r = float_rows; r->op; r++)
        if (strcmp(r->op, op) == 0 && strcmp(r->domain, domain) == 0)
            return r->kernel;
    return NULL;
}

const ptq_cpu_kernel *ptq_cpu_kernel_int(const char *step)
{
    for (const ptq_cpu_kernel *const *r = int_rows; *r; r++)
        if (strcmp((*r)->name, step) == 0)
            return *r;
    return NULL;
}

static const ptq_cpu_kernel *kernel_of(const ptq_step *s)
{
    if (strcmp(s->def->name, "float") == 0)
        return ptq_cpu_kernel_float(s->node->op, s->node->domain);
    return ptq_cpu_kernel_int(s->def->name);
}

/* ---- the backend ---- */

struct ptq_backend {
    ptq_cpu cpu;
    size_t pack_limit, packed; /* bytes of large constants whose packed form stays */
};

static bool cpu_probe(char *text, size_t n)
{
    snprintf(text, n, "CPU, instruction set %s", ptq_isa_name(ptq_isa_best()));
    return true;
}

static ptq_status cpu_open(const ptq_backend_options *opt, ptq_backend **out)
{
    ptq_isa isa = ptq_isa_best();
    const char *cap = opt && opt->isa ? opt->isa : getenv("PTQ_ISA");
    if (cap && *cap)
        PTQ_TRY(ptq_isa_parse(cap, &isa));
    ptq_backend *b = ptq_calloc(1, sizeof *b);
    if (!b)
        return ptq_fail_nomem();
    b->cpu.pool = opt ? opt->pool : NULL;
    b->cpu.isa = isa;
    b->pack_limit = opt && opt->pack_bytes ? opt->pack_bytes : SIZE_MAX;
    *out = b;
    return PTQ_OK;
}

static void cpu_close(ptq_backend *b)
{
    if (!b)
        return;
    free(b->cpu.scratch);
    free(b);
}

static ptq_status cpu_alloc(ptq_backend *b, size_t nbytes, void **out)
{
    (void)b;
    void *p = ptq_alloc_aligned(nbytes);
    if (!p)
        return ptq_fail_nomem();
    *out = p;
    return PTQ_OK;
}

static void cpu_free(ptq_backend *b, void *p)
{
    (void)b;
    free(p);
}

static bool cpu_supports(ptq_backend *b, const ptq_program *p, const ptq_step *s, const char **why)
{
    (void)b;
    const ptq_cpu_kernel *k = kernel_of(s);
    if (!k) {
        if (why)
            *why = "no kernel for this operator";
        return false;
    }
    if (s->node && !s->node->def && strcmp(s->def->name, "float") == 0) {
        if (why)
            *why = p->graph && p->graph->opset < 7
                       ? "its form is of before opset 7; see onnx.version_converter"
                       : "this opset does not have it";
        return false;
    }
    return ptq_widen_supports(k, p, s, why) && (!k->supports || k->supports(p, s, why));
}

static ptq_status no_kernel(const ptq_step *s)
{
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: operator %s has no CPU kernel", s->name,
                    s->node ? s->node->op : s->def->name);
}

/* Finding a row by name takes as long as a small step, so it is done once. */
typedef struct cpu_step {
    const ptq_cpu_kernel *kernel;
    void *state;
    ptq_tensor *wide; /* constants in types that the kernel takes, or NULL */
    const ptq_program *late; /* prepared in each run; NULL: once */
} cpu_step;

/* Large constants of a step, in bytes. */
static size_t large_constants(const ptq_program *p, const ptq_step *s)
{
    enum { LARGE = 1 << 20 };
    size_t sum = 0;
    for (int i = 0; i < s->nin; i++) {
        const ptq_tensor *t = s->in[i] < 0 ? NULL : p->values.v[s->in[i]].constant;
        sum += t && t->nbytes >= LARGE ? t->nbytes : 0;
    }
    return sum;
}

/* What has been packed, or will not be read before the next run, need not stay. */
static void rest_constants(const ptq_program *p, const ptq_step *s)
{
    for (int i = 0; i < s->nin; i++)
        if (s->in[i] >= 0)
            ptq_graph_rest(p->graph, p->values.v[s->in[i]].constant);
}

static ptq_status cpu_prepare(ptq_backend *b, const ptq_program *p, const ptq_step *s, void **state)
{
    const ptq_cpu_kernel *k = kernel_of(s);
    if (!k)
        return no_kernel(s);
    cpu_step *own = ptq_calloc(1, sizeof *own);
    if (!own)
        return ptq_fail_nomem();
    own->kernel = k;
    size_t large = k->prepare || ptq_widen_any(k, p, s) ? large_constants(p, s) : 0;
    *state = own;
    if (large > b->pack_limit - b->packed) {
        own->late = p;
        return PTQ_OK;
    }
    b->packed += large;
    ptq_status e = ptq_widen_constants(&b->cpu, k, p, s, &own->wide);
    if (e == PTQ_OK && k->prepare)
        e = ptq_widen_prepare(&b->cpu, k, p, s, own->wide, &own->state);
    if (e != PTQ_OK) {
        *state = NULL;
        ptq_widen_free(s, own->wide);
        free(own);
        return e;
    }
    if (own->state || own->wide)
        rest_constants(p, s);
    return PTQ_OK;
}

static void release_state(const ptq_cpu_kernel *k, void *state)
{
    if (state && k->release)
        k->release(state);
    else
        free(state);
}

static void cpu_release(ptq_backend *b, const ptq_step *s, void *state)
{
    (void)b;
    cpu_step *own = state;
    if (!own)
        return;
    ptq_widen_free(s, own->wide);
    release_state(own->kernel, own->state);
    free(own);
}

static ptq_status cpu_run(ptq_backend *b, const ptq_step_run *r)
{
    const cpu_step *own = r->state;
    const ptq_cpu_kernel *k = own->kernel;
    if (r->step->nout > 0 && r->step->out[0] >= 0 && !r->out[0].data && !k->finds_shape)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: the shape of its output is not known",
                        r->step->name);
    ptq_step_run inner = *r;
    inner.state = own->state;
    if (!own->late)
        return ptq_widen_run(&b->cpu, k, &inner, own->wide);
    if (k->prepare && !k->unprepared)
        PTQ_TRY(ptq_widen_prepare(&b->cpu, k, own->late, r->step, NULL, &inner.state));
    ptq_status s = ptq_widen_run(&b->cpu, k, &inner, NULL);
    release_state(k, inner.state);
    rest_constants(own->late, r->step);
    return s;
}

static uint32_t cpu_over(const ptq_step *s)
{
    const ptq_cpu_kernel *k = kernel_of(s);
    return !k ? 0 : s->nout > 1 ? k->over_of_two : k->over;
}

static ptq_status cpu_peaks(ptq_backend *b, ptq_peaks *out)
{
    return ptq_cpu_peaks(&b->cpu, out);
}

/* upload and download are NULL: tensors lie in host memory. */
extern const ptq_backend_ops ptq_backend_cpu;
const ptq_backend_ops ptq_backend_cpu = {
    .name = "cpu",
    .summary = "this machine's processor",
    .probe = cpu_probe,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .supports = cpu_supports,
    .prepare = cpu_prepare,
    .release = cpu_release,
    .run = cpu_run,
    .over = cpu_over,
    .conv_sums = true,
    .conv_sums_apart = true,
    .peaks = cpu_peaks,
};

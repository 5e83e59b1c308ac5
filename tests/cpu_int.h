/* SPDX-License-Identifier: Apache-2.0 */
/* One integer step on made-up tensors, run by every kernel this machine has: for the tests and
 * the bench of lib/cpu/int_*.c. */
#ifndef PTQ_TESTS_CPU_INT_H
#define PTQ_TESTS_CPU_INT_H

#include <stdlib.h>
#include <string.h>

#include "lib/cpu/int.h"

enum { BED_IN = 5, BED_GUARD = 64 };

typedef struct bed {
    const char *kind, *op; /* op: of the anchor; NULL: Conv */
    int nin;
    ptq_tensor in[BED_IN];
    ptq_layout in_layout[BED_IN];
    bool constant[BED_IN];
    ptq_tensor out; /* dtype and dims */
    ptq_layout out_layout;
    const void *params;
    ptq_attr attrs[8];
    int64_t ints[8][6];
    int nattrs;
    /* made by bed_open */
    ptq_program prog;
    ptq_pvalue values[BED_IN + 1];
    ptq_node node;
    ptq_step_def def;
    ptq_step step;
    ptq_step_run run;
    const ptq_tensor *ins[BED_IN];
    int in_idx[BED_IN], out_idx[1];
    uint8_t *mem;
} bed;

static inline void bed_ints(bed *b, const char *name, int n, const int64_t *v)
{
    ptq_attr *a = &b->attrs[b->nattrs];
    memcpy(b->ints[b->nattrs], v, sizeof *v * (size_t)n);
    *a = (ptq_attr){.name = name, .type = PTQ_ATTR_INTS, .n = (size_t)n, .ints = b->ints[b->nattrs]};
    b->nattrs++;
}

static inline void bed_int(bed *b, const char *name, int64_t v)
{
    b->attrs[b->nattrs++] = (ptq_attr){.name = name, .type = PTQ_ATTR_INT, .i = v};
}

static inline ptq_tensor bed_tensor(ptq_dtype t, int rank, const int64_t *dims)
{
    ptq_tensor x = {.dtype = t, .rank = rank};
    for (int i = 0; i < rank; i++)
        x.dims[i] = dims[i];
    if (ptq_tensor_alloc(&x) != PTQ_OK)
        abort();
    return x;
}

/* Wires the parts together; the bed must not move afterwards. */
static inline void bed_open(bed *b)
{
    for (int i = 0; i < b->nattrs; i++)
        if (b->attrs[i].ints)
            b->attrs[i].ints = b->ints[i];
    b->node = (ptq_node){.name = "n", .op = b->op ? b->op : "Conv", .domain = "", .attrs = b->attrs, .nattrs = b->nattrs};
    b->def = (ptq_step_def){.name = b->kind, .integer = true};
    b->step = (ptq_step){.def = &b->def, .node = &b->node, .name = "n", .nin = b->nin, .nout = 1,
                         .in = b->in_idx, .out = b->out_idx, .params = b->params};
    for (int i = 0; i < b->nin; i++) {
        b->in_idx[i] = i;
        b->ins[i] = &b->in[i];
        b->values[i] = (ptq_pvalue){.dtype = b->in[i].dtype, .layout = b->in_layout[i],
                                    .constant = b->constant[i] ? &b->in[i] : NULL};
    }
    b->out_idx[0] = b->nin;
    b->values[b->nin] = (ptq_pvalue){.dtype = b->out.dtype, .layout = b->out_layout};
    b->prog.values.v = b->values;
    b->prog.values.n = (size_t)b->nin + 1;
    if (!ptq_tensor_nbytes(b->out.dtype, b->out.rank, b->out.dims, &b->out.nbytes))
        abort();
    b->mem = ptq_alloc_aligned(b->out.nbytes + 2 * BED_GUARD);
    b->out.data = b->mem + BED_GUARD;
    b->run = (ptq_step_run){.step = &b->step, .in = b->ins, .in_layout = b->in_layout, .out = &b->out,
                            .out_layout = &b->out_layout};
}

static inline void bed_close(bed *b)
{
    for (int i = 0; i < b->nin; i++)
        free(b->in[i].data);
    free(b->mem);
    memset(b, 0, sizeof *b);
}

/* Runs the step; fills the output's surroundings first and checks them afterwards. */
static inline ptq_status bed_run(bed *b, ptq_cpu *c, int repeat)
{
    const ptq_cpu_kernel *k = ptq_cpu_kernel_int(b->kind);
    if (!k)
        return ptq_fail(PTQ_ERR_INTERNAL, "no row for %s", b->kind);
    const char *why = "";
    if (k->supports && !k->supports(&b->prog, &b->step, &why))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "%s", why);
    memset(b->mem, 0xa5, b->out.nbytes + 2 * BED_GUARD);
    void *state = NULL;
    if (k->prepare)
        PTQ_TRY(k->prepare(c, &b->prog, &b->step, &state));
    b->run.state = state;
    ptq_status s = PTQ_OK;
    for (int i = 0; i < repeat && s == PTQ_OK; i++)
        s = k->run(c, &b->run);
    if (k->release)
        k->release(state);
    else
        free(state);
    for (int i = 0; i < BED_GUARD; i++)
        if (b->mem[i] != 0xa5 || b->mem[BED_GUARD + b->out.nbytes + (size_t)i] != 0xa5)
            return ptq_fail(PTQ_ERR_INTERNAL, "%s wrote outside its output", b->kind);
    return s;
}

#ifdef PTQ_TEST_GPU
#include "tests/gpu.h"

static inline ptq_status bed_run_on(bed *b, const ptq_backend_ops *ops, ptq_backend *dev, void **mem)
{
    uint32_t host = ops->host_inputs(dev, &b->prog, &b->step);
    ptq_tensor in[BED_IN], out = b->out;
    const ptq_tensor *ins[BED_IN];
    ptq_step_run run = b->run;
    for (int i = 0; i < b->nin; i++) {
        in[i] = b->in[i];
        ins[i] = &in[i];
        if (host >> i & 1)
            continue;
        PTQ_TRY(ops->alloc(dev, in[i].nbytes, &mem[i]));
        PTQ_TRY(ops->upload(dev, mem[i], in[i].data, in[i].nbytes));
        in[i].data = mem[i];
    }
    PTQ_TRY(ops->alloc(dev, out.nbytes + 2 * BED_GUARD, &mem[BED_IN]));
    memset(b->mem, 0xa5, out.nbytes + 2 * BED_GUARD);
    PTQ_TRY(ops->upload(dev, mem[BED_IN], b->mem, out.nbytes + 2 * BED_GUARD));
    out.data = (char *)mem[BED_IN] + BED_GUARD;
    run.in = ins;
    run.out = &out;
    run.state = NULL;
    PTQ_TRY(ops->prepare(dev, &b->prog, &b->step, &run.state));
    ptq_status s = ops->run(dev, &run);
    ops->release(dev, &b->step, run.state);
    if (s == PTQ_OK)
        s = ops->download(dev, b->mem, mem[BED_IN], out.nbytes + 2 * BED_GUARD);
    for (int i = 0; i < BED_GUARD && s == PTQ_OK; i++)
        if (b->mem[i] != 0xa5 || b->mem[BED_GUARD + out.nbytes + (size_t)i] != 0xa5)
            return ptq_fail(PTQ_ERR_INTERNAL, "%s wrote outside its output", b->kind);
    return s;
}

/* The same step by the CUDA backend; the output comes back into the bed. */
static inline ptq_status bed_run_gpu(bed *b)
{
    const ptq_backend_ops *ops = &ptq_backend_cuda;
    ptq_backend *dev;
    void *mem[BED_IN + 1] = {NULL};
    const char *why = "";
    PTQ_TRY(ops->open(NULL, &dev));
    if (!ops->supports(dev, &b->prog, &b->step, &why)) {
        ops->close(dev);
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "%s: %s", b->kind, why);
    }
    ptq_status s = bed_run_on(b, ops, dev, mem);
    for (int i = 0; i <= BED_IN; i++)
        ops->free(dev, mem[i]);
    ops->close(dev);
    return s;
}
#endif

/* The kernel sets of this machine, the reference first. */
#if defined(PTQ_X86)
extern const ptq_int_dot ptq_int_dot_vnni_emu;
#endif
static inline size_t bed_isas(ptq_int_isa *out)
{
    size_t n = 0;
    out[n++] = (ptq_int_isa){"ref", NULL, NULL};
#if defined(PTQ_X86)
    ptq_isa best = ptq_isa_best();
    if (best >= PTQ_ISA_AVX2)
        out[n++] = (ptq_int_isa){"avx2", &ptq_int_dot_avx2, &ptq_int_vec_avx2};
    if (best >= PTQ_ISA_AVX512) {
        out[n++] = (ptq_int_isa){"avx512", &ptq_int_dot_avx512, &ptq_int_vec_avx512};
        out[n++] = (ptq_int_isa){"vnni-emulated", &ptq_int_dot_vnni_emu, &ptq_int_vec_avx512};
    }
    if (best >= PTQ_ISA_VNNI)
        out[n++] = *ptq_int_isa_of(&(ptq_cpu){.isa = PTQ_ISA_VNNI});
#endif
    return n;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the CUDA backend: g_*.c turn steps into kernel arguments, k_*.cu hold the kernels,
 * dev.h the device. A kernel row answers for one kind of step or one float operator. */
#ifndef PTQ_GPU_GPU_H
#define PTQ_GPU_GPU_H

#include "lib/exec/geometry.h"
#include "lib/exec/walk.h"
#include "lib/gpu/tune.h"

enum { PTQ_GPU_SCRATCHES = 2 };
typedef struct ptq_gpu {
    ptq_dev *dev;
    struct {
        void *p; /* device bytes that live during one run of one step */
        size_t nbytes;
    } scratch[PTQ_GPU_SCRATCHES];
    ptq_gpu_tuner *tuner; /* shared by the lines of work on one device */
    bool fast;            /* fast math */
} ptq_gpu;

typedef struct ptq_gpu_kernel {
    const char *name;
    /* NULL: every step of the kind. On false *why is a static text. */
    bool (*supports)(const ptq_program *p, const ptq_step *s, const char **why);
    /* Bit i: input i is read on the host (or was packed by prepare). NULL: none. */
    uint32_t (*host_inputs)(const ptq_program *p, const ptq_step *s);
    ptq_status (*prepare)(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state);
    void (*release)(ptq_gpu *g, void *state);
    ptq_status (*run)(ptq_gpu *g, const ptq_step_run *r);
    /* `half_product` of the backend; NULL: this is no product. */
    bool (*half)(const ptq_program *p, const ptq_step *s, const char **why);
} ptq_gpu_kernel;

/* Device scratch of at least nbytes, valid until the next call for this `slot`. */
ptq_status ptq_gpu_scratch(ptq_gpu *g, int slot, size_t nbytes, void **out);
/* A device copy of n bytes; *out stays NULL when src is NULL. Freed with ptq_dev_free. */
ptq_status ptq_gpu_keep(ptq_gpu *g, const void *src, size_t n, void **out);

/* Copies elements of `bytes` bytes between device tensors as the walk tells: operand 0 is written,
 * operand 1 read. Bytes go through `table` (256 bytes of the device) unless it is NULL. */
ptq_status ptq_gpu_copy(ptq_gpu *g, ptq_walk *w, void *dst, const void *src, size_t bytes,
                        const uint8_t *table);

/* `halves` of the backend for the steps that have such kernels. */
uint32_t ptq_gpu_gemm_halves(const ptq_program *p, const ptq_step *s);
uint32_t ptq_gpu_qnorm_halves(void);

/* `conv_pools` of the backend. */
bool ptq_gpu_conv_pools(const ptq_program *p, const ptq_step *s, const ptq_node *pool);

/* From clocks, widths and units of the device (peaks.c). */
ptq_status ptq_gpu_peaks(const ptq_gpu *g, ptq_peaks *out);

/* The functions of ptq_tally_ops. */
ptq_status ptq_gpu_tally_open(ptq_gpu *g, size_t slots, size_t rows, size_t samples, ptq_tally **out);
void ptq_gpu_tally_close(ptq_tally *t);
ptq_status ptq_gpu_tally_add(ptq_tally *t, size_t slot, size_t row, const ptq_tally_values *v);
ptq_status ptq_gpu_tally_samples(ptq_tally *t, const struct ptq_summary **out);
ptq_status ptq_gpu_tally_take(ptq_tally *t, size_t slot, struct ptq_counts *out);

/* Constant input of a step, or NULL. */
static inline const ptq_tensor *ptq_gpu_constant(const ptq_program *p, const ptq_step *s, int i)
{
    return i < s->nin && s->in[i] >= 0 ? p->values.v[s->in[i]].constant : NULL;
}
static inline ptq_dtype ptq_gpu_dtype(const ptq_program *p, const ptq_step *s, int i)
{
    return i < s->nin && s->in[i] >= 0 ? p->values.v[s->in[i]].dtype : PTQ_DT_UNDEFINED;
}
static inline bool ptq_gpu_is8(ptq_dtype t)
{
    return t == PTQ_DT_S8 || t == PTQ_DT_U8;
}

#endif

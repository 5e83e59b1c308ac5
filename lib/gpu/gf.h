/* SPDX-License-Identifier: Apache-2.0 */
/* What turns float steps into kernel arguments (gf_*.c). */
#ifndef PTQ_GPU_GF_H
#define PTQ_GPU_GF_H

#include "lib/exec/float_args.h"
#include "lib/exec/walk.h"
#include "lib/gpu/gpu.h"
#include "lib/gpu/kernels_float.h"

/* Defines the kernel of a row in kernels_float.def: name, then members of ptq_gpu_kernel. */
#define PTQ_GF_ROW(symbol, ...)                                                                    \
    extern const ptq_gpu_kernel ptq_gpu_f_##symbol;                                                \
    const ptq_gpu_kernel ptq_gpu_f_##symbol = {__VA_ARGS__}

static inline ptq_kf_act ptq_gf_act(const ptq_step_run *r)
{
    ptq_act a = ptq_step_act(r->step);
    return (ptq_kf_act){a.on, a.lo, a.hi};
}

/* Merges the walk's dimensions; its bases are left to the caller. */
static inline ptq_kf_walk ptq_gf_walk(ptq_walk *w)
{
    ptq_kf_walk k = {0};
    ptq_walk_merge(w);
    k.nd = w->rank;
    for (int d = 0; d < w->rank; d++) {
        k.dim[d] = w->dims[d];
        for (int o = 0; o < w->nops; o++)
            k.step[o][d] = w->step[o][d];
    }
    return k;
}

/* Dense inputs broadcast to the dense output 0. */
static inline ptq_kf_walk ptq_gf_broadcast(const ptq_tensor *const *in, int nin, const ptq_tensor *y)
{
    ptq_walk w;
    ptq_walk_init(&w, y->rank, y->dims);
    for (int i = 0; i < nin; i++)
        ptq_walk_add(&w, in[i]->rank, in[i]->dims);
    return ptq_gf_walk(&w);
}

/* host_inputs: everything but input 0. */
static inline uint32_t ptq_gf_all_but_data(const ptq_program *p, const ptq_step *s)
{
    (void)p;
    (void)s;
    return ~1u;
}

/* Scale and bias of a LayerNormalization over n elements; smaller ones are spread out in scratch memory. */
ptq_status ptq_gf_spread_norm(ptq_gpu *g, const ptq_step_run *r, int axis, int64_t n, const float **scale,
                              const float **bias);

#endif

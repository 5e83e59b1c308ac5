/* SPDX-License-Identifier: Apache-2.0 */
/* What the fp32 convolutions share: padded planes. */
#ifndef PTQ_CPU_F_CONV_H
#define PTQ_CPU_F_CONV_H

#include "lib/cpu/fkernel.h"

/* The elements from, from + stride, ... of an input row lie side by side from `to` on. */
enum { FAST_STRIDE = 4 };
typedef struct ptq_conv_row {
    int64_t from, to, n;
} ptq_conv_row;

/* A padded plane split by stride phase, so that every tap reads neighbours for neighbouring outputs:
 * the element at padded position u lies in phase u % stride at u / stride. Phases that no tap
 * reads are left out. */
typedef struct ptq_conv_planes {
    int64_t q[3];  /* size of one phase plane */
    int64_t np[3]; /* phases kept per dimension */
    int64_t volume, size; /* floats of one phase, of all of them */
    int64_t phase0[3], at0[3]; /* where input element 0 lies */
    ptq_conv_row row[FAST_STRIDE]; /* of the last dimension by phase, up to that stride */
} ptq_conv_planes;

void ptq_conv_lay_planes(const ptq_conv_geometry *g, ptq_conv_planes *p);
/* Where each tap starts in the planes of a channel. */
void ptq_conv_tap_offsets(const ptq_conv_geometry *g, const ptq_conv_planes *p, int64_t *off);
void ptq_conv_fill_plane(const ptq_conv_geometry *g, const ptq_conv_planes *p, const float *x, float *dst);
/* Copies rows of n floats; short rows are the common case, calls would cost more than the copy. */
static inline void ptq_conv_copy_row(const float *x, int64_t step, float *dst, int64_t n)
{
    if (step == 1 && n >= 16) {
        memcpy(dst, x, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = x[i * step];
}

/* ---- outputs that read the input a constant distance away ---- */

/* Is every input dimension the stride times the output's? Then tap t of output i reads element i + off[t] of
 * the plane, whose stride phases lie one after the other (osize floats each), or the padding. */
bool ptq_conv_fits_window(const ptq_conv_geometry *g);
/* Where tap t reads, and for which outputs of `images` planes side by side: bit i of mask for output i. */
void ptq_conv_tap_mask(const ptq_conv_geometry *g, int64_t tap, int64_t images, int64_t phase_floats, int64_t *off,
                       uint16_t *mask);
/* The phases of a plane apart, `phase_floats` from one to the next. */
void ptq_conv_split_plane(const ptq_conv_geometry *g, const ptq_f32_fns *f, const float *x, float *dst,
                          int64_t phase_floats);

/* Packed weights: [groups][ptq_gemm_packed_a_floats]. */
typedef struct ptq_conv_window {
    const ptq_conv_geometry *g;
    const float *x, *packed, *bias, *add; /* add: as y, or NULL */
    float *y, *pre; /* pre: as y, or NULL; takes what add is added to, and y may be add then */
    ptq_act act;
} ptq_conv_window;
/* Does it pay? */
bool ptq_conv_takes_window(const ptq_cpu *c, const ptq_conv_geometry *g);
ptq_status ptq_conv_run_window(ptq_cpu *c, const ptq_conv_window *v);

/* y = act(x + add) over n elements: a sum that the kernel has not taken in. x may be y. */
ptq_status ptq_conv_add(ptq_cpu *c, const float *x, const float *add, float *y, int64_t n, ptq_act act);

/* One input channel per group: weights [m][kvol], bias or NULL. */
typedef struct ptq_conv_direct {
    const ptq_conv_geometry *g;
    const float *x, *w, *bias;
    float *y;
    ptq_act act;
} ptq_conv_direct;
ptq_status ptq_conv_run_direct(ptq_cpu *c, const ptq_conv_direct *v);

#endif

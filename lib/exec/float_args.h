/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes and arguments of float steps as numbers, the same for the kernels of every backend.
 * Arguments that are inputs (axes, pads) are read in host memory. */
#ifndef PTQ_EXEC_FLOAT_ARGS_H
#define PTQ_EXEC_FLOAT_ARGS_H

#include "lib/core/pad.h"
#include "lib/exec/args.h"

/* The activation fused behind a float step. */
static inline ptq_act ptq_step_act(const ptq_step *s)
{
    const ptq_float_params *p = s->params;
    return p ? p->act : (ptq_act){0};
}

/* Constant input of a step, or NULL. */
static inline const ptq_tensor *ptq_const_in(const ptq_program *p, const ptq_step *s, int i)
{
    return i < s->nin && s->in[i] >= 0 ? p->values.v[s->in[i]].constant : NULL;
}

/* Element types of a step's first `n` inputs (fewer when omitted) are all `t`. */
bool ptq_inputs_are(const ptq_program *p, const ptq_step *s, int first, int n, ptq_dtype t);
/* supports() of kernels that take only float32 inputs. */
bool ptq_supports_f32(const ptq_program *p, const ptq_step *s, const char **why);

/* The opset that a step's operator is read by; operators of com.microsoft do not change. */
static inline int ptq_step_opset(const ptq_program *p, const ptq_step *s)
{
    return s->node && s->node->domain[0] ? 1 << 20 : p->graph ? p->graph->opset : 0;
}

/* ---- Conv, ConvTranspose ---- */

/* Spatial sizes as three dimensions, missing ones are 1. A transposed convolution is one of stride
 * 1 over an input with `up` - 1 zeros between its elements, with mirrored weights. */
typedef struct ptq_conv_geometry {
    int64_t in[3], out[3], k[3], stride[3], dil[3], pad[3], up[3];
    int64_t batch, c, m, group, cg, mg, kvol, isize, osize;
    bool pointwise; /* an output element needs the input elements at its own place only */
} ptq_conv_geometry;
ptq_status ptq_conv_geometry_of(const ptq_step_run *r, bool transposed, ptq_conv_geometry *g);
/* The sum behind a Conv, input 3; NULL: none. */
ptq_status ptq_conv_sum_of(const ptq_step_run *r, const float **add);

/* ---- pools ---- */

typedef struct ptq_pool_geometry {
    int64_t in[3], out[3], k[3], stride[3], dil[3], pad[3], pad_end[3];
    int64_t isize, osize;
    bool include_pad, column_major; /* attributes of AveragePool and of MaxPool's indices */
} ptq_pool_geometry;
ptq_status ptq_pool_geometry_of(const ptq_step_run *r, ptq_pool_geometry *g);

/* ---- a tensor as [outer, n, inner] ---- */

typedef struct ptq_shape3 {
    int64_t outer, n, inner;
} ptq_shape3;
/* Axes [first, last) in the middle. */
static inline ptq_shape3 ptq_shape3_of(const ptq_tensor *t, int first, int last)
{
    return (ptq_shape3){ptq_product(t->dims, 0, first), ptq_product(t->dims, first, last),
                        ptq_product(t->dims, last, t->rank)};
}
/* What Softmax runs over: n values, `inner` apart. Before opset 13 all axes from `axis` on. */
ptq_shape3 ptq_softmax_shape(const ptq_step_run *r, int opset);

/* Bit d: axis d is reduced. */
ptq_status ptq_reduced_axes(const ptq_step_run *r, unsigned *mask);
/* Are the reduced axes neighbours? Then [*first, *last). */
bool ptq_reduced_range(const ptq_tensor *x, unsigned mask, int *first, int *last);
/* Dims and steps of x with the reduced axes last; returns how many stay. */
int ptq_reduced_last(const ptq_tensor *x, unsigned mask, int64_t *dims, int64_t *step);

/* ---- QuantizeLinear, DequantizeLinear ---- */

typedef struct ptq_quant_grid {
    int64_t outer, n, inner; /* input as [outer, n, inner] */
    int64_t block;           /* elements of the axis per scale; 0: not blocked */
} ptq_quant_grid;
ptq_status ptq_quant_grid_of(const ptq_step_run *r, ptq_quant_grid *g);
/* Which scale belongs to element i of row (outer * n + axis). */
static inline int64_t ptq_quant_scale_at(const ptq_quant_grid *g, int64_t row, int64_t i)
{
    if (g->block == 0)
        return g->n == 1 ? 0 : row % g->n;
    int64_t blocks = (g->n + g->block - 1) / g->block;
    return (row / g->n * blocks + row % g->n / g->block) * g->inner + i;
}
/* Bounds of an integer type that floats are quantized to. */
bool ptq_quant_bounds(ptq_dtype t, int32_t *lo, int32_t *hi);

/* ---- Pad ---- */

typedef struct ptq_pad_args {
    int64_t before[PTQ_MAX_RANK];
    ptq_pad_mode mode;
    unsigned char value[8]; /* of one element */
} ptq_pad_args;
ptq_status ptq_pad_args_of(const ptq_step_run *r, ptq_pad_args *a);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* For the files of shape functions (infer_*.c). A symbol stands for a size of at least 1. */
#ifndef PTQ_GRAPH_INFER_H
#define PTQ_GRAPH_INFER_H

#include "lib/graph/ops.h"

/* PTQ_ERR_MODEL, with the node's name and operator before the text. */
ptq_status ptq_infer_fail(const ptq_infer *in, const char *fmt, ...) PTQ_PRINTF(2, 3);

static inline bool ptq_infer_has(const ptq_infer *in, int slot)
{
    return slot < in->nin && (in->in[slot].dtype != PTQ_DT_UNDEFINED || in->in[slot].shape.rank >= 0);
}
static inline const ptq_shape *ptq_infer_shape_of(const ptq_infer *in, int slot)
{
    return &in->in[slot].shape;
}
/* Type and shape of an output, when the node has that output. */
static inline void ptq_infer_set(ptq_infer *in, int out, ptq_dtype dtype, const ptq_shape *shape)
{
    if (out < in->nout) {
        in->out[out].dtype = dtype;
        in->out[out].shape = *shape;
    }
}

/* Elements of integer input `slot`, or NULL when not known; tmp is used for constants. */
const ptq_contents *ptq_infer_elements(const ptq_infer *in, int slot, ptq_contents *tmp);
/* Where to put the elements of an output; NULL when nobody asks (run time). */
static inline ptq_contents *ptq_infer_out_elements(ptq_infer *in, int out)
{
    return in->out_contents && out < in->nout ? &in->out_contents[out] : NULL;
}
/* The elements of an integer tensor of rank 0 or 1; false when it is another or too large. */
bool ptq_contents_of_tensor(const ptq_tensor *t, ptq_contents *c);

/* Product of n dims; unknown when two symbols meet. */
ptq_dim ptq_infer_product(const ptq_dim *d, int n);
/* Smallest value the dim can have; INT64_MIN when not known. */
int64_t ptq_dim_min(ptq_dim d);
/* One size known from two sides: the more specific; false when they contradict. */
bool ptq_dim_merge(ptq_dim a, ptq_dim b, ptq_dim *out);
ptq_status ptq_infer_broadcast_shapes(const ptq_infer *in, const ptq_shape *a, const ptq_shape *b,
                                      ptq_shape *out);
/* Integer list of at most PTQ_MAX_RANK from input `slot` or attribute; *n as ptq_infer_int_list. */
ptq_status ptq_infer_axes(const ptq_infer *in, int slot, const char *attr, int rank, int *axes,
                          int *n);
/* Size of one dimension under a Slice of step 1 or -1 or any number; unknown when not sure. */
ptq_dim ptq_infer_slice_dim(ptq_dim d, ptq_dim start, ptq_dim end, int64_t step);
/* First element, count of numbers under a Slice of `n` elements. */
int64_t ptq_slice_range(int64_t n, int64_t start, int64_t end, int64_t step, int64_t *first);

/* The shape functions of ops.def. */
ptq_status ptq_infer_conv(ptq_infer *in);
ptq_status ptq_infer_conv_transpose(ptq_infer *in);
ptq_status ptq_infer_gemm(ptq_infer *in);
ptq_status ptq_infer_matmul(ptq_infer *in);
ptq_status ptq_infer_pool(ptq_infer *in);
ptq_status ptq_infer_global_pool(ptq_infer *in);
ptq_status ptq_infer_unary(ptq_infer *in);
ptq_status ptq_infer_not(ptq_infer *in);
ptq_status ptq_infer_test(ptq_infer *in);
ptq_status ptq_infer_cast(ptq_infer *in);
ptq_status ptq_infer_arith(ptq_infer *in);
ptq_status ptq_infer_prelu(ptq_infer *in);
ptq_status ptq_infer_variadic(ptq_infer *in);
ptq_status ptq_infer_compare(ptq_infer *in);
ptq_status ptq_infer_logic(ptq_infer *in);
ptq_status ptq_infer_where(ptq_infer *in);
ptq_status ptq_infer_batch_norm(ptq_infer *in);
ptq_status ptq_infer_layer_norm(ptq_infer *in);
ptq_status ptq_infer_max_unpool(ptq_infer *in);
ptq_status ptq_infer_max_roi_pool(ptq_infer *in);
ptq_status ptq_infer_roi_align(ptq_infer *in);
ptq_status ptq_infer_group_norm(ptq_infer *in);
ptq_status ptq_infer_rms_norm(ptq_infer *in);
ptq_status ptq_infer_lp_norm(ptq_infer *in);
ptq_status ptq_infer_loss(ptq_infer *in);
ptq_status ptq_infer_grid_sample(ptq_infer *in);
ptq_status ptq_infer_affine_grid(ptq_infer *in);
ptq_status ptq_infer_col2im(ptq_infer *in);
ptq_status ptq_infer_non_max(ptq_infer *in);
ptq_status ptq_infer_dft(ptq_infer *in);
ptq_status ptq_infer_stft(ptq_infer *in);
ptq_status ptq_infer_window(ptq_infer *in);
ptq_status ptq_infer_mel(ptq_infer *in);
ptq_status ptq_infer_einsum(ptq_infer *in);
ptq_status ptq_infer_det(ptq_infer *in);
ptq_status ptq_infer_softmax(ptq_infer *in);
ptq_status ptq_infer_reduce(ptq_infer *in);
ptq_status ptq_infer_arg_reduce(ptq_infer *in);
ptq_status ptq_infer_recurrent(ptq_infer *in);
ptq_status ptq_infer_identity(ptq_infer *in);
ptq_status ptq_infer_sequence_empty(ptq_infer *in);
ptq_status ptq_infer_sequence_construct(ptq_infer *in);
ptq_status ptq_infer_sequence_element(ptq_infer *in);
ptq_status ptq_infer_sequence_change(ptq_infer *in);
ptq_status ptq_infer_sequence_length(ptq_infer *in);
ptq_status ptq_infer_sequence_map(ptq_infer *in);
ptq_status ptq_infer_split_to_sequence(ptq_infer *in);
ptq_status ptq_infer_optional(ptq_infer *in);
ptq_status ptq_infer_optional_has(ptq_infer *in);
ptq_status ptq_infer_if(ptq_infer *in);
ptq_status ptq_infer_loop(ptq_infer *in);
ptq_status ptq_infer_scan(ptq_infer *in);
ptq_status ptq_infer_dropout(ptq_infer *in);
ptq_status ptq_infer_reshape(ptq_infer *in);
ptq_status ptq_infer_flatten(ptq_infer *in);
ptq_status ptq_infer_squeeze(ptq_infer *in);
ptq_status ptq_infer_unsqueeze(ptq_infer *in);
ptq_status ptq_infer_transpose(ptq_infer *in);
ptq_status ptq_infer_slice(ptq_infer *in);
ptq_status ptq_infer_split(ptq_infer *in);
ptq_status ptq_infer_gather(ptq_infer *in);
ptq_status ptq_infer_expand(ptq_infer *in);
ptq_status ptq_infer_tile(ptq_infer *in);
ptq_status ptq_infer_depth_to_space(ptq_infer *in);
ptq_status ptq_infer_concat(ptq_infer *in);
ptq_status ptq_infer_pad(ptq_infer *in);
ptq_status ptq_infer_trilu(ptq_infer *in);
ptq_status ptq_infer_resize(ptq_infer *in);
ptq_status ptq_infer_upsample(ptq_infer *in);
ptq_status ptq_infer_gather_elements(ptq_infer *in);
ptq_status ptq_infer_scatter_elements(ptq_infer *in);
ptq_status ptq_infer_gather_nd(ptq_infer *in);
ptq_status ptq_infer_scatter_nd(ptq_infer *in);
ptq_status ptq_infer_compress(ptq_infer *in);
ptq_status ptq_infer_non_zero(ptq_infer *in);
ptq_status ptq_infer_one_hot(ptq_infer *in);
ptq_status ptq_infer_eye_like(ptq_infer *in);
ptq_status ptq_infer_reverse_sequence(ptq_infer *in);
ptq_status ptq_infer_top_k(ptq_infer *in);
ptq_status ptq_infer_unique(ptq_infer *in);
ptq_status ptq_infer_center_crop_pad(ptq_infer *in);
ptq_status ptq_infer_cast_like(ptq_infer *in);
ptq_status ptq_infer_constant(ptq_infer *in);
ptq_status ptq_infer_constant_of_shape(ptq_infer *in);
ptq_status ptq_infer_shape(ptq_infer *in);
ptq_status ptq_infer_size(ptq_infer *in);
ptq_status ptq_infer_range(ptq_infer *in);
ptq_status ptq_infer_quantize(ptq_infer *in);
ptq_status ptq_infer_dequantize(ptq_infer *in);
ptq_status ptq_infer_deform_conv(ptq_infer *in);
ptq_status ptq_infer_conv_integer(ptq_infer *in);
ptq_status ptq_infer_matmul_integer(ptq_infer *in);
ptq_status ptq_infer_dynamic_quantize(ptq_infer *in);
ptq_status ptq_infer_qlinear_conv(ptq_infer *in);
ptq_status ptq_infer_qlinear_matmul(ptq_infer *in);
ptq_status ptq_infer_qlinear_binary(ptq_infer *in);
ptq_status ptq_infer_qlinear_concat(ptq_infer *in);
ptq_status ptq_infer_qgemm(ptq_infer *in);
ptq_status ptq_infer_qlinear_pool(ptq_infer *in);
ptq_status ptq_infer_qlinear_global_pool(ptq_infer *in);
ptq_status ptq_infer_qlinear_unary(ptq_infer *in);

#endif

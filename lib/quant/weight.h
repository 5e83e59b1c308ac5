/* SPDX-License-Identifier: Apache-2.0 */
/* Weight quantizers on plain arrays: from floats to 8-bit codes. Rows in weights.def. */
#ifndef PTQ_QUANT_WEIGHT_H
#define PTQ_QUANT_WEIGHT_H

#include "lib/quant/qparams.h"

typedef struct ptq_weight {
    const char *name; /* for messages */
    const float *data;
    int rank;
    const int64_t *dims;
    int axis; /* channel axis, or -1: one scale for the tensor */
} ptq_weight;

/* The result. Three forms, which differ in how codes become real values again:
 *   linear:  scale[c] * (code - zero_point[c])   DequantizeLinear(codes, scale, zero_point, axis)
 *   log2:    the same with zero_point 0; the codes are 0, +-1, +-2, +-4, ... +-64, so they also
 *            run on every ordinary int8 path
 *   table:   scale[c] * table[code as uint8]     Mul(Gather(table, codes as uint8), scale), where
 *            scale is reshaped to broadcast along the axis. axis -1: scale is 1, no Mul. */
typedef struct ptq_weight_codes {
    ptq_dtype dtype; /* S8 or U8; U8 for the table form */
    int axis;
    int64_t n;           /* number of codes */
    int64_t channels;    /* 1 when axis is -1 */
    void *codes;         /* [n] bytes, in the order of the weights; of ptq_spill_alloc */
    float *scale;        /* [channels] */
    int32_t *zero_point; /* [channels] */
    float *table;        /* [256], or NULL: not the table form */
    double mse;          /* mean squared error of the decoded weights */
    double power;        /* mean square of the weights: SQNR = 10 log10(power / mse) dB */
    int64_t dead;        /* channels whose weights are all zero */
    bool shared;         /* the arrays belong to a cache: read only */
} ptq_weight_codes;

/* For linear algorithms; zero means default. */
typedef struct ptq_weight_options {
    ptq_dtype dtype; /* S8 (default) or U8 */
    bool reduced;    /* 7-bit codes */
    bool pow2;       /* scales are powers of two */
} ptq_weight_options;

typedef struct ptq_weight_algo {
    const char *name, *summary;
    int steps; /* per octave; 0: linear */
    bool table; /* result has the table form */
    bool symmetric;
    /* Chooses scale[c] and zero_point[c]; grid is NULL where steps > 0. */
    void (*choose)(const ptq_weight *w, const ptq_grid *grid, ptq_weight_codes *q, int64_t c);
    /* Makes the codes of channel c with the scale that is in *q. */
    void (*encode)(const ptq_weight *w, ptq_weight_codes *q, int64_t c);
    /* Table form only: the level of each code byte. */
    void (*levels)(const ptq_weight *w, ptq_weight_codes *q);
} ptq_weight_algo;

const ptq_weight_algo *const *ptq_weight_algos(size_t *n);
/* PTQ_ERR_ARG with a suggestion when there is no such algorithm. */
ptq_status ptq_weight_find(const char *name, const ptq_weight_algo **out);

/* Quantizes. options may be NULL. NaN and infinities are refused (PTQ_ERR_MODEL, with the
 * position). Free with ptq_weight_codes_clear. */
ptq_status ptq_weight_quantize(const ptq_weight_algo *algo, const ptq_weight *w,
                               const ptq_weight_options *options, ptq_weight_codes *out);
/* Real values of all codes, [n]. */
void ptq_weight_decode(const ptq_weight *w, const ptq_weight_codes *q, float *out);
void ptq_weight_codes_clear(ptq_weight_codes *q); /* an all-zero struct is fine */

/* Codes kept for a job that quantizes the same weights again and again. One thread at a time. */
typedef struct ptq_weight_cache ptq_weight_cache;
ptq_status ptq_weight_cache_new(size_t n, ptq_weight_cache **out);
void ptq_weight_cache_free(ptq_weight_cache *c);
/* As ptq_weight_quantize, but at most once for weight number id < n: *out shares what the cache
 * keeps. Other arguments than those of the first call are quantized anew. cache may be NULL. */
ptq_status ptq_weight_quantize_once(ptq_weight_cache *cache, size_t id, const ptq_weight_algo *algo,
                                    const ptq_weight *w, const ptq_weight_options *options,
                                    ptq_weight_codes *out);

/* Longest dot product of 8-bit codes that a 32-bit sum holds beside a bias of 2^20:
 * 65,760 * 255 * 128 + 2^20 < 2^31. */
enum { PTQ_DOT_MAX = (0x7fffffff - (1 << 20)) / (255 * 128) };

/* Bias in int32 with scale input_scale * scale[c], such that no accumulator can wrap:
 * |bias_q| + k * 255 * 128 < 2^31, where k is the number of products in a dot product. Where the
 * weight scale is too small for that (or its product with input_scale not a normal float) it is
 * enlarged and the codes of its channel are made again (shared codes are copied first); *enlarged
 * counts these channels.
 * bias: [channels], or for axis -1 [n_bias]; bias_q and bias_scale have n_bias entries; n_bias is
 * 1 or more when axis is -1, else channels. Not for the table form (PTQ_ERR_ARG).
 * PTQ_ERR_UNSUPPORTED when k is above PTQ_DOT_MAX. */
ptq_status ptq_weight_fit_bias(const ptq_weight_algo *algo, const ptq_weight *w,
                               ptq_weight_codes *q, const float *bias, int64_t n_bias,
                               float input_scale, int64_t k, int32_t *bias_q, float *bias_scale,
                               int64_t *enlarged);

#endif

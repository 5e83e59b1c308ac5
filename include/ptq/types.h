/* SPDX-License-Identifier: Apache-2.0 */
/* Element types and tensor views. */
#ifndef PTQ_TYPES_H
#define PTQ_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include <ptq/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element types; the numbers are those of ONNX TensorProto.DataType. */
typedef enum ptq_dtype {
    PTQ_DT_UNDEFINED = 0,
    PTQ_DT_F32 = 1,
    PTQ_DT_U8 = 2,
    PTQ_DT_S8 = 3,
    PTQ_DT_U16 = 4,
    PTQ_DT_S16 = 5,
    PTQ_DT_S32 = 6,
    PTQ_DT_S64 = 7,
    PTQ_DT_STRING = 8,
    PTQ_DT_BOOL = 9,
    PTQ_DT_F16 = 10,
    PTQ_DT_F64 = 11,
    PTQ_DT_U32 = 12,
    PTQ_DT_U64 = 13,
    PTQ_DT_C64 = 14,
    PTQ_DT_C128 = 15,
    PTQ_DT_BF16 = 16,
    PTQ_DT_F8E4M3FN = 17,
    PTQ_DT_F8E4M3FNUZ = 18,
    PTQ_DT_F8E5M2 = 19,
    PTQ_DT_F8E5M2FNUZ = 20,
    PTQ_DT_U4 = 21,
    PTQ_DT_S4 = 22,
    PTQ_DT_F4E2M1 = 23,
    PTQ_DT_COUNT
    /* A model may have sequences and optional values as inputs and outputs: their types are larger than
     * these, and only the library can make them. */
} ptq_dtype;

#define PTQ_MAX_RANK 8

/* A dense row-major tensor. rank 0 is a scalar (one element). dims[i] >= 0; a 0 makes it empty.
 * 4-bit types are packed two per byte, first element in the low nibble.
 * Who owns `data` is said by whoever hands the tensor out. */
typedef struct ptq_tensor {
    ptq_dtype dtype;
    int rank;
    int64_t dims[PTQ_MAX_RANK];
    void *data;
    size_t nbytes; /* of data: at least what type and dims take */
} ptq_tensor;

/* "float32", "int8", ...; "undefined" for unknown numbers. Borrowed, static. */
PTQ_API const char *ptq_dtype_name(ptq_dtype t);
/* Bits per element: 4, 8, 16, ...; 0 for strings and unknown types. */
PTQ_API int ptq_dtype_bits(ptq_dtype t);

#ifdef __cplusplus
}
#endif
#endif

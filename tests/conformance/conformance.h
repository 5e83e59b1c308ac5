/* SPDX-License-Identifier: Apache-2.0 */
/* The ONNX backend node tests: a folder per test with model.onnx and test_data_set_N/, which holds
 * input_K.pb and output_K.pb. */
#ifndef PTQ_TESTS_CONFORMANCE_H
#define PTQ_TESTS_CONFORMANCE_H

#include "lib/core/core.h"

typedef enum conf_verdict { CONF_PASSED, CONF_UNSUPPORTED, CONF_FAILED, CONF_VERDICTS } conf_verdict;

typedef struct conf_result {
    conf_verdict verdict;
    char why[500]; /* "" when passed */
} conf_result;

/* Operator that a test folder is for ("domain.Op"); *listed tells whether the table has it. */
void conf_operator(const char *dir, char *name, size_t n, bool *listed);

/* Runs all data sets of a test, with the model as it is and optimized. */
void conf_run(const char *dir, conf_result *out);

/* A TensorProto file, or a SequenceProto by type t, or an OptionalProto; memory is the arena's. */
ptq_status conf_read_value(ptq_arena *a, const char *path, ptq_dtype t, bool optional, ptq_tensor *out);
/* Equal type and shape; integers and bool equal, floats within what the ONNX runner allows:
 * |got - want| <= 1e-7 + 1e-3 |want| (2^-7 for bfloat16), NaN equals NaN, infinities are equal. */
bool conf_same(const ptq_tensor *got, const ptq_tensor *want, char *why, size_t n);

#endif

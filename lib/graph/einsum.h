/* SPDX-License-Identifier: Apache-2.0 */
/* The equation of Einsum as labels of dimensions. */
#ifndef PTQ_GRAPH_EINSUM_H
#define PTQ_GRAPH_EINSUM_H

#include "lib/core/core.h"

enum { PTQ_EINSUM_OPERANDS = 8, PTQ_EINSUM_LABELS = 64 };

typedef struct ptq_einsum {
    int operands, labels, nout; /* labels below nout are the output's dimensions, in order; the others are summed */
    int rank[PTQ_EINSUM_OPERANDS];
    int label[PTQ_EINSUM_OPERANDS][PTQ_MAX_RANK]; /* of each dimension */
} ptq_einsum;

/* Returns what is wrong with the equation ("has no operand 2", ...), or NULL. */
const char *ptq_einsum_parse(const char *equation, const int *ranks, int n, ptq_einsum *out);

#endif

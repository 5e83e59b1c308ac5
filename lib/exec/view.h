/* SPDX-License-Identifier: Apache-2.0 */
/* A dense tensor seen through movers (Identity, Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Gather
 * with a constant scalar index): where each element of the result lies in the tensor. */
#ifndef PTQ_EXEC_VIEW_H
#define PTQ_EXEC_VIEW_H

#include "lib/exec/backend.h"

enum { PTQ_VIEW_PARTS = 16 };

/* Axis i of the result is parts [first[i], first[i + 1]), the last of which runs fastest; part j has
 * size[j] elements, step[j] apart in the tensor. The first element lies at `offset`. */
typedef struct ptq_view {
    int rank, first[PTQ_MAX_RANK + 1];
    int64_t size[PTQ_VIEW_PARTS], step[PTQ_VIEW_PARTS];
    int64_t offset;
} ptq_view;

void ptq_view_dense(const int64_t *dims, int rank, ptq_view *v);
/* What the first of the movers reads of a dense tensor. */
void ptq_view_start(const ptq_movers *m, const int64_t *dims, int rank, ptq_view *v);
/* Goes through the movers from m->node[*from] on. Stops before a node whose result cannot be told so
 * (a Reshape across parts); the caller copies the view into a dense tensor and goes on there.
 * Attributes and inputs tell the forms of different opsets apart. Errors name the node. */
ptq_status ptq_view_through(const ptq_movers *m, int *from, ptq_view *v);
int64_t ptq_view_dim(const ptq_view *v, int axis);
/* Constant tensor of v: initializer or Constant node; NULL otherwise. */
const ptq_tensor *ptq_constant_of(const ptq_value *v);
/* Can lowering expect ptq_view_through to know this node? */
bool ptq_view_knows(const ptq_node *n);

#endif

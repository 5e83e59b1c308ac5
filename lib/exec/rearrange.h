/* SPDX-License-Identifier: Apache-2.0 */
/* Rewriting of a quantized graph before lowering, so that more of it fuses: what only moves elements is
 * brought to where an integer step takes it along, on codes instead of floats. Every rule keeps the bytes
 * of the outputs. */
#ifndef PTQ_EXEC_REARRANGE_H
#define PTQ_EXEC_REARRANGE_H

#include "lib/graph/graph.h"

/* Changes g, whose types must be inferred; inputs and outputs stay as they are. */
ptq_status ptq_rearrange(ptq_graph *g);

#endif

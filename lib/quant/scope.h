/* SPDX-License-Identifier: Apache-2.0 */
/* What the user wants left in float, by node. */
#ifndef PTQ_QUANT_SCOPE_H
#define PTQ_QUANT_SCOPE_H

#include "lib/quant/place.h"

/* Why each node is out of scope, by node id; NULL: it is in. Lives in `a`. A pattern costs a look at every
 * node only where it has wildcards: overrides may name thousands of nodes.
 * PTQ_ERR_ARG: a pattern matches nothing (the text suggests names). */
ptq_status ptq_scope_reasons(const ptq_graph *g, const ptq_scope *s, ptq_arena *a, const char *const **out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* LSTM, GRU and RNN: attributes, sizes and the functions of their gates. */
#ifndef PTQ_CPU_RECURRENT_H
#define PTQ_CPU_RECURRENT_H

#include "lib/cpu/fkernel.h"

/* An activation with its alpha and beta, on n values in place. */
typedef struct ptq_cell_act {
    const struct ptq_cell_fn *fn;
    float par[2];
} ptq_cell_act;
void ptq_cell_apply(const ptq_f32_fns *f, const ptq_cell_act *a, float *x, int64_t n);

enum { PTQ_CELL_ACTS = 3, PTQ_CELL_DIRS = 2 };
typedef struct ptq_recurrent {
    int gates, nacts;
    int64_t dirs, seq, batch, in, h;
    bool batch_first, reverse[PTQ_CELL_DIRS];
    bool linear_before_reset, input_forget;
    float clip; /* bound of what goes into an activation; infinite: none */
    ptq_cell_act act[PTQ_CELL_DIRS][PTQ_CELL_ACTS];
} ptq_recurrent;

/* PTQ_ERR_MODEL names the node. Called before the first run, too, to tell unknown functions. */
ptq_status ptq_recurrent_read(const ptq_node *n, ptq_recurrent *out);

#endif

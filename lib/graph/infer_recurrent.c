/* SPDX-License-Identifier: Apache-2.0 */
/* LSTM, GRU, RNN. */
#include <string.h>

#include "lib/graph/infer.h"

/* Gates whose weights lie below each other. */
static int gates_of(const ptq_node *n)
{
    return n->op[0] == 'L' ? 4 : n->op[0] == 'G' ? 3 : 1;
}

/* Input `slot` has the dims `want` (unknown ones fit anything). */
static ptq_status check_shape(const ptq_infer *in, int slot, const char *what, int rank, const ptq_dim *want)
{
    if (!ptq_infer_has(in, slot) || in->in[slot].shape.rank < 0)
        return PTQ_OK;
    const ptq_shape *s = &in->in[slot].shape;
    ptq_dim merged;
    bool fits = s->rank == rank;
    for (int i = 0; i < rank && fits; i++)
        fits = ptq_dim_merge(s->dims[i], want[i], &merged);
    if (fits)
        return PTQ_OK;
    char have[256], need[256];
    ptq_shape w = {.rank = rank};
    memcpy(w.dims, want, (size_t)rank * sizeof *want);
    const ptq_symtab *tab = in->graph ? in->graph->syms : NULL;
    return ptq_infer_fail(in, "%s (input %d) has the shape %s, %s is needed", what, slot,
                          ptq_shape_print(s, tab, have, sizeof have), ptq_shape_print(&w, tab, need, sizeof need));
}

static ptq_dim dim_of(const ptq_infer *in, int slot, int d, int rank)
{
    const ptq_shape *s = &in->in[slot].shape;
    return s->rank == rank ? s->dims[d] : ptq_dim_unknown();
}

typedef struct sizes {
    ptq_dim dirs, seq, batch, in, h;
} sizes;

static ptq_status read_sizes(const ptq_infer *in, sizes *z)
{
    bool batch_first = ptq_attr_int(in->node, "layout", 0) != 0;
    int64_t h = ptq_attr_int(in->node, "hidden_size", 0);
    const char *dir = ptq_attr_str(in->node, "direction", "forward");
    if (in->in[0].shape.rank >= 0 && in->in[0].shape.rank != 3)
        return ptq_infer_fail(in, "the input has rank %d, not 3", in->in[0].shape.rank);
    if (strcmp(dir, "forward") != 0 && strcmp(dir, "reverse") != 0 && strcmp(dir, "bidirectional") != 0)
        return ptq_infer_fail(in, "direction \"%s\" is not forward, reverse or bidirectional", dir);
    if (h < 0)
        return ptq_infer_fail(in, "hidden_size is %lld", (long long)h);
    z->dirs = ptq_dim_of(strcmp(dir, "bidirectional") == 0 ? 2 : 1);
    z->seq = dim_of(in, 0, batch_first ? 1 : 0, 3);
    z->batch = dim_of(in, 0, batch_first ? 0 : 1, 3);
    z->in = dim_of(in, 0, 2, 3);
    z->h = h > 0 ? ptq_dim_of(h) : dim_of(in, 2, 2, 3);
    return PTQ_OK;
}

static ptq_status check_inputs(const ptq_infer *in, const sizes *z)
{
    int gates = gates_of(in->node);
    bool batch_first = ptq_attr_int(in->node, "layout", 0) != 0;
    ptq_dim gh = ptq_dim_mul(ptq_dim_of(gates), z->h);
    ptq_dim first = batch_first ? z->batch : z->dirs, second = batch_first ? z->dirs : z->batch;
    PTQ_TRY(check_shape(in, 1, "W", 3, (ptq_dim[]){z->dirs, gh, z->in}));
    PTQ_TRY(check_shape(in, 2, "R", 3, (ptq_dim[]){z->dirs, gh, z->h}));
    PTQ_TRY(check_shape(in, 3, "B", 2, (ptq_dim[]){z->dirs, ptq_dim_mul(ptq_dim_of(2), gh)}));
    PTQ_TRY(check_shape(in, 4, "sequence_lens", 1, (ptq_dim[]){z->batch}));
    PTQ_TRY(check_shape(in, 5, "initial_h", 3, (ptq_dim[]){first, second, z->h}));
    if (gates != 4)
        return PTQ_OK;
    PTQ_TRY(check_shape(in, 6, "initial_c", 3, (ptq_dim[]){first, second, z->h}));
    return check_shape(in, 7, "P", 2, (ptq_dim[]){z->dirs, ptq_dim_mul(ptq_dim_of(3), z->h)});
}

ptq_status ptq_infer_recurrent(ptq_infer *in)
{
    sizes z;
    PTQ_TRY(read_sizes(in, &z));
    PTQ_TRY(check_inputs(in, &z));
    bool batch_first = ptq_attr_int(in->node, "layout", 0) != 0;
    ptq_shape y = {.rank = 4, .dims = {z.seq, z.dirs, z.batch, z.h}};
    ptq_shape last = {.rank = 3, .dims = {z.dirs, z.batch, z.h}};
    if (batch_first) {
        y = (ptq_shape){.rank = 4, .dims = {z.batch, z.seq, z.dirs, z.h}};
        last = (ptq_shape){.rank = 3, .dims = {z.batch, z.dirs, z.h}};
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &y);
    for (int i = 1; i < in->nout; i++)
        ptq_infer_set(in, i, in->in[0].dtype, &last);
    return PTQ_OK;
}

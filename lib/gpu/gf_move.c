/* SPDX-License-Identifier: Apache-2.0 */
/* Movers beside those that qmove shares (g_move.c): Concat, Dropout, Pad, Trilu. */
#include <string.h>

#include "lib/exec/moves.h"
#include "lib/gpu/gf.h"

static bool whole_bytes(const ptq_program *p, const ptq_step *s, const char **why)
{
    int bits = ptq_dtype_bits(ptq_gpu_dtype(p, s, 0));
    if (bits == 8 || bits == 16 || bits == 32 || bits == 64)
        return true;
    if (why)
        *why = "elements of this type cannot be moved";
    return false;
}

static ptq_status plain(void *ctx, ptq_walk *w, void *dst, const void *src, size_t bytes)
{
    return ptq_gpu_copy(ctx, w, dst, src, bytes, NULL);
}

static ptq_status run_concat(ptq_gpu *g, const ptq_step_run *r)
{
    return ptq_move_concat(r, plain, g);
}
PTQ_GF_ROW(concat, .name = "Concat", .supports = whole_bytes, .run = run_concat);

/* ---- Dropout: nothing is dropped; the mask and training are left to the host ---- */

static bool supports_dropout(const ptq_program *p, const ptq_step *s, const char **why)
{
    bool mask = s->nout > 1 && s->out[1] >= 0, mode = s->nin > 2 && s->in[2] >= 0;
    if (!mask && !mode)
        return whole_bytes(p, s, why);
    if (why)
        *why = "only without mask and mode";
    return false;
}

static ptq_status run_dropout(ptq_gpu *g, const ptq_step_run *r)
{
    return ptq_dev_copy(g->dev, r->out[0].data, r->in[0]->data, r->in[0]->nbytes);
}
PTQ_GF_ROW(dropout, .name = "Dropout", .supports = supports_dropout, .host_inputs = ptq_gf_all_but_data,
           .run = run_dropout);

/* ---- Pad ---- */

/* An element as the integer of its size. */
static uint64_t number(const unsigned char *v, int bytes)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    switch (bytes) {
    case 1: return v[0];
    case 2: memcpy(&u16, v, sizeof u16); return u16;
    case 4: memcpy(&u32, v, sizeof u32); return u32;
    default: memcpy(&u64, v, sizeof u64); return u64;
    }
}

static ptq_status run_pad(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    ptq_pad_args p;
    PTQ_TRY(ptq_pad_args_of(r, &p));
    ptq_kf_pad a = {.x = x->data, .y = y->data, .n = ptq_tensor_elements(y), .rank = y->rank, .mode = p.mode,
                    .bytes = (int32_t)ptq_elem_bytes(x->dtype)};
    a.value = number(p.value, a.bytes);
    for (int d = 0; d < y->rank; d++) {
        a.xdim[d] = x->dims[d];
        a.ydim[d] = y->dims[d];
        a.before[d] = p.before[d];
    }
    return ptq_kf_run_pad(g->dev, &a);
}
PTQ_GF_ROW(pad, .name = "Pad", .supports = whole_bytes, .host_inputs = ptq_gf_all_but_data, .run = run_pad);

/* ---- Trilu ---- */

static ptq_status run_trilu(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *k = ptq_in(r, 1);
    ptq_kf_trilu a = {.x = x->data, .y = r->out[0].data, .n = ptq_tensor_elements(x),
                      .upper = ptq_attr_int(r->step->node, "upper", 1) != 0,
                      .bytes = (int32_t)ptq_elem_bytes(x->dtype)};
    int n;
    if (x->rank < 2 || (k && (!ptq_ints_of(k, &a.shift, 1, &n) || n != 1)))
        return ptq_bad_args(r);
    a.rows = x->dims[x->rank - 2];
    a.cols = x->dims[x->rank - 1];
    return ptq_kf_run_trilu(g->dev, &a);
}
PTQ_GF_ROW(trilu, .name = "Trilu", .supports = whole_bytes, .host_inputs = ptq_gf_all_but_data, .run = run_trilu);

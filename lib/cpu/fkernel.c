/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/cpu/fkernel.h"

bool ptq_inputs_are(const ptq_program *p, const ptq_step *s, int first, int n, ptq_dtype t)
{
    for (int i = first; i < first + n && i < s->nin; i++)
        if (s->in[i] >= 0 && p->values.v[s->in[i]].dtype != t)
            return false;
    return true;
}

bool ptq_supports_f32(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_inputs_are(p, s, 0, s->nin, PTQ_DT_F32))
        return true;
    if (why)
        *why = "only float32 is supported";
    return false;
}

typedef struct ranges {
    int64_t n, piece;
    ptq_range_fn fn;
    const void *ctx;
} ranges;

static ptq_status range_task(void *arg, size_t i, int worker)
{
    const ranges *r = arg;
    int64_t from = (int64_t)i * r->piece;
    int64_t to = from + r->piece < r->n ? from + r->piece : r->n;
    r->fn(r->ctx, from, to, worker);
    return PTQ_OK;
}

ptq_status ptq_cpu_ranges(ptq_cpu *c, int64_t n, int64_t grain, ptq_range_fn fn, const void *ctx)
{
    int threads = ptq_pool_threads(c->pool);
    if (n <= 0)
        return PTQ_OK;
    if (grain < 1)
        grain = 1;
    if (threads == 1 || n <= grain) {
        fn(ctx, 0, n, 0);
        return PTQ_OK;
    }
    int64_t pieces = n / grain, most = 4 * (int64_t)threads;
    pieces = pieces < most ? pieces : most;
    ranges r = {.n = n, .piece = (n + pieces - 1) / pieces, .fn = fn, .ctx = ctx};
    return ptq_pool_for(c->pool, (size_t)((n + r.piece - 1) / r.piece), range_task, &r);
}

ptq_status ptq_prepare_opset(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state)
{
    (void)c;
    int *o = malloc(sizeof *o);
    if (!o)
        return ptq_fail_nomem();
    *o = p->graph ? p->graph->opset : 0;
    /* operators of com.microsoft do not change */
    if (s->node && s->node->domain[0])
        *o = 1 << 20;
    *state = o;
    return PTQ_OK;
}

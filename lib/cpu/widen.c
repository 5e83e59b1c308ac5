/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/cpu/widen.h"

#include <stdlib.h>
#include <string.h>

#include "lib/core/small.h"
#include "lib/cpu/fkernel.h"

/* Candidates in order; the first that the kernel takes. */
static const ptq_dtype half[] = {PTQ_DT_F32, PTQ_DT_F64};
static const ptq_dtype signed4[] = {PTQ_DT_S8, PTQ_DT_S32, PTQ_DT_S64};
static const ptq_dtype unsigned4[] = {PTQ_DT_U8, PTQ_DT_S32, PTQ_DT_S64};
static const ptq_dtype small[] = {PTQ_DT_S32, PTQ_DT_S64};
static const ptq_dtype whole[] = {PTQ_DT_S64};

static ptq_dtype first_of(const ptq_dtype *list, size_t n, unsigned takes)
{
    for (size_t i = 0; i < n; i++)
        if (takes & PTQ_TAKES(list[i]))
            return list[i];
    return PTQ_DT_UNDEFINED;
}

/* The type in which a tensor of type t is handed over; undefined: there is none. */
static ptq_dtype widened(ptq_dtype t, unsigned takes)
{
    if (takes & PTQ_TAKES(t))
        return t;
    switch (t) {
    case PTQ_DT_F16: case PTQ_DT_BF16: return first_of(half, PTQ_COUNT(half), takes);
    case PTQ_DT_F32: return first_of(half + 1, 1, takes);
    case PTQ_DT_F64: return first_of(half, 1, takes);
    case PTQ_DT_S4: return first_of(signed4, PTQ_COUNT(signed4), takes);
    case PTQ_DT_U4: return first_of(unsigned4, PTQ_COUNT(unsigned4), takes);
    case PTQ_DT_BOOL: case PTQ_DT_S8: case PTQ_DT_U8: case PTQ_DT_S16: case PTQ_DT_U16:
        return first_of(small, PTQ_COUNT(small), takes);
    case PTQ_DT_S32: case PTQ_DT_U32: return first_of(whole, PTQ_COUNT(whole), takes);
    case PTQ_DT_U64: return takes & PTQ_TAKES_MODULO ? first_of(whole, PTQ_COUNT(whole), takes) : PTQ_DT_UNDEFINED;
    default: return PTQ_DT_UNDEFINED;
    }
}

static unsigned takes_in(const ptq_cpu_kernel *k, int i)
{
    return i < 32 && k->keep_in >> i & 1 ? ~0u : k->takes;
}

static unsigned takes_out(const ptq_cpu_kernel *k, int i)
{
    return i < 32 && k->keep_out >> i & 1 ? ~0u : k->takes;
}

static bool value_fits(const ptq_program *p, int v, unsigned takes)
{
    ptq_dtype t = v < 0 ? PTQ_DT_UNDEFINED : p->values.v[v].dtype;
    return t == PTQ_DT_UNDEFINED || widened(t, takes) != PTQ_DT_UNDEFINED;
}

bool ptq_widen_supports(const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s, const char **why)
{
    bool ok = true;
    for (int i = 0; i < s->nin && k->takes && ok; i++)
        ok = value_fits(p, s->in[i], takes_in(k, i));
    for (int i = 0; i < s->nout && k->takes && ok; i++)
        ok = value_fits(p, s->out[i], takes_out(k, i));
    if (!ok && why)
        *why = "there is no kernel for this element type";
    return ok;
}

/* ---- converting ---- */

typedef struct convert_ctx {
    const ptq_tensor *from;
    ptq_tensor *to;
} convert_ctx;

/* The frequent pairs; false for others. */
#define PAIR(A, TA, B, TB, expr)                                                                   \
    if (v->from->dtype == A && v->to->dtype == B) {                                                \
        const TA *x = v->from->data;                                                               \
        TB *y = v->to->data;                                                                       \
        for (int64_t i = from; i < to; i++)                                                        \
            y[i] = expr;                                                                           \
        return true;                                                                               \
    }
static bool convert_pair(const convert_ctx *v, int64_t from, int64_t to)
{
    PAIR(PTQ_DT_F16, uint16_t, PTQ_DT_F32, float, ptq_half_to_float(x[i]))
    PAIR(PTQ_DT_F32, float, PTQ_DT_F16, uint16_t, ptq_float_to_half(x[i]))
    PAIR(PTQ_DT_BF16, uint16_t, PTQ_DT_F32, float, ptq_bf16_to_float(x[i]))
    PAIR(PTQ_DT_F32, float, PTQ_DT_BF16, uint16_t, ptq_float_to_bf16(x[i]))
    PAIR(PTQ_DT_F32, float, PTQ_DT_F64, double, (double)x[i])
    PAIR(PTQ_DT_F64, double, PTQ_DT_F32, float, (float)x[i])
    PAIR(PTQ_DT_S32, int32_t, PTQ_DT_S64, int64_t, x[i])
    PAIR(PTQ_DT_U8, uint8_t, PTQ_DT_S32, int32_t, x[i])
    PAIR(PTQ_DT_S8, int8_t, PTQ_DT_S32, int32_t, x[i])
    return false;
}

static void convert_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const convert_ctx *v = ctx;
    (void)worker;
    if (convert_pair(v, from, to))
        return;
    for (int64_t i = from; i < to; i++)
        ptq_any_store(v->to->dtype, v->to->data, i, ptq_any_load(v->from->dtype, v->from->data, i),
                      v->from->dtype == PTQ_DT_U64, false);
}

static ptq_status convert(ptq_cpu *c, const ptq_tensor *from, ptq_tensor *to)
{
    convert_ctx v = {from, to};
    int64_t n = ptq_tensor_elements(from);
    int64_t grain = ptq_dtype_bits(to->dtype) == 4 ? n : 8192; /* neighbours share a byte: one thread */
    return ptq_cpu_ranges(c, n, grain, convert_part, &v);
}

/* ---- constants, preparing ---- */

/* Is input i of the step converted? */
static bool converted(const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s, int i)
{
    return k->takes && s->in[i] >= 0 && !(takes_in(k, i) & PTQ_TAKES(p->values.v[s->in[i]].dtype));
}

bool ptq_widen_any(const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s)
{
    bool any = false;
    for (int i = 0; i < s->nin; i++)
        any = any || converted(k, p, s, i);
    return any;
}

ptq_status ptq_widen_constants(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s,
                               ptq_tensor **out)
{
    ptq_tensor *wide = NULL;
    ptq_status e = PTQ_OK;
    for (int i = 0; i < s->nin && e == PTQ_OK; i++) {
        const ptq_tensor *t = converted(k, p, s, i) ? p->values.v[s->in[i]].constant : NULL;
        ptq_dtype to = t ? widened(t->dtype, takes_in(k, i)) : PTQ_DT_UNDEFINED;
        if (to == PTQ_DT_UNDEFINED)
            continue;
        if (!wide && !(wide = ptq_calloc((size_t)s->nin, sizeof *wide)))
            return ptq_fail_nomem();
        wide[i] = *t;
        wide[i].dtype = to;
        wide[i].data = NULL;
        e = ptq_tensor_alloc(&wide[i]);
        if (e == PTQ_OK)
            e = convert(c, t, &wide[i]);
    }
    if (e != PTQ_OK) {
        ptq_widen_free(s, wide);
        return e;
    }
    *out = wide;
    return PTQ_OK;
}

void ptq_widen_free(const ptq_step *s, ptq_tensor *wide)
{
    for (int i = 0; wide && i < s->nin; i++)
        free(wide[i].data);
    free(wide);
}

ptq_status ptq_widen_prepare(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s,
                             const ptq_tensor *wide, void **state)
{
    if (!ptq_widen_any(k, p, s))
        return k->prepare(c, p, s, state);
    /* The same step in a program that has its inputs alone. */
    ptq_program shadow = *p;
    ptq_step step = *s;
    ptq_pvalue *v = ptq_calloc((size_t)s->nin, sizeof *v);
    int *in = ptq_calloc((size_t)s->nin, sizeof *in);
    ptq_status e = v && in ? PTQ_OK : ptq_fail_nomem();
    for (int i = 0; i < s->nin && e == PTQ_OK; i++) {
        in[i] = s->in[i] < 0 ? -1 : i;
        if (s->in[i] < 0)
            continue;
        v[i] = p->values.v[s->in[i]];
        if (!converted(k, p, s, i))
            continue;
        v[i].dtype = widened(v[i].dtype, takes_in(k, i));
        v[i].constant = wide && wide[i].data ? &wide[i] : NULL;
    }
    shadow.values.v = v;
    step.in = in;
    if (e == PTQ_OK)
        e = k->prepare(c, &shadow, &step, state);
    free(v);
    free(in);
    return e;
}

/* ---- running ---- */

typedef struct widening {
    ptq_tensor *in, *out;        /* [nin], [nout]: own data where converted */
    const ptq_tensor **in_ptr;
} widening;

static ptq_status convert_inputs(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_step_run *r,
                                 const ptq_tensor *wide, widening *w)
{
    for (int i = 0; i < r->step->nin; i++) {
        const ptq_tensor *x = r->in[i];
        w->in_ptr[i] = x && wide && wide[i].data ? &wide[i] : x;
        if (!x || w->in_ptr[i] != x)
            continue;
        ptq_dtype t = widened(x->dtype, takes_in(k, i));
        if (t == x->dtype)
            continue;
        if (t == PTQ_DT_UNDEFINED)
            return ptq_bad_type(r, x->dtype);
        ptq_tensor *own = &w->in[i];
        *own = *x;
        own->dtype = t;
        own->data = NULL;
        PTQ_TRY(ptq_tensor_alloc(own));
        PTQ_TRY(convert(c, x, own));
        w->in_ptr[i] = own;
    }
    return PTQ_OK;
}

static ptq_status wide_outputs(const ptq_cpu_kernel *k, const ptq_step_run *r, widening *w)
{
    for (int i = 0; i < r->step->nout; i++) {
        w->out[i] = r->out[i];
        ptq_dtype t = r->out[i].dtype;
        if (r->step->out[i] < 0 || t == PTQ_DT_UNDEFINED)
            continue;
        w->out[i].dtype = widened(t, takes_out(k, i));
        if (w->out[i].dtype == t)
            continue;
        if (w->out[i].dtype == PTQ_DT_UNDEFINED)
            return ptq_bad_type(r, t);
        w->out[i].data = NULL;
        if (r->out[i].data)
            PTQ_TRY(ptq_tensor_alloc(&w->out[i]));
    }
    return PTQ_OK;
}

static ptq_status convert_outputs(ptq_cpu *c, const ptq_step_run *r, widening *w)
{
    for (int i = 0; i < r->step->nout; i++) {
        ptq_tensor *y = &r->out[i], *own = &w->out[i];
        if (own->data == y->data)
            continue;
        if (own->dtype == y->dtype) { /* of a shape that the kernel found */
            *y = *own;
            own->data = NULL;
            continue;
        }
        if (!y->data)
            PTQ_TRY(ptq_cpu_out(r, i, own->rank, own->dims));
        PTQ_TRY(convert(c, own, y));
    }
    return PTQ_OK;
}

static bool needed(const ptq_cpu_kernel *k, const ptq_step_run *r)
{
    for (int i = 0; i < r->step->nin && k->takes; i++)
        if (r->in[i] && !(takes_in(k, i) & PTQ_TAKES(r->in[i]->dtype)))
            return true;
    for (int i = 0; i < r->step->nout && k->takes; i++)
        if (r->step->out[i] >= 0 && !(takes_out(k, i) & PTQ_TAKES(r->out[i].dtype)))
            return true;
    return false;
}

ptq_status ptq_widen_run(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_step_run *r, const ptq_tensor *wide)
{
    if (!needed(k, r))
        return k->run(c, r);
    size_t nin = (size_t)r->step->nin, nout = (size_t)r->step->nout;
    widening w = {ptq_calloc(nin + 1, sizeof *w.in), ptq_calloc(nout + 1, sizeof *w.out),
                  ptq_calloc(nin + 1, sizeof *w.in_ptr)};
    ptq_status e = w.in && w.out && w.in_ptr ? PTQ_OK : ptq_fail_nomem();
    if (e == PTQ_OK)
        e = convert_inputs(c, k, r, wide, &w);
    if (e == PTQ_OK)
        e = wide_outputs(k, r, &w);
    if (e == PTQ_OK) {
        ptq_step_run inner = *r;
        inner.in = w.in_ptr;
        inner.out = w.out;
        e = k->run(c, &inner);
    }
    if (e == PTQ_OK)
        e = convert_outputs(c, r, &w);
    for (size_t i = 0; w.in && i < nin; i++)
        free(w.in[i].data);
    for (size_t i = 0; w.out && i < nout; i++)
        if (w.out[i].data != r->out[i].data)
            free(w.out[i].data);
    free(w.in);
    free(w.out);
    free(w.in_ptr);
    return e;
}

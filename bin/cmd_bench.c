/* SPDX-License-Identifier: Apache-2.0 */
/* bench: how fast an engine is, of a model that is built first, or of a plan. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/cmd.h"

/* Declared shapes with --batch as axis 0. */
static ptq_status declared(const args *a, const ptq_model *m, cmd_shapes *s)
{
    for (size_t i = 0; i < ptq_model_input_count(m); i++) {
        ptq_tensor_info info;
        TRY(ptq_model_input(m, i, &info));
        if (i == ARGS_LIST_MAX || info.rank < 1)
            return cmd_error(PTQ_ERR_ARG, "input %s has no axis for --batch; give its shape with --shapes", info.name);
        ptq_shape_range *r = &s->range[i];
        r->input = info.name;
        r->rank = info.rank;
        for (int d = 0; d < info.rank; d++) {
            r->opt[d] = d == 0 ? a->batch : info.dims[d];
            if (r->opt[d] < 1)
                return cmd_error(PTQ_ERR_ARG, "dimension %d of input %s is not declared; give the shape with --shapes", d,
                                 info.name);
        }
        memcpy(r->min, r->opt, sizeof r->min);
        memcpy(r->max, r->opt, sizeof r->max);
        s->profile[0] = (ptq_profile){s->range, i + 1};
    }
    s->nprofiles = 1;
    return PTQ_OK;
}

/* The names stay with `m`, which must outlive the engine's building only. */
static ptq_status from_model(const args *a, cmd_shapes *s, ptq_engine_options *o, ptq_engine **out)
{
    ptq_model *m;
    TRY(cmd_load(a, a->files[0], &m));
    ptq_status st = PTQ_OK;
    if (a->batch && !s->n)
        st = declared(a, m, s);
    o->profiles = s->profile;
    o->nprofiles = s->nprofiles;
    if (st == PTQ_OK)
        st = ptq_engine_build(m, o, out);
    ptq_model_free(m);
    return st;
}

static bool is_plan(const char *path)
{
    char head[7] = "";
    FILE *f = fopen(path, "rb");
    bool plan = f && fread(head, 1, sizeof head, f) == sizeof head && memcmp(head, "PTQPLAN", sizeof head) == 0;
    if (f)
        fclose(f);
    return plan;
}

/* Is what --shapes and --batch ask for inside this profile? */
static bool inside(const ptq_engine *e, size_t profile, const ptq_bench_options *o)
{
    for (size_t i = 0; i < ptq_engine_input_count(e); i++) {
        ptq_shape_range r;
        if (ptq_engine_range(e, profile, i, &r) != PTQ_OK)
            return false;
        const ptq_shape_range *want = &r;
        for (size_t k = 0; k < o->nshapes; k++)
            if (strcmp(o->shapes[k].input, r.input) == 0)
                want = &o->shapes[k];
        for (int d = 0; d < r.rank && want->rank == r.rank; d++) {
            int64_t size = d == 0 && o->batch ? o->batch : want->opt[d];
            if (size < r.min[d] || size > r.max[d])
                return false;
        }
    }
    return true;
}

static ptq_status bench(const args *a, cmd_shapes *s)
{
    ptq_engine_options eo;
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_engine *e;
    ptq_report *r;
    TRY(cmd_engine_options(a, &eo));
    TRY(cmd_read_shapes(a, s));
    bool plan = is_plan(a->files[0]);
    if (plan && s->nprofiles > 1)
        return cmd_error(PTQ_ERR_ARG, "of a plan one shape of each input is measured: name each once with --shapes");
    TRY(plan ? ptq_engine_load(a->files[0], &eo, &e) : from_model(a, s, &eo, &e));
    if (plan && a->fast_math && !ptq_engine_fast_math(e))
        cmd_line("warning: ", "--fast-math changes nothing here: the plan was built without it");
    if (plan && a->precision && strcmp(a->precision, ptq_engine_precision(e)) != 0)
        cmd_line("warning: ", "--precision changes nothing here: the plan was built with another one");
    o.seconds = a->seconds;
    o.batch = a->batch;
    o.shapes = s->range;
    o.nshapes = plan ? s->n : 0; /* a model was built for them: they are the best shape of its profile */
    while (o.profile + 1 < ptq_engine_profile_count(e) && !inside(e, o.profile, &o))
        o.profile++;
    if (!inside(e, o.profile, &o))
        o.profile = 0; /* whose error is as good as any */
    ptq_status st = ptq_engine_bench(e, &o, &r);
    if (st == PTQ_OK) {
        st = cmd_print(a, &(named_report){"bench", r}, 1);
        ptq_report_free(r);
    }
    ptq_engine_free(e);
    return st;
}

ptq_status cmd_bench(const args *a)
{
    cmd_shapes *s = calloc(1, sizeof *s);
    ptq_status st = s ? bench(a, s) : cmd_error(PTQ_ERR_NOMEM, "out of memory");
    if (s)
        cmd_free_shapes(s);
    free(s);
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* build: from a model to a plan. */
#include <stdlib.h>
#include <string.h>

#include "bin/cmd.h"

/* "1x3x224x224" up to `end`; the rank, or -1. */
static int read_shape(const char *s, const char *end, int64_t *dims)
{
    int rank = 0;
    while (s < end && rank < PTQ_MAX_RANK) {
        char *stop;
        long long v = *s >= '0' && *s <= '9' ? strtoll(s, &stop, 10) : -1;
        if (v < 0 || stop > end || (stop < end && *stop != 'x'))
            return -1;
        dims[rank++] = v;
        s = stop < end ? stop + 1 : stop;
        if (stop < end && s == end)
            return -1;
    }
    return s == end && rank > 0 ? rank : -1;
}

/* "NAME=SHAPE" or "NAME=MIN:OPT:MAX"; the name is copied. */
static ptq_status read_range(const char *word, ptq_shape_range *r, char **out)
{
    const char *eq = strrchr(word, '='), *at = eq ? eq + 1 : NULL;
    int64_t *to[3] = {r->min, r->opt, r->max};
    int rank[3] = {-1, -1, -1}, n = 0;
    for (; at && n < 3; n++) {
        const char *end = at + strcspn(at, ":");
        rank[n] = read_shape(at, end, to[n]);
        if (!*end) {
            n++;
            at = NULL;
            break;
        }
        at = end + 1;
    }
    if (!eq || eq == word || at || (n != 1 && n != 3) || rank[0] < 0 || (n == 3 && (rank[1] != rank[0] || rank[2] != rank[0])))
        return cmd_error(PTQ_ERR_ARG, "--shapes %s: expected NAME=1x3x224x224 or NAME=MIN:OPT:MAX with three such shapes", word);
    if (n == 1) {
        memcpy(r->opt, r->min, sizeof r->opt);
        memcpy(r->max, r->min, sizeof r->max);
    }
    char *name = malloc((size_t)(eq - word) + 1);
    if (!name)
        return cmd_error(PTQ_ERR_NOMEM, "out of memory");
    memcpy(name, word, (size_t)(eq - word));
    name[eq - word] = '\0';
    r->input = *out = name;
    r->rank = rank[0];
    return PTQ_OK;
}

ptq_status cmd_read_shapes(const args *a, cmd_shapes *s)
{
    for (size_t i = 0; i < a->shapes.n; i++) {
        TRY(read_range(a->shapes.v[i], &s->range[i], &s->name[i]));
        s->n++;
        ptq_profile *p = s->nprofiles ? &s->profile[s->nprofiles - 1] : NULL;
        bool again = !p;
        for (size_t k = 0; p && k < p->n; k++)
            again = again || strcmp(p->ranges[k].input, s->range[i].input) == 0;
        if (again) {
            p = &s->profile[s->nprofiles++];
            *p = (ptq_profile){&s->range[i], 0};
        }
        p->n++;
    }
    return PTQ_OK;
}

void cmd_free_shapes(cmd_shapes *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->name[i]);
}

ptq_status cmd_engine_options(const args *a, ptq_engine_options *o)
{
    char *end;
    *o = (ptq_engine_options)PTQ_ENGINE_OPTIONS_INIT;
    o->backend = a->backend;
    o->isa = a->isa;
    o->threads = (int)a->threads;
    o->precision = a->precision;
    o->fast_math = a->fast_math;
    o->timing_cache = a->timing_cache;
    o->no_tuning = a->no_tuning;
    if (!a->device)
        return PTQ_OK;
    long device = strtol(a->device, &end, 10);
    if (end == a->device || *end || device < 0 || device > 1 << 20)
        return cmd_error(PTQ_ERR_ARG, "--device wants the number of a GPU, from 0");
    o->device = (int)device;
    return PTQ_OK;
}

static ptq_status build(const args *a, const ptq_model *m, cmd_shapes *s)
{
    ptq_engine_options o;
    ptq_engine *e;
    ptq_report *r;
    TRY(cmd_engine_options(a, &o));
    TRY(cmd_read_shapes(a, s));
    o.profiles = s->profile;
    o.nprofiles = s->nprofiles;
    TRY(ptq_engine_build(m, &o, &e));
    ptq_status st = ptq_engine_describe(e, &r);
    if (st == PTQ_OK) {
        st = ptq_engine_save(e, a->out, a->force);
        if (st == PTQ_OK)
            st = cmd_print(a, &(named_report){"engine", r}, 1);
        ptq_report_free(r);
    }
    ptq_engine_free(e);
    return st;
}

ptq_status cmd_build(const args *a)
{
    ptq_model *m;
    cmd_shapes *s;
    if (!a->out)
        return cmd_error(PTQ_ERR_ARG, "no output: name a plan file with -o");
    TRY(cmd_check_outputs(a));
    TRY(ptq_can_save(a->out, a->force));
    TRY(cmd_load(a, a->files[0], &m));
    s = calloc(1, sizeof *s);
    ptq_status st = s ? build(a, m, s) : cmd_error(PTQ_ERR_NOMEM, "out of memory");
    if (s)
        cmd_free_shapes(s);
    free(s);
    ptq_model_free(m);
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Optimization profiles: the shapes that an engine runs. */
#include <stdlib.h>
#include <string.h>

#include "lib/exec/bind.h"
#include "lib/jobs/engine.h"

enum { BATCH_MIN = 1, BATCH_OPT = 8, BATCH_MAX = 64 }; /* of an input whose axis 0 alone is a symbol */

static const ptq_shape_range *range_of(const ptq_profile *p, const char *input)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->ranges[i].input, input) == 0)
            return &p->ranges[i];
    return NULL;
}

/* What the model declares, where it declares enough. */
static ptq_status declared(const ptq_graph *g, const ptq_value *v, ptq_shape_range *r)
{
    char shape[256];
    if (v->shape.rank < 0)
        return ptq_fail(PTQ_ERR_ARG, "input %s has no declared shape; give its smallest, best and largest shape", v->name);
    r->rank = v->shape.rank;
    for (int d = 0; d < r->rank; d++) {
        bool known = ptq_dim_known(v->shape.dims[d]);
        if (!known && d > 0)
            return ptq_fail(PTQ_ERR_ARG, "input %s %s has a symbolic dimension %d; give its smallest, best and largest "
                            "shape", v->name, ptq_shape_print(&v->shape, g->syms, shape, sizeof shape), d);
        r->min[d] = known ? v->shape.dims[d].add : BATCH_MIN;
        r->opt[d] = known ? v->shape.dims[d].add : BATCH_OPT;
        r->max[d] = known ? v->shape.dims[d].add : BATCH_MAX;
    }
    return PTQ_OK;
}

static ptq_status given(const ptq_value *v, const ptq_shape_range *from, ptq_shape_range *r)
{
    if (from->rank < 0 || from->rank > PTQ_MAX_RANK || (v->shape.rank >= 0 && from->rank != v->shape.rank))
        return ptq_fail(PTQ_ERR_ARG, "the range of input %s has rank %d, the input has %d", v->name, from->rank,
                        v->shape.rank);
    *r = *from;
    r->input = v->name;
    for (int d = 0; d < r->rank; d++)
        if (r->min[d] < 1 || r->min[d] > r->opt[d] || r->opt[d] > r->max[d])
            return ptq_fail(PTQ_ERR_ARG, "the range of input %s, dimension %d: 1 <= %lld <= %lld <= %lld does not hold",
                            v->name, d, (long long)r->min[d], (long long)r->opt[d], (long long)r->max[d]);
    return PTQ_OK;
}

static ptq_status set_one(ptq_engine *e, size_t at, const ptq_profile *p)
{
    static const char *const names[] = {"smallest", "best", "largest"};
    const ptq_graph *g = e->model->graph;
    for (size_t i = 0; p && i < p->n; i++) {
        bool found = false;
        for (size_t k = 0; k < g->inputs.n; k++)
            found = found || strcmp(g->inputs.v[k]->name, p->ranges[i].input) == 0;
        if (!found)
            return ptq_fail(PTQ_ERR_ARG, "the model has no input '%s'", p->ranges[i].input);
    }
    for (size_t k = 0; k < g->inputs.n; k++) {
        const ptq_value *v = g->inputs.v[k];
        const ptq_shape_range *r = p ? range_of(p, v->name) : NULL;
        ptq_shape_range *to = &e->ranges[at * g->inputs.n + k];
        to->input = v->name;
        PTQ_TRY(r ? given(v, r, to) : declared(g, v, to));
    }
    ptq_tensor *in = ptq_calloc(g->inputs.n, sizeof *in);
    ptq_status s = in ? PTQ_OK : ptq_fail_nomem();
    for (int w = PTQ_AT_MIN; w <= PTQ_AT_MAX && s == PTQ_OK; w++) {
        ptq_profile_shapes(e, at, (ptq_extreme)w, in);
        s = ptq_check_shapes(g, in, g->inputs.n);
        if (s != PTQ_OK)
            s = ptq_fail_prefix(PTQ_ERR_ARG, "profile %zu, %s shapes", at, names[w]);
    }
    free(in);
    return s;
}

ptq_status ptq_profiles_set(ptq_engine *e, const ptq_profile *profiles, size_t n)
{
    e->nprofiles = n ? n : 1;
    e->ranges = ptq_calloc(e->nprofiles * e->model->graph->inputs.n, sizeof *e->ranges);
    if (!e->ranges)
        return ptq_fail_nomem();
    for (size_t i = 0; i < e->nprofiles; i++)
        PTQ_TRY(set_one(e, i, n ? &profiles[i] : NULL));
    return PTQ_OK;
}

void ptq_profile_shapes(const ptq_engine *e, size_t profile, ptq_extreme which, ptq_tensor *in)
{
    const ptq_graph *g = e->model->graph;
    for (size_t k = 0; k < g->inputs.n; k++) {
        const ptq_shape_range *r = &e->ranges[profile * g->inputs.n + k];
        const int64_t *dims = which == PTQ_AT_MIN ? r->min : which == PTQ_AT_OPT ? r->opt : r->max;
        in[k] = (ptq_tensor){.dtype = g->inputs.v[k]->dtype, .rank = r->rank};
        memcpy(in[k].dims, dims, sizeof in[k].dims);
        if (!ptq_tensor_nbytes(in[k].dtype, in[k].rank, in[k].dims, &in[k].nbytes))
            in[k].nbytes = SIZE_MAX; /* the check of the shapes refuses it */
    }
}

ptq_status ptq_profile_check(const ptq_engine *e, size_t profile, const ptq_tensor *in, size_t nin)
{
    const ptq_graph *g = e->model->graph;
    if (nin != g->inputs.n)
        return ptq_fail(PTQ_ERR_ARG, "the engine has %zu inputs, %zu are given", g->inputs.n, nin);
    for (size_t k = 0; k < nin; k++) {
        const ptq_shape_range *r = &e->ranges[profile * nin + k];
        if (in[k].rank != r->rank)
            return ptq_fail(PTQ_ERR_ARG, "input %s has rank %d, the engine's has %d", r->input, in[k].rank, r->rank);
        for (int d = 0; d < r->rank; d++)
            if (in[k].dims[d] < r->min[d] || in[k].dims[d] > r->max[d])
                return ptq_fail(PTQ_ERR_ARG, "input %s, dimension %d is %lld, outside the %lld to %lld of profile %zu; build "
                                "the engine for it", r->input, d, (long long)in[k].dims[d], (long long)r->min[d],
                                (long long)r->max[d], profile);
    }
    return PTQ_OK;
}

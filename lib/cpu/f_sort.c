/* SPDX-License-Identifier: Apache-2.0 */
/* TopK and Unique. Elements of every type become unsigned numbers of the same order. */
#include "lib/core/cast.h"
#include "lib/cpu/fkernel.h"

typedef struct item {
    uint64_t key;
    int64_t at;
} item;

/* NaN is above everything, -0 is 0. */
static uint64_t key_of(const ptq_tensor *x, int64_t i)
{
    ptq_number v = ptq_number_load(x->dtype, x->data, i);
    const uint64_t sign = (uint64_t)1 << 63;
    if (!v.real)
        return x->dtype == PTQ_DT_U64 ? (uint64_t)v.i : (uint64_t)v.i ^ sign;
    if (v.d != v.d)
        return UINT64_MAX;
    v.d = v.d == 0.0 ? 0.0 : v.d;
    uint64_t bits;
    memcpy(&bits, &v.d, sizeof bits);
    return bits & sign ? ~bits : bits | sign;
}

static int by_key(const void *pa, const void *pb)
{
    const item *a = pa, *b = pb;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static ptq_status check_type(const ptq_step_run *r)
{
    return ptq_castable(r->in[0]->dtype) ? PTQ_OK : ptq_bad_type(r, r->in[0]->dtype);
}

/* ---- TopK: of equal values the one that comes first ---- */

typedef struct top_ctx {
    const ptq_tensor *x;
    ptq_shape3 s;
    int64_t k;
    uint64_t flip; /* all ones: the largest come first */
    item *work;    /* [threads][n] */
    ptq_tensor *y, *at;
} top_ctx;

static void top_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const top_ctx *v = ctx;
    item *w = v->work + worker * v->s.n;
    size_t e = ptq_elem_bytes(v->x->dtype);
    for (int64_t row = from; row < to; row++) {
        int64_t o = row / v->s.inner, j = row % v->s.inner;
        for (int64_t i = 0; i < v->s.n; i++)
            w[i] = (item){key_of(v->x, (o * v->s.n + i) * v->s.inner + j) ^ v->flip, i};
        qsort(w, (size_t)v->s.n, sizeof *w, by_key);
        for (int64_t i = 0; i < v->k; i++) {
            int64_t to_at = (o * v->k + i) * v->s.inner + j;
            int64_t from_at = (o * v->s.n + w[i].at) * v->s.inner + j;
            if (v->y->data)
                memcpy((char *)v->y->data + (size_t)to_at * e, (const char *)v->x->data + (size_t)from_at * e, e);
            if (v->at->data)
                ((int64_t *)v->at->data)[to_at] = w[i].at;
        }
    }
}

static ptq_status top_k_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", -1), x->rank);
    ptq_tensor none = {0};
    PTQ_TRY(check_type(r));
    top_ctx v = {.x = x, .s = ptq_shape3_of(x, axis, axis + 1), .y = &r->out[0],
                 .at = r->step->nout > 1 ? &r->out[1] : &none};
    v.k = (r->step->out[0] >= 0 ? v.y : v.at)->dims[axis];
    v.flip = ptq_attr_int(r->step->node, "largest", 1) ? ~(uint64_t)0 : 0;
    if (v.k < 0 || v.k > v.s.n)
        return ptq_bad_args(r);
    v.work = ptq_cpu_scratch(c, (size_t)(ptq_pool_threads(c->pool) * v.s.n) * sizeof *v.work);
    if (!v.work)
        return ptq_fail_nomem();
    return ptq_cpu_ranges(c, v.s.outer * v.s.inner, 1 + 4096 / (v.s.n + 1), top_part, &v);
}

extern const ptq_cpu_kernel ptq_cpu_f_top_k, ptq_cpu_f_unique;
const ptq_cpu_kernel ptq_cpu_f_top_k = {.name = "TopK", .run = top_k_run};

/* ---- Unique ---- */

typedef struct unique_ctx {
    ptq_shape3 s;
    uint64_t *key; /* of all elements */
    int64_t *order; /* entries, sorted */
    int64_t *group; /* of each entry */
    int64_t *first, *count; /* of each group */
    int64_t ngroups;
} unique_ctx;

/* Entries compare by their elements, outermost first. */
static int compare(const unique_ctx *v, int64_t a, int64_t b)
{
    for (int64_t o = 0; o < v->s.outer; o++)
        for (int64_t j = 0; j < v->s.inner; j++) {
            uint64_t x = v->key[(o * v->s.n + a) * v->s.inner + j], y = v->key[(o * v->s.n + b) * v->s.inner + j];
            if (x != y)
                return x < y ? -1 : 1;
        }
    return 0;
}

static int by_entry(const void *pa, const void *pb, void *ctx)
{
    int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
    int d = compare(ctx, a, b);
    return d ? d : a < b ? -1 : a > b;
}

static int by_first(const void *pa, const void *pb, void *ctx)
{
    const unique_ctx *v = ctx;
    int64_t a = v->first[*(const int64_t *)pa], b = v->first[*(const int64_t *)pb];
    return a < b ? -1 : a > b;
}

/* Groups of equal entries, in sorted order or in that of their first entries. */
static void find_groups(unique_ctx *v, bool sorted)
{
    int64_t n = v->s.n;
    for (int64_t i = 0; i < n; i++)
        v->order[i] = i;
    qsort_r(v->order, (size_t)n, sizeof *v->order, by_entry, v);
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || compare(v, v->order[i - 1], v->order[i]) != 0) {
            v->first[v->ngroups] = v->order[i];
            v->count[v->ngroups++] = 0;
        }
        v->group[v->order[i]] = v->ngroups - 1;
        v->count[v->ngroups - 1]++;
    }
    if (sorted)
        return;
    /* order: groups by their first entry; then all is renamed in place */
    int64_t *rank = v->order + n, *tmp = rank + n;
    for (int64_t g = 0; g < v->ngroups; g++)
        v->order[g] = g;
    qsort_r(v->order, (size_t)v->ngroups, sizeof *v->order, by_first, v);
    for (int64_t g = 0; g < v->ngroups; g++)
        rank[v->order[g]] = g;
    for (int64_t i = 0; i < n; i++)
        v->group[i] = rank[v->group[i]];
    for (int64_t **list = (int64_t *[]){v->first, v->count, NULL}; *list; list++) {
        for (int64_t g = 0; g < v->ngroups; g++)
            tmp[rank[g]] = (*list)[g];
        memcpy(*list, tmp, (size_t)v->ngroups * sizeof *tmp);
    }
}

static ptq_status put_list(const ptq_step_run *r, int i, const int64_t *v, int64_t n)
{
    if (i >= r->step->nout || r->step->out[i] < 0)
        return PTQ_OK;
    PTQ_TRY(ptq_cpu_out(r, i, 1, &n));
    if (n)
        memcpy(r->out[i].data, v, (size_t)n * sizeof *v);
    return PTQ_OK;
}

static ptq_status unique_outputs(const ptq_step_run *r, const unique_ctx *v, int axis)
{
    const ptq_tensor *x = r->in[0];
    size_t run = (size_t)v->s.inner * ptq_elem_bytes(x->dtype);
    int64_t dims[PTQ_MAX_RANK] = {v->ngroups};
    for (int d = 0; axis >= 0 && d < x->rank; d++)
        dims[d] = d == axis ? v->ngroups : x->dims[d];
    if (r->step->out[0] >= 0) {
        PTQ_TRY(ptq_cpu_out(r, 0, axis < 0 ? 1 : x->rank, dims));
        for (int64_t o = 0; o < v->s.outer; o++)
            for (int64_t g = 0; g < v->ngroups; g++)
                memcpy((char *)r->out[0].data + (size_t)(o * v->ngroups + g) * run,
                       (const char *)x->data + (size_t)(o * v->s.n + v->first[g]) * run, run);
    }
    PTQ_TRY(put_list(r, 1, v->first, v->ngroups));
    PTQ_TRY(put_list(r, 2, v->group, v->s.n));
    return put_list(r, 3, v->count, v->ngroups);
}

static ptq_status unique_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    const ptq_attr *a = ptq_attr_find(r->step->node, "axis");
    int axis = a ? ptq_axis(a->i, x->rank) : -1;
    int64_t total = ptq_tensor_elements(x);
    unique_ctx v = {.s = {1, total, 1}};
    PTQ_TRY(check_type(r));
    if (a)
        v.s = ptq_shape3_of(x, axis, axis + 1);
    int64_t *mem = ptq_cpu_scratch(c, (size_t)(total + 6 * v.s.n + 1) * sizeof *mem);
    if (!mem)
        return ptq_fail_nomem();
    v.key = (uint64_t *)mem;
    v.group = mem + total;
    v.first = v.group + v.s.n;
    v.count = v.first + v.s.n;
    v.order = v.count + v.s.n; /* and two more lists behind it */
    for (int64_t i = 0; i < total; i++)
        v.key[i] = key_of(x, i);
    find_groups(&v, ptq_attr_int(r->step->node, "sorted", 1) != 0);
    return unique_outputs(r, &v, axis);
}

const ptq_cpu_kernel ptq_cpu_f_unique = {.name = "Unique", .run = unique_run, .finds_shape = true};

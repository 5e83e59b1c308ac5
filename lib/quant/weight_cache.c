/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "lib/quant/weight.h"

typedef struct entry {
    const ptq_weight_algo *algo; /* NULL: nothing yet */
    const float *data;
    ptq_weight_options options;
    ptq_weight_codes codes;
} entry;

struct ptq_weight_cache {
    size_t n;
    entry *entries;
};

ptq_status ptq_weight_cache_new(size_t n, ptq_weight_cache **out)
{
    ptq_weight_cache *c = ptq_calloc(1, sizeof *c);
    if (c)
        c->entries = ptq_calloc(n, sizeof *c->entries);
    if (!c || !c->entries) {
        free(c);
        return ptq_fail_nomem();
    }
    c->n = n;
    *out = c;
    return PTQ_OK;
}

void ptq_weight_cache_free(ptq_weight_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        ptq_weight_codes_clear(&c->entries[i].codes);
    free(c->entries);
    free(c);
}

static bool same(const entry *e, const ptq_weight_algo *algo, const ptq_weight *w, const ptq_weight_options *o)
{
    return e->algo == algo && e->data == w->data && e->codes.axis == w->axis && e->options.dtype == o->dtype &&
           e->options.reduced == o->reduced && e->options.pow2 == o->pow2;
}

ptq_status ptq_weight_quantize_once(ptq_weight_cache *cache, size_t id, const ptq_weight_algo *algo,
                                    const ptq_weight *w, const ptq_weight_options *options, ptq_weight_codes *out)
{
    const ptq_weight_options o = options ? *options : (ptq_weight_options){0};
    entry *e = cache && id < cache->n ? &cache->entries[id] : NULL;
    /* Codes that were handed out stay as they are: an entry is never replaced. */
    if (!e || (e->algo && !same(e, algo, w, &o)))
        return ptq_weight_quantize(algo, w, &o, out);
    if (!e->algo) {
        PTQ_TRY(ptq_weight_quantize(algo, w, &o, &e->codes));
        e->algo = algo;
        e->data = w->data;
        e->options = o;
    }
    *out = e->codes;
    out->shared = true;
    return PTQ_OK;
}

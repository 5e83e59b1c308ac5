/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/quantize.h"
#include "lib/quant/weight.h"

static ptq_status set_activations(const ptq_quant_options *o, ptq_qspec *s)
{
    ptq_dtype type = s->target->act;
    bool symmetric = o->act_symmetric < 0 ? s->target->act_symmetric : o->act_symmetric != 0;
    if (o->act && strcmp(o->act, "s8") == 0) {
        type = PTQ_DT_S8;
    } else if (o->act && strcmp(o->act, "u8") == 0) {
        if (!s->target->u8)
            return ptq_fail(PTQ_ERR_ARG, "target %s takes no uint8 activations; use --act s8 or --target ort",
                            s->target->name);
        type = PTQ_DT_U8;
    } else if (o->act && strcmp(o->act, "log2") == 0) {
        s->act_log2 = true;
    } else if (o->act) {
        return ptq_fail(PTQ_ERR_ARG, "no activation type '%s'; there are s8, u8 and log2", o->act);
    }
    if (!symmetric && !s->target->zero_points)
        return ptq_fail(PTQ_ERR_ARG, "target %s takes no zero points, so activations must be symmetric",
                        s->target->name);
    return ptq_grid_make(type, symmetric, false, &s->grid);
}

static ptq_status set_weights(const ptq_quant_options *o, ptq_qspec *s)
{
    const char *w = o->weight ? o->weight : "s8";
    const ptq_weight_algo *algo;
    s->rewrite = (ptq_rewrite_options){.weight_dtype = PTQ_DT_S8, .per_channel = !o->per_tensor,
                                       .reduce_range = o->reduce_range, .act_log2 = s->act_log2};
    if (strcmp(w, "s8") == 0 || strcmp(w, "u8") == 0) {
        bool u8 = w[0] == 'u';
        s->rewrite.weight_dtype = u8 ? PTQ_DT_U8 : PTQ_DT_S8;
        s->rewrite.weight = u8 || o->weight_asymmetric ? "asymmetric" : "symmetric";
    } else {
        PTQ_TRY(ptq_weight_find(w, &algo));
        s->rewrite.weight = algo->name;
    }
    if (strcmp(s->rewrite.weight, "asymmetric") == 0) {
        if (!s->target->zero_points)
            return ptq_fail(PTQ_ERR_ARG, "target %s takes no zero points, so weights must be symmetric int8",
                            s->target->name);
        /* One zero point for all channels is what consumers' convolutions take. */
        s->rewrite.per_channel = false;
    }
    return PTQ_OK;
}

static size_t count(const char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static ptq_status set_overrides(const char *text, ptq_qspec *s)
{
    json_error_t e;
    if (!text)
        return PTQ_OK;
    s->overrides = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    if (!s->overrides)
        return ptq_fail(PTQ_ERR_ARG, "overrides, line %d: %s", e.line, e.text);
    if (!json_is_object(s->overrides))
        return ptq_fail(PTQ_ERR_ARG, "overrides: an object is expected");
    const char *key;
    json_t *v;
    json_object_foreach (s->overrides, key, v)
        if (strcmp(key, "tensors") != 0 && strcmp(key, "float_nodes") != 0 && strcmp(key, "version") != 0)
            return ptq_fail(PTQ_ERR_ARG, "overrides: no key '%s'; there are tensors and float_nodes", key);
    v = json_object_get(s->overrides, "tensors");
    if (v && !json_is_object(v))
        return ptq_fail(PTQ_ERR_ARG, "overrides: tensors is not an object");
    v = json_object_get(s->overrides, "float_nodes");
    return !v || json_is_array(v) ? PTQ_OK : ptq_fail(PTQ_ERR_ARG, "overrides: float_nodes is not a list");
}

/* Patterns of --exclude and the override's float_nodes together. */
static ptq_status set_scope(const ptq_quant_options *o, ptq_qspec *s)
{
    json_t *nodes = json_object_get(s->overrides, "float_nodes"), *item;
    size_t n = count(o->exclude), i;
    s->patterns = ptq_calloc(n + json_array_size(nodes), sizeof *s->patterns);
    if (!s->patterns)
        return ptq_fail_nomem();
    for (i = 0; i < n; i++)
        s->patterns[i] = o->exclude[i];
    json_array_foreach (nodes, i, item) {
        if (!json_is_string(item))
            return ptq_fail(PTQ_ERR_ARG, "overrides: float_nodes holds something that is not a name");
        s->patterns[n++] = json_string_value(item);
    }
    s->scope = (ptq_scope){.only = o->only, .nonly = count(o->only), .exclude = s->patterns, .nexclude = n,
                           .nfile = json_array_size(nodes),
                           .exclude_ops = o->exclude_ops, .nexclude_ops = count(o->exclude_ops)};
    return PTQ_OK;
}

static ptq_status fill(const ptq_quant_options *o, ptq_qspec *s)
{
    PTQ_TRY(ptq_target_find(o->target ? o->target : "portable", &s->target));
    PTQ_TRY(set_activations(o, s));
    PTQ_TRY(set_weights(o, s));
    const char *format = o->format ? o->format : "qdq";
    if (strcmp(format, "qoperator") == 0) {
        if (!s->target->qoperator)
            return ptq_fail(PTQ_ERR_ARG, "target %s takes no QOperator form; use --target ort", s->target->name);
        s->qoperator = true;
    } else if (strcmp(format, "qdq") != 0) {
        return ptq_fail(PTQ_ERR_ARG, "no format '%s'; there are qdq and qoperator", format);
    }
    if (!(o->percentile >= 0.0 && o->percentile <= 100.0))
        return ptq_fail(PTQ_ERR_ARG, "percentile %g is not in (0, 100]", o->percentile);
    s->range.percentile = o->percentile;
    PTQ_TRY(set_overrides(o->overrides, s));
    return set_scope(o, s);
}

ptq_status ptq_qspec_make(const ptq_quant_options *opt, ptq_qspec *out)
{
    *out = (ptq_qspec){0};
    ptq_status s = fill(opt, out);
    if (s != PTQ_OK)
        ptq_qspec_clear(out);
    return s;
}

void ptq_qspec_clear(ptq_qspec *s)
{
    json_decref(s->overrides);
    free(s->patterns);
    *s = (ptq_qspec){0};
}

bool ptq_method_info(size_t i, const char **name, const char **summary)
{
    size_t n;
    const ptq_range_algo *const *list = ptq_range_algos(&n);
    if (i == 0) {
        *name = "auto";
        *summary = "tries the methods on the model and keeps what brings its output closest to fp32";
        return true;
    }
    if (i > n)
        return false;
    *name = list[i - 1]->name;
    *summary = list[i - 1]->summary;
    return true;
}

bool ptq_weight_info(size_t i, const char **name, const char **summary)
{
    static const char *const linear[][2] = {
        {"s8", "int8 symmetric, one scale per output channel"},
        {"u8", "uint8 asymmetric, one scale per tensor (target ort)"},
    };
    if (i < PTQ_COUNT(linear)) {
        *name = linear[i][0];
        *summary = linear[i][1];
        return true;
    }
    size_t n, at = PTQ_COUNT(linear);
    const ptq_weight_algo *const *list = ptq_weight_algos(&n);
    for (size_t k = 0; k < n; k++)
        if (list[k]->steps > 0 && at++ == i) {
            *name = list[k]->name;
            *summary = list[k]->summary;
            return true;
        }
    return false;
}

bool ptq_target_info(size_t i, const char **name, const char **summary)
{
    if (i >= ptq_target_count())
        return false;
    *name = ptq_target_at(i)->name;
    *summary = ptq_target_at(i)->summary;
    return true;
}

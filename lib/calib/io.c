/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of data sets. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <ptq/io.h>

#include "lib/calib/dataset.h"

struct ptq_data {
    ptq_dataset *set;
    ptq_samples samples;
    char preprocess[512];
    char describe[1024];
    bool shaped; /* some input could take an image */
};

static ptq_status read_sample(void *ctx, size_t i, ptq_tensor *inputs, size_t ninputs)
{
    (void)ninputs;
    return ptq_dataset_read(((ptq_data *)ctx)->set, i, inputs);
}

static ptq_status read_labels(void *ctx, size_t i, const int64_t **labels, size_t *n)
{
    ptq_dataset_labels(((ptq_data *)ctx)->set, i, labels, n);
    if (*n == 0)
        return ptq_fail(PTQ_ERR_DATA, "sample %zu has no label", i);
    return PTQ_OK;
}

static const char *sample_name(void *ctx, size_t i)
{
    static _Thread_local char buf[256];
    return ptq_dataset_sample_name(((ptq_data *)ctx)->set, i, buf, sizeof buf);
}

static ptq_status content_hash(void *ctx, char hex[65])
{
    return ptq_dataset_hash(((ptq_data *)ctx)->set, hex);
}

static ptq_status take_options(const ptq_data_options *o, ptq_preprocess *pp)
{
    const struct {
        const char *key, *value;
    } rows[] = {{"preprocess", o->preprocess}, {"resize", o->resize}, {"crop", o->crop}, {"color", o->color},
                {"scale", o->scale},           {"mean", o->mean},     {"std", o->std},   {"layout", o->layout},
                {"pad", o->pad}};
    ptq_preprocess_init(pp);
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        if (rows[i].value)
            PTQ_TRY(ptq_preprocess_set(pp, rows[i].key, rows[i].value));
    return PTQ_OK;
}

/* "NAME=PATH" strings into pairs; names are copied into one block. */
static ptq_status split_inputs(const char *const *list, ptq_dataset_input **out, size_t *count, char **block)
{
    size_t n = 0, bytes = 0, at = 0;
    for (; list && list[n]; n++)
        bytes += strlen(list[n]) + 1;
    ptq_dataset_input *own = ptq_calloc(n, sizeof *own);
    char *names = ptq_calloc(bytes, 1);
    ptq_status s = own && names ? PTQ_OK : ptq_fail_nomem();
    for (size_t i = 0; i < n && s == PTQ_OK; i++) {
        const char *eq = strchr(list[i], '=');
        if (!eq || eq == list[i] || !eq[1]) {
            s = ptq_fail(PTQ_ERR_ARG, "--input wants NAME=PATH, not '%s'", list[i]);
            break;
        }
        size_t len = (size_t)(eq - list[i]);
        memcpy(names + at, list[i], len);
        own[i] = (ptq_dataset_input){.input = names + at, .path = eq + 1};
        at += len + 1;
    }
    if (s != PTQ_OK) {
        free(own);
        free(names);
        return s;
    }
    *out = own;
    *count = n;
    *block = names;
    return PTQ_OK;
}

static ptq_status input_specs(const ptq_model *m, ptq_input_spec **out, size_t *count)
{
    size_t n = ptq_model_input_count(m);
    ptq_input_spec *specs = ptq_calloc(n, sizeof *specs);
    if (!specs)
        return ptq_fail_nomem();
    for (size_t i = 0; i < n; i++) {
        ptq_tensor_info info;
        ptq_status s = ptq_model_input(m, i, &info);
        if (s != PTQ_OK) {
            free(specs);
            return s;
        }
        specs[i] = (ptq_input_spec){.name = info.name, .dtype = info.dtype, .rank = info.rank};
        memcpy(specs[i].dims, info.dims, sizeof specs[i].dims);
    }
    *out = specs;
    *count = n;
    return PTQ_OK;
}

static ptq_status open_set(const char *path, const ptq_model *m, const ptq_data_options *opt, ptq_data *d)
{
    ptq_preprocess pp;
    ptq_input_spec *specs = NULL;
    ptq_dataset_input *own = NULL;
    char *names = NULL;
    ptq_dataset_options o = {.preprocess = &pp, .labels = opt->labels};
    PTQ_TRY(take_options(opt, &pp));
    PTQ_TRY(input_specs(m, &specs, &o.n_inputs));
    ptq_status s = split_inputs(opt->inputs, &own, &o.n_own, &names);
    o.inputs = specs;
    for (size_t i = 0; i < o.n_inputs; i++)
        d->shaped |= specs[i].rank < 0 || specs[i].rank >= 3;
    o.own = own;
    if (s == PTQ_OK)
        s = ptq_dataset_open(path, &o, &d->set);
    free(specs);
    free(own);
    free(names);
    return s;
}

ptq_status ptq_data_open(const char *path, const ptq_model *m, const ptq_data_options *opt, ptq_data **out)
{
    PTQ_NEEDS(m);
    PTQ_NEEDS(out);
    PTQ_OPTIONS(opt);
    static const ptq_data_options dflt = PTQ_DATA_OPTIONS_INIT;
    ptq_data *d = calloc(1, sizeof *d);
    if (!d)
        return ptq_fail_nomem();
    ptq_status s = open_set(path, m, opt ? opt : &dflt, d);
    if (s != PTQ_OK) {
        ptq_data_close(d);
        return s;
    }
    ptq_preprocess_text(ptq_dataset_preprocess(d->set), d->preprocess, sizeof d->preprocess);
    snprintf(d->describe, sizeof d->describe, "%s%s%s", ptq_dataset_describe(d->set), d->shaped ? "; " : "",
             d->shaped ? d->preprocess : "");
    d->samples = (ptq_samples){.ctx = d,
                               .count = ptq_dataset_count(d->set),
                               .read = read_sample,
                               .labels = ptq_dataset_has_labels(d->set) ? read_labels : NULL,
                               .name = sample_name,
                               .sha256 = content_hash,
                               .preprocess = d->preprocess};
    *out = d;
    return PTQ_OK;
}

void ptq_data_close(ptq_data *d)
{
    if (!d)
        return;
    ptq_dataset_free(d->set);
    free(d);
}

const ptq_samples *ptq_data_samples(const ptq_data *d)
{
    return &d->samples;
}

bool ptq_data_reads(const ptq_data *d, const char *path)
{
    return path && ptq_dataset_reads(d->set, path);
}

const char *ptq_data_describe(const ptq_data *d)
{
    return d->describe;
}

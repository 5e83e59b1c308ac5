/* SPDX-License-Identifier: Apache-2.0 */
/* An HDF5 file: a dataset named like each input, or /images, the first axis counting samples;
 * perhaps /labels; attributes layout and color of a dataset, scale, mean and std of the root. */
#include "config.h"

#include <string.h>

#include "lib/calib/reader.h"

static bool probe(const char *path, bool folder, const uint8_t *head, size_t n)
{
    (void)path, (void)folder;
    return n >= 8 && memcmp(head, "\x89HDF\r\n\x1a\n", 8) == 0;
}

#ifdef HAVE_HDF5
#include <stdlib.h>

#include "lib/calib/h5_read.h"

typedef struct h5 {
    ptq_worker *worker;
    ptq_h5_dataset *meta; /* one for each input */
} h5;

static ptq_status fail_in(const ptq_source *src, ptq_status s)
{
    return ptq_fail_prefix(s, "%s", src->path);
}

static ptq_status load_labels(ptq_source *src, h5 *p, const ptq_h5_dataset *m)
{
    if (!m->name[0])
        return PTQ_OK;
    if (m->dims[0] != (int64_t)src->count)
        return ptq_fail(PTQ_ERR_DATA, "%lld labels for %zu samples", (long long)m->dims[0],
                        src->count);
    ptq_h5_request q = {.op = PTQ_H5_LABELS};
    uint8_t *reply;
    size_t n, total;
    PTQ_TRY(ptq_worker_call(p->worker, &q, sizeof q, &reply, &n));
    if (!ptq_tensor_nbytes(PTQ_DT_S64, m->rank, m->dims, &total) || total != n || n == 0) {
        free(reply);
        return ptq_fail(PTQ_ERR_DATA, "/labels: damaged");
    }
    return ptq_labels_uniform(&src->labels, (int64_t *)(void *)reply, src->count,
                              n / sizeof(int64_t) / src->count);
}

static ptq_status take_meta(ptq_source *src, h5 *p, const uint8_t *reply, size_t n)
{
    ptq_h5_dataset labels;
    size_t inputs = src->n_inputs ? src->n_inputs : 1, at = 0;
    if (n != sizeof src->defaults + sizeof labels + inputs * sizeof *p->meta)
        return ptq_fail(PTQ_ERR_INTERNAL, "answer of %zu bytes", n);
    p->meta = ptq_calloc(inputs, sizeof *p->meta);
    if (!p->meta)
        return ptq_fail_nomem();
    memcpy(&src->defaults, reply, sizeof src->defaults);
    at += sizeof src->defaults;
    memcpy(&labels, reply + at, sizeof labels);
    at += sizeof labels;
    memcpy(p->meta, reply + at, inputs * sizeof *p->meta);
    src->count = (size_t)p->meta[0].dims[0];
    for (size_t i = 1; i < inputs; i++)
        if (p->meta[i].dims[0] != p->meta[0].dims[0])
            return ptq_fail(PTQ_ERR_DATA, "/%s has %lld samples but /%s has %lld", p->meta[0].name,
                            (long long)p->meta[0].dims[0], p->meta[i].name,
                            (long long)p->meta[i].dims[0]);
    if (src->count == 0)
        return ptq_fail(PTQ_ERR_DATA, "/%s holds no samples", p->meta[0].name);
    char shape[128];
    snprintf(src->describe, sizeof src->describe, "%zu samples (hdf5 /%s, %s %s)", src->count,
             p->meta[0].name, ptq_dtype_name(p->meta[0].dtype),
             ptq_shape_str(p->meta[0].rank, p->meta[0].dims, shape, sizeof shape));
    return load_labels(src, p, &labels);
}

static ptq_status open_h5(ptq_source *src)
{
    h5 *p = ptq_calloc(1, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    src->self = p;
    ptq_h5_reader state = {.path = src->path, .member = src->member, .inputs = src->inputs,
                           .n_inputs = src->n_inputs};
    if (src->member && src->n_inputs > 1)
        return ptq_fail(PTQ_ERR_DATA, "%s:/%s feeds one input, the model has %zu", src->path,
                        src->member, src->n_inputs);
    PTQ_TRY(ptq_worker_start(ptq_h5_serve, &state, false, &p->worker));
    ptq_h5_request q = {.op = PTQ_H5_OPEN};
    uint8_t *reply = NULL;
    size_t n = 0;
    ptq_status s = ptq_worker_call(p->worker, &q, sizeof q, &reply, &n);
    if (s == PTQ_OK)
        s = take_meta(src, p, reply, n);
    free(reply);
    return s == PTQ_OK ? s : fail_in(src, s);
}

static ptq_status read_sample(ptq_source *src, size_t index, size_t input, ptq_raw *raw)
{
    h5 *p = src->self;
    const ptq_h5_dataset *m = &p->meta[input];
    ptq_h5_request q = {.op = PTQ_H5_ROW, .input = (uint32_t)input, .index = index};
    uint8_t *reply;
    size_t n, want;
    ptq_status s = ptq_worker_call(p->worker, &q, sizeof q, &reply, &n);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "%s[%zu]", src->path, index);
    ptq_raw r = {.dtype = m->dtype, .rank = m->rank - 1, .layout = m->layout, .bgr = m->bgr};
    memcpy(r.dims, m->dims + 1, sizeof *r.dims * (size_t)r.rank);
    if (!ptq_tensor_nbytes(r.dtype, r.rank, r.dims, &want) || want != n) {
        free(reply);
        return ptq_fail(PTQ_ERR_DATA, "%s[%zu]: damaged", src->path, index);
    }
    r.data = reply;
    r.nbytes = n;
    *raw = r;
    return PTQ_OK;
}

static void close_h5(ptq_source *src)
{
    h5 *p = src->self;
    if (p) {
        ptq_worker_stop(p->worker);
        free(p->meta);
    }
    free(p);
}

#else

static ptq_status open_h5(ptq_source *src)
{
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "%s: this program was built without HDF5", src->path);
}

static ptq_status read_sample(ptq_source *src, size_t index, size_t input, ptq_raw *raw)
{
    (void)src, (void)index, (void)input, (void)raw;
    return ptq_fail(PTQ_ERR_INTERNAL, "hdf5 reader is not built");
}

static void close_h5(ptq_source *src)
{
    (void)src;
}

#endif

static ptq_status hash(ptq_source *src, char hex[65])
{
    return ptq_hash_files(&src->path, 1, hex);
}

const ptq_reader ptq_reader_hdf5 = {
    .name = "hdf5",
    .help = "HDF5 file with a dataset named like each input, or /images; /labels",
    .probe = probe,
    .open = open_h5,
    .read = read_sample,
    .hash = hash,
    .close = close_h5,
};

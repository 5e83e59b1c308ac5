/* SPDX-License-Identifier: Apache-2.0 */
/* A .npy file: the first axis counts the samples. */
#include <stdlib.h>
#include <string.h>

#include "lib/calib/npy.h"

static bool probe(const char *path, bool folder, const uint8_t *head, size_t n)
{
    (void)path, (void)folder;
    return n >= 6 && memcmp(head, "\x93NUMPY", 6) == 0;
}

static ptq_status open_npy(ptq_source *src)
{
    if (src->n_inputs > 1)
        return ptq_fail(PTQ_ERR_DATA, "%s: a .npy file feeds one input, the model has %zu: give "
                        "each its own with --input NAME=PATH, or use .npz", src->path,
                        src->n_inputs);
    ptq_npy *npy = ptq_calloc(1, sizeof *npy);
    if (!npy)
        return ptq_fail_nomem();
    npy->fd = -1;
    src->self = npy;
    PTQ_TRY(ptq_npy_open(src->path, npy));
    if (npy->rank < 1 || npy->nbytes == 0)
        return ptq_fail(PTQ_ERR_DATA, "%s: holds no samples", src->path);
    char shape[128];
    src->count = (size_t)npy->dims[0];
    snprintf(src->describe, sizeof src->describe, "%zu samples (npy, %s %s)", src->count,
             ptq_dtype_name(npy->dtype), ptq_shape_str(npy->rank, npy->dims, shape, sizeof shape));
    return PTQ_OK;
}

static ptq_status read_sample(ptq_source *src, size_t index, size_t input, ptq_raw *raw)
{
    (void)input;
    ptq_status s = ptq_npy_read(src->self, index, raw);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "%s: sample %zu", src->path, index);
}

static ptq_status hash(ptq_source *src, char hex[65])
{
    return ptq_hash_files(&src->path, 1, hex);
}

static void close_npy(ptq_source *src)
{
    if (src->self)
        ptq_npy_close(src->self);
    free(src->self);
}

const ptq_reader ptq_reader_npy = {
    .name = "npy",
    .help = "NumPy array, one sample for each index of the first axis",
    .probe = probe,
    .open = open_npy,
    .read = read_sample,
    .hash = hash,
    .close = close_npy,
};

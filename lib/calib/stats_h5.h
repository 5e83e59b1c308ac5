/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics file's HDF5 side; runs in a worker process only (worker.h).
 *
 *   /                attributes format "ptq-statistics", version, tool, model_sha256,
 *                    data_sha256, preprocess, total, digest
 *   /done, /bad      uint64, bitmaps over the samples, bit i of word i / 64
 *   /tensors/000000  attributes name, dtype; one dataset for each array that the observers write
 *                    (lib/observers/stats.h); tensors ascend by name
 *
 * Little-endian types, fixed-length UTF-8 strings, no times: equal statistics are equal bytes. */
#ifndef PTQ_CALIB_STATS_H5_H
#define PTQ_CALIB_STATS_H5_H

#include "lib/calib/statistics.h"
#include "lib/calib/worker.h"

enum {
    PTQ_STATS_FILE_VERSION = 1,
    PTQ_STATS_TEXT_MAX = 4096, /* preprocessing, names of tensors */
    PTQ_STATS_TENSORS_MAX = 1 << 20,
    PTQ_STATS_FIELDS_MAX = 64,
    PTQ_STATS_FIELD_MAX = 64 << 20 /* bytes */
};
#define PTQ_STATS_SAMPLES_MAX ((uint64_t)1 << 30)

/* SHA-256 over everything that the file says, so that an edited one is noticed. */
ptq_status ptq_stats_digest(const ptq_statistics *s, char hex[65]);

/* Child that saves: the state is this, the one request is empty, and so is the answer. */
typedef struct ptq_stats_save {
    const ptq_statistics *stats;
    const char *path;
    const char *digest;
} ptq_stats_save;
ptq_status ptq_stats_serve_save(void *state, const void *request, size_t n, ptq_bytes *reply);

/* Child that loads: the request is a tensor's number (uint64), or PTQ_STATS_HEAD. */
#define PTQ_STATS_HEAD UINT64_MAX
typedef struct ptq_stats_head {
    char model_sha256[65], data_sha256[65], digest[65];
    char preprocess[PTQ_STATS_TEXT_MAX];
    uint64_t total, ntensors; /* followed by the two bitmaps */
} ptq_stats_head;
/* The answer to a tensor: this, then `fields` times a ptq_stats_field and its values. */
typedef struct ptq_stats_tensor {
    char name[PTQ_STATS_TEXT_MAX];
    int32_t dtype;
    uint32_t fields;
} ptq_stats_tensor;
typedef struct ptq_stats_field {
    char name[32];
    int32_t dtype, rank;
    int64_t dims[PTQ_MAX_RANK];
    uint64_t nbytes; /* of the values, padded to a multiple of 8 with zeros */
} ptq_stats_field;
typedef struct ptq_stats_load {
    const char *path;
    int64_t file;
    uint64_t ntensors;
} ptq_stats_load;
ptq_status ptq_stats_serve_load(void *state, const void *request, size_t n, ptq_bytes *reply);

#endif

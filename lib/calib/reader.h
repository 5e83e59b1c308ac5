/* SPDX-License-Identifier: Apache-2.0 */
/* What a data reader implements. A reader is one file with one const ptq_reader and one row in
 * readers.def; it hands out raw samples, dataset.c makes the model's tensors of them. */
#ifndef PTQ_CALIB_READER_H
#define PTQ_CALIB_READER_H

#include "lib/calib/dataset.h"

/* One raw sample of one input: a decoded image, or an array without the sample axis. */
typedef struct ptq_raw {
    bool is_image;
    ptq_image image;
    ptq_dtype dtype;
    int rank;
    int64_t dims[PTQ_MAX_RANK];
    void *data;         /* row-major, native byte order; owned */
    size_t nbytes;
    ptq_pixel_layout layout; /* where the file says so */
    bool bgr;
} ptq_raw;
void ptq_raw_free(ptq_raw *raw);

/* Labels of all samples: those of sample i are values[at[i]] .. values[at[i + 1] - 1]. */
typedef struct ptq_labels {
    int64_t *values;
    size_t *at;
    size_t count;
} ptq_labels;
void ptq_labels_free(ptq_labels *l);
/* The same number of labels for each sample; takes `values` over, also on failure. */
ptq_status ptq_labels_uniform(ptq_labels *l, int64_t *values, size_t count, size_t each);
/* Text with "file class" lines (matched by the last part of names[i]) or one class per line, or
 * a .npy file. names may be NULL where samples have none. */
ptq_status ptq_labels_load(ptq_labels *l, const char *path, const char *const *names,
                           size_t count);

/* What open is asked for and what it fills in. */
typedef struct ptq_source {
    const char *path;   /* without '@' and ":/member"; borrowed, as is `member` */
    const char *member; /* data set inside an HDF5 file, or NULL */
    const ptq_input_spec *inputs;
    size_t n_inputs;

    const struct ptq_reader *reader;
    void *self;
    size_t count;
    char describe[256];
    ptq_preprocess defaults; /* what the file says; `set` tells which */
    ptq_labels labels;       /* count 0: none */
} ptq_source;

typedef struct ptq_reader {
    const char *name;
    const char *help; /* for --help and the manual page */
    /* By content: `head` are the first n_head bytes of a regular file (n_head 0: a folder). */
    bool (*probe)(const char *path, bool folder, const uint8_t *head, size_t n_head);
    ptq_status (*open)(ptq_source *src);
    /* Thread-safe. Texts of failures start with the sample's name. */
    ptq_status (*read)(ptq_source *src, size_t index, size_t input, ptq_raw *raw);
    const char *(*sample_name)(const ptq_source *src, size_t index); /* NULL: path and number */
    /* The files that are read beside src->path, one by one, NULL past the last; NULL: there are none. */
    const char *(*file)(const ptq_source *src, size_t i);
    ptq_status (*hash)(ptq_source *src, char hex[65]);
    void (*close)(ptq_source *src); /* also after a failed open; self may be NULL */
} ptq_reader;

const ptq_reader *ptq_reader_at(size_t i); /* NULL past the last */

/* A regular file's bytes; PTQ_ERR_DATA beyond `max`, for other kinds of files and when it
 * cannot be read: a bad file in a set must not end the run. */
ptq_status ptq_file_read(const char *path, size_t max, uint8_t **bytes, size_t *n);
/* An image file or a .npy file as one sample; the text of a failure starts with the path. */
ptq_status ptq_file_sample(const char *path, ptq_raw *raw);
/* path with control characters replaced by '?'; returns buf. */
const char *ptq_printable(const char *path, char *buf, size_t n);
/* SHA-256 over the digests of files, in order. */
ptq_status ptq_hash_files(const char *const *paths, size_t n, char hex[65]);

#endif

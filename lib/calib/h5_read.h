/* SPDX-License-Identifier: Apache-2.0 */
/* Reading HDF5 data sets, defensively. Runs in a worker process only (worker.h). */
#ifndef PTQ_CALIB_H5_READ_H
#define PTQ_CALIB_H5_READ_H

#include "lib/calib/reader.h"
#include "lib/calib/worker.h"

/* One dataset of the file: first axis counts the samples. */
typedef struct ptq_h5_dataset {
    char name[128]; /* "" when there is none */
    ptq_dtype dtype;
    int rank;
    int64_t dims[PTQ_MAX_RANK];
    ptq_pixel_layout layout;
    bool bgr;
} ptq_h5_dataset;

/* Requests. The answer to OPEN is a ptq_preprocess (what the file says), the labels and one
 * ptq_h5_dataset for each input; to ROW the values of one sample; to LABELS all, as int64. */
typedef struct ptq_h5_request {
    enum { PTQ_H5_OPEN, PTQ_H5_ROW, PTQ_H5_LABELS } op;
    uint32_t input;
    uint64_t index;
} ptq_h5_request;

enum { PTQ_H5_LABELS_MAX = 32 << 20, PTQ_H5_ROW_MAX = 1 << 30 };

/* State of the child: what it needs to know when it is made. */
typedef struct ptq_h5_reader {
    const char *path, *member;
    const ptq_input_spec *inputs;
    size_t n_inputs;
    int64_t file;       /* HDF5 handles */
    int64_t *datasets;
    int64_t labels;
    ptq_h5_dataset *meta;
    ptq_h5_dataset labels_meta;
} ptq_h5_reader;

/* The ptq_serve_fn; state is a ptq_h5_reader. */
ptq_status ptq_h5_serve(void *state, const void *request, size_t n, ptq_bytes *reply);

#endif

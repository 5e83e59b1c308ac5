/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets: samples for the inputs of a model, read one at a time. */
#ifndef PTQ_CALIB_DATASET_H
#define PTQ_CALIB_DATASET_H

#include "lib/calib/preprocess.h"

typedef struct ptq_dataset ptq_dataset;

/* A path of its own for one input of the model (--input NAME=PATH). */
typedef struct ptq_dataset_input {
    const char *input;
    const char *path;
} ptq_dataset_input;

typedef struct ptq_dataset_options {
    /* Inputs to feed, in the order in which ptq_dataset_read gives them. Copied. None at all
     * opens the set for its description, labels and hash only. */
    const ptq_input_spec *inputs;
    size_t n_inputs;
    const ptq_dataset_input *own; /* inputs with a data set of their own */
    size_t n_own;
    const ptq_preprocess *preprocess; /* what the user chose; NULL: nothing */
    const char *labels;               /* file with labels; NULL: those of the data set */
} ptq_dataset_options;

/* path: folder of images, .h5[:/name], .npy, .npz, list file ("@files.txt" or a text file); it
 * may be NULL when every input has its own. doc/data.md has the rules of each kind.
 * PTQ_ERR_DATA when the set as a whole is unusable (nothing in it, inputs not found, damaged). */
ptq_status ptq_dataset_open(const char *path, const ptq_dataset_options *options,
                            ptq_dataset **out);
void ptq_dataset_free(ptq_dataset *ds);

size_t ptq_dataset_count(const ptq_dataset *ds);
/* "512 images (498 jpeg, 14 png)". Borrowed. */
const char *ptq_dataset_describe(const ptq_dataset *ds);
/* What is applied to images: the user's choices, then the file's attributes, then the default,
 * which is scale 1/255, or 1 where the model takes integers. */
const ptq_preprocess *ptq_dataset_preprocess(const ptq_dataset *ds);
/* Name of a sample for messages and reports, control characters replaced; returns buf. */
const char *ptq_dataset_sample_name(const ptq_dataset *ds, size_t index, char *buf, size_t n);

/* Is this path one of the files that the samples or their labels come from, under whatever name? */
bool ptq_dataset_reads(const ptq_dataset *ds, const char *path);

/* One sample: out[i] for input i, in the model's type and shape, batch axis 1 where the model
 * has one. The caller frees each out[i].data with free(). May be called by several threads.
 * PTQ_ERR_DATA means that this sample is unusable (the text says which and why); others may
 * still be good. Any other failure is not about the sample. */
ptq_status ptq_dataset_read(ptq_dataset *ds, size_t index, ptq_tensor *out);

bool ptq_dataset_has_labels(const ptq_dataset *ds);
/* The labels of a sample: one for a class, one for each token; *n is 0 when it has none.
 * Borrowed. */
void ptq_dataset_labels(const ptq_dataset *ds, size_t index, const int64_t **labels, size_t *n);

/* SHA-256 of what the samples hold, in their order: equal when contents and order are equal,
 * whatever the names and places of files. Reads everything once. Preprocessing and labels are
 * not part of it. */
ptq_status ptq_dataset_hash(ptq_dataset *ds, char hex[65]);

#endif

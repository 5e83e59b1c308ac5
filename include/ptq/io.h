/* SPDX-License-Identifier: Apache-2.0 */
/* libptq-io: data sets, images, statistics files. */
#ifndef PTQ_IO_H
#define PTQ_IO_H

#include <ptq/calib.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ptq_data ptq_data;

typedef struct ptq_data_options {
    size_t size;
    const char *labels;  /* file with `file class` lines or one class per line; NULL: the data's own */
    const char *const *inputs; /* "NAME=PATH" for models with several inputs, NULL-terminated; or NULL */
    /* Preprocessing of images; a NULL or empty field takes the data set's own attribute, then the
     * default (scale 1/255 for uint8 images, no mean). */
    const char *preprocess; /* preset: imagenet, imagenet-norm, tf, yolo, caffe, none */
    const char *resize;     /* none, shorter:N, WxH, exact (the model's size), letterbox[:WxH]; then perhaps
                               ,bilinear ,bicubic or ,nearest */
    const char *crop;       /* none, N or WxH, from the centre */
    const char *color;      /* rgb, bgr, gray */
    const char *scale;      /* number or fraction: "1/255" */
    const char *mean, *std; /* comma lists, fractions allowed */
    const char *layout;     /* auto, nchw, nhwc: of the model input */
    const char *pad;        /* value around a letterboxed image, 0..255 */
} ptq_data_options;
#define PTQ_DATA_OPTIONS_INIT {sizeof(ptq_data_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* path: folder of images, .h5[:/dataset], .npy, .npz, or a list file (@FILE or .txt). The data set
 * is read sample by sample as the model's inputs; the model must outlive it. */
PTQ_API ptq_status ptq_data_open(const char *path, const ptq_model *m, const ptq_data_options *opt,
                                 ptq_data **out);
PTQ_API void ptq_data_close(ptq_data *d);
/* View for the loops of libptq; valid until close. */
PTQ_API const ptq_samples *ptq_data_samples(const ptq_data *d);
/* One line for people: "512 images (498 jpeg, 14 png); rgb, x*1/255, mean ..., std ...". */
PTQ_API const char *ptq_data_describe(const ptq_data *d);
/* Is this path a file that the samples or their labels come from: in the folder, in the list, or itself? What is
 * written must not be one of them. */
PTQ_API bool ptq_data_reads(const ptq_data *d, const char *path);

/* Statistics files (HDF5). Saved atomically; refused when damaged. */
PTQ_API ptq_status ptq_statistics_save(const ptq_statistics *s, const char *path, bool force);
PTQ_API ptq_status ptq_statistics_load(const char *path, ptq_statistics **out);
/* PTQ_ERR_UNSUPPORTED where this build has none: to be asked before the work that fills one. */
PTQ_API ptq_status ptq_statistics_files(void);

/* Versions of the libraries behind, one line. */
PTQ_API const char *ptq_io_version(void);

#ifdef __cplusplus
}
#endif
#endif

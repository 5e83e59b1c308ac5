/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of data sets: small .npy files in the scratch folder, refusals. */
#ifndef PTQ_TESTS_DATASET_KIT_H
#define PTQ_TESTS_DATASET_KIT_H

#include "lib/calib/dataset.h"
#include "tests/npy_io.h"
#include "tests/scratch.h"

static inline size_t dsk_npy(uint8_t *b, const char *descr, const char *shape, const void *data,
                             size_t n)
{
    char dict[128];
    snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n",
             descr, shape);
    return npy_bytes(b, 1, dict, data, n);
}

static inline const char *dsk_put_npy(const char *name, const char *descr, const char *shape,
                                      const void *data, size_t n)
{
    uint8_t b[4096];
    return scratch_put(name, b, dsk_npy(b, descr, shape, data, n));
}

/* Opening fails with this status and text, and gives nothing. */
static inline void dsk_fails(const char *path, const ptq_dataset_options *o, ptq_status status,
                             const char *text)
{
    ptq_dataset *ds = NULL;
    ck_assert_fails(ptq_dataset_open(path, o, &ds), status);
    ck_assert_says(text);
    ck_assert_ptr_null(ds);
}

/* One input of pairs of floats. */
static const ptq_input_spec dsk_vec2 = {"x", PTQ_DT_F32, 2, {-1, 2}};
static const ptq_dataset_options dsk_one_vec2 = {.inputs = &dsk_vec2, .n_inputs = 1};

#endif

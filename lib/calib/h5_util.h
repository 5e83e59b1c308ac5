/* SPDX-License-Identifier: Apache-2.0 */
/* Careful access to HDF5 files. Only in a worker process (worker.h). */
#ifndef PTQ_CALIB_H5_UTIL_H
#define PTQ_CALIB_H5_UTIL_H

#include <hdf5.h>

#include "lib/core/core.h"

/* Read-only; no plugins are loaded, no error text is printed. */
ptq_status ptq_h5_open(const char *path, hid_t *out);
/* The dataset at a path of names. Follows hard links only: no soft links, no links into other
 * files. -1 when there is none. */
hid_t ptq_h5_find(hid_t file, const char *name);
/* Why a dataset's storage is refused, or NULL. */
const char *ptq_h5_check_storage(hid_t dataset, size_t value_size);
/* PTQ_DT_UNDEFINED for anything but plain integers and floats. */
ptq_dtype ptq_h5_value_type(hid_t dataset);
hid_t ptq_h5_memory_type(ptq_dtype t);
/* A short string attribute, fixed or variable; false when there is none or it does not fit. */
bool ptq_h5_text_attribute(hid_t object, const char *name, char *buf, size_t n);

#endif

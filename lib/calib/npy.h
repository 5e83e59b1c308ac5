/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy arrays, format versions 1.0 to 3.0 (numpy/lib/format.py describes them). */
#ifndef PTQ_CALIB_NPY_H
#define PTQ_CALIB_NPY_H

#include "lib/calib/reader.h"

typedef struct ptq_npy {
    int fd;
    ptq_dtype dtype;
    bool swap;       /* the file has the other byte order */
    bool fortran;
    int rank;
    int64_t dims[PTQ_MAX_RANK];
    uint64_t data_at; /* offset of the first value */
    size_t nbytes;    /* of all values */
    uint8_t *whole;   /* a Fortran-ordered array, brought into C order at open */
} ptq_npy;

enum { PTQ_NPY_HEADER_MAX = 1 << 16, PTQ_NPY_FORTRAN_MAX = 1 << 30 };

/* Header of a file whose first n bytes are given; `size` is the size of the whole file. Fills
 * all but fd and whole. PTQ_ERR_DATA with the reason, without a file name. */
ptq_status ptq_npy_parse(const uint8_t *bytes, size_t n, uint64_t size, ptq_npy *npy);
/* Takes fd over, also on failure. */
ptq_status ptq_npy_open_fd(int fd, ptq_npy *npy);
ptq_status ptq_npy_open(const char *path, ptq_npy *npy);
void ptq_npy_close(ptq_npy *npy);
/* Values [index] of the first axis as a sample without that axis. Thread-safe. */
ptq_status ptq_npy_read(const ptq_npy *npy, size_t index, ptq_raw *raw);
/* A whole array held in memory. */
ptq_status ptq_npy_decode(const uint8_t *bytes, size_t n, ptq_raw *raw);
/* All values as int64, `each` for every index of the first axis. */
ptq_status ptq_npy_labels(const ptq_npy *npy, ptq_labels *out);

#endif

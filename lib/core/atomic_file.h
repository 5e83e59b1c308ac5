/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_CORE_ATOMIC_FILE_H
#define PTQ_CORE_ATOMIC_FILE_H

#include "lib/core/core.h"

#pragma GCC visibility push(default)

/* A file that appears whole or not at all: written as a temporary in the target's directory,
 * synced, then renamed. */
typedef struct ptq_atomic_file ptq_atomic_file;

/* Refuses (PTQ_ERR_IO) an existing target unless `force`, and always a directory or device.
 * A symbolic link is refused as well: renaming would replace the link, not its target. */
ptq_status ptq_atomic_open(const char *path, bool force, ptq_atomic_file **out);
/* Errors stick: after one, later writes return it again and commit refuses. */
ptq_status ptq_atomic_write(ptq_atomic_file *f, const void *data, size_t n);
int ptq_atomic_fd(ptq_atomic_file *f);
/* Path of the temporary, for libraries that want a name and for verification. Borrowed. */
const char *ptq_atomic_temp_path(const ptq_atomic_file *f);
/* Flushes and syncs the temporary so that it can be read back before commit. */
ptq_status ptq_atomic_sync(ptq_atomic_file *f);
/* Sync, rename, sync the directory; frees f in every case, removes the temporary on failure. */
ptq_status ptq_atomic_commit(ptq_atomic_file *f);
/* Removes the temporary and frees f. NULL is fine. */
void ptq_atomic_abort(ptq_atomic_file *f);

#pragma GCC visibility pop

#endif

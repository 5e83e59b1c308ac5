/* SPDX-License-Identifier: Apache-2.0 */
/* Several processes that do one job together, each on its share of the samples. */
#ifndef PTQ_TEAM_H
#define PTQ_TEAM_H

#include <stddef.h>

#include <ptq/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the library needs of MPI or anything like it. Every rank makes the same calls of the library, in the same
 * order, with the same model, data and options; results are those of one process, to the byte, on every rank, and
 * so are errors that only one of them meets while it reads or runs samples.
 * Bytes arrive whole and in the order in which they were sent; a length is known on both sides. A call blocks
 * until the bytes may be used again, and is made by the thread that called the library. */
typedef struct ptq_team {
    size_t size;     /* of this struct, see PTQ_TEAM_INIT */
    int rank, ranks; /* 0 <= rank < ranks */
    ptq_status (*send)(void *ctx, int to, const void *data, size_t n);
    ptq_status (*receive)(void *ctx, int from, void *data, size_t n);
    void *ctx;
} ptq_team;
#define PTQ_TEAM_INIT {sizeof(ptq_team), 0, 1, 0, 0, 0}

#ifdef __cplusplus
}
#endif
#endif

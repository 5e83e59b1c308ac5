/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_TESTS_FAKE_DEV_H
#define PTQ_TESTS_FAKE_DEV_H

#include <stdbool.h>
#include <stddef.h>

#include <ptq/status.h>

#include "lib/gpu/kernels.h"

/* Makes the at-th device call from now on fail with `s`; 0: none. */
void ptq_fake_fail(long at, ptq_status s);
extern long ptq_fake_calls; /* since the last ptq_fake_fail */
extern size_t ptq_fake_memory; /* bytes the device has; 0: no limit */
extern size_t ptq_fake_bytes;  /* allocated now */
extern bool ptq_fake_records;  /* recordings come out as such; replays do nothing but count */
extern long ptq_fake_replays;
extern long ptq_fake_live;  /* allocations that have not been freed */
struct ptq_k_gemm_row;
extern ptq_k_attention_run ptq_fake_attention; /* the kernel that is one for all; NULL: there is none */
extern const struct ptq_k_gemm_row *const *ptq_fake_rows; /* NULL behind the last; NULL: no tensor cores */

#endif

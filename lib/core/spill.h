/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for what is large, written once and then seldom read: from 4 MiB on it lies in a temporary file that
 * has no name, so that the system may take the memory back. Where no such file can be had (no room, only file
 * systems in memory) it is ordinary memory. */
#ifndef PTQ_CORE_SPILL_H
#define PTQ_CORE_SPILL_H

#include "lib/core/core.h"

/* 64-byte aligned, zeroed; NULL when out of memory. */
void *ptq_spill_alloc(size_t n);
void ptq_spill_free(void *p); /* NULL is fine */
/* Is it in a file? Then its pages may be dropped with ptq_pages_rest and come back when they are read. */
bool ptq_spill_in_file(const void *p);

/* Whole pages within [p, p + n) of a file mapping leave this process's memory; they come back by themselves.
 * Never for other memory, whose contents would be lost. */
void ptq_pages_rest(const void *p, size_t n);

#endif

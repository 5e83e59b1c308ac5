/* SPDX-License-Identifier: Apache-2.0 */
/* For ptq_set_log: the last text that was logged. */
#ifndef PTQ_TESTS_LOG_KIT_H
#define PTQ_TESTS_LOG_KIT_H

#include <stdio.h>

#include "ptq/status.h"

static char logged[512];

static void keep_log(void *ctx, ptq_log_level level, const char *text)
{
    (void)ctx;
    (void)level;
    snprintf(logged, sizeof logged, "%s", text);
}

#endif

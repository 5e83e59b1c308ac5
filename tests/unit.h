/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the unit tests: a main() around one suite, and where the outside data is. */
#ifndef PTQ_TESTS_UNIT_H
#define PTQ_TESTS_UNIT_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/core/core.h"

#define ck_assert_ok(expr)                                                                         \
    do {                                                                                           \
        ptq_status ck_s_ = (expr);                                                                 \
        ck_assert_msg(ck_s_ == PTQ_OK, "%s: %s", #expr, ptq_last_error());                         \
    } while (0)
#define ck_assert_fails(expr, status)                                                              \
    do {                                                                                           \
        ptq_status ck_s_ = (expr);                                                                 \
        ck_assert_msg(ck_s_ == (status), "%s: got %d (%s)", #expr, (int)ck_s_, ptq_last_error());  \
    } while (0)

/* The text of the last error holds this. */
#define ck_assert_says(text)                                                                       \
    ck_assert_msg(strstr(ptq_last_error(), text), "'%s' is not in: %s", text, ptq_last_error())

/* Folder with models/ and data/, or NULL: a test that needs it then exits 77 (skipped). */
static inline const char *unit_shared(void)
{
    const char *p = getenv("PTQ_SHARED");
    return p && *p ? p : NULL;
}

/* What main() returns where a test cannot run at all; the driver shows it as skipped. */
static inline int unit_skip(const char *why)
{
    printf("SKIP: %s\n", why);
    return 77;
}

/* For bounds on time: a busy machine does not count. */
static inline double unit_cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static inline int unit_run(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif

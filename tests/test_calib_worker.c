/* SPDX-License-Identifier: Apache-2.0 */
/* The process that reads what may crash the reader. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "lib/calib/worker.h"
#include "tests/scratch.h"

static ptq_status misbehave(void *state, const void *request, size_t n, ptq_bytes *reply)
{
    char what = n ? *(const char *)request : 0;
    if (what == 'c')
        raise(SIGSEGV);
    if (what == 'e')
        _exit(0);
    if (what == 'f')
        return ptq_fail(PTQ_ERR_DATA, "told so");
    if (what == 'w') {
        int fd = open((const char *)state, O_RDWR | O_CREAT, 0600);
        char c = write(fd, "x", 1) == 1 ? 'W' : 'n'; /* SIGXFSZ or EFBIG */
        ptq_bytes_add(reply, &c, 1);
        return PTQ_OK;
    }
    ptq_bytes_add(reply, "echo", 4);
    return PTQ_OK;
}

START_TEST(worker__death_is_bad_data)
{
    static const struct {
        const char *request, *text;
        bool dead;
    } rows[] = {{"c", "crashed", true}, {"e", "ended early", true}, {"f", "told so", false},
                {"w", "crashed", true}};
    uint8_t *reply = NULL;
    size_t n;
    char file[128];
    snprintf(file, sizeof file, "%s", scratch_at("file"));
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_worker *w;
        ck_assert_ok(ptq_worker_start(misbehave, file, false, &w));
        ck_assert_fails(ptq_worker_call(w, rows[i].request, 1, &reply, &n), PTQ_ERR_DATA);
        ck_assert_says(rows[i].text);
        ptq_status again = ptq_worker_call(w, "x", 1, &reply, &n);
        ck_assert_int_eq(again == PTQ_ERR_DATA, rows[i].dead);
        if (again == PTQ_OK) {
            ck_assert_uint_eq(n, 4);
            free(reply);
        }
        ptq_worker_stop(w);
    }
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_worker");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, worker__death_is_bad_data);
    suite_add_tcase(s, t);
    return unit_run(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/calib/npy.h"
#include "tests/npy_io.h"

START_TEST(npy__headers)
{
    static const struct {
        int version;
        const char *header;
        const char *error; /* NULL: fine */
        ptq_dtype dtype;
        int rank;
        int64_t first;
    } rows[] = {
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", NULL, PTQ_DT_F32, 2, 2},
        {2, "{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}\n", NULL, PTQ_DT_U8, 1, 5},
        {3, "{'shape': (), 'descr': '>i8', 'fortran_order': True}\n", NULL, PTQ_DT_S64, 0, 0},
        {1, "{\"descr\":\"f2\",\"fortran_order\":False,\"shape\":(1,1,1,1)}", NULL, PTQ_DT_F16, 4, 1},
        {1, "{'descr': '|b1', 'fortran_order': False, 'shape': (0, 3), }", NULL, PTQ_DT_BOOL, 2, 0},
        {1, "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "pickle", 0, 0, 0},
        {1, "{'descr': [('a','<f4')], 'fortran_order': False, 'shape': (2,), }", "structured", 0, 0, 0},
        {1, "{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (2,), }", "structured", 0, 0, 0},
        {1, "{'descr': '<U8', 'fortran_order': False, 'shape': (2,), }", "not supported", 0, 0, 0},
        {1, "{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }", "not supported", 0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99,), }", "cut off", 0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "damaged", 0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
         "too large", 0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
         "too large", 0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }",
         "dimensions", 0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }", "damaged", 0, 0, 0},
        {1, "{'descr': '<f4', 'shape': (2,), }", "damaged", 0, 0, 0},
        {1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "damaged",
         0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "damaged", 0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x", "damaged", 0, 0, 0},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", "damaged", 0, 0, 0},
        {1, "__import__('os')", "damaged", 0, 0, 0},
        {1, "", "damaged", 0, 0, 0},
        {9, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "version", 0, 0, 0},
    };
    uint8_t b[1024], data[64] = {0};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        size_t n = npy_bytes(b, rows[i].version, rows[i].header, data, sizeof data);
        ptq_npy npy;
        ptq_status s = ptq_npy_parse(b, n, n, &npy);
        if (rows[i].error) {
            ck_assert_msg(s == PTQ_ERR_DATA, "row %zu accepted", i);
            ck_assert_msg(strstr(ptq_last_error(), rows[i].error), "row %zu: %s", i, ptq_last_error());
        } else {
            ck_assert_msg(s == PTQ_OK, "row %zu: %s", i, ptq_last_error());
            ck_assert_int_eq(npy.dtype, rows[i].dtype);
            ck_assert_int_eq(npy.rank, rows[i].rank);
            ck_assert(rows[i].rank == 0 || npy.dims[0] == rows[i].first);
        }
    }
}
END_TEST

/* Every cut and every flipped bit of a small file ends in an answer. The copies have their exact
 * size, so that the sanitizers see a read past the end. */
START_TEST(npy__damage)
{
    static const float v[6] = {1, 2, 3, 4, 5, 6};
    uint8_t b[256];
    size_t n = npy_bytes(b, 1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }  \n", v,
                     sizeof v);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = malloc(cut + 1);
        ptq_raw raw = {0};
        memcpy(copy, b, cut);
        ck_assert_fails(ptq_npy_decode(copy, cut, &raw), PTQ_ERR_DATA);
        free(copy);
    }
    for (size_t bit = 0; bit < 8 * n; bit++) {
        ptq_raw raw = {0};
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ptq_status s = ptq_npy_decode(b, n, &raw);
        ck_assert(s == PTQ_OK || s == PTQ_ERR_DATA);
        ptq_raw_free(&raw);
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}
END_TEST

static int file_of(const uint8_t *b, size_t n)
{
    char path[] = "/tmp/ptq-npy-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(write(fd, b, n), (ssize_t)n);
    return fd;
}

/* The same [3,2,2] array in both byte orders and both axis orders reads the same. */
START_TEST(npy__orders)
{
    static const uint16_t c_order[12] = {0, 1, 2, 3, 0x100, 0x101, 0x102, 0x103, 8, 9, 10, 11};
    uint8_t b[512], bytes[24];
    for (int variant = 0; variant < 4; variant++) {
        bool big = variant & 1, fortran = variant & 2;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 2; j++)
                for (int k = 0; k < 2; k++) {
                    uint16_t v = c_order[(i * 2 + j) * 2 + k];
                    int at = fortran ? i + 3 * j + 6 * k : (i * 2 + j) * 2 + k;
                    bytes[2 * at + (big ? 1 : 0)] = (uint8_t)v;
                    bytes[2 * at + (big ? 0 : 1)] = (uint8_t)(v >> 8);
                }
        char header[128];
        snprintf(header, sizeof header, "{'descr': '%cu2', 'fortran_order': %s, 'shape': (3, 2, 2)}\n",
                 big ? '>' : '<', fortran ? "True" : "False");
        size_t n = npy_bytes(b, 1, header, bytes, sizeof bytes);
        ptq_npy npy;
        ck_assert_ok(ptq_npy_open_fd(file_of(b, n), &npy));
        for (size_t i = 0; i < 3; i++) {
            ptq_raw raw;
            ck_assert_ok(ptq_npy_read(&npy, i, &raw));
            ck_assert_int_eq(raw.rank, 2);
            ck_assert_uint_eq(raw.nbytes, 8);
            ck_assert_int_eq(memcmp(raw.data, c_order + 4 * i, 8), 0);
            ptq_raw_free(&raw);
        }
        ptq_labels l;
        ck_assert_ok(ptq_npy_labels(&npy, &l));
        ck_assert_uint_eq(l.count, 3);
        ck_assert_uint_eq(l.at[1], 4);
        ck_assert_int_eq(l.values[5], 0x101);
        ptq_labels_free(&l);
        ptq_npy_close(&npy);
    }
}
END_TEST

/* A file that becomes shorter while it is used: an error, no SIGBUS. */
START_TEST(npy__shrinks)
{
    uint8_t b[256], data[64] = {1};
    size_t n = npy_bytes(b, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8)}\n", data, 64);
    ptq_npy npy;
    ptq_raw raw;
    ck_assert_ok(ptq_npy_open_fd(file_of(b, n), &npy));
    ck_assert_int_eq(ftruncate(npy.fd, (off_t)npy.data_at + 8), 0);
    ck_assert_ok(ptq_npy_read(&npy, 0, &raw));
    ptq_raw_free(&raw);
    ck_assert_fails(ptq_npy_read(&npy, 1, &raw), PTQ_ERR_DATA);
    ptq_npy_close(&npy);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_npy");
    TCase *t = tcase_create("all");
    tcase_add_test(t, npy__headers);
    tcase_add_test(t, npy__damage);
    tcase_add_test(t, npy__orders);
    tcase_add_test(t, npy__shrinks);
    suite_add_tcase(s, t);
    return unit_run(s);
}

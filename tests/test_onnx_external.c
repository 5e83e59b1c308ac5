/* SPDX-License-Identifier: Apache-2.0 */
/* External data, and files that are no models. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "lib/onnx/onnx_priv.h"
#include "tests/onnx_models.h"
#include "tests/scratch.h"

typedef struct external {
    const char *location, *offset, *length, *key;
    ptq_status status;
    const char *says;
} external;

static wire external_model(const external *e)
{
    wire g = {0}, t = wire_tensor_head(PTQ_DT_F32, 1, (int64_t[]){2});
    wire_str(&t, 8, "t");
    if (e->location)
        wire_entry(&t, 13, "location", e->location);
    if (e->offset)
        wire_entry(&t, 13, "offset", e->offset);
    if (e->length)
        wire_entry(&t, 13, "length", e->length);
    if (e->key)
        wire_entry(&t, 13, e->key, "1");
    wire_int(&t, 14, 1);
    wire_msg(&g, 5, &t);
    return wire_model(&g, 8, 17);
}

static int warnings;

static void count_warning(void *payload, ptq_log_level level, const char *text)
{
    (void)payload;
    (void)text;
    warnings += level == PTQ_LOG_WARN;
}

START_TEST(bad__external_data)
{
    static const external cases[] = {
        {"w.bin", NULL, NULL, NULL, PTQ_OK, NULL},
        {"w.bin", "8", "8", NULL, PTQ_OK, NULL},
        {"./sub//w.bin", "0", NULL, "checksum", PTQ_OK, NULL},
        {"w.bin", NULL, NULL, "surprise", PTQ_OK, NULL},
        {"a..b", NULL, NULL, NULL, PTQ_OK, NULL},
        {NULL, NULL, NULL, NULL, PTQ_ERR_MODEL, "without a location"},
        {"", NULL, NULL, NULL, PTQ_ERR_MODEL, "without a location"},
        {"/etc/passwd", NULL, NULL, NULL, PTQ_ERR_MODEL, "absolute"},
        {"../outside.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "goes up"},
        {"sub/../../outside.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "goes up"},
        {"sub/..", NULL, NULL, NULL, PTQ_ERR_MODEL, "goes up"},
        {".", NULL, NULL, NULL, PTQ_ERR_MODEL, "names no file"},
        {"link.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "link"},
        {"linkdir/w.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "link"},
        {"hard.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "hard link"},
        {"fifo", NULL, NULL, NULL, PTQ_ERR_MODEL, "not a regular file"},
        {"sub", NULL, NULL, NULL, PTQ_ERR_MODEL, "not a regular file"},
        {"missing.bin", NULL, NULL, NULL, PTQ_ERR_IO, "missing.bin"},
        {"w.bin", "-8", NULL, NULL, PTQ_ERR_MODEL, "offset"},
        {"w.bin", "ten", NULL, NULL, PTQ_ERR_MODEL, "offset"},
        {"w.bin", "", NULL, NULL, PTQ_ERR_MODEL, "offset"},
        {"w.bin", "99999999999999999999", NULL, NULL, PTQ_ERR_MODEL, "offset"},
        {"w.bin", "18446744073709551615", NULL, NULL, PTQ_ERR_MODEL, "has 16"},
        {"w.bin", "9", NULL, NULL, PTQ_ERR_MODEL, "has 16"},
        {"w.bin", "0", "-1", NULL, PTQ_ERR_MODEL, "length"},
        {"w.bin", "0", "7", NULL, PTQ_ERR_MODEL, "length 7"},
        {"w.bin", "0", "9223372036854775808", NULL, PTQ_ERR_MODEL, "length"},
        {"w.bin", NULL, NULL, "location", PTQ_ERR_MODEL, "two entries"},
    };
    static const float w[4] = {1, 2, 3, 4};
    mkdir(scratch_at("sub"), 0777);
    scratch_put("w.bin", w, sizeof w);
    scratch_put("a..b", w, sizeof w);
    scratch_put("sub/w.bin", w, sizeof w);
    scratch_put("hard.bin", w, sizeof w);
    ck_assert_int_eq(link(scratch_at("hard.bin"), scratch_at("hard2.bin")), 0);
    ck_assert_int_eq(symlink("w.bin", scratch_at("link.bin")), 0);
    ck_assert_int_eq(symlink("sub", scratch_at("linkdir")), 0);
    ck_assert_int_eq(mkfifo(scratch_at("fifo"), 0666), 0);
    ptq_set_log(count_warning, NULL, PTQ_LOG_WARN);
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire m = external_model(&cases[i]);
        ptq_graph *g;
        scratch_put("m.onnx", m.p, m.n);
        warnings = 0;
        ck_assert_fails(ptq_onnx_load(scratch_at("m.onnx"), NULL, &g), cases[i].status);
        ck_assert_int_eq(warnings, cases[i].key && strcmp(cases[i].key, "surprise") == 0);
        if (cases[i].says) {
            ck_assert_says(cases[i].says);
        } else {
            const float *t = ptq_graph_find(g, "t")->constant->data;
            ck_assert(t[0] == (cases[i].offset && *cases[i].offset == '8' ? 3.0f : 1.0f));
            ptq_graph_free(g);
        }
        ck_assert_int_eq(ptq_onnx_load_memory(m.p, m.n, NULL, NULL, &g), PTQ_ERR_MODEL);
        wire_free(&m);
    }
    ptq_set_log(NULL, NULL, PTQ_LOG_WARN);
}
END_TEST

/* What openat2 refuses, the way without it must refuse as well. */
START_TEST(bad__external_data_without_openat2)
{
    static const struct {
        const char *path;
        int error; /* 0: opens */
    } cases[] = {{"w.bin", 0},      {"sub/deep/w.bin", 0},    {"link.bin", ELOOP},
                 {"none", ENOENT},  {"linkdir/w.bin", ENOTDIR}, {"none/w.bin", ENOENT},
                 {"sub/linkup/w.bin", ENOTDIR}};
    mkdir(scratch_at("sub"), 0777);
    mkdir(scratch_at("sub/deep"), 0777);
    scratch_put("w.bin", "w", 1);
    scratch_put("sub/deep/w.bin", "w", 1);
    ck_assert_int_eq(symlink("w.bin", scratch_at("link.bin")), 0);
    ck_assert_int_eq(symlink("sub", scratch_at("linkdir")), 0);
    ck_assert_int_eq(symlink("..", scratch_at("sub/linkup")), 0);
    int at = open(scratch_dir, O_PATH | O_DIRECTORY);
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        char path[64];
        strcpy(path, cases[i].path);
        int fd = ptq_onnx_open_stepwise(at, path), e = errno;
        ck_assert_int_eq(fd < 0 ? e : 0, cases[i].error);
        if (fd >= 0)
            close(fd);
    }
    close(at);
}
END_TEST

START_TEST(bad__external_data_that_overlaps)
{
    static const float w[4] = {1, 2, 3, 4};
    static const char *const second[] = {"0", "8", "4"}; /* shared, apart, overlapping */
    scratch_put("w.bin", w, sizeof w);
    ptq_set_log(count_warning, NULL, PTQ_LOG_WARN);
    for (int i = 0; i < 3; i++) {
        wire g = {0};
        for (int k = 0; k < 2; k++) {
            wire t = wire_tensor_head(PTQ_DT_F32, 1, (int64_t[]){2});
            wire_str(&t, 8, k ? "b" : "a");
            wire_entry(&t, 13, "location", "w.bin");
            wire_entry(&t, 13, "offset", k ? second[i] : "0");
            wire_int(&t, 14, 1);
            wire_msg(&g, 5, &t);
        }
        wire m = wire_model(&g, 8, 17);
        ptq_graph *graph;
        warnings = 0;
        ck_assert_ok(ptq_onnx_load_memory(m.p, m.n, scratch_dir, NULL, &graph));
        ck_assert_int_eq(warnings, i == 2);
        const float want[] = {1, 3, 2}, *b = ptq_graph_find(graph, "b")->constant->data;
        ck_assert(*b == want[i]);
        ptq_graph_free(graph);
        wire_free(&m);
    }
    ptq_set_log(NULL, NULL, PTQ_LOG_WARN);
}
END_TEST

START_TEST(bad__files_that_are_no_models)
{
    ptq_graph *g;
    ck_assert_fails(ptq_onnx_load(scratch_dir, NULL, &g), PTQ_ERR_IO);
    ck_assert_says("a directory");
    ck_assert_int_eq(mkfifo(scratch_at("fifo"), 0666), 0);
    ck_assert_fails(ptq_onnx_load(scratch_at("fifo"), NULL, &g), PTQ_ERR_IO);
    ck_assert_says("a pipe");
    ck_assert_fails(ptq_onnx_load("/dev/zero", NULL, &g), PTQ_ERR_IO);
    ck_assert_says("a device");
    ck_assert_fails(ptq_onnx_load(scratch_at("nothing"), NULL, &g), PTQ_ERR_IO);
    scratch_put("empty", "", 0);
    ck_assert_fails(ptq_onnx_load(scratch_at("empty"), NULL, &g), PTQ_ERR_MODEL);
    ck_assert_says("empty: is empty");
    scratch_put("one", "\x08", 1);
    ck_assert_fails(ptq_onnx_load(scratch_at("one"), NULL, &g), PTQ_ERR_MODEL);
    scratch_put("lfs.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 56);
    ck_assert_fails(ptq_onnx_load(scratch_at("lfs.onnx"), NULL, &g), PTQ_ERR_MODEL);
    ck_assert_says("lfs.onnx: is not ONNX");
}
END_TEST

static bool room_for(size_t bytes)
{
    struct statvfs fs;
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    bool disk = statvfs(scratch_dir, &fs) == 0 && (double)fs.f_bavail * (double)fs.f_frsize > 3.0 * (double)bytes;
    return disk && (double)pages * (double)size > 2.0 * (double)bytes;
}

/* A weight beyond 2 GiB, in and out: the file holds it sparse, what is written is written in full, beside the
 * model because it has no room in it. */
START_TEST(external__beyond_two_gigabytes)
{
    enum { FLOATS = 540000000 };
    const size_t bytes = (size_t)FLOATS * sizeof(float);
    const int64_t at[] = {0, FLOATS / 2, FLOATS - 1};
    wire g = {0}, t = wire_tensor_head(PTQ_DT_F32, 1, (int64_t[]){FLOATS});
    ptq_graph *in, *out;
    struct stat st;
    if (!room_for(bytes)) {
        printf("SKIP: too little disk or memory for a model of 2.2 GB\n");
        return;
    }
    int fd = open(scratch_at("w.bin"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ck_assert(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    for (int i = 0; i < 3; i++) {
        float v = (float)(i + 1);
        ck_assert_int_eq(pwrite(fd, &v, sizeof v, at[i] * (off_t)sizeof v), sizeof v);
    }
    close(fd);
    wire_str(&t, 8, "w");
    wire_entry(&t, 13, "location", "w.bin");
    wire_int(&t, 14, 1);
    wire_node(&g, 1, "Relu", "relu", "w", NULL, "y");
    wire_str(&g, 2, "large");
    wire_msg(&g, 5, &t);
    wire_value(&g, 12, "y", PTQ_DT_F32, 1, (int64_t[]){FLOATS});
    wire m = wire_model(&g, 8, 17);
    scratch_put("m.onnx", m.p, m.n);
    wire_free(&m);
    ck_assert_ok(ptq_onnx_load(scratch_at("m.onnx"), NULL, &in));
    ck_assert_ok(ptq_onnx_save(in, scratch_at("out.onnx"), NULL));
    ptq_graph_free(in);
    ck_assert(stat(scratch_at("out.onnx"), &st) == 0 && st.st_size < 4096);
    ck_assert(stat(scratch_at("out.onnx.data"), &st) == 0 && st.st_size >= (off_t)bytes);
    ck_assert_ok(ptq_onnx_load(scratch_at("out.onnx"), NULL, &out));
    const ptq_tensor *w = ptq_graph_find(out, "w")->constant;
    ck_assert_int_eq(w->dims[0], FLOATS);
    for (int i = 0; i < 3; i++)
        ck_assert(((const float *)w->data)[at[i]] == (float)(i + 1));
    ck_assert(((const float *)w->data)[1] == 0.0f);
    ptq_graph_free(out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx_external");
    TCase *t = tcase_create("external");
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, bad__external_data);
    tcase_add_test(t, bad__external_data_without_openat2);
    tcase_add_test(t, bad__external_data_that_overlaps);
    tcase_add_test(t, bad__files_that_are_no_models);
    tcase_add_test(t, external__beyond_two_gigabytes);
    suite_add_tcase(s, t);
    return unit_run(s);
}

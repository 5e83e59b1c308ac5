/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs on the models of the shared folder. */
#include "tests/unit.h"

#include "config.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ptq/io.h>

#include "lib/quant/range.h"
#include "tests/jobs_kit.h"

/* A second is allowed for ResNet-50 with any method: no run of the model, which alone takes that
 * long with a handful of samples. */
START_TEST(solve__again_within_a_second)
{
    char path[1024];
    jobs_data d;
    ptq_model *m, *q;
    ptq_statistics *stats;
    ptq_report *r;
    size_t n;
    const ptq_range_algo *const *algos = ptq_range_algos(&n);
    snprintf(path, sizeof path, "%s/models/tinyimagenet-resnet50.onnx", unit_shared());
    ck_assert_ok(ptq_model_load(path, NULL, &m));
    ck_assert_ok(ptq_model_optimize(m));
    jobs_data_init(&d);
    d.side = 64;
    ptq_calib_options co = PTQ_CALIB_OPTIONS_INIT;
    co.loop.samples = 2;
    ck_assert_ok(ptq_model_calibrate(m, &d.samples, &co, NULL, &stats));
    const int reads = d.reads;
    for (size_t i = 0; i < n; i++) {
        ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
        o.method = algos[i]->name;
        const double t = unit_cpu_seconds();
        ck_assert_ok(ptq_model_quantize(m, stats, NULL, &o, &q, &r));
        ck_assert_msg(unit_cpu_seconds() - t < 1.0, "%s took %.2f s", o.method, unit_cpu_seconds() - t);
        ptq_model_free(q);
        ptq_report_free(r);
    }
    ck_assert_int_eq(d.reads, reads);
    ptq_statistics_free(stats);
    ptq_model_free(m);
}
END_TEST

#if defined(HAVE_HDF5) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static ptq_status checkpoint(void *ctx, const ptq_statistics *s)
{
    return ptq_statistics_save(s, ctx, true);
}

/* Peak memory of a process that calibrates and saves, in kilobytes. */
static long calibration_peak(const char *model, size_t samples, char *file)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        jobs_data d;
        ptq_model *m;
        ptq_statistics *s;
        ptq_calib_options o = PTQ_CALIB_OPTIONS_INIT;
        jobs_data_init(&d);
        d.side = 32;
        d.samples.count = 512;
        o.loop.samples = samples;
        o.loop.threads = 2;
        o.checkpoint = checkpoint;
        o.checkpoint_every = 256;
        o.checkpoint_ctx = file;
        _exit(ptq_model_load(model, NULL, &m) != PTQ_OK || ptq_model_optimize(m) != PTQ_OK ||
              ptq_model_calibrate(m, &d.samples, &o, NULL, &s) != PTQ_OK || checkpoint(file, s) != PTQ_OK);
    }
    int status;
    struct rusage ru;
    ck_assert_int_eq(wait4(pid, &status, 0, &ru), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return ru.ru_maxrss;
}

START_TEST(calibrate__memory_does_not_grow_with_samples)
{
    char model[1024], file[] = "/tmp/ptq-stats-XXXXXX";
    int fd = mkstemp(file);
    ck_assert_int_ge(fd, 0);
    close(fd);
    snprintf(model, sizeof model, "%s/models/cifar10-mobilenet_v3_small.onnx", unit_shared());
    const long few = calibration_peak(model, 64, file), many = calibration_peak(model, 512, file);
    unlink(file);
    ck_assert_msg((double)many < 1.05 * (double)few, "64 samples: %ld KB, 512: %ld KB", few, many);
}
END_TEST
#define MEMORY_TEST
#endif

int main(void)
{
    if (!unit_shared()) {
        printf("SKIP: PTQ_SHARED is not set\n");
        return 77;
    }
    Suite *s = suite_create("jobs_shared");
    TCase *t = tcase_create("all");
    tcase_add_test(t, solve__again_within_a_second);
#ifdef MEMORY_TEST
    tcase_add_test(t, calibrate__memory_does_not_grow_with_samples);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}

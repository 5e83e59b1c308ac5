/* SPDX-License-Identifier: Apache-2.0 */
/* What a core and the memory do at most, for the roofline tables of bench/cpu.py. usage: bench_peak [threads]
 * Prints lines of a name and billions a second:
 *   f32_core, int8_core    operations of one core: multiply-adds of the widest instruction of this machine on
 *                          registers alone, no operand from memory. int8 exact, without sums that saturate
 *   f32_tiles, int8_tiles  operations of the kernels' tiles on operands in the first-level cache, per thread
 *   memory                 bytes of a copy of more than the caches hold, reads and writes, on all threads */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/cpu/peaks.h"

enum { CHAINS = 12, STEPS = 20000, TURNS = 300 };

/* Runs the loop, STEPS times CHAINS instructions; operations of one instruction. The result is there so that the
 * work has a purpose. */
typedef struct loop {
    double operations;
    int (*run)(void);
} loop;

#if defined(__x86_64__)
#include <immintrin.h>

/* CHAINS accumulators are more than the units have in flight, so that no step waits for its own last one; by name,
 * because an array would lie in memory. */
#define ALL(DO) DO(a0), DO(a1), DO(a2), DO(a3), DO(a4), DO(a5), DO(a6), DO(a7), DO(a8), DO(a9), DO(a10), DO(a11)
#define SAME(a) a = x
#define KEEP(a) "+v"(a)
#define LOOP(vector, step, low) \
    vector ALL(SAME); \
    for (int k = 0; k < STEPS; k++) { \
        (void)(ALL(step)); \
        __asm__("" : ALL(KEEP)); \
    } \
    return low(a0) ^ low(a1) ^ low(a2) ^ low(a3) ^ low(a4) ^ low(a5) ^ low(a6) ^ low(a7) ^ low(a8) ^ low(a9) ^ \
           low(a10) ^ low(a11)

#define F32_LOW_512(a) (int)_mm512_cvtss_f32(a)
#define F32_STEP_512(a) a = _mm512_fmadd_ps(a, x, y)
__attribute__((target("avx512f"))) static int f32_avx512(void)
{
    const __m512 x = _mm512_set1_ps(0.5f), y = _mm512_set1_ps(0.25f);
    LOOP(__m512, F32_STEP_512, F32_LOW_512);
}

#define F32_LOW_256(a) (int)_mm256_cvtss_f32(a)
#define F32_STEP_256(a) a = _mm256_fmadd_ps(a, x, y)
__attribute__((target("avx2,fma"))) static int f32_avx2(void)
{
    const __m256 x = _mm256_set1_ps(0.5f), y = _mm256_set1_ps(0.25f);
    LOOP(__m256, F32_STEP_256, F32_LOW_256);
}

#define VNNI_STEP(a) a = _mm512_dpbusd_epi32(a, x, y)
__attribute__((target("avx512f,avx512vnni"))) static int int8_vnni(void)
{
    const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-1);
    LOOP(__m512i, VNNI_STEP, _mm512_cvtsi512_si32);
}

/* Without VNNI products of 16 bits in pairs are the exact way: a multiplication and an addition. */
#define PAIR_STEP_512(a) a = _mm512_add_epi32(a, _mm512_madd_epi16(a, x))
__attribute__((target("avx512bw"))) static int int8_avx512(void)
{
    const __m512i x = _mm512_set1_epi16(3);
    LOOP(__m512i, PAIR_STEP_512, _mm512_cvtsi512_si32);
}

#define PAIR_STEP_256(a) a = _mm256_add_epi32(a, _mm256_madd_epi16(a, x))
__attribute__((target("avx2"))) static int int8_avx2(void)
{
    const __m256i x = _mm256_set1_epi16(3);
    LOOP(__m256i, PAIR_STEP_256, _mm256_cvtsi256_si32);
}

static loop best_f32(void)
{
    if (__builtin_cpu_supports("avx512f"))
        return (loop){32, f32_avx512};
    if (__builtin_cpu_supports("fma"))
        return (loop){16, f32_avx2};
    return (loop){0};
}

static loop best_int8(void)
{
    if (__builtin_cpu_supports("avx512vnni"))
        return (loop){128, int8_vnni};
    if (__builtin_cpu_supports("avx512bw"))
        return (loop){64, int8_avx512};
    if (__builtin_cpu_supports("avx2"))
        return (loop){32, int8_avx2};
    return (loop){0};
}
#else
static loop best_f32(void)
{
    return (loop){0};
}

static loop best_int8(void)
{
    return (loop){0};
}
#endif

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* `tiles` stands in where no loop is known for the machine. */
static void print_core(const char *name, loop l, double tiles)
{
    double best = 0.0;
    volatile int sum = 0;
    for (int i = 0; l.run && i < TURNS; i++) {
        double t = now();
        sum += l.run() & 1;
        double rate = l.operations * CHAINS * STEPS / (now() - t);
        best = rate > best ? rate : best;
    }
    printf("%s %.1f\n", name, 1e-9 * (best > 0.0 ? best : tiles));
}

int main(int argc, char **argv)
{
    enum { AGAIN = 5 };
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    ptq_cpu c = {.isa = ptq_isa_best()};
    ptq_peaks p = {0}, q;
    ptq_status s = ptq_pool_new(threads, &c.pool);
    for (int i = 0; i < AGAIN && s == PTQ_OK; i++)
        if ((s = ptq_cpu_peaks(&c, &q)) == PTQ_OK) {
            p.f32 = q.f32 > p.f32 ? q.f32 : p.f32;
            p.int8 = q.int8 > p.int8 ? q.int8 : p.int8;
            p.bytes = q.bytes > p.bytes ? q.bytes : p.bytes;
        }
    if (s != PTQ_OK) {
        fprintf(stderr, "bench_peak: %s\n", ptq_last_error());
        return ptq_exit_code(s);
    }
    const double n = ptq_pool_threads(c.pool);
    print_core("f32_core", best_f32(), p.f32 / n);
    print_core("int8_core", best_int8(), p.int8 / n);
    printf("f32_tiles %.1f\nint8_tiles %.1f\nmemory %.2f\n", 1e-9 * p.f32 / n, 1e-9 * p.int8 / n, 1e-9 * p.bytes);
    ptq_pool_free(c.pool);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The seam between the runner and the machines. A backend is one const struct and one row in
 * backends.def; the CPU is one of them. */
#ifndef PTQ_EXEC_BACKEND_H
#define PTQ_EXEC_BACKEND_H

#include "lib/core/pool.h"
#include "lib/exec/program.h"

typedef struct ptq_backend ptq_backend; /* opened; private to the backend */

typedef struct ptq_backend_options {
    ptq_pool *pool;  /* CPU threads; NULL: serial */
    const char *isa; /* cap on the CPU instruction set ("ref", "avx2", "avx512", "vnni"); NULL:
                        environment PTQ_ISA, else the best the machine has */
    int device;      /* GPU index */
    size_t pack_bytes; /* constants whose packed form may stay in host memory beside the originals; those of
                          steps beyond are packed, or read as they lie, in each run. 0: all stay */
    bool fast_math;  /* results may differ from the law by roundings where that is faster; backends without such
                        kernels (the CPU) leave it alone */
    bool half_products; /* products of floats may round their operands to float16; the same */
} ptq_backend_options;

/* One run of one step. Tensors lie in backend memory (those of host_inputs in host memory); in[i]
 * is NULL where omitted. */
typedef struct ptq_step_run {
    const ptq_step *step;
    void *state;                 /* from prepare */
    const ptq_tensor *const *in;
    const ptq_layout *in_layout; /* [nin] */
    ptq_tensor *out;             /* [nout]; shape set; data set unless the shape depends on data */
    const ptq_layout *out_layout;
} ptq_step_run;

/* What a backend with memory and streams of its own can do beyond running one step after the other. */
typedef struct ptq_stream_ops {
    /* Work goes to the caller's stream from now on; NULL: to the backend's own. */
    ptq_status (*use)(ptq_backend *b, void *stream);
    /* In stream order, not waited for: within the device; from and to pinned host memory. */
    ptq_status (*copy)(ptq_backend *b, void *dst, const void *src, size_t n);
    ptq_status (*put)(ptq_backend *b, void *dst, const void *src, size_t n);
    ptq_status (*get)(ptq_backend *b, void *dst, const void *src, size_t n);
    ptq_status (*pin)(ptq_backend *b, size_t n, void **out);
    void (*unpin)(ptq_backend *b, void *p);
    bool (*is_pinned)(ptq_backend *b, const void *p);
    /* Work between the two is recorded on the own stream instead of done. *graph is NULL where
     * something was asked for that cannot be recorded, or !keep. */
    ptq_status (*record)(ptq_backend *b);
    ptq_status (*recorded)(ptq_backend *b, bool keep, void **graph);
    ptq_status (*replay)(ptq_backend *b, void *graph);
    void (*forget)(ptq_backend *b, void *graph);
    /* Another number after each allocation or free: recordings hold addresses. */
    uint64_t (*generation)(ptq_backend *b);
    /* A point in the stream's work whose time is noted; *mark is made where it is NULL. As a part of a
     * recording it is passed again in each replay. */
    ptq_status (*mark)(ptq_backend *b, void **mark);
    void (*unmark)(ptq_backend *b, void *mark);
    /* Seconds from one to the other; waits for both. */
    ptq_status (*between)(ptq_backend *b, void *from, void *to, double *seconds);
} ptq_stream_ops;

/* What a device can do at most, for reports. */
typedef struct ptq_peaks {
    double bytes;     /* per second to and from memory, reads and writes together */
    double int8, f32; /* operations per second; a multiplication with its addition counts as two */
    double f16;       /* products in float16 with sums in float32; 0: there are none */
    char source[256]; /* where the figures come from */
} ptq_peaks;

/* ---- calibration on the device ---- */

/* Float values in backend memory, dense [samples][outer][channels][inner]. */
typedef struct ptq_tally_values {
    const void *x;
    size_t samples;
    int64_t outer, channels, inner;
    int axis; /* of the channels in the tensor; -1: ranges of channels are not wanted */
} ptq_tally_values;

/* Counts what lib/observers keeps of tensors, without moving their values: histograms and ranges of
 * channels in slots until they are taken, and a summary of each sample in one row per tensor. */
typedef struct ptq_tally ptq_tally; /* private to the backend; used by one session */
struct ptq_counts;                  /* lib/observers/stats.h */
struct ptq_summary;                 /* lib/observers/observer.h */
typedef struct ptq_tally_ops {
    ptq_status (*open)(ptq_backend *b, size_t slots, size_t rows, size_t samples, ptq_tally **out);
    void (*close)(ptq_tally *t); /* before the backend; NULL is fine */
    /* In stream order, not waited for. Between two takes of a slot: at most PTQ_TALLY_VALUES values,
     * and the same channels. */
    ptq_status (*add)(ptq_tally *t, size_t slot, size_t row, const ptq_tally_values *v);
    /* Summaries [rows][samples] of the rows that were added to since the last call. */
    ptq_status (*samples)(ptq_tally *t, const struct ptq_summary **out);
    /* Empties a slot; *out is valid until the next call. */
    ptq_status (*take)(ptq_tally *t, size_t slot, struct ptq_counts *out);
} ptq_tally_ops;
#define PTQ_TALLY_VALUES UINT32_MAX

typedef struct ptq_backend_ops {
    const char *name, *summary;
    /* Can it work here? Writes a one-line description or the reason why not. */
    bool (*probe)(char *text, size_t n);
    ptq_status (*open)(const ptq_backend_options *opt, ptq_backend **out);
    void (*close)(ptq_backend *b);
    ptq_status (*alloc)(ptq_backend *b, size_t nbytes, void **out); /* 64-byte aligned */
    void (*free)(ptq_backend *b, void *p);
    ptq_status (*upload)(ptq_backend *b, void *dst, const void *src, size_t n);   /* NULL: host */
    ptq_status (*download)(ptq_backend *b, void *dst, const void *src, size_t n); /* memory */
    /* Is there a kernel for this step (operator, types)? On false *why may be set (static text). */
    bool (*supports)(ptq_backend *b, const ptq_program *p, const ptq_step *s, const char **why);
    /* Once per program: packs weights, builds tables. *state may stay NULL. */
    ptq_status (*prepare)(ptq_backend *b, const ptq_program *p, const ptq_step *s, void **state);
    void (*release)(ptq_backend *b, const ptq_step *s, void *state);
    ptq_status (*run)(ptq_backend *b, const ptq_step_run *r);
    ptq_status (*sync)(ptq_backend *b); /* NULL: runs are synchronous */
    /* Another line of work on the same device: own stream and scratch memory, runs the steps that `b`
     * has prepared, is closed before `b`. NULL: open does it. */
    ptq_status (*fork)(ptq_backend *b, ptq_backend **out);
    /* The bits of ptq_step.over. NULL: results lie apart from all inputs. */
    uint32_t (*over)(const ptq_step *s);
    bool conv_sums; /* the kernel of a float Conv adds input 3, of the output's shape, before the clamp */
    bool conv_sums_apart; /* and gives what it had before that as output 1, where the step has it */
    /* The kernel of this qconv takes the maximum over the windows of `pool`, too. NULL: none does. */
    bool (*conv_pools)(const ptq_program *p, const ptq_step *conv, const ptq_node *pool);
    const ptq_stream_ops *streams; /* NULL: none */
    const ptq_tally_ops *tally;    /* NULL: values are observed on the host */
    /* Measured choices of kernels, one line each, for a later build or a plan: *text is malloc'ed.
     * `frozen`: no more are measured, shapes without one take the nearest. NULL: nothing is chosen. */
    ptq_status (*timings)(ptq_backend *b, char **text);
    ptq_status (*use_timings)(ptq_backend *b, const char *text, bool frozen);
    /* The kind of device: timings and plans hold for it alone. NULL: any machine. */
    void (*kind)(ptq_backend *b, char *text, size_t n);
    /* Measured or known from the device; 0 where unknown. */
    ptq_status (*peaks)(ptq_backend *b, ptq_peaks *out);
    /* The kernel that the last step started; NULL where it has no name. Static text. */
    const char *(*kernel)(ptq_backend *b);
    /* With memory of its own: bit i tells that the kernel of this step reads input i in host
     * memory (shapes, axes, weights that prepare has packed). NULL: none. */
    uint32_t (*host_inputs)(ptq_backend *b, const ptq_program *p, const ptq_step *s);
    /* With fast_math: bit i tells that input i, and bit PTQ_HALF_OUTPUT + i that output i of this step may lie in
     * memory as float16 where the program has float32. NULL: there is no fast math. */
    uint32_t (*halves)(ptq_backend *b, const ptq_program *p, const ptq_step *s);
    /* With half_products: does the kernel of this float step multiply in float16? On false *why (not NULL) tells
     * where the step is a product (static text), else it is NULL. NULL: there are no such kernels. */
    bool (*half_product)(ptq_backend *b, const ptq_program *p, const ptq_step *s, const char **why);
} ptq_backend_ops;
enum { PTQ_HALF_OUTPUT = 16 };

const ptq_backend_ops *ptq_backend_find(const char *name);
/* The name that a session takes: NULL and "auto" are "cpu". */
const char *ptq_backend_or_cpu(const char *wanted);
/* Is there fast math, are there products in float16, where that is wanted? Where not, a warning tells. */
bool ptq_backend_fast_math(const ptq_backend_ops *ops, bool wanted);
bool ptq_backend_half_products(const ptq_backend_ops *ops, bool wanted);
size_t ptq_backend_count(void);
const ptq_backend_ops *ptq_backend_at(size_t i);

#endif

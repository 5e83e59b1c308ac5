/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of an engine: engine.c makes one, profile.c has its shapes, plan_file.c its form as a file,
 * timing_cache.c what was measured, context.c runs it. */
#ifndef PTQ_JOBS_ENGINE_H
#define PTQ_JOBS_ENGINE_H

#include <ptq/engine.h>

#include "lib/exec/session.h"
#include "lib/jobs/jobs.h"

struct ptq_engine {
    void *owned;         /* bytes that hold the model's file */
    const void *bytes;   /* the model's file, within them */
    size_t nbytes;
    ptq_model *model;
    ptq_pool *pool;
    ptq_executable *exe;
    const char *precision; /* static */
    bool fast_math;
    int threads;
    char kind[256];          /* of the device; "" for the CPU */
    size_t nprofiles;
    ptq_shape_range *ranges; /* [profiles][inputs]; names are those of the model */
};

typedef enum ptq_extreme { PTQ_AT_MIN, PTQ_AT_OPT, PTQ_AT_MAX } ptq_extreme;

/* Fills e->ranges: what is not given is what the model declares. */
ptq_status ptq_profiles_set(ptq_engine *e, const ptq_profile *profiles, size_t n);
/* Input tensors of a profile without data. */
void ptq_profile_shapes(const ptq_engine *e, size_t profile, ptq_extreme which, ptq_tensor *in);
/* PTQ_ERR_ARG where a dimension is outside; names input, dimension and range. */
ptq_status ptq_profile_check(const ptq_engine *e, size_t profile, const ptq_tensor *in, size_t nin);

/* Lines of a cache file that was measured on this kind of device (malloc'ed; NULL where there is no
 * file yet), and writing one. */
ptq_status ptq_timing_cache_read(const char *path, const char *kind, char **text);
ptq_status ptq_timing_cache_write(const char *path, const char *kind, const char *text);

/* Fills an allocated input: noise for floats and bytes, rows of the table where it is looked up in one,
 * `other` for other whole numbers. The same every time. */
void ptq_noise(const ptq_value *v, int32_t other, ptq_tensor *t);

/* From e->bytes and e->fast_math to a model and an executable. */
ptq_status ptq_engine_finish(ptq_engine *e, const ptq_backend_ops *ops, const char *precision,
                             const ptq_engine_options *opt);

/* The public calls on a backend that is not in the table (tests); NULL: the one that is asked for. */
ptq_status ptq_engine_build_on(const ptq_backend_ops *ops, const ptq_model *m, const ptq_engine_options *opt,
                               ptq_engine **out);
ptq_status ptq_engine_deserialize_on(const ptq_backend_ops *ops, const void *bytes, size_t n,
                                     const ptq_engine_options *opt, ptq_engine **out);

#endif

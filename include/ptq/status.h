/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes and the error text of the last failed call. */
#ifndef PTQ_STATUS_H
#define PTQ_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(PTQ_BUILDING) && defined(__GNUC__)
#define PTQ_API __attribute__((visibility("default")))
#else
#define PTQ_API
#endif

/* Every call that can fail returns one of these; PTQ_OK is 0, failures are negative.
 * Outputs are written only when the call returns PTQ_OK. What comes back through `**out` is yours: free it
 * with the matching _free or _close, which accept NULL; a plain return is borrowed. Pointers may be NULL only
 * where it is said (PTQ_ERR_ARG otherwise). NULL options are the defaults; other options begin with their
 * macro ..._INIT, whose `size` tells the library which version of the headers they come from. */
typedef enum ptq_status {
    PTQ_OK = 0,
    PTQ_ERR_GATE = -1,        /* a comparison or a --fail-if gate did not hold */
    PTQ_ERR_ARG = -2,         /* wrong argument or option */
    PTQ_ERR_MODEL = -3,       /* the model file is damaged or breaks the ONNX specification */
    PTQ_ERR_DATA = -4,        /* data set, image, label or statistics file is unusable */
    PTQ_ERR_UNSUPPORTED = -5, /* valid, but not supported here (operator, type, target) */
    PTQ_ERR_IO = -6,          /* the operating system refused to read or write */
    PTQ_ERR_NOMEM = -7,       /* out of memory, or the memory budget is exceeded */
    PTQ_ERR_DEVICE = -8,      /* the device is missing or failed */
    PTQ_ERR_INTERNAL = -9,    /* a bug in this library */
    PTQ_ERR_INTERRUPTED = -10 /* the caller asked to stop */
} ptq_status;

/* Text of the last failure on this thread: file, node, tensor, shape and what to do.
 * Borrowed; valid until the next failing call on the same thread. Never NULL. */
PTQ_API const char *ptq_last_error(void);

/* Process exit code that the command uses for a status (0 done, 1 gate, 2 usage, 3 model,
 * 4 data, 5 unsupported, 6 I/O, 7 memory, 8 device, 9 internal, 130 interrupted). */
PTQ_API int ptq_exit_code(ptq_status status);

/* Log messages go to the callback, or nowhere when none is set (the default).
 * The callback may be called from any thread, one call at a time. */
typedef enum ptq_log_level { PTQ_LOG_ERROR, PTQ_LOG_WARN, PTQ_LOG_INFO, PTQ_LOG_DEBUG } ptq_log_level;
typedef void (*ptq_log_fn)(void *payload, ptq_log_level level, const char *text);
PTQ_API void ptq_set_log(ptq_log_fn fn, void *payload, ptq_log_level max_level);

#ifdef __cplusplus
}
#endif
#endif

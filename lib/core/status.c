/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>

#include "lib/core/core.h"

enum { ERROR_TEXT_MAX = 2048 };

static _Thread_local char error_text[ERROR_TEXT_MAX] = "no error";

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static ptq_log_fn log_fn;
static void *log_payload;
static ptq_log_level log_max = PTQ_LOG_WARN;

const char *ptq_last_error(void)
{
    return error_text;
}

int ptq_exit_code(ptq_status status)
{
    if (status == PTQ_ERR_INTERRUPTED)
        return 130;
    return status > 0 || status < PTQ_ERR_INTERRUPTED ? 9 : -(int)status;
}

ptq_status ptq_fail(ptq_status status, const char *fmt, ...)
{
    /* Formatted aside first: an argument may point into the old text. */
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(error_text, text, sizeof text);
    return status;
}

ptq_status ptq_fail_prefix(ptq_status status, const char *fmt, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", error_text);
    memcpy(error_text, text, sizeof text);
    return status;
}

ptq_status ptq_fail_nomem(void)
{
    static const char text[] = "out of memory";
    memcpy(error_text, text, sizeof text);
    return PTQ_ERR_NOMEM;
}

void ptq_set_log(ptq_log_fn fn, void *payload, ptq_log_level max_level)
{
    pthread_mutex_lock(&log_lock);
    log_fn = fn;
    log_payload = payload;
    log_max = max_level;
    pthread_mutex_unlock(&log_lock);
}

void ptq_log(ptq_log_level level, const char *fmt, ...)
{
    pthread_mutex_lock(&log_lock);
    if (log_fn && level <= log_max) {
        char text[ERROR_TEXT_MAX];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        log_fn(log_payload, level, text);
    }
    pthread_mutex_unlock(&log_lock);
}

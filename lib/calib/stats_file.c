/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <ptq/io.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/calib/stats_h5.h"

/* The digest is over one line of text for the head, and for each tensor over its arrays. */
static ptq_status add_to(void *ctx, const char *name, ptq_dtype dtype, int rank,
                         const int64_t *dims, const void *data)
{
    ptq_sha256 *h = ctx;
    size_t nbytes;
    int32_t head[2] = {(int32_t)dtype, rank};
    if (!ptq_tensor_nbytes(dtype, rank, dims, &nbytes))
        return ptq_fail(PTQ_ERR_INTERNAL, "array %s is too large", name);
    ptq_sha256_add(h, name, strlen(name) + 1);
    ptq_sha256_add(h, head, sizeof head);
    ptq_sha256_add(h, dims, sizeof *dims * (size_t)rank);
    ptq_sha256_add(h, data, nbytes);
    return PTQ_OK;
}

static void add_text(ptq_sha256 *h, const char *text)
{
    ptq_sha256_add(h, text, strlen(text) + 1);
}

static void digest_head(ptq_sha256 *all, const ptq_statistics *s)
{
    uint64_t total = s->total;
    size_t words = s->total / 64 + 1;
    ptq_sha256_start(all);
    add_text(all, s->model_sha256);
    add_text(all, s->data_sha256);
    add_text(all, s->preprocess);
    ptq_sha256_add(all, &total, sizeof total);
    ptq_sha256_add(all, s->done, words * sizeof *s->done);
    ptq_sha256_add(all, s->bad, words * sizeof *s->bad);
}

static ptq_status digest_tensor(ptq_sha256 *all, const ptq_tensor_stats *t)
{
    ptq_sha256 one;
    char hex[65];
    int32_t dtype = (int32_t)t->dtype;
    ptq_sha256_start(&one);
    PTQ_TRY(ptq_stats_write(t, &(ptq_field_sink){.put = add_to, .ctx = &one}));
    ptq_sha256_end(&one, hex);
    add_text(all, t->name);
    ptq_sha256_add(all, &dtype, sizeof dtype);
    add_text(all, hex);
    return PTQ_OK;
}

ptq_status ptq_stats_digest(const ptq_statistics *s, char hex[65])
{
    ptq_sha256 all;
    digest_head(&all, s);
    for (size_t i = 0; i < s->ntensors; i++)
        PTQ_TRY(digest_tensor(&all, s->tensors[i]));
    ptq_sha256_end(&all, hex);
    return PTQ_OK;
}

#ifdef HAVE_HDF5
#include "lib/core/atomic_file.h"

static ptq_status write_in_child(const ptq_statistics *s, const char *path)
{
    char hex[65];
    uint8_t *reply = NULL;
    size_t n;
    ptq_worker *w;
    PTQ_TRY(ptq_stats_digest(s, hex));
    ptq_stats_save state = {.stats = s, .path = path, .digest = hex};
    /* The child is a copy of this process, so it has the statistics already. */
    PTQ_TRY(ptq_worker_start(ptq_stats_serve_save, &state, true, &w));
    ptq_status st = ptq_worker_call(w, "", 0, &reply, &n);
    free(reply);
    ptq_worker_stop(w);
    /* No data is read here: a dead child could not write. */
    return st == PTQ_ERR_DATA ? ptq_fail(PTQ_ERR_IO, "cannot write: the writing process died") : st;
}

static ptq_status check_text(const ptq_statistics *s)
{
    if (strlen(s->preprocess) >= PTQ_STATS_TEXT_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "the preprocessing text is too long for the file");
    for (size_t i = 0; i < s->ntensors; i++)
        if (strlen(s->tensors[i]->name) >= PTQ_STATS_TEXT_MAX)
            return ptq_fail(PTQ_ERR_UNSUPPORTED, "tensor %.60s...: names of %d bytes and more do "
                            "not fit the statistics file", s->tensors[i]->name, PTQ_STATS_TEXT_MAX);
    return PTQ_OK;
}

static ptq_status read_file(const char *path, bool keep, ptq_statistics **out);

/* Reads what was written, a tensor at a time: a second copy of the statistics would be the most
 * memory that a calibration needs. */
static ptq_status verify(const char *path)
{
    ptq_statistics *head = NULL;
    ptq_status st = read_file(path, false, &head);
    ptq_statistics_free(head);
    return st;
}

ptq_status ptq_statistics_save(const ptq_statistics *s, const char *path, bool force)
{
    PTQ_NEEDS(s);
    PTQ_NEEDS(path);
    ptq_atomic_file *f;
    PTQ_TRY(check_text(s));
    PTQ_TRY(ptq_atomic_open(path, force, &f));
    ptq_status st = write_in_child(s, ptq_atomic_temp_path(f));
    if (st != PTQ_OK)
        ptq_fail_prefix(st, "%s", path);
    if (st == PTQ_OK)
        st = ptq_atomic_sync(f);
    if (st == PTQ_OK)
        st = verify(ptq_atomic_temp_path(f));
    if (st != PTQ_OK) {
        ptq_atomic_abort(f);
        return st;
    }
    return ptq_atomic_commit(f);
}

/* One tensor's arrays, as a ptq_field_source. */
typedef struct arrays {
    const ptq_stats_field *field[PTQ_STATS_FIELDS_MAX];
    const void *data[PTQ_STATS_FIELDS_MAX];
    size_t n;
} arrays;

static ptq_status get_array(void *ctx, const char *name, ptq_dtype dtype, int *rank,
                            int64_t dims[PTQ_MAX_RANK], const void **data)
{
    const arrays *a = ctx;
    *data = NULL;
    for (size_t i = 0; i < a->n; i++) {
        const ptq_stats_field *f = a->field[i];
        if (strcmp(f->name, name) != 0)
            continue;
        if (f->dtype != (int32_t)dtype)
            return ptq_fail(PTQ_ERR_DATA, "array %s is %s, not %s", name,
                            ptq_dtype_name((ptq_dtype)f->dtype), ptq_dtype_name(dtype));
        *rank = f->rank;
        memcpy(dims, f->dims, sizeof f->dims);
        *data = a->data[i];
        break;
    }
    return PTQ_OK;
}

/* The child reads files of unknown origin, so its answers are checked as files are. */
static ptq_status split(const uint8_t *reply, size_t n, const ptq_stats_tensor **tensor, arrays *a)
{
    const ptq_stats_tensor *t = (const void *)reply;
    size_t at = sizeof *t, nbytes;
    a->n = 0;
    if (n < at || !memchr(t->name, 0, sizeof t->name) || t->fields > PTQ_STATS_FIELDS_MAX)
        return ptq_fail(PTQ_ERR_DATA, "damaged");
    for (uint32_t i = 0; i < t->fields; i++) {
        const ptq_stats_field *f = (const void *)(reply + at);
        if (n - at < sizeof *f || n - at - sizeof *f < f->nbytes || f->nbytes % 8 ||
            !memchr(f->name, 0, sizeof f->name) ||
            !ptq_tensor_nbytes((ptq_dtype)f->dtype, f->rank, f->dims, &nbytes) ||
            nbytes > f->nbytes)
            return ptq_fail(PTQ_ERR_DATA, "damaged");
        a->field[a->n] = f;
        a->data[a->n++] = reply + at + sizeof *f;
        at += sizeof *f + f->nbytes;
    }
    *tensor = t;
    return PTQ_OK;
}

static ptq_status load_tensor(ptq_worker *w, uint64_t i, ptq_tensor_stats **out)
{
    uint8_t *reply;
    size_t n;
    arrays a;
    const ptq_stats_tensor *t = NULL;
    ptq_tensor_stats *made = NULL;
    PTQ_TRY(ptq_worker_call(w, &i, sizeof i, &reply, &n));
    ptq_status s = split(reply, n, &t, &a);
    if (s == PTQ_OK)
        s = ptq_stats_new(t->name, (ptq_dtype)t->dtype, &made);
    if (s == PTQ_OK)
        s = ptq_stats_read(made, &(ptq_field_source){.get = get_array, .ctx = &a});
    free(reply);
    if (s != PTQ_OK) {
        ptq_stats_free(made);
        return s;
    }
    *out = made;
    return PTQ_OK;
}

static ptq_status take_head(const uint8_t *reply, size_t n, ptq_stats_head *h, ptq_statistics **out)
{
    if (n < sizeof *h)
        return ptq_fail(PTQ_ERR_DATA, "damaged");
    memcpy(h, reply, sizeof *h);
    h->model_sha256[64] = h->data_sha256[64] = h->digest[64] = '\0';
    h->preprocess[sizeof h->preprocess - 1] = '\0';
    size_t words = h->total / 64 + 1, nbytes = words * sizeof(uint64_t);
    if (h->total > PTQ_STATS_SAMPLES_MAX || h->ntensors > PTQ_STATS_TENSORS_MAX ||
        n != sizeof *h + 2 * nbytes)
        return ptq_fail(PTQ_ERR_DATA, "damaged");
    ptq_statistics *s;
    PTQ_TRY(ptq_statistics_new(NULL, NULL, 0, h->total, h->preprocess, &s));
    memcpy(s->model_sha256, h->model_sha256, sizeof s->model_sha256);
    memcpy(s->data_sha256, h->data_sha256, sizeof s->data_sha256);
    memcpy(s->done, reply + sizeof *h, nbytes);
    memcpy(s->bad, reply + sizeof *h + nbytes, nbytes);
    uint64_t beyond = ~UINT64_C(0) << h->total % 64;
    ptq_tensor_stats **tensors = ptq_calloc(h->ntensors + 1, sizeof *tensors);
    bool bits_ok = !((s->done[words - 1] | s->bad[words - 1]) & beyond);
    if (!tensors || !bits_ok) {
        free(tensors);
        ptq_statistics_free(s);
        return bits_ok ? ptq_fail_nomem() : ptq_fail(PTQ_ERR_DATA, "marks samples beyond the last");
    }
    free(s->tensors);
    s->tensors = tensors;
    *out = s;
    return PTQ_OK;
}

/* Appends tensor i; without keep, only the last one is. */
static ptq_status append(ptq_statistics *s, ptq_tensor_stats *t, bool keep)
{
    const ptq_tensor_stats *last = s->ntensors ? s->tensors[s->ntensors - 1] : NULL;
    const bool ordered = !last || strcmp(last->name, t->name) < 0;
    if (!keep && s->ntensors)
        ptq_stats_free(s->tensors[--s->ntensors]);
    s->tensors[s->ntensors++] = t;
    return ordered ? PTQ_OK : ptq_fail(PTQ_ERR_DATA, "damaged: tensors are out of order");
}

static ptq_status load_all(ptq_worker *w, bool keep, ptq_stats_head *h, ptq_statistics **s)
{
    const uint64_t head = PTQ_STATS_HEAD;
    ptq_sha256 all;
    uint8_t *reply;
    size_t n;
    char hex[65];
    PTQ_TRY(ptq_worker_call(w, &head, sizeof head, &reply, &n));
    ptq_status st = take_head(reply, n, h, s);
    free(reply);
    PTQ_TRY(st);
    digest_head(&all, *s);
    for (uint64_t i = 0; i < h->ntensors; i++) {
        ptq_tensor_stats *t;
        PTQ_TRY(load_tensor(w, i, &t));
        PTQ_TRY(append(*s, t, keep));
        PTQ_TRY(digest_tensor(&all, t));
    }
    ptq_sha256_end(&all, hex);
    if (strcmp(hex, h->digest) != 0)
        return ptq_fail(PTQ_ERR_DATA, "was changed after it was written; calibrate again");
    return PTQ_OK;
}

static ptq_status check_head(const char *path)
{
    char head[8] = "";
    FILE *f = fopen(path, "rbe");
    if (!f)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    size_t n = fread(head, 1, sizeof head, f);
    fclose(f);
    if (n == sizeof head && memcmp(head, "\x89HDF\r\n\x1a\n", sizeof head) == 0)
        return PTQ_OK;
    return ptq_fail(PTQ_ERR_DATA, "%s: is not a statistics file", path);
}

static ptq_status read_file(const char *path, bool keep, ptq_statistics **out)
{
    ptq_worker *w;
    ptq_statistics *s = NULL;
    ptq_stats_load state = {.path = path, .file = -1};
    PTQ_TRY(check_head(path));
    ptq_stats_head *h = ptq_calloc(1, sizeof *h);
    if (!h)
        return ptq_fail_nomem();
    ptq_status st = ptq_worker_start(ptq_stats_serve_load, &state, false, &w);
    if (st == PTQ_OK) {
        st = load_all(w, keep, h, &s);
        ptq_worker_stop(w);
    }
    free(h);
    if (st != PTQ_OK) {
        ptq_statistics_free(s);
        return ptq_fail_prefix(st, "%s", path);
    }
    *out = s;
    return PTQ_OK;
}

ptq_status ptq_statistics_load(const char *path, ptq_statistics **out)
{
    PTQ_NEEDS(path);
    PTQ_NEEDS(out);
    return read_file(path, true, out);
}

ptq_status ptq_statistics_files(void)
{
    return PTQ_OK;
}

#else

ptq_status ptq_statistics_files(void)
{
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "this program was built without HDF5, so without statistics files");
}

ptq_status ptq_statistics_save(const ptq_statistics *s, const char *path, bool force)
{
    PTQ_NEEDS(s);
    PTQ_NEEDS(path);
    (void)s, (void)force;
    return ptq_fail_prefix(ptq_statistics_files(), "%s", path);
}

ptq_status ptq_statistics_load(const char *path, ptq_statistics **out)
{
    PTQ_NEEDS(path);
    PTQ_NEEDS(out);
    (void)out;
    return ptq_fail_prefix(ptq_statistics_files(), "%s", path);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A plan: head, header (JSON), the model as ONNX, and the SHA-256 of all that in hexadecimal. Numbers
 * of the head are little-endian. Weights are packed again when it is loaded (resnet50: 0.2 s in
 * all), which keeps the file small and one form of the model the truth. */
#include "config.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/atomic_file.h"
#include "lib/jobs/engine.h"
#include "lib/report/report.h"

typedef struct head {
    char magic[8];
    uint64_t format, header, model; /* bytes of the two parts */
} head;
static const char magic[8] = {'P', 'T', 'Q', 'P', 'L', 'A', 'N', '\n'};
enum { FORMAT = 1, DIGEST = 64 };

/* ---- writing ---- */

static json_t *dims_json(int rank, const int64_t *dims)
{
    json_t *a = json_array();
    for (int d = 0; a && d < rank; d++)
        json_array_append_new(a, json_integer(dims[d]));
    return a;
}

static ptq_status profiles_json(const ptq_engine *e, json_t *root)
{
    size_t ni = e->model->graph->inputs.n;
    json_t *list = json_array();
    PTQ_TRY(ptq_json_set(root, "profiles", list));
    for (size_t p = 0; p < e->nprofiles; p++) {
        json_t *inputs = json_array();
        PTQ_TRY(ptq_json_push(list, inputs));
        for (size_t i = 0; i < ni; i++) {
            const ptq_shape_range *r = &e->ranges[p * ni + i];
            json_t *o = json_object();
            PTQ_TRY(ptq_json_push(inputs, o));
            PTQ_TRY(ptq_json_set(o, "min", dims_json(r->rank, r->min)));
            PTQ_TRY(ptq_json_set(o, "opt", dims_json(r->rank, r->opt)));
            PTQ_TRY(ptq_json_set(o, "max", dims_json(r->rank, r->max)));
        }
    }
    return PTQ_OK;
}

static ptq_status header_json(const ptq_engine *e, json_t *root)
{
    char *text = NULL;
    PTQ_TRY(ptq_json_set(root, "version", json_string(PACKAGE_VERSION)));
    PTQ_TRY(ptq_json_set(root, "backend", json_string(e->exe->ops->name)));
    PTQ_TRY(ptq_json_set(root, "kind", ptq_json_name(e->kind)));
    PTQ_TRY(ptq_json_set(root, "precision", json_string(e->precision)));
    PTQ_TRY(ptq_json_set(root, "fast_math", json_boolean(e->fast_math)));
    PTQ_TRY(profiles_json(e, root));
    if (!e->exe->ops->timings)
        return PTQ_OK;
    PTQ_TRY(e->exe->ops->timings(e->exe->backend, &text));
    ptq_status s = ptq_json_set(root, "timings", json_string(text));
    free(text);
    return s;
}

static ptq_status join(const ptq_engine *e, const char *header, void **bytes, size_t *n)
{
    size_t len = strlen(header), total = sizeof(head) + len;
    if (!ptq_add_size(total, e->nbytes, &total) || !ptq_add_size(total, DIGEST + 1, &total))
        return ptq_fail_nomem();
    char *p = malloc(total), *at = p;
    if (!p)
        return ptq_fail_nomem();
    head h = {.format = htole64(FORMAT), .header = htole64(len), .model = htole64(e->nbytes)};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(at, &h, sizeof h);
    memcpy(at += sizeof h, header, len);
    memcpy(at += len, e->bytes, e->nbytes);
    at += e->nbytes;
    ptq_sha256_hex(p, (size_t)(at - p), at);
    *bytes = p;
    *n = total - 1; /* without the NUL of the digest */
    return PTQ_OK;
}

ptq_status ptq_engine_serialize(const ptq_engine *e, void **bytes, size_t *n)
{
    json_t *root = json_object();
    ptq_status s = root ? header_json(e, root) : ptq_fail_nomem();
    char *header = s == PTQ_OK ? json_dumps(root, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    if (s == PTQ_OK)
        s = header ? join(e, header, bytes, n) : ptq_fail_nomem();
    free(header);
    json_decref(root);
    return s;
}

ptq_status ptq_engine_save(const ptq_engine *e, const char *path, bool force)
{
    void *bytes;
    size_t n;
    ptq_atomic_file *f;
    PTQ_TRY(ptq_engine_serialize(e, &bytes, &n));
    ptq_status s = ptq_atomic_open(path, force, &f);
    if (s == PTQ_OK) {
        ptq_atomic_write(f, bytes, n); /* errors stick until the commit, which tells them */
        s = ptq_atomic_commit(f);
    }
    free(bytes);
    return s;
}

/* ---- reading ---- */

static ptq_status damaged(const char *what)
{
    return ptq_fail(PTQ_ERR_MODEL, "the plan is damaged: %s; build it again", what);
}

/* Finds the parts; everything is checked against the digest. */
static ptq_status parts(const char *p, size_t n, const char **header, size_t *len, const char **model, size_t *size)
{
    head h;
    char hex[DIGEST + 1];
    if (n < sizeof h || memcmp(p, magic, sizeof magic) != 0)
        return ptq_fail(PTQ_ERR_MODEL, "this is not a plan");
    memcpy(&h, p, sizeof h);
    if (le64toh(h.format) != FORMAT)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "the plan has format %llu, this version reads %d; build it again",
                        (unsigned long long)le64toh(h.format), FORMAT);
    uint64_t a = le64toh(h.header), b = le64toh(h.model), room = n - sizeof h;
    if (room < DIGEST || a > room - DIGEST || b != room - DIGEST - a)
        return damaged("its length is wrong");
    ptq_sha256_hex(p, n - DIGEST, hex);
    if (memcmp(hex, p + n - DIGEST, DIGEST) != 0)
        return damaged("its checksum is wrong");
    *header = p + sizeof h;
    *len = (size_t)a;
    *model = *header + a;
    *size = (size_t)b;
    return PTQ_OK;
}

static ptq_status read_dims(const json_t *o, const char *key, ptq_shape_range *r, int64_t *dims)
{
    const json_t *a = json_object_get(o, key);
    size_t n = json_array_size(a);
    if (!json_is_array(a) || n > PTQ_MAX_RANK || (r->rank >= 0 && (size_t)r->rank != n))
        return damaged("a profile");
    r->rank = (int)n;
    for (size_t d = 0; d < n; d++)
        dims[d] = (int64_t)json_integer_value(json_array_get(a, d));
    return PTQ_OK;
}

static ptq_status read_profile(const ptq_engine *e, const json_t *inputs, ptq_shape_range *r)
{
    size_t ni = e->model->graph->inputs.n;
    if (json_array_size(inputs) != ni)
        return damaged("a profile");
    for (size_t i = 0; i < ni; i++) {
        const json_t *o = json_array_get(inputs, i);
        r[i] = (ptq_shape_range){.input = e->model->graph->inputs.v[i]->name, .rank = -1};
        PTQ_TRY(read_dims(o, "min", &r[i], r[i].min));
        PTQ_TRY(read_dims(o, "opt", &r[i], r[i].opt));
        PTQ_TRY(read_dims(o, "max", &r[i], r[i].max));
    }
    return PTQ_OK;
}

static ptq_status read_profiles(ptq_engine *e, const json_t *list)
{
    size_t n = json_array_size(list), ni = e->model->graph->inputs.n;
    ptq_shape_range *r = ptq_calloc(n * ni, sizeof *r);
    ptq_profile *p = ptq_calloc(n, sizeof *p);
    ptq_status s = r && p ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK && n == 0)
        s = damaged("it has no profile");
    for (size_t i = 0; i < n && s == PTQ_OK; i++) {
        p[i] = (ptq_profile){&r[i * ni], ni};
        s = read_profile(e, json_array_get(list, i), &r[i * ni]);
    }
    if (s == PTQ_OK)
        s = ptq_profiles_set(e, p, n);
    free(r);
    free(p);
    return s;
}

/* Elsewhere than where it was built? */
static ptq_status same_place(const ptq_engine *e, const json_t *root)
{
    const char *kind = ptq_json_str(root, "kind", "");
    if (strcmp(kind, e->kind) != 0)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "the plan is for %s, this is %s; build it here", kind, e->kind);
    return PTQ_OK;
}

static ptq_status from_parts(ptq_engine *e, const ptq_backend_ops *ops, const json_t *root,
                             const ptq_engine_options *opt)
{
    const char *version = ptq_json_str(root, "version", "?"), *backend = ptq_json_str(root, "backend", "?");
    if (strcmp(version, PACKAGE_VERSION) != 0)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "the plan is of version %s, this is %s; build it again", version,
                        PACKAGE_VERSION);
    ops = ops ? ops : ptq_backend_find(backend);
    if (!ops || strcmp(ops->name, backend) != 0)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "the plan is for backend %s, which this build lacks", backend);
    e->fast_math = json_is_true(json_object_get(root, "fast_math"));
    PTQ_TRY(ptq_engine_finish(e, ops, ptq_json_str(root, "precision", NULL), opt));
    PTQ_TRY(same_place(e, root));
    if (e->exe->ops->use_timings)
        PTQ_TRY(e->exe->ops->use_timings(e->exe->backend, ptq_json_str(root, "timings", ""), true));
    return read_profiles(e, json_object_get(root, "profiles"));
}

/* Takes over `bytes`. */
static ptq_status take(const ptq_backend_ops *ops, void *bytes, size_t n, const ptq_engine_options *opt, ptq_engine **out)
{
    static const ptq_engine_options dflt = PTQ_ENGINE_OPTIONS_INIT;
    const char *header = NULL, *model = NULL;
    size_t len = 0;
    ptq_engine *e = ptq_calloc(1, sizeof *e);
    if (!e) {
        free(bytes);
        return ptq_fail_nomem();
    }
    e->owned = bytes;
    json_t *root = NULL;
    ptq_status s = parts(bytes, n, &header, &len, &model, &e->nbytes);
    if (s == PTQ_OK) {
        e->bytes = model;
        root = json_loadb(header, len, JSON_REJECT_DUPLICATES, NULL);
        s = json_is_object(root) ? from_parts(e, ops, root, opt ? opt : &dflt) : damaged("its header");
    }
    json_decref(root);
    if (s != PTQ_OK) {
        ptq_engine_free(e);
        return s;
    }
    *out = e;
    return PTQ_OK;
}

ptq_status ptq_engine_deserialize_on(const ptq_backend_ops *ops, const void *bytes, size_t n,
                                     const ptq_engine_options *opt, ptq_engine **out)
{
    void *copy = malloc(n ? n : 1);
    if (!copy)
        return ptq_fail_nomem();
    memcpy(copy, bytes, n);
    return take(ops, copy, n, opt, out);
}

ptq_status ptq_engine_deserialize(const void *bytes, size_t n, const ptq_engine_options *opt, ptq_engine **out)
{
    return ptq_engine_deserialize_on(NULL, bytes, n, opt, out);
}

ptq_status ptq_engine_load(const char *path, const ptq_engine_options *opt, ptq_engine **out)
{
    char *bytes = NULL;
    size_t n = 0;
    PTQ_TRY(ptq_read_file(path, SIZE_MAX - 1, &bytes, &n));
    ptq_status s = take(NULL, bytes, n, opt, out);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "%s", path);
}

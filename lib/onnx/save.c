/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to bytes and files: streamed into temporaries, read back, compared, renamed. */
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/core/atomic_file.h"
#include "lib/onnx/onnx_priv.h"

enum { DATA_ALIGN = 4096 }; /* so that the tensors can be mapped */

/* ---- where it must not go ---- */

static bool same_file(const char *path, uint64_t dev, uint64_t ino)
{
    struct stat st;
    return ino != 0 && stat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static ptq_status check_target(const ptq_graph *g, const char *path, const ptq_onnx_save_options *opt)
{
    const ptq_onnx_origin *o = g->origin;
    struct stat st;
    bool clash = o && same_file(path, o->file->main.dev, o->file->main.ino);
    for (const ptq_onnx_external *e = o ? o->file->externals : NULL; e; e = e->next)
        clash = clash || same_file(path, e->map.dev, e->map.ino);
    for (size_t i = 0; opt && i < opt->n_not_over; i++)
        if (stat(opt->not_over[i], &st) == 0)
            clash = clash || same_file(path, st.st_dev, st.st_ino);
    return clash ? ptq_fail(PTQ_ERR_ARG, "%s: is an input of this job; choose another output", path)
                 : PTQ_OK;
}

/* ---- streaming ---- */

typedef struct sink {
    ProtobufCBuffer base;
    const ptq_graph *graph;
    ptq_atomic_file *file;
    size_t n;
    ptq_status status; /* sticks: append cannot return one */
    uint8_t buf[1 << 15];
} sink;

static void flush(sink *s)
{
    if (s->status == PTQ_OK && s->n)
        s->status = ptq_atomic_write(s->file, s->buf, s->n);
    s->n = 0;
}

static void append(ProtobufCBuffer *base, size_t len, const uint8_t *data)
{
    sink *s = (sink *)base;
    if (len > sizeof s->buf - s->n)
        flush(s);
    if (len <= sizeof s->buf - s->n) {
        if (len)
            memcpy(s->buf + s->n, data, len);
        s->n += len;
    } else if (s->status == PTQ_OK) {
        ptq_tensor t = {.data = (void *)(uintptr_t)data, .nbytes = len};
        s->status = ptq_atomic_write(s->file, data, len);
        ptq_graph_rest(s->graph, &t);
    }
}

static ptq_status pack_to(ptq_atomic_file *f, const ptq_graph *g, const pb_model *m)
{
    sink *s = ptq_calloc(1, sizeof *s);
    if (!s)
        return ptq_fail_nomem();
    s->base.append = append;
    s->graph = g;
    s->file = f;
    protobuf_c_message_pack_to_buffer(&m->base, &s->base);
    flush(s);
    ptq_status status = s->status;
    free(s);
    return status == PTQ_OK ? ptq_atomic_sync(f) : status;
}

/* ---- external data ---- */

static ptq_status add_entry(ptq_arena *a, pb_tensor *t, const char *key, const char *value)
{
    pb_entry *p = ptq_arena_alloc(a, sizeof *p);
    if (!p || !value)
        return ptq_fail_nomem();
    ptq_onnx__string_string_entry_proto__init(p);
    p->key = ptq_onnx_mut(key);
    p->value = ptq_onnx_mut(value);
    t->external_data[t->n_external_data++] = p;
    return PTQ_OK;
}

static ptq_status move_out(ptq_arena *a, pb_tensor *t, const char *location, size_t offset)
{
    size_t len = t->raw_data.len;
    t->external_data = ptq_arena_array(a, 3, sizeof *t->external_data);
    t->n_external_data = 0;
    if (!t->external_data)
        return ptq_fail_nomem();
    PTQ_TRY(add_entry(a, t, "location", location));
    PTQ_TRY(add_entry(a, t, "offset", ptq_arena_printf(a, "%zu", offset)));
    PTQ_TRY(add_entry(a, t, "length", ptq_arena_printf(a, "%zu", len)));
    t->has_data_location = 1;
    t->data_location = PTQ_ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    t->has_raw_data = 0;
    t->raw_data = (ProtobufCBinaryData){0, NULL};
    return PTQ_OK;
}

static ptq_status write_data(const ptq_graph *g, ptq_arena *a, pb_model *m, size_t threshold, const char *location,
                             ptq_atomic_file *f)
{
    static const uint8_t zeros[DATA_ALIGN];
    size_t at = 0;
    for (size_t i = 0; i < m->graph->n_initializer; i++) {
        pb_tensor *t = m->graph->initializer[i];
        if (!t->has_raw_data || t->raw_data.len < threshold)
            continue;
        size_t pad = (DATA_ALIGN - at % DATA_ALIGN) % DATA_ALIGN;
        PTQ_TRY(ptq_atomic_write(f, zeros, pad));
        PTQ_TRY(ptq_atomic_write(f, t->raw_data.data, t->raw_data.len));
        ptq_tensor view = {.data = t->raw_data.data, .nbytes = t->raw_data.len};
        ptq_graph_rest(g, &view);
        at += pad;
        size_t offset = at;
        at += t->raw_data.len;
        PTQ_TRY(move_out(a, t, location, offset));
    }
    return ptq_atomic_sync(f);
}

/* ---- reading back ---- */

static ptq_status differs(const char *what, const char *name)
{
    return ptq_fail(PTQ_ERR_INTERNAL, "read back after writing: %s '%s' differs", what, name);
}

static ptq_status compare_node(const ptq_node *a, const ptq_node *b)
{
    if (strcmp(a->op, b->op) != 0 || strcmp(a->domain, b->domain) != 0 || a->nin != b->nin ||
        a->nout != b->nout || a->nattrs != b->nattrs)
        return differs("node", a->name);
    for (int i = 0; i < a->nin; i++)
        if (strcmp(a->in[i] ? a->in[i]->name : "", b->in[i] ? b->in[i]->name : "") != 0)
            return differs("node", a->name);
    for (int i = 0; i < a->nout; i++)
        if (strcmp(a->out[i] ? a->out[i]->name : "", b->out[i] ? b->out[i]->name : "") != 0)
            return differs("node", a->name);
    return PTQ_OK;
}

static ptq_status compare(const ptq_graph *a, const ptq_graph *b)
{
    if (a->nnodes != b->nnodes || a->inputs.n != b->inputs.n || a->outputs.n != b->outputs.n)
        return differs("graph", a->name);
    const ptq_node *m = b->first;
    PTQ_GRAPH_EACH_NODE (a, n) {
        PTQ_TRY(compare_node(n, m));
        m = m->next;
    }
    for (size_t i = 0; i < a->values.n; i++) {
        const ptq_value *v = a->values.v[i];
        if (!ptq_onnx_is_initializer(v))
            continue;
        const ptq_value *w = ptq_graph_find(b, v->name);
        const ptq_tensor *s = v->constant, *t = w ? w->constant : NULL;
        bool same = t && s->dtype == t->dtype && s->rank == t->rank && s->nbytes == t->nbytes &&
                    memcmp(s->dims, t->dims, (size_t)s->rank * sizeof *s->dims) == 0 &&
                    (s->nbytes == 0 || memcmp(s->data, t->data, s->nbytes) == 0);
        if (!same)
            return differs("tensor", v->name);
        ptq_graph_rest(a, s);
        ptq_graph_rest(b, t);
    }
    return PTQ_OK;
}

static ptq_status verify(const ptq_graph *g, const char *temp, const char *location,
                         const char *data_temp)
{
    ptq_graph *back;
    PTQ_TRY(ptq_onnx_load_alias(temp, location, data_temp, &back));
    ptq_status s = compare(g, back);
    ptq_graph_free(back);
    return s;
}

/* ---- files ---- */

typedef struct output {
    const char *path, *data_path, *location;
    ptq_atomic_file *model, *data;
} output;

static ptq_status check_size(const pb_model *m)
{
    size_t n = protobuf_c_message_get_packed_size(&m->base);
    return n <= INT32_MAX ? PTQ_OK
                          : ptq_fail(PTQ_ERR_UNSUPPORTED, "the model has %zu bytes; an ONNX file ends below "
                                                          "2 GiB", n);
}

static ptq_status write_files(const ptq_graph *g, pb_model *m, ptq_arena *a, bool external,
                              const ptq_onnx_save_options *opt, output *o)
{
    bool force = opt && opt->force;
    PTQ_TRY(ptq_atomic_open(o->path, force, &o->model));
    if (external) {
        size_t threshold = opt && opt->external_threshold ? opt->external_threshold : 1024;
        PTQ_TRY(check_target(g, o->data_path, opt));
        PTQ_TRY(ptq_atomic_open(o->data_path, force, &o->data));
        PTQ_TRY(write_data(g, a, m, threshold, o->location, o->data));
    }
    PTQ_TRY(check_size(m));
    PTQ_TRY(pack_to(o->model, g, m));
    return verify(g, ptq_atomic_temp_path(o->model), external ? o->location : NULL,
                  external ? ptq_atomic_temp_path(o->data) : NULL);
}

static ptq_status save(const ptq_graph *g, const char *path, ptq_arena *a,
                       const ptq_onnx_save_options *opt)
{
    pb_model *m;
    output o = {.path = path};
    char *copy = ptq_arena_strdup(a, path);
    o.data_path = ptq_arena_printf(a, "%s.data", path);
    o.location = copy ? ptq_arena_printf(a, "%s.data", basename(copy)) : NULL;
    if (!o.data_path || !o.location)
        return ptq_fail_nomem();
    PTQ_TRY(check_target(g, path, opt));
    PTQ_TRY(ptq_onnx_file_unchanged(g));
    PTQ_TRY(ptq_onnx_emit(g, a, &m));
    bool external = (opt && opt->external) || protobuf_c_message_get_packed_size(&m->base) > INT32_MAX;
    ptq_status s = write_files(g, m, a, external, opt, &o);
    /* The data first: a model without its data would be worse than data without a model. */
    if (s == PTQ_OK && o.data) {
        s = ptq_atomic_commit(o.data);
        o.data = NULL;
    }
    if (s == PTQ_OK) {
        s = ptq_atomic_commit(o.model);
        o.model = NULL;
    }
    ptq_atomic_abort(o.data);
    ptq_atomic_abort(o.model);
    return s;
}

ptq_status ptq_onnx_save(const ptq_graph *g, const char *path, const ptq_onnx_save_options *opt)
{
    ptq_arena *a = ptq_arena_new();
    ptq_status s = a ? save(g, path, a, opt) : ptq_fail_nomem();
    ptq_arena_free(a);
    return s;
}

static ptq_status save_memory(const ptq_graph *g, ptq_arena *a, void **bytes, size_t *n)
{
    pb_model *m;
    PTQ_TRY(ptq_onnx_file_unchanged(g));
    PTQ_TRY(ptq_onnx_emit(g, a, &m));
    PTQ_TRY(check_size(m));
    size_t size = protobuf_c_message_get_packed_size(&m->base);
    uint8_t *p = malloc(size + 1);
    if (!p)
        return ptq_fail_nomem();
    *n = protobuf_c_message_pack(&m->base, p);
    *bytes = p;
    return PTQ_OK;
}

ptq_status ptq_onnx_save_memory(const ptq_graph *g, void **bytes, size_t *n)
{
    ptq_arena *a = ptq_arena_new();
    ptq_status s = a ? save_memory(g, a, bytes, n) : ptq_fail_nomem();
    ptq_arena_free(a);
    return s;
}

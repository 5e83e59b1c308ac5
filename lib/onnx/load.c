/* SPDX-License-Identifier: Apache-2.0 */
/* From a path or bytes to a graph: open, map, guard, unpack, check, build. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/core/spill.h"
#include "lib/onnx/onnx_priv.h"

/* ---- the file behind a graph ---- */

ptq_onnx_file *ptq_onnx_file_new(size_t memory_limit)
{
    ptq_onnx_file *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    ptq_onnx_heap_init(&f->heap, memory_limit);
    f->base_fd = -1;
    return f;
}

void ptq_onnx_file_free(void *file)
{
    ptq_onnx_file *f = file;
    if (!f)
        return;
    for (ptq_onnx_external *e = f->externals, *next; e; e = next) {
        next = e->next;
        ptq_onnx_unmap(&e->map);
        free(e->location);
        free(e->path);
        free(e->ranges);
        free(e);
    }
    if (f->base_fd >= 0)
        close(f->base_fd);
    ptq_onnx_heap_free(&f->heap);
    ptq_onnx_unmap(&f->main);
    free(f);
}

static bool changed(const char *path, const ptq_onnx_map *m)
{
    struct stat st;
    /* A file that was renamed away or unlinked lives on in the mapping. */
    if (!m->p || stat(path, &st) != 0 || st.st_dev != m->dev || st.st_ino != m->ino)
        return false;
    return (size_t)st.st_size != m->n || st.st_mtim.tv_sec != m->mtime_s ||
           st.st_mtim.tv_nsec != m->mtime_ns;
}

ptq_status ptq_onnx_file_unchanged(const ptq_graph *g)
{
    const ptq_onnx_origin *o = g->origin;
    const char *path = o && *g->path && changed(g->path, &o->file->main) ? g->path : NULL;
    for (const ptq_onnx_external *e = o ? o->file->externals : NULL; e && !path; e = e->next)
        path = changed(e->path, &e->map) ? e->path : NULL;
    return path ? ptq_fail(PTQ_ERR_IO, "%s: was changed while it was in use", path) : PTQ_OK;
}

/* ---- model-level checks ---- */

static ptq_status check_ir(const pb_model *m)
{
    if (!m->has_ir_version)
        return ptq_fail(PTQ_ERR_MODEL, "the model states no IR version");
    if (m->ir_version < PTQ_ONNX_MIN_IR || m->ir_version > PTQ_ONNX_MAX_IR)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "unsupported IR version %lld (min %d, max %d)",
                        (long long)m->ir_version, PTQ_ONNX_MIN_IR, PTQ_ONNX_MAX_IR);
    return PTQ_OK;
}

/* Every import into `domains`; the two that the table of operators knows into the graph. */
static ptq_status read_opsets(const pb_model *m, ptq_graph *g, ptq_map *domains)
{
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const char *domain = ptq_onnx_domain(m->opset_import[i]->domain);
        int64_t version = m->opset_import[i]->version;
        if (ptq_map_get(domains, domain))
            return ptq_fail(PTQ_ERR_MODEL, "opset_import lists domain '%s' twice", domain);
        if (!ptq_map_put(domains, domain, m->opset_import[i]))
            return ptq_fail_nomem();
        if (!*domain) {
            if (version > PTQ_ONNX_MAX_OPSET)
                return ptq_fail(PTQ_ERR_UNSUPPORTED, "unsupported opset %lld (max %d)",
                                (long long)version, PTQ_ONNX_MAX_OPSET);
            if (version < PTQ_ONNX_MIN_OPSET)
                return ptq_fail(PTQ_ERR_UNSUPPORTED,
                                "unsupported opset %lld (min %d); convert the model with "
                                "onnx.version_converter",
                                (long long)version, PTQ_ONNX_MIN_OPSET);
            g->opset = (int)version;
        } else if (strcmp(domain, "com.microsoft") == 0) {
            if (version < 1 || version > INT16_MAX)
                return ptq_fail(PTQ_ERR_MODEL, "com.microsoft has opset %lld", (long long)version);
            g->opset_ms = (int)version;
        }
    }
    return PTQ_OK;
}

static ptq_status list_functions(const pb_model *m, ptq_graph *g, ptq_map *functions)
{
    for (size_t i = 0; i < m->n_functions; i++) {
        const pb_function *fn = m->functions[i];
        const char *key = ptq_onnx_function_key(g->arena, fn->domain, fn->name, fn->overload);
        if (!key || !ptq_map_put(functions, key, m->functions[i]))
            return ptq_fail_nomem();
    }
    return ptq_onnx_check_functions(m);
}

static ptq_status check_tensor(void *ctx, pb_tensor *t)
{
    return ptq_onnx_tensor_check(ctx, t);
}

static ptq_status fill(ptq_onnx_file *f, ptq_graph *g, const char *path, const ptq_onnx_load_options *opt,
                       ptq_map *domains, ptq_map *functions)
{
    const pb_model *m = f->model;
    g->ir_version = (int)m->ir_version;
    g->path = ptq_arena_strdup(g->arena, path);
    if (!g->path)
        return ptq_fail_nomem();
    PTQ_TRY(read_opsets(m, g, domains));
    PTQ_TRY(list_functions(m, g, functions));
    PTQ_TRY(ptq_onnx_each_tensor(&f->model->base, check_tensor, f));
    ptq_onnx_external_check_overlap(f);
    size_t inlined = 0;
    ptq_onnx_build b = {.file = f,
                        .inlined = &inlined,
                        .g = g,
                        .root = g,
                        .p = m->graph,
                        .functions = functions,
                        .domains = domains,
                        .keep_order = opt && opt->keep_order};
    f->inline_calls = opt && opt->inline_calls;
    return ptq_onnx_build_graph(&b);
}

static ptq_status load(ptq_onnx_file *f, ptq_graph *g, const char *path,
                       const ptq_onnx_load_options *opt)
{
    PTQ_TRY(ptq_onnx_unpack(f));
    PTQ_TRY(check_ir(f->model));
    ptq_map *domains = ptq_map_new(), *functions = ptq_map_new();
    ptq_status s = PTQ_OK;
    if (!domains || !functions)
        s = ptq_fail_nomem();
    else
        s = fill(f, g, path, opt, domains, functions);
    ptq_map_free(domains);
    ptq_map_free(functions);
    return s;
}

static ptq_status note_mappings(const ptq_onnx_file *f, ptq_graph *g)
{
    if (f->main.p)
        PTQ_TRY(ptq_graph_file_range(g, f->main.p, f->main.n));
    for (const ptq_onnx_external *e = f->externals; e; e = e->next)
        if (e->map.p)
            PTQ_TRY(ptq_graph_file_range(g, e->map.p, e->map.n));
    return PTQ_OK;
}

ptq_status ptq_onnx_load_file(ptq_onnx_file *f, const char *path, const ptq_onnx_load_options *opt,
                              ptq_graph **out)
{
    ptq_graph *g;
    ptq_status s = ptq_graph_new(&g);
    if (s != PTQ_OK) {
        ptq_onnx_file_free(f);
        return s;
    }
    s = ptq_graph_own(g, f, ptq_onnx_file_free);
    if (s != PTQ_OK)
        ptq_onnx_file_free(f);
    else
        s = load(f, g, path, opt);
    if (s == PTQ_OK && g->nomem)
        s = ptq_fail_nomem();
    if (s == PTQ_OK)
        s = note_mappings(f, g);
    if (s != PTQ_OK) {
        ptq_graph_free(g);
        return s;
    }
    /* What was copied for alignment need not stay in memory twice: clean pages of the file come
     * back by themselves when the saver reads them. */
    ptq_graph_rest_all(g);
    if (f->base_fd >= 0)
        close(f->base_fd);
    f->base_fd = -1;
    f->base_dir = f->alias_location = f->alias_path = NULL;
    *out = g;
    return PTQ_OK;
}

/* ---- entry points ---- */

static ptq_status map_path(const char *path, ptq_onnx_map *out)
{
    /* Not blocking: a pipe without a writer must not hang the caller. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    ptq_status s = ptq_onnx_map_fd(fd, path, out);
    close(fd);
    return s;
}

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
}

/* Takes f in every case. */
static ptq_status load_path(ptq_onnx_file *f, const char *path, const ptq_onnx_load_options *opt,
                            ptq_graph **out)
{
    if (!f)
        return ptq_fail_nomem();
    ptq_status s = map_path(path, &f->main);
    char *dir = dir_of(path);
    if (s == PTQ_OK && !dir)
        s = ptq_fail_nomem();
    if (s != PTQ_OK) {
        ptq_onnx_file_free(f);
        free(dir);
        return s;
    }
    f->bytes = f->main.p;
    f->nbytes = f->main.n;
    f->base_dir = dir;
    s = ptq_onnx_load_file(f, path, opt, out);
    free(dir);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "%s", path);
}

ptq_status ptq_onnx_load(const char *path, const ptq_onnx_load_options *opt, ptq_graph **out)
{
    return load_path(ptq_onnx_file_new(opt ? opt->memory_limit : 0), path, opt, out);
}

ptq_status ptq_onnx_load_alias(const char *path, const char *location, const char *location_path,
                               ptq_graph **out)
{
    ptq_onnx_file *f = ptq_onnx_file_new(0);
    if (f) {
        f->alias_location = location;
        f->alias_path = location_path;
    }
    return load_path(f, path, NULL, out);
}

ptq_status ptq_onnx_load_memory(const void *bytes, size_t n, const char *base_dir,
                                const ptq_onnx_load_options *opt, ptq_graph **out)
{
    ptq_onnx_file *f = ptq_onnx_file_new(opt ? opt->memory_limit : 0);
    if (!f)
        return ptq_fail_nomem();
    f->bytes = bytes;
    f->nbytes = n;
    f->base_dir = base_dir;
    return ptq_onnx_load_file(f, "", opt, out);
}

void ptq_onnx_digest(const ptq_graph *g, char hex[65], size_t *n)
{
    const ptq_onnx_origin *o = g->origin;
    const ptq_onnx_file *f = o->file;
    enum { PART = 1 << 24 };
    ptq_sha256 h;
    ptq_sha256_start(&h);
    for (size_t at = 0; at < f->nbytes; at += PART) {
        const size_t part = f->nbytes - at < PART ? f->nbytes - at : PART;
        ptq_sha256_add(&h, (const char *)f->bytes + at, part);
        if (f->main.p)
            ptq_pages_rest((const char *)f->bytes + at, part);
    }
    ptq_sha256_end(&h, hex);
    *n = f->nbytes;
}

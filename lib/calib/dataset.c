/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/calib/sample.h"

#define PTQ_READER(name) extern const ptq_reader ptq_reader_##name;
#include "lib/calib/readers.def"
#undef PTQ_READER

static const ptq_reader *const readers[] = {
#define PTQ_READER(name) &ptq_reader_##name,
#include "lib/calib/readers.def"
#undef PTQ_READER
};

const ptq_reader *ptq_reader_at(size_t i)
{
    return i < PTQ_COUNT(readers) ? readers[i] : NULL;
}

/* Where an input's samples come from. */
typedef struct binding {
    size_t source, input;
} binding;

struct ptq_dataset {
    ptq_arena *arena;
    ptq_input_spec *inputs;
    binding *bind;
    size_t n_inputs;
    ptq_source *sources;
    size_t n_sources;
    size_t count;
    ptq_preprocess preprocess;
    bool explicit_norm; /* the user chose scale, mean or std */
    ptq_labels own_labels;
    const char *labels_path; /* NULL: labels are the data's own */
    const ptq_labels *labels;
    char *describe;
    atomic_bool warned_rotation, warned_plain;
};

static ptq_status copy_inputs(ptq_dataset *ds, const ptq_dataset_options *o)
{
    ds->n_inputs = o->n_inputs;
    ds->inputs = ptq_arena_array(ds->arena, o->n_inputs, sizeof *ds->inputs);
    ds->bind = ptq_arena_array(ds->arena, o->n_inputs, sizeof *ds->bind);
    /* At most one source for each path, and the common one. */
    ds->sources = ptq_arena_array(ds->arena, o->n_own + 1, sizeof *ds->sources);
    if (!ds->inputs || !ds->bind || !ds->sources)
        return ptq_fail_nomem();
    for (size_t i = 0; i < o->n_inputs; i++) {
        ds->inputs[i] = o->inputs[i];
        ds->inputs[i].name = ptq_arena_strdup(ds->arena, o->inputs[i].name);
        if (!ds->inputs[i].name)
            return ptq_fail_nomem();
    }
    return PTQ_OK;
}

/* Splits "@list", "file.h5:/images" and finds the reader by content. */
static ptq_status find_reader(ptq_dataset *ds, const char *path, ptq_source *src)
{
    struct stat st;
    bool list = path[0] == '@' && stat(path, &st) != 0;
    char *p = ptq_arena_strdup(ds->arena, list ? path + 1 : path);
    if (!p)
        return ptq_fail_nomem();
    char *colon = strstr(p, ":/");
    if (colon && stat(p, &st) != 0) {
        *colon = '\0';
        src->member = colon + 2;
    }
    src->path = p;
    int fd = open(p, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", p, strerror(errno));
    uint8_t head[64];
    bool ok = fstat(fd, &st) == 0, folder = ok && S_ISDIR(st.st_mode);
    ssize_t n = ok && S_ISREG(st.st_mode) ? pread(fd, head, sizeof head, 0) : 0;
    close(fd);
    if (!ok || n < 0 || !(folder || S_ISREG(st.st_mode)))
        return ptq_fail(PTQ_ERR_DATA, "%s: is neither a folder nor a regular file", p);
    if (n == 0 && !folder)
        return ptq_fail(PTQ_ERR_DATA, "%s: is empty", p);
    for (size_t i = 0; i < PTQ_COUNT(readers) && !src->reader; i++)
        if (readers[i]->probe(p, folder, head, (size_t)n))
            src->reader = readers[i];
    if (!src->reader && ptq_decoder_find(head, (size_t)n))
        return ptq_fail(PTQ_ERR_DATA, "%s: is one image, and a data set is a folder of them: name its folder, or write "
                        "the names of the images into a text file, one per line, and give it as @FILE", p);
    if (!src->reader)
        return ptq_fail(PTQ_ERR_DATA, "%s: not a data set (looks like: %s); folders, .h5, .npy, "
                        ".npz and list files are", p, ptq_content_guess(head, (size_t)n));
    if (src->member && strcmp(src->reader->name, "hdf5") != 0)
        return ptq_fail(PTQ_ERR_DATA, "%s: only an HDF5 file has parts such as :/%s", p, src->member);
    return PTQ_OK;
}

static ptq_status open_source(ptq_dataset *ds, const char *path, const ptq_input_spec *inputs,
                              size_t n)
{
    ptq_source *src = &ds->sources[ds->n_sources];
    *src = (ptq_source){.inputs = inputs, .n_inputs = n};
    ptq_preprocess_init(&src->defaults);
    PTQ_TRY(find_reader(ds, path, src));
    ds->n_sources++; /* from here on it is closed with the data set */
    return src->reader->open(src);
}

static ptq_status open_own(ptq_dataset *ds, const ptq_dataset_options *o, uint8_t *bound)
{
    const char **names = ptq_arena_array(ds->arena, o->n_inputs + 1, sizeof *names);
    if (!names)
        return ptq_fail_nomem();
    for (size_t i = 0; i < o->n_inputs; i++)
        names[i] = ds->inputs[i].name;
    for (size_t k = 0; k < o->n_own; k++) {
        size_t i = 0;
        while (i < o->n_inputs && strcmp(names[i], o->own[k].input) != 0)
            i++;
        if (i == o->n_inputs)
            return ptq_fail_unknown(o->own[k].input, names, o->n_inputs, "the model has no input %s",
                                    o->own[k].input);
        if (bound[i])
            return ptq_fail(PTQ_ERR_ARG, "input %s is given twice", names[i]);
        bound[i] = 1;
        ds->bind[i] = (binding){.source = ds->n_sources, .input = 0};
        PTQ_TRY(open_source(ds, o->own[k].path, &ds->inputs[i], 1));
    }
    return PTQ_OK;
}

static ptq_status open_common(ptq_dataset *ds, const char *path, const uint8_t *bound)
{
    ptq_input_spec *rest = ptq_arena_array(ds->arena, ds->n_inputs, sizeof *rest);
    if (!rest)
        return ptq_fail_nomem();
    size_t n = 0;
    for (size_t i = 0; i < ds->n_inputs; i++) {
        if (bound[i])
            continue;
        if (!path)
            return ptq_fail(PTQ_ERR_ARG, "no data for input %s: add --input %s=PATH or -d PATH",
                            ds->inputs[i].name, ds->inputs[i].name);
        ds->bind[i] = (binding){.source = ds->n_sources, .input = n};
        rest[n++] = ds->inputs[i];
    }
    if (!path)
        return PTQ_OK;
    if (n == 0 && ds->n_inputs)
        return ptq_fail(PTQ_ERR_ARG, "%s feeds no input: each has its own --input; leave one of both out", path);
    return open_source(ds, path, rest, n);
}

static ptq_status agree(ptq_dataset *ds)
{
    if (ds->n_sources == 0)
        return ptq_fail(PTQ_ERR_ARG, "no data set given");
    ds->count = ds->sources[0].count;
    for (size_t i = 1; i < ds->n_sources; i++)
        if (ds->sources[i].count != ds->count)
            return ptq_fail(PTQ_ERR_DATA, "%s has %zu samples but %s has %zu", ds->sources[0].path,
                            ds->count, ds->sources[i].path, ds->sources[i].count);
    if (ds->count == 0)
        return ptq_fail(PTQ_ERR_DATA, "%s: no samples", ds->sources[0].path);
    size_t room = 300 * ds->n_sources, at = 0;
    ds->describe = ptq_arena_alloc(ds->arena, room);
    if (!ds->describe)
        return ptq_fail_nomem();
    for (size_t i = 0; i < ds->n_sources; i++)
        at += (size_t)snprintf(ds->describe + at, room - at, "%s%s", i ? " + " : "",
                               ds->sources[i].describe);
    return PTQ_OK;
}

static ptq_status find_labels(ptq_dataset *ds, const char *path)
{
    if (!path) {
        for (size_t i = 0; i < ds->n_sources && !ds->labels; i++)
            if (ds->sources[i].labels.count)
                ds->labels = &ds->sources[i].labels;
        return PTQ_OK;
    }
    const ptq_source *src = &ds->sources[0];
    const char **names = NULL;
    if (src->reader->sample_name) {
        names = ptq_arena_array(ds->arena, ds->count, sizeof *names);
        if (!names)
            return ptq_fail_nomem();
        for (size_t i = 0; i < ds->count; i++)
            names[i] = src->reader->sample_name(src, i);
    }
    ds->labels_path = ptq_arena_strdup(ds->arena, path);
    if (!ds->labels_path)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_labels_load(&ds->own_labels, path, names, ds->count));
    ds->labels = &ds->own_labels;
    return PTQ_OK;
}

/* Pixels go to 0..1, unless the model itself takes integers. */
static void default_scale(ptq_dataset *ds)
{
    ptq_preprocess *pp = &ds->preprocess;
    if (pp->set & PTQ_PP_SCALE)
        return;
    pp->scale = (float)(1.0 / 255);
    for (size_t i = 0; i < ds->n_inputs; i++) {
        const ptq_input_spec *in = &ds->inputs[i];
        bool floats = in->dtype == PTQ_DT_UNDEFINED || in->dtype == PTQ_DT_F32 ||
                      in->dtype == PTQ_DT_F64 || in->dtype == PTQ_DT_F16 || in->dtype == PTQ_DT_BF16;
        if (in->rank >= 3 && !floats)
            pp->scale = 1.0f;
    }
    for (int i = 0; i < pp->n_mean; i++)
        if (pp->scale != 1.0f && (pp->mean[i] > 2.0f || pp->mean[i] < -2.0f)) {
            ptq_log(PTQ_LOG_WARN, "mean %g is for pixels 0..255, but they are scaled by 1/255: give "
                    "--scale 1 if that is not meant", (double)pp->mean[i]);
            break;
        }
}

static ptq_status open_all(ptq_dataset *ds, const char *path, const ptq_dataset_options *o)
{
    PTQ_TRY(copy_inputs(ds, o));
    uint8_t *bound = ptq_arena_alloc(ds->arena, o->n_inputs);
    if (!bound)
        return ptq_fail_nomem();
    PTQ_TRY(open_own(ds, o, bound));
    PTQ_TRY(open_common(ds, path, bound));
    PTQ_TRY(agree(ds));
    ptq_preprocess_init(&ds->preprocess);
    if (o->preprocess)
        ds->preprocess = *o->preprocess;
    ds->explicit_norm = ds->preprocess.set & PTQ_PP_NORM;
    for (size_t i = 0; i < ds->n_sources; i++)
        ptq_preprocess_fill(&ds->preprocess, &ds->sources[i].defaults);
    for (size_t i = 0; i < ds->n_inputs; i++)
        if (ds->inputs[i].rank >= 3 && ds->preprocess.fit) {
            ptq_preprocess_fit(&ds->preprocess, &ds->inputs[i]);
            break; /* one preprocessing for all; the first image decides */
        }
    default_scale(ds);
    return find_labels(ds, o->labels);
}

ptq_status ptq_dataset_open(const char *path, const ptq_dataset_options *options, ptq_dataset **out)
{
    static const ptq_dataset_options none;
    ptq_dataset *ds = ptq_calloc(1, sizeof *ds);
    if (!ds)
        return ptq_fail_nomem();
    ds->arena = ptq_arena_new();
    ptq_status s = ds->arena ? open_all(ds, path, options ? options : &none) : ptq_fail_nomem();
    if (s != PTQ_OK) {
        ptq_dataset_free(ds);
        return s;
    }
    *out = ds;
    return PTQ_OK;
}

void ptq_dataset_free(ptq_dataset *ds)
{
    if (!ds)
        return;
    for (size_t i = 0; i < ds->n_sources; i++) {
        ds->sources[i].reader->close(&ds->sources[i]);
        ptq_labels_free(&ds->sources[i].labels);
    }
    ptq_labels_free(&ds->own_labels);
    ptq_arena_free(ds->arena);
    free(ds);
}

size_t ptq_dataset_count(const ptq_dataset *ds)
{
    return ds->count;
}

const char *ptq_dataset_describe(const ptq_dataset *ds)
{
    return ds->describe;
}

const ptq_preprocess *ptq_dataset_preprocess(const ptq_dataset *ds)
{
    return &ds->preprocess;
}

static const char *source_name(const ptq_source *src, size_t index, char *buf, size_t n)
{
    if (src->reader->sample_name)
        return ptq_printable(src->reader->sample_name(src, index), buf, n);
    size_t at = strlen(ptq_printable(src->path, buf, n));
    snprintf(buf + at, n - at, "[%zu]", index);
    return buf;
}

const char *ptq_dataset_sample_name(const ptq_dataset *ds, size_t index, char *buf, size_t n)
{
    return source_name(&ds->sources[0], index, buf, n);
}

/* What a model was trained on is not in it: images without any preprocessing named are more often a
 * forgotten option than a model that takes 0..1. */
static void warn_plain(ptq_dataset *ds)
{
    const ptq_preprocess *pp = &ds->preprocess;
    if (!(pp->set & PTQ_PP_NORM) && pp->scale != 1.0f && !atomic_exchange(&ds->warned_plain, true))
        ptq_log(PTQ_LOG_WARN, "no preprocessing is given, so pixels go in as x / 255; name the model's own with "
                "--preprocess, or --scale, --mean and --std (--scale 1/255 if that is it)");
}

static ptq_status read_one(ptq_dataset *ds, size_t index, size_t input, ptq_tensor *out)
{
    char name[512];
    ptq_source *src = &ds->sources[ds->bind[input].source];
    ptq_raw raw = {0};
    PTQ_TRY(src->reader->read(src, index, ds->bind[input].input, &raw));
    if (raw.is_image && raw.image.orientation > 1 && !atomic_exchange(&ds->warned_rotation, true))
        ptq_log(PTQ_LOG_WARN, "%s: has an EXIF orientation, which is not applied (as for others "
                "in this data set)", source_name(src, index, name, sizeof name));
    if (raw.is_image)
        warn_plain(ds);
    ptq_status s = ptq_sample_to_tensor(&ds->preprocess, ds->explicit_norm, &raw,
                                        &ds->inputs[input], out);
    ptq_raw_free(&raw);
    if (s == PTQ_ERR_ARG) /* of an option, not of this sample */
        return s;
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "%s", source_name(src, index, name, sizeof name));
}

ptq_status ptq_dataset_read(ptq_dataset *ds, size_t index, ptq_tensor *out)
{
    if (index >= ds->count)
        return ptq_fail(PTQ_ERR_ARG, "sample %zu of %zu", index, ds->count);
    for (size_t i = 0; i < ds->n_inputs; i++) {
        ptq_status s = read_one(ds, index, i, &out[i]);
        if (s != PTQ_OK) {
            while (i > 0)
                free(out[--i].data);
            return s;
        }
    }
    return PTQ_OK;
}

static bool is_file(const char *path, const struct stat *want)
{
    struct stat st;
    return path && stat(path, &st) == 0 && st.st_dev == want->st_dev && st.st_ino == want->st_ino;
}

bool ptq_dataset_reads(const ptq_dataset *ds, const char *path)
{
    struct stat want;
    const char *file;
    if (stat(path, &want) != 0)
        return false;
    if (is_file(ds->labels_path, &want))
        return true;
    for (size_t i = 0; i < ds->n_sources; i++) {
        const ptq_source *src = &ds->sources[i];
        if (is_file(src->path, &want))
            return true;
        for (size_t k = 0; src->reader->file && (file = src->reader->file(src, k)); k++)
            if (is_file(file, &want))
                return true;
    }
    return false;
}

bool ptq_dataset_has_labels(const ptq_dataset *ds)
{
    return ds->labels != NULL;
}

void ptq_dataset_labels(const ptq_dataset *ds, size_t index, const int64_t **labels, size_t *n)
{
    *labels = NULL;
    *n = 0;
    if (!ds->labels || index >= ds->labels->count)
        return;
    size_t at = ds->labels->at[index];
    *labels = ds->labels->values + at;
    *n = ds->labels->at[index + 1] - at;
}

ptq_status ptq_dataset_hash(ptq_dataset *ds, char hex[65])
{
    char *all = ptq_calloc(ds->n_sources, 64);
    ptq_status s = all ? PTQ_OK : ptq_fail_nomem();
    for (size_t i = 0; s == PTQ_OK && i < ds->n_sources; i++) {
        char one[65];
        s = ds->sources[i].reader->hash(&ds->sources[i], one);
        memcpy(all + 64 * i, one, 64);
    }
    if (s == PTQ_OK)
        ptq_sha256_hex(all, 64 * ds->n_sources, hex);
    free(all);
    return s;
}

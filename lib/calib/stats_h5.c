/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "lib/calib/stats_h5.h"

#include <errno.h>
#include <string.h>

#include "lib/calib/h5_util.h"

/* Only a few objects' metadata in memory: the default keeps that of all tensors, in eight times the
 * accounted memory, while the parent has its model in memory. */
static void keep_little(hid_t file)
{
    H5AC_cache_config_t c = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    if (H5Fget_mdc_config(file, &c) < 0)
        return;
    c.set_initial_size = true;
    c.initial_size = c.min_size = c.max_size = 64 << 10;
    c.incr_mode = H5C_incr__off;
    c.flash_incr_mode = H5C_flash_incr__off;
    c.decr_mode = H5C_decr__off;
    H5Fset_mdc_config(file, &c); /* a wish: refused, the result is the same */
}

/* ---- saving ---- */

static ptq_status cannot_write(void)
{
    return ptq_fail(PTQ_ERR_IO, "cannot write: %s", errno ? strerror(errno) : "HDF5 failed");
}

static hid_t file_type(ptq_dtype t)
{
    switch (t) {
    case PTQ_DT_U8: return H5T_STD_U8LE;
    case PTQ_DT_S32: return H5T_STD_I32LE;
    case PTQ_DT_U32: return H5T_STD_U32LE;
    case PTQ_DT_S64: return H5T_STD_I64LE;
    case PTQ_DT_U64: return H5T_STD_U64LE;
    case PTQ_DT_F32: return H5T_IEEE_F32LE;
    case PTQ_DT_F64: return H5T_IEEE_F64LE;
    default: return H5I_INVALID_HID;
    }
}

static bool put_text(hid_t object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t a = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = a >= 0 && H5Awrite(a, type, text) >= 0;
    H5Aclose(a);
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static bool put_number(hid_t object, const char *name, uint64_t v)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = H5Acreate2(object, name, H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = a >= 0 && H5Awrite(a, H5T_NATIVE_UINT64, &v) >= 0;
    H5Aclose(a);
    H5Sclose(space);
    return ok;
}

/* As a ptq_field_sink's put; ctx is the group. */
static ptq_status put_array(void *ctx, const char *name, ptq_dtype dtype, int rank,
                            const int64_t *dims, const void *data)
{
    hid_t group = *(hid_t *)ctx, stored = file_type(dtype);
    hsize_t d[PTQ_MAX_RANK] = {0};
    int64_t n = 1;
    if (stored < 0 || rank > PTQ_MAX_RANK)
        return ptq_fail(PTQ_ERR_INTERNAL, "array %s of type %s cannot be stored", name,
                        ptq_dtype_name(dtype));
    for (int i = 0; i < rank; i++) {
        d[i] = (hsize_t)dims[i];
        n *= dims[i];
    }
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(plist, false);
    if (n >= 1024) { /* histograms: mostly small numbers and zeros */
        H5Pset_chunk(plist, rank, d);
        H5Pset_shuffle(plist);
        H5Pset_deflate(plist, 1);
    }
    hid_t space = rank ? H5Screate_simple(rank, d, NULL) : H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(group, name, stored, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    bool ok = set >= 0 &&
              H5Dwrite(set, ptq_h5_memory_type(dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    ok = H5Dclose(set) >= 0 && ok;
    H5Sclose(space);
    H5Pclose(plist);
    return ok ? PTQ_OK : cannot_write();
}

static hid_t make_group(hid_t at, const char *name)
{
    hid_t plist = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(plist, false);
    hid_t g = H5Gcreate2(at, name, H5P_DEFAULT, plist, H5P_DEFAULT);
    H5Pclose(plist);
    return g;
}

static ptq_status save_tensor(hid_t tensors, size_t i, const ptq_tensor_stats *t)
{
    char name[32];
    snprintf(name, sizeof name, "%06zu", i);
    hid_t g = make_group(tensors, name);
    if (g < 0 || !put_text(g, "name", t->name) || !put_number(g, "dtype", (uint64_t)t->dtype))
        return cannot_write();
    ptq_status s = ptq_stats_write(t, &(ptq_field_sink){.put = put_array, .ctx = &g});
    H5Gclose(g);
    return s;
}

static ptq_status save_all(hid_t file, const ptq_stats_save *w)
{
    const ptq_statistics *s = w->stats;
    int64_t words = (int64_t)(s->total / 64 + 1);
    bool ok = put_text(file, "format", "ptq-statistics") &&
              put_number(file, "version", PTQ_STATS_FILE_VERSION) &&
              put_text(file, "tool", PACKAGE_NAME " " PACKAGE_VERSION) &&
              put_text(file, "model_sha256", s->model_sha256) &&
              put_text(file, "data_sha256", s->data_sha256) &&
              put_text(file, "preprocess", s->preprocess) &&
              put_number(file, "total", s->total) && put_text(file, "digest", w->digest);
    if (!ok)
        return cannot_write();
    PTQ_TRY(put_array(&file, "done", PTQ_DT_U64, 1, &words, s->done));
    PTQ_TRY(put_array(&file, "bad", PTQ_DT_U64, 1, &words, s->bad));
    hid_t tensors = make_group(file, "tensors");
    if (tensors < 0)
        return cannot_write();
    for (size_t i = 0; i < s->ntensors; i++)
        PTQ_TRY(save_tensor(tensors, i, s->tensors[i]));
    H5Gclose(tensors);
    return PTQ_OK;
}

ptq_status ptq_stats_serve_save(void *state, const void *request, size_t n, ptq_bytes *reply)
{
    const ptq_stats_save *w = state;
    (void)request, (void)n, (void)reply;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    errno = 0;
    hid_t create = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_obj_track_times(create, false);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    hid_t file = H5Fcreate(w->path, H5F_ACC_TRUNC, create, access);
    H5Pclose(create);
    H5Pclose(access);
    if (file < 0)
        return cannot_write();
    keep_little(file);
    ptq_status s = save_all(file, w);
    if (H5Fclose(file) < 0 && s == PTQ_OK)
        s = cannot_write();
    return s;
}

/* ---- loading ---- */

static bool get_number(hid_t object, const char *name, uint64_t *v)
{
    hid_t a = H5Aexists(object, name) > 0 ? H5Aopen(object, name, H5P_DEFAULT) : -1;
    if (a < 0)
        return false;
    hid_t type = H5Aget_type(a), space = H5Aget_space(a);
    bool ok = H5Tget_class(type) == H5T_INTEGER && H5Sget_simple_extent_npoints(space) == 1 &&
              H5Aread(a, H5T_NATIVE_UINT64, v) >= 0;
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(a);
    return ok;
}

/* Describes a dataset and adds its values, padded to 8 bytes. */
static ptq_status add_values(hid_t set, const char *name, ptq_stats_field *f, ptq_bytes *reply)
{
    hsize_t dims[H5S_MAX_RANK];
    size_t nbytes;
    ptq_dtype dtype = ptq_h5_value_type(set);
    hid_t space = H5Dget_space(set);
    int rank = H5Sis_simple(space) > 0 ? H5Sget_simple_extent_ndims(space) : -1;
    bool ok = rank >= 0 && rank <= PTQ_MAX_RANK &&
              H5Sget_simple_extent_dims(space, dims, NULL) == rank;
    H5Sclose(space);
    *f = (ptq_stats_field){.dtype = (int32_t)dtype, .rank = rank};
    if (!ok || dtype == PTQ_DT_UNDEFINED || strlen(name) >= sizeof f->name)
        return ptq_fail(PTQ_ERR_DATA, "array %s is damaged", name);
    snprintf(f->name, sizeof f->name, "%s", name);
    for (int i = 0; i < rank; i++)
        f->dims[i] = dims[i] <= INT64_MAX ? (int64_t)dims[i] : -1;
    if (!ptq_tensor_nbytes(dtype, rank, f->dims, &nbytes) || nbytes > PTQ_STATS_FIELD_MAX ||
        ptq_h5_check_storage(set, (size_t)ptq_dtype_bits(dtype) / 8))
        return ptq_fail(PTQ_ERR_DATA, "array %s is too large or stored in another way", name);
    f->nbytes = (nbytes + 7) / 8 * 8;
    ptq_bytes_add(reply, f, sizeof *f);
    uint8_t *room = ptq_bytes_room(reply, f->nbytes);
    if (!room)
        return ptq_fail_nomem();
    memset(room + nbytes, 0, f->nbytes - nbytes);
    if (H5Dread(set, ptq_h5_memory_type(dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, room) < 0)
        return ptq_fail(PTQ_ERR_DATA, "array %s cannot be read: damaged", name);
    return PTQ_OK;
}

static ptq_status add_bitmap(hid_t file, const char *name, uint64_t words, ptq_bytes *reply)
{
    ptq_bytes values = {0};
    ptq_stats_field f;
    hid_t set = ptq_h5_find(file, name);
    ptq_status s = set >= 0 ? add_values(set, name, &f, &values)
                            : ptq_fail(PTQ_ERR_DATA, "has no /%s", name);
    if (s == PTQ_OK && (f.dtype != PTQ_DT_U64 || f.rank != 1 || (uint64_t)f.dims[0] != words))
        s = ptq_fail(PTQ_ERR_DATA, "/%s does not fit the number of samples", name);
    if (s == PTQ_OK)
        ptq_bytes_add(reply, values.data + sizeof f, words * sizeof(uint64_t));
    return s;
}

static ptq_status load_head(ptq_stats_load *l, ptq_bytes *reply)
{
    ptq_stats_head h;
    char format[32] = "";
    uint64_t version = 0;
    hid_t file;
    H5G_info_t info;
    memset(&h, 0, sizeof h);
    PTQ_TRY(ptq_h5_open(l->path, &file));
    l->file = file;
    keep_little(file);
    if (!ptq_h5_text_attribute(file, "format", format, sizeof format) ||
        strcmp(format, "ptq-statistics") != 0 || !get_number(file, "version", &version))
        return ptq_fail(PTQ_ERR_DATA, "is an HDF5 file, but not a statistics file");
    if (version != PTQ_STATS_FILE_VERSION)
        return ptq_fail(PTQ_ERR_DATA, "has version %llu, this program reads version %d; calibrate "
                        "again", (unsigned long long)version, PTQ_STATS_FILE_VERSION);
    hid_t tensors = H5Gopen2(file, "tensors", H5P_DEFAULT);
    bool ok = ptq_h5_text_attribute(file, "model_sha256", h.model_sha256, sizeof h.model_sha256) &&
              ptq_h5_text_attribute(file, "data_sha256", h.data_sha256, sizeof h.data_sha256) &&
              ptq_h5_text_attribute(file, "digest", h.digest, sizeof h.digest) &&
              ptq_h5_text_attribute(file, "preprocess", h.preprocess, sizeof h.preprocess) &&
              get_number(file, "total", &h.total) && h.total <= PTQ_STATS_SAMPLES_MAX &&
              H5Gget_info(tensors, &info) >= 0 && info.nlinks <= PTQ_STATS_TENSORS_MAX;
    if (!ok)
        return ptq_fail(PTQ_ERR_DATA, "damaged: an attribute is missing or out of range");
    H5Gclose(tensors);
    l->ntensors = h.ntensors = info.nlinks;
    ptq_bytes_add(reply, &h, sizeof h);
    PTQ_TRY(add_bitmap(file, "done", h.total / 64 + 1, reply));
    return add_bitmap(file, "bad", h.total / 64 + 1, reply);
}

typedef struct field_loop {
    ptq_bytes *reply;
    uint32_t n;
    ptq_status status;
} field_loop;

static herr_t add_field(hid_t group, const char *name, const H5L_info_t *info, void *arg)
{
    field_loop *l = arg;
    ptq_stats_field f;
    hid_t set = info->type == H5L_TYPE_HARD && l->n < PTQ_STATS_FIELDS_MAX
                    ? H5Dopen2(group, name, H5P_DEFAULT) : -1;
    l->status = set >= 0 ? add_values(set, name, &f, l->reply)
                         : ptq_fail(PTQ_ERR_DATA, "damaged: /tensors holds more than arrays");
    H5Dclose(set);
    l->n++;
    return l->status != PTQ_OK;
}

static ptq_status load_tensor(ptq_stats_load *l, uint64_t i, ptq_bytes *reply)
{
    ptq_stats_tensor t;
    char path[64];
    uint64_t dtype = 0;
    snprintf(path, sizeof path, "/tensors/%06llu", (unsigned long long)i);
    hid_t g = H5Gopen2((hid_t)l->file, path, H5P_DEFAULT);
    memset(&t, 0, sizeof t);
    if (g < 0 || !ptq_h5_text_attribute(g, "name", t.name, sizeof t.name) ||
        !get_number(g, "dtype", &dtype) || dtype >= PTQ_DT_COUNT)
        return ptq_fail(PTQ_ERR_DATA, "damaged: %s is missing or has no name", path);
    t.dtype = (int32_t)dtype;
    ptq_bytes_add(reply, &t, sizeof t);
    field_loop loop = {.reply = reply};
    if (H5Literate(g, H5_INDEX_NAME, H5_ITER_INC, NULL, add_field, &loop) < 0 &&
        loop.status == PTQ_OK)
        loop.status = ptq_fail(PTQ_ERR_DATA, "damaged: %s cannot be listed", path);
    if (loop.status != PTQ_OK)
        return loop.status;
    H5Gclose(g);
    if (!reply->failed)
        ((ptq_stats_tensor *)(void *)reply->data)->fields = loop.n;
    return PTQ_OK;
}

ptq_status ptq_stats_serve_load(void *state, const void *request, size_t n, ptq_bytes *reply)
{
    ptq_stats_load *l = state;
    uint64_t i;
    if (n != sizeof i)
        return ptq_fail(PTQ_ERR_INTERNAL, "request of %zu bytes", n);
    memcpy(&i, request, sizeof i);
    return i == PTQ_STATS_HEAD ? load_head(l, reply) : load_tensor(l, i, reply);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/h5_util.h"

#include <string.h>

enum { CHUNK_CACHE = 32 << 20, CHUNK_MAX = 256 << 20 };

ptq_status ptq_h5_open(const char *path, hid_t *out)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_cache(access, 0, 521, CHUNK_CACHE, 0.75);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(access, 0, 1); /* read-only media and network mounts */
#endif
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (file < 0)
        return ptq_fail(PTQ_ERR_DATA, "damaged HDF5 file, or open for writing elsewhere");
    *out = file;
    return PTQ_OK;
}

hid_t ptq_h5_find(hid_t file, const char *name)
{
    char part[256];
    hid_t at = file;
    while (at >= 0) {
        size_t n = strcspn(name, "/");
        const char *rest = name + n + (name[n] == '/');
        hid_t next = -1;
        H5L_info_t info;
        if (n > 0 && n < sizeof part) {
            memcpy(part, name, n);
            part[n] = '\0';
            if (H5Lget_info(at, part, &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_HARD)
                next = *rest ? H5Gopen2(at, part, H5P_DEFAULT) : H5Dopen2(at, part, H5P_DEFAULT);
        }
        if (at != file)
            H5Gclose(at);
        if (!*rest)
            return next;
        name = rest;
        at = next;
    }
    return -1;
}

static bool plain_filters(hid_t plist)
{
    int n = H5Pget_nfilters(plist);
    for (int i = 0; i < n; i++) {
        unsigned flags, config;
        size_t values = 0;
        H5Z_filter_t f = H5Pget_filter2(plist, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
        if (f != H5Z_FILTER_DEFLATE && f != H5Z_FILTER_SHUFFLE && f != H5Z_FILTER_FLETCHER32)
            return false;
    }
    return n >= 0;
}

const char *ptq_h5_check_storage(hid_t dataset, size_t value_size)
{
    const char *why = NULL;
    hid_t plist = H5Dget_create_plist(dataset);
    hsize_t chunk[H5S_MAX_RANK];
    if (plist < 0)
        return "damaged";
    H5D_layout_t layout = H5Pget_layout(plist);
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED) {
        why = "virtual datasets are refused";
    } else if (H5Pget_external_count(plist) != 0) {
        why = "data in other files (external storage) are refused";
    } else if (!plain_filters(plist)) {
        why = "uses a filter other than gzip, shuffle and fletcher32; save it with gzip";
    } else if (layout == H5D_CHUNKED) {
        int rank = H5Pget_chunk(plist, H5S_MAX_RANK, chunk);
        size_t n = value_size;
        for (int i = 0; i < rank && !why; i++)
            if (!ptq_mul_size(n, (size_t)chunk[i], &n) || n > CHUNK_MAX)
                why = "a chunk is larger than 256 MiB; save it with smaller chunks";
        why = rank < 1 ? "damaged" : why;
    }
    H5Pclose(plist);
    return why;
}

ptq_dtype ptq_h5_value_type(hid_t dataset)
{
    hid_t t = H5Dget_type(dataset);
    H5T_class_t class = H5Tget_class(t);
    size_t size = H5Tget_size(t);
    bool is_signed = class == H5T_INTEGER && H5Tget_sign(t) == H5T_SGN_2;
    H5Tclose(t);
    if (class == H5T_FLOAT)
        return size == 8 ? PTQ_DT_F64 : size == 4 || size == 2 ? PTQ_DT_F32 : PTQ_DT_UNDEFINED;
    if (class != H5T_INTEGER)
        return PTQ_DT_UNDEFINED;
    switch (size) {
    case 1: return is_signed ? PTQ_DT_S8 : PTQ_DT_U8;
    case 2: return is_signed ? PTQ_DT_S16 : PTQ_DT_U16;
    case 4: return is_signed ? PTQ_DT_S32 : PTQ_DT_U32;
    case 8: return is_signed ? PTQ_DT_S64 : PTQ_DT_U64;
    default: return PTQ_DT_UNDEFINED;
    }
}

hid_t ptq_h5_memory_type(ptq_dtype t)
{
    switch (t) {
    case PTQ_DT_U8: return H5T_NATIVE_UINT8;
    case PTQ_DT_S8: return H5T_NATIVE_INT8;
    case PTQ_DT_U16: return H5T_NATIVE_UINT16;
    case PTQ_DT_S16: return H5T_NATIVE_INT16;
    case PTQ_DT_U32: return H5T_NATIVE_UINT32;
    case PTQ_DT_S32: return H5T_NATIVE_INT32;
    case PTQ_DT_U64: return H5T_NATIVE_UINT64;
    case PTQ_DT_S64: return H5T_NATIVE_INT64;
    case PTQ_DT_F64: return H5T_NATIVE_DOUBLE;
    default: return H5T_NATIVE_FLOAT;
    }
}

bool ptq_h5_text_attribute(hid_t object, const char *name, char *buf, size_t n)
{
    hid_t a = H5Aexists(object, name) > 0 ? H5Aopen(object, name, H5P_DEFAULT) : -1;
    if (a < 0)
        return false;
    hid_t type = H5Aget_type(a), space = H5Aget_space(a);
    bool ok = H5Tget_class(type) == H5T_STRING && H5Sget_simple_extent_npoints(space) == 1;
    if (ok && H5Tis_variable_str(type) > 0) {
        char *s = NULL;
        hid_t memory = H5Tget_native_type(type, H5T_DIR_DEFAULT);
        ok = H5Aread(a, memory, &s) >= 0 && s;
        if (ok)
            snprintf(buf, n, "%s", s);
        H5free_memory(s);
        H5Tclose(memory);
    } else if (ok) {
        size_t size = H5Tget_size(type);
        ok = size > 0 && size <= n && H5Aread(a, type, buf) >= 0;
        if (ok && size < n)
            buf[size] = '\0';
        ok = ok && buf[n - 1 < size ? n - 1 : size] == '\0';
    }
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(a);
    return ok;
}

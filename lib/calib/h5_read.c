/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/h5_read.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/calib/h5_util.h"

enum { NAME_MAX_SHOWN = 400 };

static ptq_status unusable(const char *name, const char *why)
{
    return ptq_fail(PTQ_ERR_DATA, "dataset /%s: %s", name, why);
}

static ptq_status describe(hid_t dataset, const char *name, ptq_h5_dataset *m)
{
    hsize_t dims[H5S_MAX_RANK];
    size_t nbytes;
    *m = (ptq_h5_dataset){.dtype = ptq_h5_value_type(dataset)};
    if (strlen(name) >= sizeof m->name)
        return unusable(name, "the name is too long");
    snprintf(m->name, sizeof m->name, "%s", name);
    if (m->dtype == PTQ_DT_UNDEFINED)
        return unusable(name, "is not made of plain integers or floats");
    hid_t space = H5Dget_space(dataset);
    int rank = H5Sis_simple(space) > 0 ? H5Sget_simple_extent_ndims(space) : -1;
    bool ok = rank >= 1 && rank <= PTQ_MAX_RANK &&
              H5Sget_simple_extent_dims(space, dims, NULL) == rank;
    H5Sclose(space);
    if (!ok)
        return unusable(name, "must have 1 to 8 dimensions, the first of them counting samples");
    m->rank = rank;
    for (int i = 0; i < rank; i++)
        m->dims[i] = dims[i] <= INT64_MAX ? (int64_t)dims[i] : -1;
    if (!ptq_tensor_nbytes(m->dtype, rank, m->dims, &nbytes))
        return unusable(name, "the shape is too large");
    if (!ptq_tensor_nbytes(m->dtype, rank - 1, m->dims + 1, &nbytes) || nbytes > PTQ_H5_ROW_MAX)
        return unusable(name, "one sample is larger than 1 GiB");
    const char *why = ptq_h5_check_storage(dataset, (size_t)ptq_dtype_bits(m->dtype) / 8);
    return why ? unusable(name, why) : PTQ_OK;
}

/* Up to four numbers; 0 when there are none. */
static int number_attribute(hid_t object, const char *name, float out[4])
{
    hid_t a = H5Aexists(object, name) > 0 ? H5Aopen(object, name, H5P_DEFAULT) : -1;
    if (a < 0)
        return 0;
    double v[4];
    hid_t type = H5Aget_type(a), space = H5Aget_space(a);
    H5T_class_t class = H5Tget_class(type);
    hssize_t n = H5Sget_simple_extent_npoints(space);
    bool ok = (class == H5T_FLOAT || class == H5T_INTEGER) && n >= 1 && n <= 4 &&
              H5Aread(a, H5T_NATIVE_DOUBLE, v) >= 0;
    for (int i = 0; ok && i < (int)n; i++) {
        out[i] = (float)v[i];
        ok = out[i] - out[i] == 0.0f; /* finite */
    }
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(a);
    return ok ? (int)n : -1;
}

static ptq_status read_defaults(const ptq_h5_reader *r, ptq_preprocess *pp)
{
    float v[4] = {0};
    ptq_preprocess_init(pp);
    int n = number_attribute((hid_t)r->file, "scale", v);
    if (n == 1 && v[0] != 0.0f) {
        pp->scale = v[0];
        pp->set |= PTQ_PP_SCALE;
    } else if (n) {
        return ptq_fail(PTQ_ERR_DATA, "attribute scale must be one number other than 0");
    }
    n = number_attribute((hid_t)r->file, "mean", pp->mean);
    if (n < 0)
        return ptq_fail(PTQ_ERR_DATA, "attribute mean must be one to four finite numbers");
    pp->n_mean = n ? n : 1;
    pp->set |= n ? PTQ_PP_MEAN : 0;
    n = number_attribute((hid_t)r->file, "std", pp->std);
    for (int i = 0; i < n; i++)
        if (pp->std[i] == 0.0f)
            n = -1;
    if (n < 0)
        return ptq_fail(PTQ_ERR_DATA, "attribute std must be one to four numbers other than 0");
    pp->n_std = n ? n : 1;
    pp->set |= n ? PTQ_PP_STD : 0;
    return PTQ_OK;
}

static ptq_status read_image_attributes(hid_t dataset, ptq_h5_dataset *m)
{
    char text[32];
    if (ptq_h5_text_attribute(dataset, "layout", text, sizeof text)) {
        if (strcasecmp(text, "NHWC") == 0 || strcasecmp(text, "HWC") == 0)
            m->layout = PTQ_PIXELS_NHWC;
        else if (strcasecmp(text, "NCHW") == 0 || strcasecmp(text, "CHW") == 0)
            m->layout = PTQ_PIXELS_NCHW;
        else
            return unusable(m->name, "attribute layout must be NHWC or NCHW");
    }
    if (ptq_h5_text_attribute(dataset, "color", text, sizeof text)) {
        m->bgr = strcasecmp(text, "BGR") == 0;
        if (!m->bgr && strcasecmp(text, "RGB") != 0 && strcasecmp(text, "gray") != 0)
            return unusable(m->name, "attribute color must be RGB, BGR or gray");
    }
    return PTQ_OK;
}

/* Names of the datasets at the root, for the only one and for messages. */
typedef struct root_list {
    char shown[NAME_MAX_SHOWN];
    size_t at, n;
    char only[128];
} root_list;

static herr_t add_root(hid_t group, const char *name, const H5L_info_t *info, void *arg)
{
    root_list *l = arg;
    H5O_info_t object;
    if (info->type != H5L_TYPE_HARD || strcmp(name, "labels") == 0 ||
        H5Oget_info_by_name(group, name, &object, H5P_DEFAULT) < 0 ||
        object.type != H5O_TYPE_DATASET)
        return 0;
    if (l->at < sizeof l->shown)
        l->at += (size_t)snprintf(l->shown + l->at, sizeof l->shown - l->at, "%s/%s",
                                  l->n ? ", " : "", name);
    l->n++;
    snprintf(l->only, sizeof l->only, "%s", name);
    return l->n > 1000;
}

static ptq_status bind_input(ptq_h5_reader *r, size_t i, const root_list *root)
{
    const char *wanted = i < r->n_inputs ? r->inputs[i].name : "images", *used = wanted;
    bool single = r->n_inputs <= 1;
    hid_t d = -1;
    if (single && r->member) {
        used = r->member;
        d = ptq_h5_find((hid_t)r->file, used);
    } else {
        d = ptq_h5_find((hid_t)r->file, used);
        if (d < 0 && single)
            d = ptq_h5_find((hid_t)r->file, used = "images");
        if (d < 0 && single && root->n == 1)
            d = ptq_h5_find((hid_t)r->file, used = root->only);
    }
    if (d < 0 && single && r->member)
        return ptq_fail(PTQ_ERR_DATA, "no dataset /%s; there is: %s", r->member, root->shown);
    if (d < 0)
        return ptq_fail(PTQ_ERR_DATA,
                        "no dataset for input %s (looked for /%s%s); there is: %s; choose one "
                        "with PATH:/NAME", wanted, wanted, single ? " and /images" : "",
                        root->n ? root->shown : "none");
    r->datasets[i] = d;
    PTQ_TRY(describe(d, used, &r->meta[i]));
    return read_image_attributes(d, &r->meta[i]);
}

static ptq_status serve_open(ptq_h5_reader *r, ptq_bytes *reply)
{
    ptq_preprocess defaults;
    root_list root = {.n = 0};
    hid_t file;
    PTQ_TRY(ptq_h5_open(r->path, &file));
    r->file = file;
    H5Literate((hid_t)r->file, H5_INDEX_NAME, H5_ITER_INC, NULL, add_root, &root);
    size_t n = r->n_inputs ? r->n_inputs : 1;
    r->datasets = ptq_calloc(n, sizeof *r->datasets);
    r->meta = ptq_calloc(n, sizeof *r->meta);
    if (!r->datasets || !r->meta)
        return ptq_fail_nomem();
    for (size_t i = 0; i < n; i++)
        PTQ_TRY(bind_input(r, i, &root));
    PTQ_TRY(read_defaults(r, &defaults));
    hid_t labels = ptq_h5_find((hid_t)r->file, "labels");
    r->labels = labels;
    if (labels >= 0)
        PTQ_TRY(describe(labels, "labels", &r->labels_meta));
    ptq_bytes_add(reply, &defaults, sizeof defaults);
    ptq_bytes_add(reply, &r->labels_meta, sizeof r->labels_meta);
    ptq_bytes_add(reply, r->meta, n * sizeof *r->meta);
    return PTQ_OK;
}

static ptq_status serve_row(ptq_h5_reader *r, size_t input, uint64_t index, ptq_bytes *reply)
{
    const ptq_h5_dataset *m = &r->meta[input];
    hsize_t start[PTQ_MAX_RANK] = {index}, count[PTQ_MAX_RANK] = {1};
    size_t nbytes;
    for (int i = 1; i < m->rank; i++)
        count[i] = (hsize_t)m->dims[i];
    ptq_tensor_nbytes(m->dtype, m->rank - 1, m->dims + 1, &nbytes);
    void *room = ptq_bytes_room(reply, nbytes);
    if (!room)
        return ptq_fail_nomem();
    hid_t dataset = (hid_t)r->datasets[input];
    hid_t from = H5Dget_space(dataset), to = H5Screate_simple(m->rank, count, NULL);
    bool ok = H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
              H5Dread(dataset, ptq_h5_memory_type(m->dtype), to, from, H5P_DEFAULT, room) >= 0;
    H5Sclose(from);
    H5Sclose(to);
    return ok ? PTQ_OK : unusable(m->name, "cannot be read: damaged");
}

static ptq_status serve_labels(ptq_h5_reader *r, ptq_bytes *reply)
{
    const ptq_h5_dataset *m = &r->labels_meta;
    int64_t n;
    if (m->dtype == PTQ_DT_F32 || m->dtype == PTQ_DT_F64)
        return unusable("labels", "must be integers");
    if (!ptq_shape_elements(m->rank, m->dims, &n) || n > PTQ_H5_LABELS_MAX)
        return unusable("labels", "has more than 32 million values");
    void *room = ptq_bytes_room(reply, (size_t)n * sizeof(int64_t));
    if (!room)
        return ptq_fail_nomem();
    if (H5Dread((hid_t)r->labels, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, room) < 0)
        return unusable("labels", "cannot be read: damaged");
    return PTQ_OK;
}

ptq_status ptq_h5_serve(void *state, const void *request, size_t n, ptq_bytes *reply)
{
    ptq_h5_reader *r = state;
    ptq_h5_request q;
    if (n != sizeof q)
        return ptq_fail(PTQ_ERR_INTERNAL, "request of %zu bytes", n);
    memcpy(&q, request, sizeof q);
    if (q.op == PTQ_H5_OPEN)
        return serve_open(r, reply);
    return q.op == PTQ_H5_ROW ? serve_row(r, q.input, q.index, reply) : serve_labels(r, reply);
}

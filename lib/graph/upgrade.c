/* SPDX-License-Identifier: Apache-2.0 */
/* Newer opsets with the same function. upgrades.def has a row per change. */
#include "lib/graph/pass_impl.h"

typedef ptq_status (*upgrade_fn)(ptq_graph *g, ptq_node *n);

static ptq_status cannot(const ptq_node *n, const char *why)
{
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' (%s) cannot be converted to a newer opset: %s",
                    n->name, n->op, why);
}

/* Puts a new constant into input `slot`, growing the list as needed. */
static ptq_status put_input(ptq_graph *g, ptq_node *n, int slot, const char *what,
                            const ptq_tensor *t)
{
    char name[256];
    ptq_value *c;
    if (n->nin <= slot)
        PTQ_TRY(ptq_node_resize_inputs(g, n, slot + 1));
    snprintf(name, sizeof name, "%s_%s", n->name, what);
    PTQ_TRY(ptq_graph_constant(g, name, t, true, &c));
    ptq_node_set_input(g, n, slot, c);
    return PTQ_OK;
}

static ptq_status put_ints(ptq_graph *g, ptq_node *n, int slot, const char *what, const int64_t *v,
                           size_t count)
{
    ptq_tensor t = {.dtype = PTQ_DT_S64, .rank = 1, .dims = {(int64_t)count},
                    .data = (void *)(uintptr_t)v, .nbytes = count * sizeof *v};
    return put_input(g, n, slot, what, &t);
}

/* A scalar of the type of the node's first input. */
static ptq_status put_scalar(ptq_graph *g, ptq_node *n, int slot, const char *what, float v)
{
    ptq_dtype type = n->in[0]->dtype ? n->in[0]->dtype : PTQ_DT_F32;
    double wide = (double)v;
    ptq_tensor t = {.dtype = type, .data = &v, .nbytes = sizeof v};
    if (type == PTQ_DT_F64) {
        t.data = &wide;
        t.nbytes = sizeof wide;
    } else if (type != PTQ_DT_F32) {
        return cannot(n, "its input is neither float32 nor float64");
    }
    return put_input(g, n, slot, what, &t);
}

/* List attribute `name` becomes input `slot`; nothing when it is absent. */
static ptq_status attr_to_input(ptq_graph *g, ptq_node *n, const char *name, int slot)
{
    size_t count;
    const int64_t *v = ptq_attr_ints(n, name, &count);
    if (v)
        PTQ_TRY(put_ints(g, n, slot, name, v, count));
    ptq_attr_remove(n, name);
    return PTQ_OK;
}

static ptq_status one_output(ptq_graph *g, ptq_node *n)
{
    for (int i = 1; i < n->nout; i++) {
        ptq_value *v = n->out[i];
        if (!ptq_value_unused(v))
            return cannot(n, "its further outputs are used");
        ptq_node_set_output(g, n, i, NULL);
        ptq_value_drop(g, v);
    }
    n->nout = 1;
    return PTQ_OK;
}

/* ---- rows ---- */

static ptq_status upgrade_batch_norm_spatial(ptq_graph *g, ptq_node *n)
{
    (void)g;
    if (ptq_attr_int(n, "spatial", 1) != 1)
        return cannot(n, "spatial is 0");
    ptq_attr_remove(n, "spatial");
    return PTQ_OK;
}

static ptq_status upgrade_batch_norm_outputs(ptq_graph *g, ptq_node *n)
{
    return one_output(g, n);
}

/* The mask changed its type. */
static ptq_status upgrade_dropout_mask(ptq_graph *g, ptq_node *n)
{
    return one_output(g, n);
}

/* The ratio matters in training only, which these opsets do not do in a Dropout node. */
static ptq_status upgrade_dropout_ratio(ptq_graph *g, ptq_node *n)
{
    (void)g;
    ptq_attr_remove(n, "ratio");
    return PTQ_OK;
}

static ptq_status upgrade_slice(ptq_graph *g, ptq_node *n)
{
    PTQ_TRY(attr_to_input(g, n, "starts", 1));
    PTQ_TRY(attr_to_input(g, n, "ends", 2));
    return attr_to_input(g, n, "axes", 3);
}

static ptq_status upgrade_upsample(ptq_graph *g, ptq_node *n)
{
    size_t count;
    const float *scales = ptq_attr_floats(n, "scales", &count);
    if (scales) {
        ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = 1, .dims = {(int64_t)count},
                        .data = (void *)(uintptr_t)scales, .nbytes = count * sizeof *scales};
        PTQ_TRY(put_input(g, n, 1, "scales", &t));
        ptq_attr_remove(n, "scales");
    }
    n->op = "Resize";
    n->origin = NULL;
    return PTQ_OK;
}

/* Opset 10 maps output i to input i / scale and takes the element below, or, where it shrinks,
 * above (ONNX Runtime's reading; the specification does not say). */
static ptq_status upgrade_resize(ptq_graph *g, ptq_node *n)
{
    ptq_value *scales = ptq_node_input(n, 1);
    const ptq_tensor *t = scales ? scales->constant : NULL;
    bool grows = false, shrinks = false;
    PTQ_TRY(ptq_attr_set_str(g, n, "coordinate_transformation_mode", "asymmetric"));
    if (strcmp(ptq_attr_str(n, "mode", "nearest"), "nearest") == 0) {
        if (!t || t->dtype != PTQ_DT_F32)
            return cannot(n, "its scales are not constant");
        for (int64_t i = 0; i < ptq_tensor_elements(t); i++) {
            float s = ((const float *)t->data)[i];
            grows = grows || s > 1.0f;
            shrinks = shrinks || s < 1.0f;
        }
        if (grows && shrinks)
            return cannot(n, "it grows one dimension and shrinks another");
        PTQ_TRY(ptq_attr_set_str(g, n, "nearest_mode", shrinks ? "ceil" : "floor"));
    }
    PTQ_TRY(ptq_node_resize_inputs(g, n, 3));
    ptq_node_set_input(g, n, 2, scales);
    ptq_node_set_input(g, n, 1, NULL);
    if (g->opset < 13) { /* roi may be left out from opset 13 on; empty is right in all */
        ptq_tensor none = {.dtype = PTQ_DT_F32, .rank = 1, .dims = {0}, .data = &none, .nbytes = 0};
        PTQ_TRY(put_input(g, n, 1, "roi", &none));
    }
    return PTQ_OK;
}

static ptq_status upgrade_top_k(ptq_graph *g, ptq_node *n)
{
    int64_t k = ptq_attr_int(n, "k", 0);
    if (ptq_node_input(n, 1))
        return PTQ_OK;
    ptq_attr_remove(n, "k");
    return put_ints(g, n, 1, "k", &k, 1);
}

static ptq_status upgrade_scatter(ptq_graph *g, ptq_node *n)
{
    (void)g;
    n->op = "ScatterElements";
    n->origin = NULL;
    return PTQ_OK;
}

static ptq_status upgrade_roi_align(ptq_graph *g, ptq_node *n)
{
    return ptq_attr_set_str(g, n, "coordinate_transformation_mode", "output_half_pixel");
}

/* The axis became an input. */
static ptq_status upgrade_dft(ptq_graph *g, ptq_node *n)
{
    int64_t axis = ptq_attr_int(n, "axis", 1);
    ptq_tensor t = {.dtype = PTQ_DT_S64, .data = &axis, .nbytes = sizeof axis};
    ptq_attr_remove(n, "axis");
    return put_input(g, n, 2, "axis", &t);
}

/* Modes have the names of Resize's. */
static ptq_status upgrade_grid_sample(ptq_graph *g, ptq_node *n)
{
    const char *mode = ptq_attr_str(n, "mode", "bilinear");
    if (strcmp(mode, "nearest") == 0)
        return PTQ_OK;
    return ptq_attr_set_str(g, n, "mode", strcmp(mode, "bicubic") == 0 ? "cubic" : "linear");
}

static ptq_status upgrade_resize_coordinates(ptq_graph *g, ptq_node *n)
{
    (void)g;
    bool gone = strcmp(ptq_attr_str(n, "coordinate_transformation_mode", ""), "tf_half_pixel_for_nn") == 0;
    return gone ? cannot(n, "opset 13 has no tf_half_pixel_for_nn") : PTQ_OK;
}

/* The last window may no longer begin in the padding, so that there may be one less. */
static ptq_status upgrade_ceil_mode(ptq_graph *g, ptq_node *n)
{
    (void)g;
    return ptq_attr_int(n, "ceil_mode", 0) ? cannot(n, "ceil_mode has another meaning there") : PTQ_OK;
}

static ptq_status upgrade_clip(ptq_graph *g, ptq_node *n)
{
    if (ptq_attr_find(n, "min"))
        PTQ_TRY(put_scalar(g, n, 1, "min", ptq_attr_float(n, "min", 0)));
    if (ptq_attr_find(n, "max"))
        PTQ_TRY(put_scalar(g, n, 2, "max", ptq_attr_float(n, "max", 0)));
    ptq_attr_remove(n, "min");
    ptq_attr_remove(n, "max");
    return PTQ_OK;
}

static ptq_status upgrade_pad(ptq_graph *g, ptq_node *n)
{
    float value = ptq_attr_float(n, "value", 0);
    PTQ_TRY(attr_to_input(g, n, "pads", 1));
    if (value != 0.0f)
        PTQ_TRY(put_scalar(g, n, 2, "value", value));
    ptq_attr_remove(n, "value");
    return PTQ_OK;
}

static ptq_status upgrade_axes(ptq_graph *g, ptq_node *n)
{
    return attr_to_input(g, n, "axes", 1);
}

static ptq_status upgrade_split(ptq_graph *g, ptq_node *n)
{
    return attr_to_input(g, n, "split", 1);
}

static ptq_status upgrade_split_count(ptq_graph *g, ptq_node *n)
{
    return ptq_node_input(n, 1) ? PTQ_OK : ptq_attr_set_int(g, n, "num_outputs", n->nout);
}

/* ---- nodes before a node ---- */

/* A new node with one output of its own, before n. */
static ptq_status new_before(ptq_graph *g, ptq_node *n, const char *op, const char *suffix,
                             ptq_value *x, ptq_node **out)
{
    char name[256];
    ptq_value *y;
    snprintf(name, sizeof name, "%s_%s", n->name, suffix);
    PTQ_TRY(ptq_graph_node(g, op, "", name, 1, 1, n, out));
    ptq_node_set_input(g, *out, 0, x);
    const char *value = ptq_graph_unique_name(g, name);
    if (!value)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_graph_value(g, value, &y));
    ptq_node_set_output(g, *out, 0, y);
    return PTQ_OK;
}

/* ---- GroupNormalization ---- */

/* [groups] to [channels]: element g for each channel of group g. */
static ptq_status per_channel(ptq_graph *g, ptq_node *n, int slot, int64_t groups, int64_t each)
{
    static const char *const names[3][2] = {{NULL, NULL}, {"scale_rows", "scale_channels"}, {"bias_rows", "bias_channels"}};
    ptq_node *rows, *wide, *flat;
    PTQ_TRY(new_before(g, n, "Reshape", names[slot][0], n->in[slot], &rows));
    PTQ_TRY(put_ints(g, rows, 1, "shape", (int64_t[]){groups, 1}, 2));
    PTQ_TRY(new_before(g, n, "Expand", names[slot][1], rows->out[0], &wide));
    PTQ_TRY(put_ints(g, wide, 1, "shape", (int64_t[]){groups, each}, 2));
    PTQ_TRY(new_before(g, n, "Reshape", names[slot][1], wide->out[0], &flat));
    PTQ_TRY(put_ints(g, flat, 1, "shape", (int64_t[]){-1}, 1));
    ptq_node_set_input(g, n, slot, flat->out[0]);
    return PTQ_OK;
}

/* Scale and bias are for each group before opset 21, for each channel from then on. */
static ptq_status upgrade_group_norm(ptq_graph *g, ptq_node *n)
{
    int64_t groups = ptq_attr_int(n, "num_groups", 1);
    ptq_dim c = n->in[0]->shape.rank > 1 ? n->in[0]->shape.dims[1] : ptq_dim_unknown();
    if (!ptq_dim_known(c) || groups < 1 || c.add % groups != 0)
        return cannot(n, "the number of its channels is not known");
    if (c.add == groups)
        return PTQ_OK;
    PTQ_TRY(per_channel(g, n, 1, groups, c.add / groups));
    return per_channel(g, n, 2, groups, c.add / groups);
}

/* ---- Softmax ---- */

/* Before opset 13: over everything from the axis on, as if it were one axis. That is Softmax over
 * the last of [.., rest] between Flatten and Reshape; one axis of length above 1 needs neither. */
static ptq_status upgrade_softmax(ptq_graph *g, ptq_node *n)
{
    ptq_value *x = n->in[0], *y = n->out[0], *mid;
    int64_t axis = ptq_attr_int(n, "axis", 1);
    int rank = x->shape.rank;
    if (rank >= 0) {
        axis = axis < 0 ? axis + rank : axis;
        bool single = true;
        for (int64_t i = axis + 1; i < rank; i++)
            single = single && ptq_dim_known(x->shape.dims[i]) && x->shape.dims[i].add == 1;
        if (single)
            return ptq_attr_set_int(g, n, "axis", axis == rank - 1 ? -1 : axis);
    }
    ptq_node *flat, *shape, *back;
    PTQ_TRY(new_before(g, n, "Flatten", "flatten", x, &flat));
    PTQ_TRY(ptq_attr_set_int(g, flat, "axis", axis));
    PTQ_TRY(new_before(g, n, "Shape", "shape", x, &shape));
    PTQ_TRY(ptq_attr_set_int(g, n, "axis", -1));
    ptq_node_set_input(g, n, 0, flat->out[0]);
    const char *name = ptq_graph_unique_name(g, y->name);
    if (!name)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_graph_value(g, name, &mid));
    char node_name[256];
    snprintf(node_name, sizeof node_name, "%s_reshape", n->name);
    PTQ_TRY(ptq_graph_node(g, "Reshape", "", node_name, 2, 1, n->next, &back));
    ptq_node_set_output(g, back, 0, y); /* the node loses it */
    ptq_node_set_output(g, n, 0, mid);
    ptq_node_set_input(g, back, 0, mid);
    ptq_node_set_input(g, back, 1, shape->out[0]);
    return PTQ_OK;
}

/* ---- the walk ---- */

static const struct {
    const char *op;
    int at;
    upgrade_fn run;
} rows[] = {
#define PTQ_UPGRADE(op, at, fn) {#op, at, upgrade_##fn},
#include "lib/graph/upgrades.def"
#undef PTQ_UPGRADE
};

static ptq_status check(const ptq_graph *g)
{
    PTQ_GRAPH_EACH_NODE (g, n) {
        if (*n->domain)
            continue;
        if (!n->def)
            return cannot(n, "the operator is not known here");
        for (int i = 0; i < n->nattrs; i++) {
            if (n->attrs[i].type == PTQ_ATTR_GRAPHS)
                return cannot(n, "it has a list of subgraphs");
            if (n->attrs[i].type == PTQ_ATTR_GRAPH)
                PTQ_TRY(check(n->attrs[i].graph));
        }
    }
    return PTQ_OK;
}

/* The oldest IR version that knows the opset (the specification's table of releases). */
static int ir_for(int opset)
{
    static const struct {
        int opset, ir;
    } since[] = {{13, 7}, {15, 8}, {19, 9}, {21, 10}, {23, 11}};
    int ir = 3;
    for (size_t i = 0; i < PTQ_COUNT(since); i++)
        if (opset >= since[i].opset)
            ir = since[i].ir;
    return ir;
}

/* Row by row through the graph and its subgraphs. */
static ptq_status convert(ptq_graph *g, int opset)
{
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        if (rows[i].at <= g->opset || rows[i].at > opset)
            continue;
        PTQ_GRAPH_EACH_NODE_SAFE (g, n, next)
            if (ptq_node_is(n, rows[i].op))
                PTQ_TRY(rows[i].run(g, n));
    }
    g->opset = opset;
    if (g->ir_version < ir_for(opset))
        g->ir_version = ir_for(opset);
    PTQ_GRAPH_EACH_NODE (g, n) {
        for (int i = 0; i < n->nattrs; i++)
            if (n->attrs[i].type == PTQ_ATTR_GRAPH)
                PTQ_TRY(convert(n->attrs[i].graph, opset));
        if (*n->domain)
            continue;
        n->def = ptq_op_find(n->op, "", opset);
        if (!n->def)
            return cannot(n, "the opset does not have it");
    }
    return PTQ_OK;
}

ptq_status ptq_graph_upgrade(ptq_graph *g, int opset)
{
    if (opset <= g->opset)
        return PTQ_OK;
    if (opset < 13)
        return ptq_fail(PTQ_ERR_ARG, "opset %d: models are upgraded to 13 or newer", opset);
    PTQ_TRY(check(g));
    PTQ_TRY(ptq_infer_graph(g));
    PTQ_TRY(convert(g, opset));
    PTQ_TRY(ptq_infer_graph(g));
    return ptq_graph_verify(g);
}

const ptq_node *ptq_graph_changes_between(const ptq_graph *g, int low, int high)
{
    PTQ_GRAPH_EACH_NODE (g, n) {
        for (size_t i = 0; i < PTQ_COUNT(rows); i++)
            if (ptq_node_is(n, rows[i].op) && rows[i].at > low && rows[i].at <= high)
                return n;
        for (int i = 0; i < n->nattrs; i++) {
            const ptq_graph *body = n->attrs[i].type == PTQ_ATTR_GRAPH ? n->attrs[i].graph : NULL;
            const ptq_node *found = body ? ptq_graph_changes_between(body, low, high) : NULL;
            if (found)
                return found;
        }
    }
    return NULL;
}

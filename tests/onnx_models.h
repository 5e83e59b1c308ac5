/* SPDX-License-Identifier: Apache-2.0 */
/* Small models for the ONNX tests, written in the field order in which protobuf-c writes. */
#ifndef PTQ_TESTS_ONNX_MODELS_H
#define PTQ_TESTS_ONNX_MODELS_H

#include "lib/core/core.h"
#include "tests/onnx_wire.h"

static inline void wire_entry(wire *w, unsigned field, const char *key, const char *value)
{
    wire e = {0};
    wire_str(&e, 1, key);
    wire_str(&e, 2, value);
    wire_msg(w, field, &e);
}

/* TensorProto of this type and shape, without name and values. */
static inline wire wire_tensor_head(int type, int rank, const int64_t *dims)
{
    wire t = {0};
    for (int i = 0; i < rank; i++)
        wire_int(&t, 1, dims[i]);
    wire_int(&t, 2, type);
    return t;
}

static inline void wire_tensor(wire *w, unsigned field, const char *name, int type, int rank,
                               const int64_t *dims, const void *raw, size_t n)
{
    wire t = wire_tensor_head(type, rank, dims);
    wire_str(&t, 8, name);
    wire_bytes(&t, 9, raw, n);
    wire_msg(w, field, &t);
}

/* y = Relu(x + w), w of two floats. */
static inline wire small_graph(void)
{
    wire g = {0};
    static const float w[2] = {1.5f, -2.5f};
    wire_node(&g, 1, "Add", "add", "x", "w", "s");
    wire_node(&g, 1, "Relu", NULL, "s", NULL, "y");
    wire_str(&g, 2, "small");
    wire_tensor(&g, 5, "w", PTQ_DT_F32, 1, (int64_t[]){2}, w, sizeof w);
    wire_value(&g, 11, "x", PTQ_DT_F32, 2, (int64_t[]){3, 2});
    wire_value(&g, 12, "y", PTQ_DT_F32, 2, (int64_t[]){3, 2});
    return g;
}

/* A branch of an If that reads the outer value `outer` through an inner If. */
static inline void wire_branch(wire *attr_list, const char *attr, const char *outer, const char *out,
                               bool nested)
{
    wire a = {0}, g = {0};
    if (nested) {
        wire n = {0};
        wire_str(&n, 1, "cond");
        wire_str(&n, 2, out);
        wire_str(&n, 4, "If");
        wire_branch(&n, "then_branch", outer, "deep_t", false);
        wire_branch(&n, "else_branch", outer, "deep_e", false);
        wire_msg(&g, 1, &n);
    } else {
        wire_node(&g, 1, "Neg", "neg", outer, NULL, out);
    }
    wire_str(&g, 2, "branch");
    wire_value(&g, 12, out, PTQ_DT_F32, 2, (int64_t[]){3, 2});
    wire_int(&g, 900, 5); /* unknown */
    wire_str(&a, 1, attr);
    wire_msg(&a, 6, &g);
    wire_int(&a, 20, 5);
    wire_msg(attr_list, 5, &a);
}

/* One of everything that a model can carry: documentation, metadata and unknown fields on every
 * level, subgraphs in subgraphs, attributes of all kinds, a model-local function, a training
 * part, quantization annotations, symbolic and denoted dimensions, typed and raw tensors. */
static inline wire rich_model(void)
{
    wire m = {0}, g = {0}, n = {0}, a = {0}, t = {0}, v = {0}, type = {0}, tensor = {0}, shape = {0},
         dim = {0}, f = {0}, set = {0}, tr = {0};
    static const float w[2] = {1.5f, -2.5f};
    static const float fd[2] = {0.25f, 4.0f};

    /* nodes */
    wire_str(&n, 1, "x");
    wire_str(&n, 1, "w");
    wire_str(&n, 2, "s");
    wire_str(&n, 3, "add");
    wire_str(&n, 4, "Add");
    wire_str(&n, 6, "adds");
    wire_entry(&n, 9, "origin", "layer 1");
    wire_bytes(&n, 800, "later", 5);
    wire_msg(&g, 1, &n);

    wire_str(&n, 1, "cond");
    wire_str(&n, 2, "i");
    wire_str(&n, 3, "if");
    wire_str(&n, 4, "If");
    wire_branch(&n, "then_branch", "s", "t", true);
    wire_branch(&n, "else_branch", "typed", "e", false);
    wire_msg(&g, 1, &n);

    wire_str(&n, 1, "i");
    wire_str(&n, 1, "");
    wire_str(&n, 2, "c");
    wire_str(&n, 4, "Custom");
    wire_str(&a, 1, "alpha");
    wire_varint(&a, 2 << 3 | 5);
    wire_raw(&a, &fd[0], 4);
    wire_str(&a, 13, "slope");
    wire_int(&a, 20, 1);
    wire_msg(&n, 5, &a);
    wire_str(&a, 1, "axes");
    wire_int(&a, 8, -1);
    wire_int(&a, 8, 300);
    wire_int(&a, 20, 7);
    wire_msg(&n, 5, &a);
    wire_str(&a, 1, "mode");
    wire_bytes(&a, 4, "a\0b", 3);
    wire_int(&a, 20, 3);
    wire_msg(&n, 5, &a);
    wire_str(&a, 1, "value");
    wire_tensor(&a, 5, "value", PTQ_DT_S8, 1, (int64_t[]){3}, "\x01\x02\x03", 3);
    wire_int(&a, 20, 4);
    wire_msg(&n, 5, &a);
    wire_str(&a, 1, "of");
    wire_bytes(&type, 1, "", 0); /* a tensor type that says nothing */
    wire_msg(&a, 14, &type);
    wire_int(&a, 20, 13);
    wire_msg(&n, 5, &a);
    wire_str(&n, 7, "org.example");
    wire_msg(&g, 1, &n);

    wire_str(&n, 1, "c");
    wire_str(&n, 2, "y");
    wire_str(&n, 3, "call");
    wire_str(&n, 4, "Twice");
    wire_str(&n, 7, "org.example");
    wire_str(&n, 8, "v1");
    wire_msg(&g, 1, &n);

    /* the rest of the graph */
    wire_str(&g, 2, "rich");
    wire_int(&t, 1, 2);
    wire_int(&t, 2, PTQ_DT_F32);
    wire_str(&t, 8, "w");
    wire_bytes(&t, 9, w, sizeof w);
    wire_str(&t, 12, "weights");
    wire_entry(&t, 16, "k", "v");
    wire_int(&t, 700, 1);
    wire_msg(&g, 5, &t);
    wire_int(&t, 1, 2);
    wire_int(&t, 2, PTQ_DT_F32);
    wire_bytes(&t, 4, fd, sizeof fd);
    wire_str(&t, 8, "typed");
    wire_msg(&g, 5, &t);
    wire_tensor(&g, 5, "cond", PTQ_DT_BOOL, 0, NULL, "\x01", 1);
    wire_tensor(&g, 5, "unused", PTQ_DT_S64, 1, (int64_t[]){0}, "", 0);
    wire_int(&t, 1, 1);
    wire_int(&t, 2, PTQ_DT_STRING);
    wire_bytes(&t, 6, "text", 4);
    wire_str(&t, 8, "words");
    wire_msg(&g, 5, &t);
    wire_str(&g, 10, "a graph");
    wire_str(&dim, 2, "batch");
    wire_str(&dim, 3, "DATA_BATCH");
    wire_msg(&shape, 1, &dim);
    wire_int(&dim, 1, 2);
    wire_msg(&shape, 1, &dim);
    wire_int(&tensor, 1, PTQ_DT_F32);
    wire_msg(&tensor, 2, &shape);
    wire_msg(&type, 1, &tensor);
    wire_str(&type, 6, "IMAGE");
    wire_str(&v, 1, "x");
    wire_msg(&v, 2, &type);
    wire_str(&v, 3, "pixels");
    wire_msg(&g, 11, &v);
    wire_value(&g, 11, "w", PTQ_DT_F32, 1, (int64_t[]){2}); /* an initializer, listed */
    wire_value(&g, 12, "y", PTQ_DT_F32, 2, (int64_t[]){-1, 2});
    wire_value(&g, 13, "s", PTQ_DT_F32, 2, (int64_t[]){3, 2});
    wire_value(&g, 13, "nothing", PTQ_DT_F32, 0, NULL);
    wire_str(&t, 1, "s");
    wire_entry(&t, 2, "SCALE_TENSOR", "w");
    wire_msg(&g, 14, &t);
    wire_entry(&g, 16, "gk", "gv");

    /* the model */
    wire_int(&m, 1, 10);
    wire_str(&m, 2, "somebody");
    wire_str(&m, 3, "1.0");
    wire_str(&m, 4, "org.example.models");
    wire_int(&m, 5, 42);
    wire_str(&m, 6, "documented");
    wire_msg(&m, 7, &g);
    wire_str(&set, 1, "");
    wire_int(&set, 2, 17);
    wire_msg(&m, 8, &set);
    wire_str(&set, 1, "org.example");
    wire_int(&set, 2, 3);
    wire_msg(&m, 8, &set);
    wire_entry(&m, 14, "author", "nobody");
    wire_str(&g, 2, "init");
    wire_msg(&tr, 1, &g);
    wire_entry(&tr, 3, "w", "w0");
    wire_msg(&m, 20, &tr);
    wire_str(&f, 1, "Twice");
    wire_str(&f, 4, "a");
    wire_str(&f, 5, "b");
    wire_node(&f, 7, "Add", NULL, "a", "a", "b");
    wire_str(&set, 1, "");
    wire_int(&set, 2, 17);
    wire_msg(&f, 9, &set);
    wire_str(&f, 10, "org.example");
    wire_str(&f, 13, "v1");
    wire_msg(&m, 25, &f);
    wire_bytes(&m, 500, "unknown\0bytes", 13);
    return m;
}

#endif

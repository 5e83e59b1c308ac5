/* SPDX-License-Identifier: Apache-2.0 */
/* Writes protobuf wire bytes by hand, so that tests can build files that no library would write.
 * Field numbers are ONNX's. */
#ifndef PTQ_TESTS_ONNX_WIRE_H
#define PTQ_TESTS_ONNX_WIRE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct wire {
    uint8_t *p;
    size_t n, cap;
} wire;

static inline void wire_raw(wire *w, const void *p, size_t n)
{
    if (w->n + n > w->cap) {
        w->cap = 2 * (w->n + n) + 64;
        w->p = realloc(w->p, w->cap);
        if (!w->p)
            abort();
    }
    if (n)
        memcpy(w->p + w->n, p, n);
    w->n += n;
}

static inline void wire_varint(wire *w, uint64_t v)
{
    uint8_t b[10];
    size_t n = 0;
    do {
        b[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
    } while (v);
    wire_raw(w, b, n);
}

static inline void wire_int(wire *w, unsigned field, int64_t v)
{
    wire_varint(w, (uint64_t)field << 3);
    wire_varint(w, (uint64_t)v);
}

static inline void wire_bytes(wire *w, unsigned field, const void *p, size_t n)
{
    wire_varint(w, ((uint64_t)field << 3) | 2);
    wire_varint(w, n);
    wire_raw(w, p, n);
}

static inline void wire_str(wire *w, unsigned field, const char *s)
{
    wire_bytes(w, field, s, strlen(s));
}

/* Appends m as a submessage and frees it. */
static inline void wire_msg(wire *w, unsigned field, wire *m)
{
    wire_bytes(w, field, m->p, m->n);
    free(m->p);
    *m = (wire){0};
}

/* n varints in one field, packed. */
static inline void wire_packed(wire *w, unsigned field, int n, const int64_t *v)
{
    wire p = {0};
    for (int i = 0; i < n; i++)
        wire_varint(&p, (uint64_t)v[i]);
    wire_msg(w, field, &p);
}

static inline void wire_free(wire *w)
{
    free(w->p);
    *w = (wire){0};
}

/* ValueInfoProto of a float tensor. */
static inline void wire_value(wire *w, unsigned field, const char *name, int elem, int rank,
                              const int64_t *dims)
{
    wire v = {0}, type = {0}, tensor = {0}, shape = {0}, dim = {0};
    for (int i = 0; i < rank; i++) {
        wire_int(&dim, 1, dims[i]);
        wire_msg(&shape, 1, &dim);
    }
    wire_int(&tensor, 1, elem);
    wire_msg(&tensor, 2, &shape);
    wire_msg(&type, 1, &tensor);
    wire_str(&v, 1, name);
    wire_msg(&v, 2, &type);
    wire_msg(w, field, &v);
}

/* NodeProto with at most two inputs (NULL: none) and one output. */
static inline void wire_node(wire *w, unsigned field, const char *op, const char *name, const char *a,
                             const char *b, const char *out)
{
    wire n = {0};
    if (a)
        wire_str(&n, 1, a);
    if (b)
        wire_str(&n, 1, b);
    wire_str(&n, 2, out);
    if (name)
        wire_str(&n, 3, name);
    wire_str(&n, 4, op);
    wire_msg(w, field, &n);
}

/* ModelProto around a graph (consumed): IR version, the graph, opset of the default domain. */
static inline wire wire_model(wire *graph, int ir, int opset)
{
    wire m = {0}, set = {0};
    if (ir)
        wire_int(&m, 1, ir);
    wire_msg(&m, 7, graph);
    wire_str(&set, 1, "");
    wire_int(&set, 2, opset);
    if (opset)
        wire_msg(&m, 8, &set);
    wire_free(&set);
    return m;
}

#endif

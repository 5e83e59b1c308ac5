/* SPDX-License-Identifier: Apache-2.0 */
/* A walk over the wire bytes with an explicit stack, driven by the generated descriptors.
 * protobuf-c 1.4.1 recurses without a limit, allocates up to 100 times the size of the file,
 * merges repeated singular messages in more than linear time, cuts strings at NUL and does not
 * say why it failed; so everything that could make it do so is refused here, with a reason. */
#include <stdlib.h>
#include <string.h>

#include "lib/onnx/onnx_priv.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 };

/* Wire type of one element and its size in memory, by ProtobufCType. */
static const struct {
    uint8_t wire, size;
} types[] = {
    [PROTOBUF_C_TYPE_INT32] = {WIRE_VARINT, 4},   [PROTOBUF_C_TYPE_SINT32] = {WIRE_VARINT, 4},
    [PROTOBUF_C_TYPE_SFIXED32] = {WIRE_32, 4},    [PROTOBUF_C_TYPE_INT64] = {WIRE_VARINT, 8},
    [PROTOBUF_C_TYPE_SINT64] = {WIRE_VARINT, 8},  [PROTOBUF_C_TYPE_SFIXED64] = {WIRE_64, 8},
    [PROTOBUF_C_TYPE_UINT32] = {WIRE_VARINT, 4},  [PROTOBUF_C_TYPE_FIXED32] = {WIRE_32, 4},
    [PROTOBUF_C_TYPE_UINT64] = {WIRE_VARINT, 8},  [PROTOBUF_C_TYPE_FIXED64] = {WIRE_64, 8},
    [PROTOBUF_C_TYPE_FLOAT] = {WIRE_32, 4},       [PROTOBUF_C_TYPE_DOUBLE] = {WIRE_64, 8},
    [PROTOBUF_C_TYPE_BOOL] = {WIRE_VARINT, 4},    [PROTOBUF_C_TYPE_ENUM] = {WIRE_VARINT, 4},
    [PROTOBUF_C_TYPE_STRING] = {WIRE_LEN, 8},     [PROTOBUF_C_TYPE_BYTES] = {WIRE_LEN, 16},
    [PROTOBUF_C_TYPE_MESSAGE] = {WIRE_LEN, 8},
};

/* protobuf-c notes every field of the message it is in (40 bytes, in slabs that double). */
enum { SCAN_COST = 64 };

/* What the graph itself will need for a message, beside protobuf-c's struct: the node or value,
 * its name and its entry in a map. An output name becomes a value as well. */
static size_t graph_cost(const ProtobufCMessageDescriptor *type)
{
    enum { NAMED = 128 };
    if (type == &ptq_onnx__node_proto__descriptor)
        return sizeof(ptq_node) + NAMED;
    if (type == &ptq_onnx__tensor_proto__descriptor)
        return sizeof(ptq_value) + sizeof(ptq_tensor) + NAMED;
    if (type == &ptq_onnx__attribute_proto__descriptor)
        return sizeof(ptq_attr);
    if (type == &ptq_onnx__graph_proto__descriptor)
        return sizeof(ptq_graph) + ((size_t)1 << 16); /* an arena of its own */
    return 0;
}

static size_t output_cost(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *fd)
{
    bool output = type == &ptq_onnx__node_proto__descriptor && strcmp(fd->name, "output") == 0;
    return output ? sizeof(ptq_value) + 128 : 0;
}

typedef struct frame {
    const ProtobufCMessageDescriptor *type;
    size_t end;      /* of the payload */
    size_t len_pos;  /* of the length varint, its size, the payload's length */
    size_t varint, len;
    int64_t shrink;  /* bytes that the edits inside take away */
    ptrdiff_t edit;  /* index of this message's edit, -1: none */
    uint64_t seen;   /* singular messages met, by field index; ONEOF_SEEN: one of a oneof */
} frame;

#define ONEOF_SEEN (UINT64_C(1) << 63)

typedef struct walk {
    const uint8_t *p;
    size_t n, pos;
    size_t cost, limit;
    frame stack[PTQ_ONNX_MAX_DEPTH + 1];
    int depth;
    ptq_onnx_walk *out;
} walk;

static size_t varint_size(size_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* At most max_bytes long; false when cut off by `end` or too long. */
static bool read_varint(walk *w, size_t end, size_t max_bytes, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < max_bytes && w->pos < end; i++) {
        uint8_t b = w->p[w->pos++];
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (!(b & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
static bool is_utf8(const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint8_t c = s[i++];
        if (c < 0x80)
            continue;
        int more = c >= 0xc2 && c <= 0xdf ? 1 : (c & 0xf0) == 0xe0 ? 2 : c >= 0xf0 && c <= 0xf4 ? 3 : 0;
        if (more == 0 || (size_t)more > n - i)
            return false;
        uint8_t lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        uint8_t hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (s[i] < lo || s[i] > hi)
            return false;
        for (int k = 1; k < more; k++)
            if ((s[i + (size_t)k] & 0xc0) != 0x80)
                return false;
        i += (size_t)more;
    }
    return true;
}

static ptq_status truncated(const walk *w)
{
    return ptq_fail(PTQ_ERR_MODEL, "byte %zu: %s is cut off or damaged", w->pos,
                    w->stack[w->depth].type->short_name);
}

static ptq_status charge(walk *w, size_t bytes)
{
    if (bytes > w->limit - w->cost)
        return ptq_fail(PTQ_ERR_NOMEM,
                        "the model needs more than the %zu MiB that the memory limit allows (reached "
                        "at byte %zu of %zu); raise the limit if the file can be trusted",
                        w->limit >> 20, w->pos, w->n);
    w->cost += bytes;
    return PTQ_OK;
}

static ptq_status add_edit(walk *w, ptq_onnx_edit e)
{
    ptq_onnx_walk *o = w->out;
    if (o->nedits == o->cap) {
        size_t cap = o->cap ? 2 * o->cap : 256;
        ptq_onnx_edit *v = realloc(o->edits, cap * sizeof *v);
        if (!v)
            return ptq_fail_nomem();
        o->edits = v;
        o->cap = cap;
    }
    o->edits[o->nedits++] = e;
    return PTQ_OK;
}

/* A raw_data payload of `len` bytes at w->pos. Messages around it get their edit first, so that
 * the list is in file order. */
static ptq_status cut(walk *w, size_t len_pos, size_t len)
{
    for (int i = 1; i <= w->depth; i++) {
        frame *f = &w->stack[i];
        if (f->edit >= 0)
            continue;
        f->edit = (ptrdiff_t)w->out->nedits;
        PTQ_TRY(add_edit(w, (ptq_onnx_edit){f->len_pos, f->varint, f->len, f->len, false}));
    }
    size_t varint = w->pos - len_pos, now = sizeof(ptq_onnx_cut);
    w->stack[w->depth].shrink += (int64_t)(varint + len) - (int64_t)(varint_size(now) + now);
    return add_edit(w, (ptq_onnx_edit){len_pos, varint, len, now, true});
}

static ptq_status check_string(const walk *w, const ProtobufCFieldDescriptor *fd, size_t len)
{
    const uint8_t *s = w->p + w->pos;
    const char *type = w->stack[w->depth].type->short_name;
    if (memchr(s, 0, len))
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: %s.%s holds a NUL byte", w->pos, type, fd->name);
    /* Free text in another encoding is carried through as it is. */
    if (strcmp(fd->name, "doc_string") != 0 && !is_utf8(s, len))
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: %s.%s is not valid UTF-8", w->pos, type, fd->name);
    return PTQ_OK;
}

/* Elements of a packed field of `len` bytes at w->pos. */
static ptq_status count_packed(walk *w, const ProtobufCFieldDescriptor *fd, size_t len, size_t *count)
{
    const uint8_t *s = w->p + w->pos;
    uint8_t wire = types[fd->type].wire;
    size_t n = 0, run = 0;
    if (wire != WIRE_VARINT) {
        size_t size = types[fd->type].size;
        if (len % size)
            return truncated(w);
        *count = len / size;
        return PTQ_OK;
    }
    for (size_t i = 0; i < len; i++) {
        if (++run > 10)
            return truncated(w);
        if (!(s[i] & 0x80)) {
            n++;
            run = 0;
        }
    }
    if (run)
        return truncated(w);
    *count = n;
    return PTQ_OK;
}

static ptq_status enter(walk *w, const ProtobufCFieldDescriptor *fd, size_t len_pos, size_t len)
{
    frame *f = &w->stack[w->depth];
    if (fd->label != PROTOBUF_C_LABEL_REPEATED) {
        uint64_t bit = fd->flags & PROTOBUF_C_FIELD_FLAG_ONEOF ? ONEOF_SEEN
                                                               : UINT64_C(1) << (fd - f->type->fields);
        if (f->seen & bit)
            return ptq_fail(PTQ_ERR_MODEL, "byte %zu: %s.%s appears more than once", w->pos,
                            f->type->short_name, fd->name);
        f->seen |= bit;
    }
    if (w->depth == PTQ_ONNX_MAX_DEPTH)
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: messages are nested more than %d deep (%d subgraphs)",
                        w->pos, PTQ_ONNX_MAX_DEPTH, PTQ_ONNX_MAX_DEPTH / 3);
    const ProtobufCMessageDescriptor *type = fd->descriptor;
    PTQ_TRY(charge(w, type->sizeof_message + PTQ_ONNX_BLOCK_COST + graph_cost(type)));
    w->stack[++w->depth] = (frame){.type = type,
                                   .end = w->pos + len,
                                   .len_pos = len_pos,
                                   .varint = w->pos - len_pos,
                                   .len = len,
                                   .edit = -1};
    if (w->depth > w->out->depth)
        w->out->depth = w->depth;
    return PTQ_OK;
}

static void leave(walk *w)
{
    frame *f = &w->stack[w->depth], *up = f - 1;
    if (f->edit >= 0) {
        size_t now = (size_t)((int64_t)f->len - f->shrink);
        w->out->edits[f->edit].new_len = now;
        up->shrink += f->shrink + (int64_t)f->varint - (int64_t)varint_size(now);
    }
    w->depth--;
}

/* A length-delimited field that the schema knows; w->pos is at the payload. */
static ptq_status known_bytes(walk *w, const ProtobufCFieldDescriptor *fd, size_t len_pos, size_t len)
{
    const frame *f = &w->stack[w->depth];
    size_t count = 1;
    if (fd->label == PROTOBUF_C_LABEL_REPEATED && types[fd->type].wire == WIRE_LEN)
        PTQ_TRY(charge(w, types[fd->type].size));
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE)
        return enter(w, fd, len_pos, len);
    if (f->type == &ptq_onnx__tensor_proto__descriptor && strcmp(fd->name, "raw_data") == 0) {
        PTQ_TRY(charge(w, 2 * sizeof(ptq_onnx_cut) + PTQ_ONNX_BLOCK_COST));
        if (w->out->want_edits)
            PTQ_TRY(cut(w, len_pos, len));
    } else if (types[fd->type].wire == WIRE_LEN) {
        if (fd->type == PROTOBUF_C_TYPE_STRING)
            PTQ_TRY(check_string(w, fd, len));
        PTQ_TRY(charge(w, len + 1 + PTQ_ONNX_BLOCK_COST + output_cost(f->type, fd)));
    } else if (fd->label == PROTOBUF_C_LABEL_REPEATED) {
        PTQ_TRY(count_packed(w, fd, len, &count));
        PTQ_TRY(charge(w, count * types[fd->type].size + PTQ_ONNX_BLOCK_COST));
    } else {
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: %s.%s is of the wrong wire type", w->pos,
                        f->type->short_name, fd->name);
    }
    w->pos += len;
    return PTQ_OK;
}

static ptq_status length_field(walk *w, const ProtobufCFieldDescriptor *fd)
{
    const frame *f = &w->stack[w->depth];
    size_t len_pos = w->pos;
    uint64_t len;
    if (!read_varint(w, f->end, 5, &len))
        return truncated(w);
    if (len > INT32_MAX)
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: a field of %s claims 2 GiB or more", len_pos,
                        f->type->short_name);
    if (len > f->end - w->pos)
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: %s%s%s ends beyond its message (truncated file?)",
                        len_pos, f->type->short_name, fd ? "." : "", fd ? fd->name : "");
    if (fd)
        return known_bytes(w, fd, len_pos, (size_t)len);
    PTQ_TRY(charge(w, sizeof(ProtobufCMessageUnknownField) + len + PTQ_ONNX_BLOCK_COST));
    w->pos += len;
    return PTQ_OK;
}

static ptq_status scalar_field(walk *w, const ProtobufCFieldDescriptor *fd, unsigned wire)
{
    const frame *f = &w->stack[w->depth];
    size_t size = wire == WIRE_64 ? 8 : 4;
    uint64_t v;
    if (fd && types[fd->type].wire != wire)
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: %s.%s is of the wrong wire type", w->pos,
                        f->type->short_name, fd->name);
    if (wire == WIRE_VARINT) {
        if (!read_varint(w, f->end, 10, &v))
            return truncated(w);
    } else if (size > f->end - w->pos) {
        return truncated(w);
    } else {
        w->pos += size;
    }
    if (!fd)
        return charge(w, sizeof(ProtobufCMessageUnknownField) + 10 + PTQ_ONNX_BLOCK_COST);
    return fd->label == PROTOBUF_C_LABEL_REPEATED ? charge(w, types[fd->type].size) : PTQ_OK;
}

static ptq_status field(walk *w)
{
    const frame *f = &w->stack[w->depth];
    size_t tag_pos = w->pos;
    uint64_t tag;
    if (!read_varint(w, f->end, 5, &tag))
        return truncated(w);
    unsigned wire = tag & 7;
    if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: field number %llu in %s is not valid", tag_pos,
                        (unsigned long long)(tag >> 3), f->type->short_name);
    PTQ_TRY(charge(w, SCAN_COST));
    const ProtobufCFieldDescriptor *fd =
        protobuf_c_message_descriptor_get_field(f->type, (unsigned)(tag >> 3));
    switch (wire) {
    case WIRE_VARINT:
    case WIRE_64:
    case WIRE_32:
        return scalar_field(w, fd, wire);
    case WIRE_LEN:
        return length_field(w, fd);
    default:
        return ptq_fail(PTQ_ERR_MODEL, "byte %zu: wire type %u in %s is not valid", tag_pos, wire,
                        f->type->short_name);
    }
}

static ptq_status walk_model(walk *w)
{
    const frame *root = &w->stack[0];
    for (;;) {
        while (w->depth > 0 && w->pos == w->stack[w->depth].end)
            leave(w);
        if (w->depth == 0 && w->pos == w->n)
            break;
        PTQ_TRY(field(w));
    }
    const ProtobufCFieldDescriptor *graph =
        protobuf_c_message_descriptor_get_field_by_name(root->type, "graph");
    if (!(root->seen >> (graph - root->type->fields) & 1))
        return ptq_fail(PTQ_ERR_MODEL, "the model holds no graph");
    return PTQ_OK;
}

ptq_status ptq_onnx_walk_bytes(const void *bytes, size_t n, size_t memory_limit, ptq_onnx_walk *out)
{
    walk w = {.p = bytes, .n = n, .limit = memory_limit ? memory_limit : PTQ_ONNX_DEFAULT_LIMIT};
    w.stack[0] = (frame){.type = &ptq_onnx__model_proto__descriptor, .end = n, .edit = -1};
    w.out = out;
    if (n == 0)
        return ptq_fail(PTQ_ERR_MODEL, "is empty");
    if (n > INT32_MAX)
        return ptq_fail(PTQ_ERR_MODEL, "has %zu bytes; an ONNX file ends below 2 GiB, larger weights "
                                       "belong into external data", n);
    ptq_status s = walk_model(&w);
    out->stripped = (size_t)((int64_t)n - w.stack[0].shrink);
    if (s == PTQ_ERR_MODEL) {
        const char *what = ptq_onnx_sniff(bytes, n);
        if (what)
            return ptq_fail(PTQ_ERR_MODEL, "is not ONNX (looks like %s)", what);
        return ptq_fail_prefix(PTQ_ERR_MODEL, "is not ONNX, or damaged");
    }
    return s;
}

ptq_status ptq_onnx_guard(const void *bytes, size_t n, size_t memory_limit)
{
    ptq_onnx_walk w = {0};
    return ptq_onnx_walk_bytes(bytes, n, memory_limit, &w);
}

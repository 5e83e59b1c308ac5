/* SPDX-License-Identifier: Apache-2.0 */
/* From file bytes to messages. Payloads of raw_data never pass through protobuf-c: it gets a copy
 * of the file in which each is replaced by its offset and length, and the unpacked fields are
 * then pointed at the file itself. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/onnx/onnx_priv.h"

/* ---- the allocator ---- */

static void *heap_alloc(void *data, size_t size)
{
    ptq_onnx_heap *h = data;
    size_t total;
    if (!ptq_add_size(size, PTQ_ONNX_BLOCK_COST, &total) || total > h->limit - h->used) {
        h->over_limit = true;
        return NULL;
    }
    ptq_onnx_block *b = malloc(sizeof *b + size);
    if (!b) {
        h->no_memory = true;
        return NULL;
    }
    b->size = total;
    b->prev = &h->head;
    b->next = h->head.next;
    b->next->prev = b;
    h->head.next = b;
    h->used += total;
    return b + 1;
}

static void heap_release(void *data, void *p)
{
    ptq_onnx_heap *h = data;
    if (!p)
        return;
    ptq_onnx_block *b = (ptq_onnx_block *)p - 1;
    b->prev->next = b->next;
    b->next->prev = b->prev;
    h->used -= b->size;
    free(b);
}

void ptq_onnx_heap_init(ptq_onnx_heap *h, size_t limit)
{
    *h = (ptq_onnx_heap){.limit = limit ? limit : PTQ_ONNX_DEFAULT_LIMIT};
    h->head.prev = h->head.next = &h->head;
    h->allocator = (ProtobufCAllocator){heap_alloc, heap_release, h};
}

void ptq_onnx_heap_free(ptq_onnx_heap *h)
{
    while (h->head.next != &h->head)
        heap_release(h, h->head.next + 1);
}

/* ---- the shortened copy ---- */

static uint8_t *put_varint(uint8_t *to, size_t v)
{
    for (; v >= 0x80; v >>= 7)
        *to++ = (uint8_t)(v | 0x80);
    *to++ = (uint8_t)v;
    return to;
}

static uint8_t *strip(const uint8_t *bytes, size_t n, const ptq_onnx_walk *w)
{
    uint8_t *buf = malloc(w->stripped + 1), *to = buf;
    size_t at = 0;
    if (!buf)
        return NULL;
    for (size_t i = 0; i < w->nedits; i++) {
        const ptq_onnx_edit *e = &w->edits[i];
        memcpy(to, bytes + at, e->pos - at);
        to = put_varint(to + (e->pos - at), e->new_len);
        at = e->pos + e->varint;
        if (e->cut) {
            ptq_onnx_cut c = {at, e->len};
            memcpy(to, &c, sizeof c);
            to += sizeof c;
            at += e->len;
        }
    }
    memcpy(to, bytes + at, n - at);
    to += n - at;
    if ((size_t)(to - buf) == w->stripped)
        return buf;
    free(buf);
    return NULL;
}

/* ---- a walk over unpacked messages ---- */

typedef struct visit {
    ProtobufCMessage *m;
    unsigned field;
    size_t item;
} visit;

/* The item-th submessage of a field; NULL past the end. */
static ProtobufCMessage *submessage(ProtobufCMessage *m, const ProtobufCFieldDescriptor *fd,
                                    size_t item)
{
    char *base = (char *)m;
    void *member = base + fd->offset, *quantifier = base + fd->quantifier_offset;
    if (fd->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n;
        memcpy(&n, quantifier, sizeof n);
        return item < n ? (*(ProtobufCMessage ***)member)[item] : NULL;
    }
    if (item > 0)
        return NULL;
    if (fd->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t which;
        memcpy(&which, quantifier, sizeof which);
        if (which != fd->id)
            return NULL;
    }
    return *(ProtobufCMessage **)member;
}

ptq_status ptq_onnx_each_tensor(ProtobufCMessage *root, ptq_onnx_tensor_fn fn, void *ctx)
{
    visit stack[PTQ_ONNX_MAX_DEPTH + 1];
    int depth = 0;
    stack[0] = (visit){root, 0, 0};
    while (depth >= 0) {
        visit *v = &stack[depth];
        const ProtobufCMessageDescriptor *d = v->m->descriptor;
        if (v->field == 0 && v->item == 0 && d == &ptq_onnx__tensor_proto__descriptor)
            PTQ_TRY(fn(ctx, (pb_tensor *)v->m));
        ProtobufCMessage *sub = NULL;
        for (; v->field < d->n_fields; v->field++, v->item = 0)
            if (d->fields[v->field].type == PROTOBUF_C_TYPE_MESSAGE &&
                (sub = submessage(v->m, &d->fields[v->field], v->item)))
                break;
        if (!sub) {
            depth--;
            continue;
        }
        v->item++;
        if (depth == PTQ_ONNX_MAX_DEPTH)
            return ptq_fail(PTQ_ERR_INTERNAL, "the guard let a message through that is too deep");
        stack[++depth] = (visit){sub, 0, 0};
    }
    return PTQ_OK;
}

static ptq_status attach(void *ctx, pb_tensor *t)
{
    const ptq_onnx_file *f = ctx;
    ptq_onnx_cut c;
    if (!t->has_raw_data)
        return PTQ_OK;
    if (t->raw_data.len != sizeof c)
        return ptq_fail(PTQ_ERR_INTERNAL, "raw_data of tensor '%s' was not cut",
                        ptq_onnx_tensor_name(t));
    memcpy(&c, t->raw_data.data, sizeof c);
    /* protobuf-c's type has no const; nobody writes through it. */
    t->raw_data.data = (uint8_t *)(uintptr_t)(f->bytes + c.offset);
    t->raw_data.len = (size_t)c.len;
    return PTQ_OK;
}

/* ---- unpacking ---- */

typedef struct job {
    ptq_onnx_heap *heap;
    const uint8_t *p;
    size_t n;
    ProtobufCMessage *out;
} job;

static void *run_job(void *arg)
{
    job *j = arg;
    j->out = protobuf_c_message_unpack(&ptq_onnx__model_proto__descriptor, &j->heap->allocator, j->n,
                                       j->p);
    return NULL;
}

/* protobuf-c takes some 2.6 KiB of stack per level. Callers may run on small stacks, so deep
 * files get a thread with a known one. */
static ptq_status unpack_deep(job *j)
{
    enum { STACK = 1 << 20 };
    pthread_attr_t attr;
    pthread_t thread;
    if (pthread_attr_init(&attr) != 0)
        return ptq_fail_nomem();
    bool ok = pthread_attr_setstacksize(&attr, STACK) == 0 &&
              pthread_create(&thread, &attr, run_job, j) == 0;
    pthread_attr_destroy(&attr);
    if (!ok)
        return ptq_fail(PTQ_ERR_NOMEM, "cannot start a thread to read nested graphs");
    pthread_join(thread, NULL);
    return PTQ_OK;
}

static ptq_status unpack_stripped(ptq_onnx_file *f, const ptq_onnx_walk *w)
{
    enum { SHALLOW = 16 };
    uint8_t *buf = strip(f->bytes, f->nbytes, w);
    if (!buf)
        return ptq_fail_nomem();
    job j = {&f->heap, buf, w->stripped, NULL};
    ptq_status s = PTQ_OK;
    if (w->depth > SHALLOW)
        s = unpack_deep(&j);
    else
        run_job(&j);
    free(buf);
    if (s == PTQ_OK && !j.out) {
        if (f->heap.over_limit)
            s = ptq_fail(PTQ_ERR_NOMEM, "the unpacked model needs more than the %zu MiB that the "
                                        "memory limit allows", f->heap.limit >> 20);
        else
            s = f->heap.no_memory ? ptq_fail_nomem()
                                  : ptq_fail(PTQ_ERR_MODEL, "is damaged: not a valid protobuf message");
    }
    f->model = (pb_model *)j.out;
    return s;
}

ptq_status ptq_onnx_unpack(ptq_onnx_file *f)
{
    ptq_onnx_walk w = {.want_edits = true};
    ptq_status s = ptq_onnx_walk_bytes(f->bytes, f->nbytes, f->heap.limit, &w);
    if (s == PTQ_OK)
        s = unpack_stripped(f, &w);
    free(w.edits);
    return s == PTQ_OK ? ptq_onnx_each_tensor(&f->model->base, attach, f) : s;
}

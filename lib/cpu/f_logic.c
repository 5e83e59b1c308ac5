/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons, logic, bits and Where. */
#include "lib/cpu/f_binary.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* ---- comparisons and logic: bool out ---- */

enum {
    COMPARED = PTQ_TAKES_FLOATS | PTQ_TAKES_INTS | PTQ_TAKES(PTQ_DT_S32) | PTQ_TAKES(PTQ_DT_S8) |
               PTQ_TAKES(PTQ_DT_U8) | PTQ_TAKES(PTQ_DT_BOOL)
};

#define COMPARE_ROW(symbol, op, expr)                                                              \
    PTQ_PLAIN(symbol##_f32, float, uint8_t, expr)                                                  \
    PTQ_PLAIN(symbol##_f64, double, uint8_t, expr)                                                 \
    PTQ_PLAIN(symbol##_s64, int64_t, uint8_t, expr)                                                \
    PTQ_PLAIN(symbol##_u64, uint64_t, uint8_t, expr)                                               \
    PTQ_PLAIN(symbol##_s32, int32_t, uint8_t, expr)                                                \
    PTQ_PLAIN(symbol##_s8, int8_t, uint8_t, expr)                                                  \
    PTQ_PLAIN(symbol##_u8, uint8_t, uint8_t, expr)                                                 \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        static const ptq_plain_loops k = {symbol##_f32, symbol##_f64, symbol##_s64, symbol##_u64,  \
                                          symbol##_s32, symbol##_s8,  symbol##_u8};                \
        return ptq_binary_plain(c, r, &k);                                                         \
    }                                                                                              \
    ROW(symbol, op, .takes = COMPARED)
COMPARE_ROW(equal, "Equal", u == v)
COMPARE_ROW(less, "Less", u < v)
COMPARE_ROW(greater, "Greater", u > v)
COMPARE_ROW(less_or_equal, "LessOrEqual", u <= v)
COMPARE_ROW(greater_or_equal, "GreaterOrEqual", u >= v)

#define LOGIC_ROW(symbol, op, expr)                                                                \
    PTQ_PLAIN(symbol##_bool, uint8_t, uint8_t, expr)                                               \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        static const ptq_plain_loops k = {.u8 = symbol##_bool};                                    \
        return ptq_binary_plain(c, r, &k);                                                         \
    }                                                                                              \
    ROW(symbol, op, .takes = PTQ_TAKES(PTQ_DT_BOOL))
LOGIC_ROW(and, "And", u &&v)
LOGIC_ROW(or, "Or", u || v)
LOGIC_ROW(xor, "Xor", !u != !v)

/* ---- bits: all types as 64, the low ones are right ---- */

enum { BITS = PTQ_TAKES_S64 | PTQ_TAKES_MODULO };

#define BITS_ROW(symbol, op, expr)                                                                 \
    PTQ_PLAIN(symbol##_s64, int64_t, int64_t, expr)                                                \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        static const ptq_plain_loops k = {.s64 = symbol##_s64};                                    \
        return ptq_binary_plain(c, r, &k);                                                         \
    }                                                                                              \
    ROW(symbol, op, .takes = BITS)
BITS_ROW(bitwise_and, "BitwiseAnd", u &v)
BITS_ROW(bitwise_or, "BitwiseOr", u | v)
BITS_ROW(bitwise_xor, "BitwiseXor", u ^ v)

static ptq_status bitwise_not_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    const int64_t *x = r->in[0]->data;
    for (int64_t i = 0, n = ptq_tensor_elements(r->in[0]); i < n; i++)
        ((int64_t *)r->out[0].data)[i] = ~x[i];
    return PTQ_OK;
}
ROW(bitwise_not, "BitwiseNot", .takes = BITS)

/* Unsigned operands; everything is shifted out from 64 on. */
PTQ_PLAIN(shift_left, uint64_t, uint64_t, v > 63 ? 0 : u << v)
PTQ_PLAIN(shift_right, uint64_t, uint64_t, v > 63 ? 0 : u >> v)
static ptq_status bit_shift_run(ptq_cpu *c, const ptq_step_run *r)
{
    static const ptq_plain_loops left = {.s64 = shift_left, .u64 = shift_left};
    static const ptq_plain_loops right = {.s64 = shift_right, .u64 = shift_right};
    const char *d = ptq_attr_str(r->step->node, "direction", "");
    if (strcmp(d, "LEFT") != 0 && strcmp(d, "RIGHT") != 0)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: BitShift in direction \"%s\"", r->step->name, d);
    return ptq_binary_plain(c, r, *d == 'L' ? &left : &right);
}
ROW(bit_shift, "BitShift", .takes = PTQ_TAKES_INTS)

/* ---- Where ---- */

typedef struct where_ctx {
    const uint8_t *cond;
    const char *a, *b;
    char *y;
    size_t bytes;
} where_ctx;

#define WHERE(T)                                                                                   \
    for (int64_t i = 0; i < n; i++)                                                                \
        ((T *)(void *)v->y)[off[0] + i] =                                                          \
            v->cond[off[1] + i * step[1]]                                                          \
                ? ((const T *)(const void *)v->a)[off[2] + i * step[2]]                            \
                : ((const T *)(const void *)v->b)[off[3] + i * step[3]];

static void where_part(const void *ctx, const int64_t *off, const int64_t *step, int64_t n)
{
    const where_ctx *v = ctx;
    switch (v->bytes) {
    case 1: WHERE(uint8_t) break;
    case 2: WHERE(uint16_t) break;
    case 4: WHERE(uint32_t) break;
    default: WHERE(uint64_t) break;
    }
}

static ptq_status where_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *y = &r->out[0];
    where_ctx v = {r->in[0]->data, r->in[1]->data, r->in[2]->data, y->data,
                   ptq_elem_bytes(y->dtype)};
    ptq_walk w;
    ptq_walk_init(&w, y->rank, y->dims);
    for (int i = 0; i < 3; i++)
        ptq_walk_add(&w, r->in[i]->rank, r->in[i]->dims);
    return ptq_walk_run(c, &w, where_part, &v);
}
ROW(where, "Where", .takes = PTQ_TAKES_BYTES)

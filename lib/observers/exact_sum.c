/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/observers/exact_sum.h"

#include <math.h>
#include <string.h>

static void negate(ptq_exact_sum *s)
{
    uint64_t carry = 1;
    for (int i = 0; i < PTQ_EXACT_SUM_LIMBS; i++) {
        s->limb[i] = ~s->limb[i] + carry;
        carry = carry && s->limb[i] == 0;
    }
}

void ptq_exact_sum_merge(ptq_exact_sum *dst, const ptq_exact_sum *src)
{
    unsigned carry = 0;
    for (int i = 0; i < PTQ_EXACT_SUM_LIMBS; i++) {
        unsigned __int128 t = (unsigned __int128)dst->limb[i] + src->limb[i] + carry;
        dst->limb[i] = (uint64_t)t;
        carry = (unsigned)(t >> 64);
    }
}

void ptq_exact_sum_add(ptq_exact_sum *s, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t exponent = bits >> 23 & 255;
    uint64_t mantissa = bits & 0x7fffff;
    unsigned shift = 0; /* |x| = mantissa * 2^(shift - 149) */
    if (exponent) {
        mantissa |= 1u << 23;
        shift = exponent - 1;
    }
    ptq_exact_sum term = {{0}};
    unsigned __int128 wide = (unsigned __int128)mantissa << (shift % 64);
    term.limb[shift / 64] = (uint64_t)wide;
    term.limb[shift / 64 + 1] = (uint64_t)(wide >> 64); /* shift <= 253: limb 4 at most */
    if (bits >> 31)
        negate(&term);
    ptq_exact_sum_merge(s, &term);
}

double ptq_exact_sum_value(const ptq_exact_sum *s)
{
    ptq_exact_sum m = *s;
    bool negative = m.limb[PTQ_EXACT_SUM_LIMBS - 1] >> 63;
    if (negative)
        negate(&m);
    int top = PTQ_EXACT_SUM_LIMBS - 1;
    while (top > 0 && m.limb[top] == 0)
        top--;
    if (m.limb[top] == 0)
        return 0.0;
    /* The leading 64 bits, with a sticky last bit for all that follows: the conversion to double
     * drops 11 bits and then rounds as if it had seen the whole number. */
    int lead = __builtin_clzll(m.limb[top]);
    uint64_t head = m.limb[top] << lead, rest = 0;
    if (top > 0) {
        if (lead) {
            head |= m.limb[top - 1] >> (64 - lead);
            rest = m.limb[top - 1] << lead;
        } else {
            rest = m.limb[top - 1];
        }
    }
    for (int i = 0; i < top - 1; i++)
        rest |= m.limb[i];
    head |= rest != 0;
    double v = ldexp((double)head, 64 * top - lead - 149);
    return negative ? -v : v;
}

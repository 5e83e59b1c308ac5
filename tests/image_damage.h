/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of image decoders. */
#ifndef PTQ_TESTS_IMAGE_DAMAGE_H
#define PTQ_TESTS_IMAGE_DAMAGE_H

#include "lib/calib/image.h"
#include "tests/unit.h"

/* Prefix and bit-flip damage: an answer always, and the memory is that of a small image. The
 * copies have their exact size, so that the sanitizers see a read past the end. */
static inline void image_damage(const uint8_t *b, size_t n, size_t must_fail_below)
{
    for (size_t cut = 0; cut < n; cut++) {
        ptq_image img;
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, b, cut);
        ptq_status s = ptq_image_decode(copy, cut, &img);
        free(copy);
        if (s == PTQ_OK)
            ptq_image_free(&img);
        ck_assert_msg(s == PTQ_ERR_DATA || (s == PTQ_OK && cut >= must_fail_below),
                      "cut at %zu of %zu: %d", cut, n, (int)s);
    }
    uint8_t *copy = malloc(n);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        ptq_image img;
        memcpy(copy, b, n);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ptq_status s = ptq_image_decode(copy, n, &img);
        ck_assert(s == PTQ_OK || s == PTQ_ERR_DATA);
        if (s == PTQ_OK)
            ptq_image_free(&img);
    }
    free(copy);
}

#endif

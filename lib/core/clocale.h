/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers are written and read with a point, whatever locale the host program has set. */
#ifndef PTQ_CORE_CLOCALE_H
#define PTQ_CORE_CLOCALE_H

#include <locale.h>

typedef struct ptq_clocale {
    locale_t c, old;
} ptq_clocale;

/* Of this thread, until it is left. Without memory for it the host's stays. */
static inline ptq_clocale ptq_clocale_enter(void)
{
    ptq_clocale l = {newlocale(LC_ALL_MASK, "C", (locale_t)0), (locale_t)0};
    if (l.c)
        l.old = uselocale(l.c);
    return l;
}

static inline void ptq_clocale_leave(ptq_clocale l)
{
    if (!l.c)
        return;
    uselocale(l.old);
    freelocale(l.c);
}

#endif

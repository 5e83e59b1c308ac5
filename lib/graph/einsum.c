/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/graph/einsum.h"

#include <ctype.h>
#include <string.h>

/* Dimensions are first named by characters: letters, and for those of an ellipsis, counted from
 * the right, the characters 1 to 8. */
typedef struct term {
    char name[PTQ_MAX_RANK];
    int n;
} term;

/* One operand or the output, up to ',' or "->" or the end. `open` are the dimensions of the ellipsis. */
static const char *read_term(const char **p, int open, term *t)
{
    bool seen = false;
    t->n = 0;
    for (; **p && **p != ',' && strncmp(*p, "->", 2) != 0; ++*p) {
        if (**p == ' ')
            continue;
        bool dots = strncmp(*p, "...", 3) == 0;
        int more = dots ? open : 1;
        if (!dots && !isalpha((unsigned char)**p))
            return "holds a character that is neither a letter nor part of an ellipsis";
        if ((dots && seen) || t->n + more > PTQ_MAX_RANK)
            return dots && seen ? "has two ellipses in a term" : "has a term of too many dimensions";
        for (int i = 0; i < more; i++)
            t->name[t->n++] = dots ? (char)('0' + open - i) : **p;
        seen = seen || dots;
        *p += dots ? 2 : 0;
    }
    return NULL;
}

/* Letters of a term that is about to be read; *dots: with an ellipsis. */
static int count_letters(const char *p, bool *dots)
{
    int n = 0;
    *dots = false;
    for (; *p && *p != ',' && strncmp(p, "->", 2) != 0; p++) {
        n += isalpha((unsigned char)*p) != 0;
        *dots = *dots || *p == '.';
    }
    return n;
}

/* Without "->": the ellipsis, then the letters that occur once, in order. */
static void implied_output(const term *in, int n, int open, term *out)
{
    int count[128] = {0};
    out->n = 0;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < in[k].n; i++)
            count[(int)in[k].name[i]]++;
    for (int i = open; i > 0; i--)
        out->name[out->n++] = (char)('0' + i);
    for (int ch = 'A'; ch <= 'z'; ch++)
        if (count[ch] == 1 && out->n < PTQ_MAX_RANK)
            out->name[out->n++] = (char)ch;
}

static const char *number(const term *in, int n, const term *out, ptq_einsum *e)
{
    int id[128];
    memset(id, -1, sizeof id);
    *e = (ptq_einsum){.operands = n, .nout = out->n};
    for (int i = 0; i < out->n; i++) {
        if (id[(int)out->name[i]] >= 0)
            return "has a letter twice in its output";
        id[(int)out->name[i]] = e->labels++;
    }
    for (int k = 0; k < n; k++) {
        e->rank[k] = in[k].n;
        for (int i = 0; i < in[k].n; i++) {
            int *l = &id[(int)in[k].name[i]];
            *l = *l < 0 ? e->labels++ : *l;
            e->label[k][i] = *l;
        }
    }
    for (int i = 0; i < out->n; i++) {
        bool found = out->name[i] <= '9';
        for (int k = 0; k < n && !found; k++)
            found = memchr(in[k].name, out->name[i], (size_t)in[k].n) != NULL;
        if (!found)
            return "has a letter in its output alone";
    }
    return NULL;
}

const char *ptq_einsum_parse(const char *equation, const int *ranks, int n, ptq_einsum *out)
{
    term in[PTQ_EINSUM_OPERANDS], y;
    int open = 0;
    const char *p = equation, *why = NULL;
    if (n < 1 || n > PTQ_EINSUM_OPERANDS)
        return "has no or too many operands";
    for (int k = 0; k < n; k++) {
        bool dots;
        int rest = ranks[k] - count_letters(p, &dots);
        if (rest < 0 || (rest > 0 && !dots))
            return "does not fit the ranks of the inputs";
        open = dots && rest > open ? rest : open;
        if ((why = read_term(&p, rest, &in[k])) != NULL)
            return why;
        if (k + 1 < n && *p++ != ',')
            return "has fewer terms than there are inputs";
    }
    if (*p == ',')
        return "has more terms than there are inputs";
    if (*p) {
        p += 2;
        if ((why = read_term(&p, open, &y)) != NULL || *p)
            return why ? why : "goes on behind its output";
    } else {
        implied_output(in, n, open, &y);
    }
    return number(in, n, &y, out);
}

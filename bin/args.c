/* SPDX-License-Identifier: Apache-2.0 */
#include "bin/args.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ptq/io.h>
#include <ptq/ptq.h>

typedef enum kind { STRING, FLAG, COUNT, INT, NUMBER, LIST } kind;

typedef struct option_row {
    char letter;
    const char *name, *arg;
    kind kind;
    const char *verbs, *help;
    size_t offset;
} option_row;

static const option_row options[] = {
#define PTQ_OPTION(field, letter, name, arg, kind, verbs, help)                                    \
    {letter, name, arg, kind, verbs, help, offsetof(args, field)},
#include "bin/options.def"
#undef PTQ_OPTION
};
enum { NOPTIONS = sizeof options / sizeof options[0] };
_Static_assert(NOPTIONS <= (int)ARGS_OPTIONS_MAX, "room for every option");

bool args_given(const args *a, const char *name)
{
    for (int i = 0; i < NOPTIONS; i++)
        if (a->given[i] && strcmp(options[i].name, name) == 0)
            return true;
    return false;
}

static const verb verbs[] = {
    {"run", 'r', "MODEL -d DATA -o OUT", "calibrate, choose ranges, quantize, compare with fp32 (the default)", 1, 1},
    {"inspect", 'i', "MODEL", "inputs, operators, sizes, work, and what would be quantized", 1, 1},
    {"calibrate", 'c', "MODEL -d DATA -o STATS.h5", "collect statistics only", 1, 1},
    {"merge", 'm', "STATS.h5 ... -o STATS.h5", "join the statistics of shards", 1, ARGS_FILES_MAX},
    {"eval", 'e', "MODEL -d DATA", "accuracy of one model", 1, 1},
    {"compare", 'p', "REFERENCE CANDIDATE -d DATA", "fp32 against int8: outputs, accuracy, layers, size, latency", 2, 2},
    {"build", 'l', "MODEL -o PLAN", "an engine for this machine: kernels chosen, ready to be loaded and run", 1, 1},
    {"bench", 'h', "MODEL|PLAN", "latency, throughput, and where the time goes", 1, 1},
    {"backends", 'b', "", "devices, instruction sets, library versions", 0, 0},
};
enum { NVERBS = sizeof verbs / sizeof verbs[0] };

static void print_table(const char *title, bool (*row)(size_t, const char **, const char **))
{
    const char *name, *summary;
    printf("\n%s\n", title);
    for (size_t i = 0; row(i, &name, &summary); i++)
        printf("  %-14s %s\n", name, summary);
}

static void print_help(const verb *v)
{
    if (!v) {
        printf("Usage: quantize [VERB] ARGUMENTS\n\n"
               "Post-training quantization of ONNX models.\n\n");
        for (int i = 0; i < NVERBS; i++)
            printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
        printf("\n`quantize VERB --help` lists the options of a verb; without a verb it is `run`:\n\n");
        v = &verbs[0];
    }
    printf("Usage: quantize %s%s%s\n%s.\n\n", v == verbs ? "[run]" : v->name, *v->synopsis ? " " : "", v->synopsis,
           v->summary);
    for (int i = 0; i < NOPTIONS; i++) {
        const option_row *o = &options[i];
        char left[64];
        if (!strchr(o->verbs, v->letter))
            continue;
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter ? "," : " ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-26s %s\n", left, o->help);
    }
    printf("  %-26s %s\n  %-26s %s\n", "-h, --help", "this text", "    --version", "version");
    if (v->letter == 'r') {
        print_table("Methods:", ptq_method_info);
        print_table("Weights:", ptq_weight_info);
    }
    if (v->letter == 'r' || v->letter == 'i')
        print_table("Targets:", ptq_target_info);
    printf("\nExit codes: 0 done, 1 a gate or comparison failed, 2 usage, 3 bad model, 4 bad data,\n"
           "5 unsupported, 6 input or output, 7 memory, 8 device, 9 internal, 130 interrupted.\n");
}

/* v: the verb whose help tells more, or NULL. */
static int usage(const verb *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int usage(const verb *v, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "error: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "; `quantize %s%s--help` tells more\n", v ? v->name : "", v ? " " : "");
    return 2;
}

static const option_row *find_long(const char *name, size_t n, const verb *v)
{
    for (int i = 0; i < NOPTIONS; i++)
        if (strlen(options[i].name) == n && strncmp(options[i].name, name, n) == 0 &&
            strchr(options[i].verbs, v->letter))
            return &options[i];
    return NULL;
}

static const option_row *find_short(char letter, const verb *v)
{
    for (int i = 0; i < NOPTIONS; i++)
        if (options[i].letter == letter && strchr(options[i].verbs, v->letter))
            return &options[i];
    return NULL;
}

/* "3", "0.5" or "1/255". */
static bool parse_number(const char *s, double *out)
{
    char *end;
    double a = strtod(s, &end), b = 1.0; /* in the C locale: the program sets no other */
    if (end == s)
        return false;
    if (*end == '/') {
        const char *t = end + 1;
        b = strtod(t, &end);
        if (end == t || b == 0.0)
            return false;
    }
    *out = a / b;
    return *end == '\0' && isfinite(a / b);
}

static int set_option(args *a, const option_row *o, const char *value)
{
    void *p = (char *)a + o->offset;
    char *end;
    a->given[o - options] = true;
    switch (o->kind) {
    case STRING:
        *(opt_STRING *)p = value;
        return 0;
    case FLAG:
        *(opt_FLAG *)p = true;
        return 0;
    case COUNT:
        ++*(opt_COUNT *)p;
        return 0;
    case LIST: {
        opt_LIST *l = p;
        if (l->n == ARGS_LIST_MAX)
            return usage(a->verb, "--%s is given too often", o->name);
        l->v[l->n++] = value;
        return 0;
    }
    case INT:
        errno = 0;
        *(opt_INT *)p = strtol(value, &end, 10);
        if (end == value || *end || errno || *(opt_INT *)p < 1 || *(opt_INT *)p > INT_MAX)
            return usage(a->verb, "--%s wants a whole number of 1 or more", o->name);
        return 0;
    default:
        if (!parse_number(value, p))
            return usage(a->verb, "--%s wants a number", o->name);
        return 0;
    }
}

/* What the table of options cannot say. */
static int check_values(const args *a)
{
    if (!(a->skip_bad >= 0.0 && a->skip_bad <= 1.0))
        return usage(a->verb, "--skip-bad wants a share from 0 to 1");
    if (!(a->percentile > 0.0 && a->percentile <= 100.0))
        return usage(a->verb, "--percentile wants a number above 0, at most 100");
    if (!(a->seconds > 0.0 && a->seconds <= 3600.0))
        return usage(a->verb, "--seconds wants a number above 0, at most 3600");
    if (a->nonfinite && strcmp(a->nonfinite, "ignore") != 0)
        return usage(a->verb, "--nonfinite takes only 'ignore'");
    return 0;
}

static int unknown(const verb *v, const char *word)
{
    for (int i = 0; i < NOPTIONS; i++)
        if (strncmp(word, "--", 2) == 0 && strcspn(word + 2, "=") == strlen(options[i].name) &&
            strncmp(word + 2, options[i].name, strlen(options[i].name)) == 0)
            return usage(v, "`quantize %s` has no option '%s', other verbs have it", v->name, word);
    return usage(v, "`quantize %s` has no option '%s'", v->name, word);
}

/* One argument that begins with '-'; may take the next one. */
static int parse_option(args *a, char **argv, int argc, int *at)
{
    const char *word = argv[*at], *value = NULL;
    const option_row *o;
    if (word[1] == '-') {
        size_t n = strcspn(word + 2, "=");
        o = find_long(word + 2, n, a->verb);
        value = word[2 + n] ? word + 3 + n : NULL;
        if (o && !o->arg && value)
            return usage(a->verb, "--%s takes no value", o->name);
    } else {
        o = find_short(word[1], a->verb);
        /* -v and -q may be joined: -vv */
        if (o && !o->arg) {
            for (const char *p = word + 1; *p; p++) {
                const option_row *next = find_short(*p, a->verb);
                if (!next || next->arg)
                    return unknown(a->verb, word);
                set_option(a, next, NULL);
            }
            return 0;
        }
        value = word[2] ? word + 2 : NULL;
    }
    if (!o)
        return unknown(a->verb, word);
    if (o->arg && !value) {
        if (*at + 1 >= argc)
            return usage(a->verb, "--%s wants a value", o->name);
        value = argv[++*at];
    }
    return set_option(a, o, value);
}

/* Of a word that could only be a verb, such as "calibarte". */
static bool is_word(const char *s)
{
    return *s != '-' && !strpbrk(s, "./") && access(s, F_OK) != 0;
}

int args_parse(int argc, char **argv, args *out, int *code)
{
    int at = 1;
    bool named = false, plain = false;
    *out = (args){.verb = &verbs[0], .skip_bad = 0.01, .percentile = 99.99, .seconds = 2.0};
    for (int i = 0; argc > 1 && i < NVERBS; i++)
        if (strcmp(argv[1], verbs[i].name) == 0) {
            out->verb = &verbs[i];
            named = true;
            at = 2;
        }
    if (!named && argc > 1 && is_word(argv[1])) {
        *code = usage(NULL, "'%s' is neither a verb nor a file", argv[1]);
        return 1;
    }
    for (; at < argc; at++) {
        const char *word = argv[at];
        if (!plain && strcmp(word, "--") == 0) {
            plain = true;
        } else if (!plain && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(named ? out->verb : NULL);
            *code = 0;
            return 1;
        } else if (!plain && strcmp(word, "--version") == 0) {
            printf("quantize (ptq) %s\n", ptq_version());
            *code = 0;
            return 1;
        } else if (!plain && word[0] == '-' && word[1]) {
            *code = parse_option(out, argv, argc, &at);
            if (*code)
                return 1;
        } else if (out->nfiles == ARGS_FILES_MAX) {
            *code = usage(out->verb, "too many files");
            return 1;
        } else {
            out->files[out->nfiles++] = word;
        }
    }
    *code = 0;
    if (argc < 2) {
        print_help(NULL);
        *code = 2;
    } else if (out->nfiles < out->verb->min_files || out->nfiles > out->verb->max_files) {
        *code = usage(out->verb, "expected `quantize %s%s%s`", out->verb->name, *out->verb->synopsis ? " " : "",
                      out->verb->synopsis);
    } else {
        *code = check_values(out);
    }
    return *code != 0;
}

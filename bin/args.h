/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, parsed. One struct, filled from the table in options.def. */
#ifndef PTQ_BIN_ARGS_H
#define PTQ_BIN_ARGS_H

#include <stdbool.h>
#include <stddef.h>

enum { ARGS_LIST_MAX = 64, ARGS_FILES_MAX = 64, ARGS_OPTIONS_MAX = 96 };

typedef const char *opt_STRING;
typedef bool opt_FLAG;
typedef int opt_COUNT;
typedef long opt_INT;
typedef double opt_NUMBER;
typedef struct opt_LIST {
    const char *v[ARGS_LIST_MAX + 1]; /* NULL-terminated */
    size_t n;
} opt_LIST;

typedef struct verb {
    const char *name;
    char letter;
    const char *synopsis, *summary;
    int min_files, max_files;
} verb;

typedef struct args {
    const verb *verb;
    const char *files[ARGS_FILES_MAX];
    int nfiles;
    bool given[ARGS_OPTIONS_MAX]; /* in the order of options.def; see args_given */
#define PTQ_OPTION(field, letter, name, arg, kind, verbs, help) opt_##kind field;
#include "bin/options.def"
#undef PTQ_OPTION
} args;

/* Does the option of this long name stand on the command line? */
bool args_given(const args *a, const char *name);
/* 0: parsed; otherwise the process exits with *code (help was printed, or an error). */
int args_parse(int argc, char **argv, args *out, int *code);

#endif

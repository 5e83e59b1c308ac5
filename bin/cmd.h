/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs share. */
#ifndef PTQ_BIN_CMD_H
#define PTQ_BIN_CMD_H

#include <ptq/io.h>
#include <ptq/ptq.h>

#include "bin/args.h"
#include "bin/team.h"

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        ptq_status try_ = (expr);                                                                  \
        if (try_ != PTQ_OK)                                                                        \
            return try_;                                                                           \
    } while (0)

/* A line on stderr, control bytes made harmless. */
void cmd_line(const char *kind, const char *text);
/* Prints "error: ..." for a failed status; returns the exit code. In a team it ends the others too. */
int cmd_fail(ptq_status s);
/* Sets nothing in the library: an error made by the command itself. */
ptq_status cmd_error(ptq_status s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds "NAME [1,3,N,M]" to a list. */
void cmd_tensor_text(const ptq_tensor_info *t, char *list, size_t n);
/* Chatter on stderr, unless -q. */
void cmd_say(const args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Progress, bad samples and interruption for every loop. */
typedef struct progress {
    const args *a;
    const char *what;
    double start, last;
    bool tty, open;
    size_t bad;
} progress;
void progress_init(progress *p, const args *a);
void progress_end(progress *p); /* ends an open bar */
ptq_loop_options progress_loop(progress *p, const args *a);

/* PTQ_ERR_ARG when an output is an input as well, or another output; the files of data sets come later. */
ptq_status cmd_check_outputs(const args *a);
/* Data set from the common options. inputs: those with data of their own, or NULL; labels may be NULL.
 * PTQ_ERR_ARG when an output is one of its files; *out is to be closed then too. */
ptq_status cmd_open_data(const args *a, const char *path, const opt_LIST *inputs, const char *labels,
                         const ptq_model *m, ptq_data **out);
/* Loads and optimizes. */
ptq_status cmd_load(const args *a, const char *path, ptq_model **out);
/* Prints as text, or (with --json) the JSON of reports joined under their names. */
typedef struct named_report {
    const char *name;
    const ptq_report *report; /* NULL: was not made */
} named_report;
/* PTQ_ERR_IO when what was printed did not arrive. */
ptq_status cmd_flush(void);
ptq_status cmd_print(const args *a, const named_report *list, size_t n);
/* The form of --fail-if, and that the figures will be measured, before any work. */
ptq_status cmd_check_gates(const args *a);
/* The same for figures that need labels, once the data are open; d may be NULL. */
ptq_status cmd_check_labels(const args *a, const ptq_data *d);
/* --fail-if against a report: PTQ_ERR_GATE when one holds. */
ptq_status cmd_gates(const args *a, const ptq_report *r);

ptq_status cmd_run(const args *a);
ptq_status cmd_inspect(const args *a);
ptq_status cmd_calibrate(const args *a);
ptq_status cmd_merge(const args *a);
ptq_status cmd_eval(const args *a);
ptq_status cmd_compare(const args *a);
ptq_status cmd_backends(const args *a);
ptq_status cmd_build(const args *a);
ptq_status cmd_bench(const args *a);
/* Options of an engine from the command line. */
ptq_status cmd_engine_options(const args *a, ptq_engine_options *o);
/* --shapes; starts as zero. An input that is named again begins the next profile. */
typedef struct cmd_shapes {
    ptq_shape_range range[ARGS_LIST_MAX];
    char *name[ARGS_LIST_MAX];
    ptq_profile profile[ARGS_LIST_MAX];
    size_t n, nprofiles;
} cmd_shapes;
ptq_status cmd_read_shapes(const args *a, cmd_shapes *s);
void cmd_free_shapes(cmd_shapes *s);

/* Those who do this job together; NULL: this process alone. */
extern const ptq_team *cmd_team;
static inline bool cmd_is_first(void)
{
    return !cmd_team || cmd_team->rank == 0;
}

/* Set by the signal handler. */
extern volatile int cmd_interrupted;

#endif

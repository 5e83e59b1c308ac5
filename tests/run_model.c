/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a model on .npy inputs, for the oracle scripts and for a look at a program.
 * run_model [options] MODEL IN.npy... OUT.npy...   (as many of each as the model has)
 *   --int        lower Q/DQ to integer steps      --plain  no NHWC between them
 *   --float-out  with --int: products without Q behind in integers
 *   --rearrange  rewrite a quantized graph first
 *   --no-fuse    no float fusion                  --no-passes  the graph as it was loaded
 *   --upgrade N  to opset N first
 *   --steps      print the program                --time N  run N times, print times, work and bytes per step
 *   --dump DIR   every value to DIR/<number>.npy, names in DIR/names.txt
 *   -j N         threads                          --isa NAME */
#include <math.h>
#include <string.h>
#include <time.h>

#include "lib/exec/session.h"
#include "lib/graph/pass.h"
#include "lib/onnx/onnx_io.h"
#include "tests/npy_io.h"

typedef struct options {
    bool integer, plain, float_out, no_fuse, no_passes, steps, rearrange;
    int repeat, threads, upgrade;
    const char *isa, *dump;
    FILE *names;
    int ndumped;
} options;

static ptq_status dump_value(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    options *o = ctx;
    char path[1024];
    if (t->dtype == PTQ_DT_UNDEFINED)
        return PTQ_OK;
    snprintf(path, sizeof path, "%s/%d.npy", o->dump, o->ndumped);
    fprintf(o->names, "%d %s\n", o->ndumped++, v->name);
    return npy_write(path, t);
}

/* Steps with their times; NULL: without. */
static void print_program(const ptq_session *s, const ptq_step_time *time)
{
    const ptq_program *p = ptq_session_program(s);
    for (size_t i = 0; i < p->steps.n; i++) {
        const ptq_step *st = &p->steps.v[i];
        printf("%4zu %-14s %-18s %-40s", i, st->def->name, st->node->op, st->name);
        for (int k = 0; k < st->nout; k++)
            if (st->out[k] >= 0)
                printf(" %s%s", ptq_dtype_name(p->values.v[st->out[k]].dtype),
                       p->values.v[st->out[k]].layout == PTQ_LAYOUT_NHWC ? "/nhwc" : "");
        if (st->def->integer && st->nin == 3 && strcmp(st->def->name, "qconcat") != 0)
            printf(" + %s", p->values.v[st->in[2]].name); /* a residual */
        if (time)
            printf(" %9.3f ms %.0f MAC %.0f bytes", 1e3 * time[i].seconds, time[i].macs, time[i].bytes);
        printf("\n");
    }
    for (size_t i = 0; i < p->remarks.n; i++)
        printf("float: %s: %s\n", p->remarks.v[i].node->name, p->remarks.v[i].reason);
}

/* The same, timed in `repeat` runs of their own. */
static ptq_status print_steps(ptq_session *s, const ptq_tensor *in, size_t nin, ptq_tensor *out, size_t nout, int repeat)
{
    bool recorded;
    ptq_step_time *time = repeat > 0 ? ptq_calloc(ptq_session_program(s)->steps.n, sizeof *time) : NULL;
    if (time)
        PTQ_TRY(ptq_session_profile(s, in, nin, out, nout, false, repeat, time, &recorded));
    print_program(s, time);
    free(time);
    return PTQ_OK;
}

/* Of one thread: processor time, so that other work on the machine counts less. */
static double now(const options *o)
{
    struct timespec t;
    clock_gettime(o->threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ptq_status run(options *o, const ptq_graph *g, char **files, int nfiles)
{
    ptq_session_options so = {.lower = {.integer = o->integer, .nhwc = !o->plain,
                                        .float_out = o->float_out, .fuse = !o->no_fuse,
                                        .rearrange = o->rearrange}};
    if (o->dump) {
        char path[1024];
        snprintf(path, sizeof path, "%s/names.txt", o->dump);
        so.tap = dump_value;
        so.tap_ctx = o;
        if (!(o->names = fopen(path, "w")))
            return ptq_fail(PTQ_ERR_IO, "%s: cannot create", path);
    }
    ptq_session *s;
    so.device.isa = o->isa;
    PTQ_TRY(ptq_pool_new(o->threads, &so.device.pool));
    PTQ_TRY(ptq_session_new(g, &so, &s));
    size_t nin = g->inputs.n, nout = g->outputs.n;
    if ((size_t)nfiles != nin + nout) {
        if (o->steps)
            print_program(s, NULL);
        return o->steps ? PTQ_OK
                        : ptq_fail(PTQ_ERR_ARG, "needs %zu inputs and %zu outputs", nin, nout);
    }
    ptq_tensor *in = ptq_calloc(nin, sizeof *in), *out = ptq_calloc(nout, sizeof *out);
    if (!in || !out)
        return ptq_fail_nomem();
    for (size_t i = 0; i < nin; i++)
        PTQ_TRY(npy_read(files[i], &in[i]));
    double total = 0.0, best = INFINITY;
    for (int i = 0; i < (o->repeat > 0 ? o->repeat : 1); i++) {
        double t = now(o);
        PTQ_TRY(ptq_session_run(s, in, nin, out, nout));
        t = now(o) - t;
        if (i == 0)
            continue; /* the first run binds shapes */
        total += t;
        best = t < best ? t : best;
    }
    if (o->repeat > 1)
        printf("%.3f ms per run, %.3f ms at best, %zu bytes of activations\n",
               1e3 * total / (o->repeat - 1), 1e3 * best, ptq_session_activation_bytes(s));
    for (size_t i = 0; i < nout; i++)
        PTQ_TRY(npy_write(files[nin + i], &out[i]));
    if (o->steps)
        PTQ_TRY(print_steps(s, in, nin, out, nout, o->repeat));
    for (size_t i = 0; i < nin; i++)
        free(in[i].data);
    free(in);
    free(out);
    if (o->names)
        fclose(o->names);
    ptq_session_free(s);
    ptq_pool_free(so.device.pool);
    return PTQ_OK;
}

int main(int argc, char **argv)
{
    options o = {.threads = 1};
    int a = 1;
    for (; a < argc && argv[a][0] == '-'; a++) {
        const char *s = argv[a];
        bool more = a + 1 < argc;
        if (!strcmp(s, "--int"))
            o.integer = true;
        else if (!strcmp(s, "--float-out"))
            o.float_out = true;
        else if (!strcmp(s, "--plain"))
            o.plain = true;
        else if (!strcmp(s, "--no-fuse"))
            o.no_fuse = true;
        else if (!strcmp(s, "--rearrange"))
            o.rearrange = true;
        else if (!strcmp(s, "--no-passes"))
            o.no_passes = true;
        else if (!strcmp(s, "--steps"))
            o.steps = true;
        else if (!strcmp(s, "--upgrade") && more)
            o.upgrade = atoi(argv[++a]);
        else if (!strcmp(s, "--time") && more)
            o.repeat = atoi(argv[++a]);
        else if (!strcmp(s, "--dump") && more)
            o.dump = argv[++a];
        else if (!strcmp(s, "--isa") && more)
            o.isa = argv[++a];
        else if (!strcmp(s, "-j") && more)
            o.threads = atoi(argv[++a]);
        else {
            fprintf(stderr, "unknown option %s\n", s);
            return 2;
        }
    }
    if (a >= argc) {
        fprintf(stderr, "usage: run_model [options] MODEL IN.npy... OUT.npy...\n");
        return 2;
    }
    ptq_graph *g = NULL;
    ptq_onnx_load_options load = {.inline_calls = true};
    ptq_status s = ptq_onnx_load(argv[a], &load, &g);
    if (s == PTQ_OK)
        s = ptq_graph_renew(g);
    if (s == PTQ_OK)
        s = ptq_graph_expand(g);
    if (s == PTQ_OK && o.upgrade)
        s = ptq_graph_upgrade(g, o.upgrade);
    if (s == PTQ_OK && o.no_passes)
        s = ptq_infer_graph(g);
    if (s == PTQ_OK && !o.no_passes) {
        ptq_pass_ctx ctx = {.graph = g, .eval = ptq_exec_eval_node, .fold_limit = 1 << 20};
        s = ptq_passes_run(&ctx);
    }
    if (s == PTQ_OK)
        s = run(&o, g, argv + a + 1, argc - a - 1);
    if (s != PTQ_OK)
        fprintf(stderr, "run_model: %s\n", ptq_last_error());
    ptq_graph_free(g);
    return ptq_exit_code(s);
}

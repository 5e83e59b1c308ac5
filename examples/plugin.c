/* SPDX-License-Identifier: Apache-2.0 */
/* An operator that the library does not have, added from outside: com.example.Swap turns the two halves
 * of the channels of an NCHW tensor, as shuffling networks do. It moves elements, so that it works on
 * float and on 8-bit codes alike. Built and run with
 *
 *     cc examples/plugin.c $(pkg-config --cflags --libs ptq) -o plugin && ./plugin model.onnx
 *
 * where the model has such a node, one input and one output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ptq/ptq.h>

static ptq_status swap_shapes(void *ctx, const ptq_plugin_call *c)
{
    (void)ctx;
    if (c->nin != 1 || c->nout != 1 || c->in[0].t.rank != 4 || c->in[0].t.dims[1] % 2 != 0)
        return ptq_plugin_fail(PTQ_ERR_MODEL, "Swap wants one NCHW tensor with an even number of channels");
    c->out[0].t.rank = 4;
    memcpy(c->out[0].t.dims, c->in[0].t.dims, sizeof c->in[0].t.dims);
    return PTQ_OK;
}

static ptq_status swap_run(void *ctx, const ptq_plugin_call *c)
{
    const ptq_tensor *x = &c->in[0].t, *y = &c->out[0].t;
    size_t image = x->dims[0] ? x->nbytes / (size_t)x->dims[0] : 0;
    (void)ctx;
    if (c->in[0].quantized && (c->in[0].scale != c->out[0].scale || c->in[0].zero_point != c->out[0].zero_point))
        return ptq_plugin_fail(PTQ_ERR_UNSUPPORTED, "Swap moves codes: both sides need the same scale and zero point");
    for (int64_t n = 0; n < x->dims[0]; n++) {
        const char *from = (const char *)x->data + (size_t)n * image;
        char *to = (char *)y->data + (size_t)n * image;
        memcpy(to, from + image / 2, image / 2);
        memcpy(to + image / 2, from, image / 2);
    }
    return PTQ_OK;
}

const ptq_plugin example_swap = {.size = sizeof(ptq_plugin),
                                 .op = "Swap",
                                 .domain = "com.example",
                                 .formats = PTQ_PLUGIN_FLOAT | PTQ_PLUGIN_INT8,
                                 .shapes = swap_shapes,
                                 .run = swap_run};

#ifndef PTQ_EXAMPLE_NO_MAIN
static int run(ptq_engine *e)
{
    ptq_context *c = NULL;
    ptq_shape_range r;
    ptq_tensor x = {.dtype = PTQ_DT_F32}, y = {0};
    ptq_status s = ptq_context_new(e, 0, &c);
    if (s == PTQ_OK)
        s = ptq_engine_range(e, 0, 0, &r);
    if (s == PTQ_OK) {
        x.rank = r.rank;
        memcpy(x.dims, r.min, sizeof r.min);
        x.nbytes = sizeof(float);
        for (int i = 0; i < x.rank; i++)
            x.nbytes *= (size_t)x.dims[i];
        x.data = calloc(1, x.nbytes);
        s = ptq_context_shapes(c, &x, 1, &y, 1);
    }
    if (s == PTQ_OK) {
        y.data = malloc(y.nbytes);
        s = x.data && y.data ? ptq_context_run(c, &x, 1, &y, 1) : PTQ_ERR_NOMEM;
    }
    if (s == PTQ_OK)
        printf("ran: %zu bytes came out\n", y.nbytes);
    free(x.data);
    free(y.data);
    ptq_context_free(c);
    return s;
}

int main(int argc, char **argv)
{
    const ptq_plugin *const plugins[] = {&example_swap};
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_model *m = NULL;
    ptq_engine *e = NULL;
    ptq_status s = ptq_model_load(argc > 1 ? argv[1] : "model.onnx", NULL, &m);
    o.plugins = plugins;
    o.nplugins = 1;
    if (s == PTQ_OK)
        s = ptq_model_optimize(m);
    if (s == PTQ_OK)
        s = ptq_engine_build(m, &o, &e);
    if (s == PTQ_OK)
        s = run(e);
    if (s != PTQ_OK)
        fprintf(stderr, "error: %s\n", ptq_last_error());
    ptq_engine_free(e);
    ptq_model_free(m);
    return ptq_exit_code(s);
}
#endif

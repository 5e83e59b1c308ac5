/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions on the CUDA backend: the embedded model in every form against the CPU's bytes, movers
 * with several outputs and late shapes, and (on the stand-in device) every call failing in turn. */
#include "tests/gpu_session.h"
#include "lib/exec/sturdy.h"
#include "tests/graph_text.h"
#ifdef PTQ_TEST_FAKE
#include "tests/fake_dev.h"
#endif

static gs_data images = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 32, 32}};

static const struct {
    const char *target, *format;
} forms[] = {{"portable", "qdq"}, {"ort", "qdq"}, {"ort", "qoperator"}, {"tensorrt", "qdq"}};

START_TEST(session__embedded_model)
{
    static const int64_t batches[] = {1, 7, 64, 7};
    char what[64];
    ptq_model *m = gs_shapes(), *q = gs_quantize(m, &images, 8, forms[_i].target, forms[_i].format);
    snprintf(what, sizeof what, "shapes, %s, %s", forms[_i].target, forms[_i].format);
    size_t n = gs_both(q->graph, &images, batches, PTQ_COUNT(batches), what);
    printf("%s: %zu tensors, 0 bytes differ\n", what, n);
    ck_assert_uint_ge(n, 4 * 15);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

/* ---- movers on codes ---- */

static const char *const moves[] = {
    "input x u8 [b,12,4]\nconst n s64 [3] 3 4 5\na, c, d = Split(x, n) axis=1\nt = Transpose(c) perm=[2,0,1]\n"
    "output a\noutput d\noutput t\n",
    "input x u8 [b,12,4]\na, c, d = Split(x) axis=1\noutput c\n",
    /* the shape is known when the data are */
    "input x u8 [b,12,4]\ninput n s64 [2]\ny = Reshape(x, n)\nz = Transpose(y) perm=[1,0]\noutput z\noutput y\n",
    "input x u8 [b,12,4]\ninput n s64 [2]\nconst o s64 [1] 0\nconst e s64 [1] 1\ne1 = Slice(n, o, e)\n"
    "y = Slice(x, o, e1, e)\nz = Transpose(y) perm=[2,1,0]\noutput z\n",
    "input x u8 [b,12,4]\ninput n s64 [2]\ny = Gather(x, n) axis=2\noutput y\n",
    "input x u8 [b,12,4]\nconst k s64 [3] 2 -1 0\ny = Gather(x, k) axis=1\nz = Flatten(y)\noutput y\noutput z\n",
    "input x u8 [b,12,4]\nh = Shape(x)\nconst k s64 [1] 0\nconst l s64 [2] 1 2\nn = Gather(h, k)\nm = Gather(h, l)\n"
    "const one s64 [1] 3\np = Concat(one, n, m) axis=0\ny = Expand(x, p)\nz = Reshape(y, p)\noutput z\n",
    "input x u8 [b,12,4]\ny = MaxPool(x) kernel_shape=[2] strides=[2]\noutput y\n",
    "opset 13\ninput x u8 [b,12,4]\nconst s f32 [] 0.5\nconst p u8 [] 7\nd = DequantizeLinear(x, s, p)\n"
    "t = Transpose(d) perm=[0,2,1]\ny = QuantizeLinear(t, s, p)\nconst r s64 [3] 1 2 3\n"
    "e = DequantizeLinear(y, s, p)\nu = Tile(e, r)\nz = QuantizeLinear(u, s, p)\noutput z\n",
};

START_TEST(session__movers)
{
    gs_record want = {0}, got = {0};
    ptq_graph *g = gt_parse(moves[_i]);
    ck_assert_ok(ptq_infer_graph(g));
    ptq_session *cpu, *gpu;
    ptq_session_options oc = gs_options(NULL, NULL), og = gs_options(&ptq_backend_cuda, NULL);
    ck_assert_ok(ptq_session_new(g, &oc, &cpu));
    ck_assert_ok(ptq_session_new(g, &og, &gpu));
    char what[32];
    snprintf(what, sizeof what, "movers %d", _i);
    gs_host_steps(gpu, what);
    for (int64_t n = 1; n <= 3; n++) {
        int64_t numbers[2] = {_i == 3 ? 9 : _i == 4 ? 3 : n * 12 * 2, _i == 4 ? -4 : 2};
        gs_data d = {.dtype = PTQ_DT_U8, .rank = 2, .dims = {12, 4}};
        ptq_tensor in[2] = {gs_batch(&d, n, (uint64_t)n), {PTQ_DT_S64, 1, {2}, numbers, sizeof numbers}};
        ck_assert_ok(gs_run(cpu, g, in, &want));
        ck_assert_ok(gs_run(gpu, g, in, &got));
        gs_same(&want, &got, what);
        free(in[0].data);
        gs_clear(&want);
        gs_clear(&got);
    }
    ptq_session_free(cpu);
    ptq_session_free(gpu);
    ptq_graph_free(g);
}
END_TEST

/* Steps with tables of their own on the device, and a float operator. */
static const char tables[] =
    "opset 13\ninput x f32 [b,8,6,6]\nconst s f32 [] 0.05\nconst p s8 [] 3\nconst r f32 [] 0.004\nconst t s8 [] -128\n"
    "const sa f32 [8] 0.1 0.2 0.03 0.05 0.11 0.4 0.01 0.07\nconst za s8 [8] 1 -2 30 0 -128 127 5 6\n"
    "const k s64 [3] 5 -1 0\n"
    "q = QuantizeLinear(x, s, p)\nd = DequantizeLinear(q, s, p)\nf = Sigmoid(d)\ngq = QuantizeLinear(f, r, t)\n"
    "g = DequantizeLinear(gq, r, t)\nc = Concat(d, g) axis=1\ncq = QuantizeLinear(c, s, p)\n"
    "ca = DequantizeLinear(cq, s, p)\nh = Gather(ca, k) axis=1\nhq = QuantizeLinear(h, s, p)\n"
    "hd = DequantizeLinear(hq, s, p)\ny = Softmax(hd)\nm = Mul(d, g)\nmq = QuantizeLinear(m, s, p)\n"
    "xq = QuantizeLinear(x, sa, za) axis=1\nz = DequantizeLinear(xq, sa, za) axis=1\n"
    "output y\noutput z\noutput cq\noutput mq\n";
static const gs_data planes = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {8, 6, 6}};

START_TEST(session__tables)
{
    static const int64_t batches[] = {1, 3, 1};
    static const char *const kinds[] = {"qlut", "qconcat", "qmove", "qmul", "quantize", "dequantize"};
    ptq_graph *g = gt_parse(tables);
    ptq_session *s;
    ptq_session_options o = gs_options(&ptq_backend_cuda, NULL);
    ck_assert_ok(ptq_infer_graph(g));
    ck_assert_uint_gt(gs_both(g, &planes, batches, PTQ_COUNT(batches), "tables"), 3 * 8);
    ck_assert_ok(ptq_session_new(g, &o, &s));
    for (size_t k = 0; k < PTQ_COUNT(kinds); k++) {
        const ptq_program *p = ptq_session_program(s);
        bool found = false;
        for (size_t i = 0; i < p->steps.n; i++)
            found = found || strcmp(p->steps.v[i].def->name, kinds[k]) == 0;
        ck_assert_msg(found, "no step %s", kinds[k]);
    }
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

/* ---- device memory and streams ---- */

typedef struct device_run { /* buffers on the device for one input and the outputs of a model */
    ptq_backend *b;
    ptq_tensor in, out[4];
    size_t nout;
} device_run;

static void device_open(device_run *r, ptq_session *s, const ptq_graph *g, const ptq_tensor *x)
{
    *r = (device_run){.b = ptq_session_backend(s), .in = *x, .nout = g->outputs.n};
    ck_assert_ok(ptq_session_shapes(s, x, 1, r->out, r->nout));
    ck_assert_ok(ptq_backend_cuda.alloc(r->b, x->nbytes, &r->in.data));
    for (size_t i = 0; i < r->nout; i++)
        ck_assert_ok(ptq_backend_cuda.alloc(r->b, r->out[i].nbytes, &r->out[i].data));
}

static void device_close(device_run *r)
{
    ptq_backend_cuda.free(r->b, r->in.data);
    for (size_t i = 0; i < r->nout; i++)
        ptq_backend_cuda.free(r->b, r->out[i].data);
}

/* One enqueued run on these samples, read back. */
static void device_run_once(device_run *r, ptq_session *s, const ptq_graph *g, const ptq_tensor *x, gs_record *k)
{
    ck_assert_ok(ptq_backend_cuda.upload(r->b, r->in.data, x->data, x->nbytes));
    ck_assert_ok(ptq_session_enqueue(s, &r->in, 1, r->out, r->nout, NULL));
    for (size_t i = 0; i < r->nout; i++) {
        ptq_tensor t = r->out[i];
        ck_assert_ok(ptq_tensor_alloc(&t));
        ck_assert_ok(ptq_backend_cuda.download(r->b, t.data, r->out[i].data, t.nbytes));
        ck_assert_ok(gs_keep(k, g->outputs.v[i]->name, &t));
        free(t.data);
    }
}

/* Two sessions of one executable, runs of each between those of the other: the first one goes step by
 * step, the second is recorded, the others replay. */
START_TEST(session__enqueue)
{
    ptq_model *m = gs_shapes(), *q = gs_quantize(m, &images, 8, forms[_i].target, forms[_i].format);
    ptq_session_options oc = gs_options(NULL, NULL), so = {.replay = true};
    ptq_executable_options eo = {.ops = &ptq_backend_cuda, .lower = oc.lower};
    ptq_executable *e;
    ptq_session *cpu, *on[2];
    device_run r[2];
    ck_assert_ok(ptq_session_new(q->graph, &oc, &cpu));
    ck_assert_ok(ptq_executable_new(q->graph, &eo, &e));
    for (int i = 0; i < 2; i++) {
        ptq_tensor x = gs_batch(&images, 3 + i, 1);
        ck_assert_ok(ptq_session_on(e, &so, &on[i]));
        device_open(&r[i], on[i], q->graph, &x);
        free(x.data);
    }
    for (int n = 0; n < 8; n++) {
        gs_record want = {0}, got = {0};
        ptq_tensor x = gs_batch(&images, 3 + n % 2, 20 + (uint64_t)n);
        ck_assert_ok(gs_run(cpu, q->graph, &x, &want));
        device_run_once(&r[n % 2], on[n % 2], q->graph, &x, &got);
        gs_same(&want, &got, "enqueued");
        free(x.data);
        gs_clear(&want);
        gs_clear(&got);
    }
    for (int i = 0; i < 2; i++) {
        device_close(&r[i]);
        ptq_session_free(on[i]);
    }
    ptq_executable_free(e);
    ptq_session_free(cpu);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

/* Indices that the shapes tell, read by a kernel on the device: two sets of shapes in turn, each with
 * its own, from one recording each. */
static const char told_by_shapes[] = "input x f32 [b,12,4]\nh = Shape(x)\nconst k s64 [2] 0 2\nn = Gather(h, k)\n"
                                     "y = Gather(x, n) axis=1\nz = Relu(y)\noutput z\noutput n\n";

START_TEST(session__enqueue_known_contents)
{
    ptq_graph *g = gt_parse(told_by_shapes);
    ptq_session_options oc = gs_options(NULL, NULL), o = gs_options(&ptq_backend_cuda, NULL);
    ptq_session *cpu, *s;
    device_run r[2];
    gs_data d = {.dtype = PTQ_DT_F32, .rank = 2, .dims = {12, 4}};
    ck_assert_ok(ptq_infer_graph(g));
    o.replay = true;
    ck_assert_ok(ptq_session_new(g, &oc, &cpu));
    ck_assert_ok(ptq_session_new(g, &o, &s));
    for (int i = 0; i < 2; i++) {
        ptq_tensor x = gs_batch(&d, 2 + 5 * i, 1);
        device_open(&r[i], s, g, &x);
        free(x.data);
    }
#ifdef PTQ_TEST_FAKE
    ptq_fake_records = _i == 1; /* then nothing is computed, and only the replays are counted */
    ptq_fake_replays = 0;
#endif
    for (int n = 0; n < 8; n++) {
        gs_record want = {0}, got = {0};
        ptq_tensor x = gs_batch(&d, 2 + 5 * (n % 2), 20 + (uint64_t)n);
        ck_assert_ok(gs_run(cpu, g, &x, &want));
        device_run_once(&r[n % 2], s, g, &x, &got);
        if (_i == 0)
            gs_same(&want, &got, "known contents");
        free(x.data);
        gs_clear(&want);
        gs_clear(&got);
    }
#ifdef PTQ_TEST_FAKE
    ck_assert_int_eq(ptq_fake_replays > 0, _i == 1);
    ptq_fake_records = false;
#endif
    for (int i = 0; i < 2; i++)
        device_close(&r[i]);
    ptq_session_free(s);
    ptq_session_free(cpu);
    ptq_graph_free(g);
}
END_TEST

START_TEST(session__enqueue_refuses)
{
    ptq_model *m = gs_shapes();
    ptq_session *s;
    ptq_session_options o = gs_options(&ptq_backend_cuda, NULL);
    ptq_tensor x = gs_batch(&images, 2, 1), in, out[1];
    device_run r;
    ck_assert_ok(ptq_session_new(m->graph, &o, &s));
    device_open(&r, s, m->graph, &x);
    in = r.in;
    out[0] = r.out[0];
    in.data = (char *)in.data + 4;
    ck_assert_fails(ptq_session_enqueue(s, &in, 1, out, 1, NULL), PTQ_ERR_ARG);
    ck_assert_says("not aligned to 16 bytes");
    in.data = NULL;
    ck_assert_fails(ptq_session_enqueue(s, &in, 1, out, 1, NULL), PTQ_ERR_ARG);
    ck_assert_says("has no buffer");
    in = r.in;
    in.dims[1] = 4;
    ck_assert_fails(ptq_session_enqueue(s, &in, 1, out, 1, NULL), PTQ_ERR_DATA);
    ck_assert_fails(ptq_session_enqueue(s, &r.in, 1, out, 2, NULL), PTQ_ERR_ARG);
    device_close(&r);
    ptq_session_free(s);
    o = gs_options(NULL, NULL);
    ck_assert_ok(ptq_session_new(m->graph, &o, &s));
    ck_assert_fails(ptq_session_enqueue(s, &x, 1, out, 1, NULL), PTQ_ERR_UNSUPPORTED);
    ptq_session_free(s);
    free(x.data);
    ptq_model_free(m);
}
END_TEST

/* An index that lies on the device is seen by the kernel alone: the next wait tells. */
START_TEST(session__indices_on_the_device)
{
    ptq_model *m;
    ptq_session *s;
    ptq_session_options o = gs_options(&ptq_backend_cuda, NULL);
    const char text[] = "input x s64 [n]\nconst t f32 [3,4]\nlook = Gather(t, x)\noutput look\n";
    ck_assert_ok(ptq_model_wrap(gt_parse(text), &m));
    ck_assert_ok(ptq_model_optimize(m));
    ck_assert_ok(ptq_session_new(m->graph, &o, &s));
    static const int64_t at[4][3] = {{0, 1, 2}, {0, 3, 1}, {-1, -3, 0}, {-4, 0, 0}};
    ptq_tensor x = {.dtype = PTQ_DT_S64, .rank = 1, .dims = {3}, .nbytes = sizeof at[0]};
    const float *t = m->graph->first->in[0]->constant->data;
    float y[12];
    device_run r;
    device_open(&r, s, m->graph, &x);
    for (int i = 0; i < 4; i++) {
        ck_assert_ok(ptq_backend_cuda.upload(r.b, r.in.data, at[i], sizeof at[i]));
        ck_assert_ok(ptq_session_enqueue(s, &r.in, 1, r.out, r.nout, NULL));
        ptq_status st = ptq_backend_cuda.download(r.b, y, r.out[0].data, sizeof y);
        ck_assert_int_eq(st, i % 2 ? PTQ_ERR_DATA : PTQ_OK);
        if (i % 2)
            ck_assert_says("an index is outside");
        for (int k = 0; k < 12 && i % 2 == 0; k++)
            ck_assert_float_eq(y[k], t[(at[i][k / 4] < 0 ? at[i][k / 4] + 3 : at[i][k / 4]) * 4 + k % 4]);
    }
    device_close(&r);
    ptq_session_free(s);
    ptq_model_free(m);
}
END_TEST

#ifdef PTQ_TEST_FAKE
static int warnings;

static void count_warning(void *payload, ptq_log_level level, const char *text)
{
    warnings += level == PTQ_LOG_WARN && strstr(text, (const char *)payload) != NULL;
}

/* A device with less and less memory: the same bytes, in parts and at last on the CPU. */
START_TEST(session__sturdy)
{
    static const int told[] = {0, 3, 1, 1};
    char parts[] = "samples at a time", cpu[] = "with the CPU";
    ptq_model *m = gs_shapes();
    ptq_session_options o = gs_options(&ptq_backend_cuda, NULL), oc = gs_options(NULL, NULL);
    ptq_tensor x = gs_batch(&images, 61, 5), out[1];
    gs_record want = {0};
    ptq_session *s;
    ptq_sturdy *t;
    ck_assert_ok(ptq_session_new(m->graph, &oc, &s));
    ck_assert_ok(gs_run(s, m->graph, &x, &want));
    ptq_session_free(s);
    ck_assert_ok(ptq_session_new(m->graph, &o, &s)); /* what it takes */
    size_t weights = ptq_fake_bytes;
    ck_assert_ok(ptq_session_run(s, &x, 1, out, 1));
    size_t all = ptq_fake_bytes;
    ptq_session_free(s);
    for (int k = 0; k < 4; k++) {
        size_t memory[] = {all + 4096, weights + (all - weights) / 5, weights + 4096, weights / 2};
        warnings = 0;
        ptq_set_log(count_warning, k < 2 ? parts : cpu, PTQ_LOG_WARN);
        ptq_fake_memory = memory[k];
        ck_assert_ok(ptq_sturdy_new(m->graph, &o, &t));
        for (int again = 0; again < 2; again++) {
            ck_assert_ok(ptq_sturdy_run(t, &x, 1, out, 1));
            ck_assert_uint_eq(out[0].nbytes, want.v[0].t.nbytes);
            ck_assert_int_eq(out[0].dims[0], 61);
            ck_assert_int_eq(memcmp(out[0].data, want.v[0].t.data, out[0].nbytes), 0);
        }
        ck_assert_int_eq(warnings, told[k]);
        ptq_sturdy_free(t);
        ptq_fake_memory = 0;
        ck_assert_int_eq(ptq_fake_live, 0);
    }
    ptq_set_log(NULL, NULL, PTQ_LOG_WARN);
    free(x.data);
    gs_clear(&want);
    ptq_model_free(m);
}
END_TEST

/* When a run is recorded, replayed, and recorded anew. */
START_TEST(session__recordings)
{
    ptq_model *m = gs_shapes();
    ptq_session *s;
    ptq_session_options o = gs_options(&ptq_backend_cuda, NULL);
    ptq_tensor x = gs_batch(&images, 2, 1), y = gs_batch(&images, 5, 1);
    device_run a, b, c;
    void *p;
    o.replay = true;
    ptq_fake_records = true;
    ptq_fake_replays = 0;
    ck_assert_ok(ptq_session_new(m->graph, &o, &s));
    device_open(&c, s, m->graph, &y);
    device_open(&a, s, m->graph, &x);
    device_open(&b, s, m->graph, &x);
    static const long want[] = {0, 1, 2, 3}; /* the first run warms up */
    for (int i = 0; i < 4; i++) {
        ck_assert_ok(ptq_session_enqueue(s, &a.in, 1, a.out, 1, NULL));
        ck_assert_int_eq(ptq_fake_replays, want[i]);
    }
    ck_assert_ok(ptq_session_enqueue(s, &b.in, 1, b.out, 1, NULL)); /* other buffers: recorded at once */
    ck_assert_ok(ptq_session_enqueue(s, &a.in, 1, a.out, 1, NULL));
    ck_assert_int_eq(ptq_fake_replays, 5);
    ck_assert_ok(ptq_backend_cuda.alloc(a.b, 64, &p)); /* memory may have moved: warms up again */
    ck_assert_ok(ptq_session_enqueue(s, &a.in, 1, a.out, 1, NULL));
    ck_assert_int_eq(ptq_fake_replays, 5);
    ck_assert_ok(ptq_session_enqueue(s, &a.in, 1, a.out, 1, NULL));
    ck_assert_int_eq(ptq_fake_replays, 6);
    ck_assert_ok(ptq_session_enqueue(s, &c.in, 1, c.out, 1, NULL)); /* other shapes */
    ck_assert_int_eq(ptq_fake_replays, 6);
    ck_assert_ok(ptq_session_enqueue(s, &c.in, 1, c.out, 1, NULL));
    ck_assert_int_eq(ptq_fake_replays, 7);
    ptq_backend_cuda.free(a.b, p);
    device_close(&a);
    device_close(&b);
    device_close(&c);
    ptq_session_free(s);
    ck_assert_int_eq(ptq_fake_live, 0);
    ptq_fake_records = false;
    free(x.data);
    free(y.data);
    ptq_model_free(m);
}
END_TEST
#endif

/* ---- failures ---- */

#ifdef PTQ_TEST_FAKE
/* A session and a run of it with the n-th call of the device failing. Afterwards the device works
 * again: a session that could be made must then give `want`. Returns whether anything failed. */
static bool fail_at(const ptq_graph *g, const ptq_tensor *x, long n, ptq_status status, const gs_record *want)
{
    gs_record got = {0};
    ptq_session *s = NULL;
    ptq_session_options o = gs_options(&ptq_backend_cuda, NULL);
    ptq_fake_fail(n, status);
    ptq_status st = ptq_session_new(g, &o, &s);
    if (st == PTQ_OK)
        st = gs_run(s, g, x, &got);
    ptq_status again = st;
    if (st != PTQ_OK) {
        ck_assert_msg(st == status, "call %ld: status %d: %s", n, (int)st, ptq_last_error());
        ck_assert_says("CUDA: ");
        ck_assert_says(": injected failure");
        gs_clear(&got);
        ptq_fake_fail(0, PTQ_OK);
        again = s ? gs_run(s, g, x, &got) : PTQ_OK;
    }
    ck_assert_msg(again == PTQ_OK, "after call %ld failed: %s", n, ptq_last_error());
    if (s)
        gs_same(want, &got, "after a failure");
    gs_clear(&got);
    ptq_session_free(s);
    ck_assert_msg(ptq_fake_live == 0, "call %ld: %ld allocations are left", n, ptq_fake_live);
    return st != PTQ_OK;
}

static void fail_everywhere(const ptq_graph *g, const gs_data *d, const char *what)
{
    static const ptq_status statuses[] = {PTQ_ERR_DEVICE, PTQ_ERR_NOMEM};
    gs_record want = {0};
    ptq_tensor x = gs_batch(d, 1, 3);
    ptq_session *cpu;
    ptq_session_options oc = gs_options(NULL, NULL);
    ck_assert_ok(ptq_session_new(g, &oc, &cpu));
    ck_assert_ok(gs_run(cpu, g, &x, &want));
    ptq_session_free(cpu);
    for (size_t k = 0; k < PTQ_COUNT(statuses); k++) {
        long n = 1;
        while (fail_at(g, &x, n, statuses[k], &want))
            n++;
        printf("%s: %ld calls of the device\n", what, n - 1);
        ck_assert_int_eq(n - 1, ptq_fake_calls); /* the last one ran through */
        ck_assert_int_gt(n, 30);
    }
    free(x.data);
    gs_clear(&want);
}

/* ---- scratch memory of attention ---- */

static int attended;

static ptq_status attend(ptq_dev *d, const ptq_k_attention *a)
{
    ck_assert(d && a->q && a->k && a->v && a->y);
    attended++;
    return PTQ_OK;
}

/* Bytes that the device holds after a run. */
static size_t held(const ptq_graph *g, const ptq_tensor *in, ptq_k_attention_run kernel)
{
    gs_record out = {0};
    ptq_session *s;
    ptq_session_options o = gs_options(&ptq_backend_cuda, NULL);
    ptq_fake_attention = kernel;
    attended = 0;
    ck_assert_ok(ptq_session_new(g, &o, &s));
    ck_assert_ok(gs_run(s, g, in, &out));
    ck_assert_int_eq(attended, kernel != NULL);
    size_t bytes = ptq_fake_bytes;
    ptq_fake_attention = NULL;
    gs_clear(&out);
    ptq_session_free(s);
    return bytes;
}

/* Scores have room where they are written: not where one kernel does all, with movers before it or without. */
START_TEST(session__attention_without_scores)
{
#define HEAD(name, in) name "q = QuantizeLinear(" in ", s, z)\n" name " = DequantizeLinear(" name "q, s, z)\n"
#define START "const s f32 [] 0.05\nconst sp f32 [] 0.0078\nconst z s8 [] 0\n"
#define ATTEND                                                                                                       \
    "input k f32 [b,16,500]\ninput v f32 [b,500,8]\n" HEAD("kd", "k") HEAD("vd", "v") "m = MatMul(qd, kd)\n"          \
    "p = Softmax(m) axis=-1\npq = QuantizeLinear(p, sp, z)\npd = DequantizeLinear(pq, sp, z)\n"                       \
    "w = MatMul(pd, vd)\n" HEAD("y", "w") "output y\n"
    static const char *const rows[] = {
        START "input x f32 [b,15,16]\n" HEAD("qd", "x") ATTEND,
        START "input x f32 [b,40,60]\nconst to s64 [4] -1 10 15 16\nconst seven s64 [] 7\n"
              "xq = QuantizeLinear(x, s, z)\nt = Transpose(xq) perm=[0,2,1]\nr = Reshape(t, to)\n"
              "g = Gather(r, seven) axis=1\nqd = DequantizeLinear(g, s, z)\n" ATTEND,
    };
    const size_t scores = 3 * 15 * 500;
    const gs_data x = {.dtype = PTQ_DT_F32, .rank = 2, .dims = {_i ? 40 : 15, _i ? 60 : 16}};
    const gs_data k = {.dtype = PTQ_DT_F32, .rank = 2, .dims = {16, 500}};
    const gs_data v = {.dtype = PTQ_DT_F32, .rank = 2, .dims = {500, 8}};
    ptq_graph *g = gt_parse(rows[_i]);
    ck_assert_ok(ptq_infer_graph(g));
    ptq_tensor in[3] = {gs_batch(&x, 3, 1), gs_batch(&k, 3, 2), gs_batch(&v, 3, 3)};
    size_t all = held(g, in, NULL), fewer = held(g, in, attend);
    ck_assert_msg(fewer + scores * (sizeof(float) + 1) <= all, "%zu and %zu bytes", fewer, all);
    for (int i = 0; i < 3; i++)
        free(in[i].data);
    ptq_graph_free(g);
}
END_TEST

START_TEST(session__every_call_may_fail)
{
    ptq_model *m = gs_shapes(), *q = gs_quantize(m, &images, 2, forms[_i].target, forms[_i].format);
    fail_everywhere(q->graph, &images, forms[_i].format);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

START_TEST(session__every_call_may_fail_with_tables)
{
    ptq_graph *g = gt_parse(tables);
    ck_assert_ok(ptq_infer_graph(g));
    fail_everywhere(g, &planes, "tables");
    ptq_graph_free(g);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("gpu_session");
    TCase *t = tcase_create("session");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, session__embedded_model, 0, (int)PTQ_COUNT(forms));
    tcase_add_test(t, session__tables);
    tcase_add_loop_test(t, session__movers, 0, (int)PTQ_COUNT(moves));
    tcase_add_loop_test(t, session__enqueue, 0, (int)PTQ_COUNT(forms));
    tcase_add_test(t, session__enqueue_refuses);
#ifdef PTQ_TEST_FAKE
    tcase_add_loop_test(t, session__enqueue_known_contents, 0, 2);
#else
    tcase_add_loop_test(t, session__enqueue_known_contents, 0, 1);
#endif
    tcase_add_test(t, session__indices_on_the_device);
#ifdef PTQ_TEST_FAKE
    tcase_add_test(t, session__recordings);
    tcase_add_test(t, session__sturdy);
    tcase_add_loop_test(t, session__attention_without_scores, 0, 2);
    tcase_add_loop_test(t, session__every_call_may_fail, 0, (int)PTQ_COUNT(forms));
    tcase_add_test(t, session__every_call_may_fail_with_tables);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}

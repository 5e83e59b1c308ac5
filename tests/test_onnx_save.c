/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <unistd.h>

#include "lib/onnx/onnx_io.h"
#include "tests/onnx_models.h"
#include "tests/scratch.h"

static ptq_graph *load_bytes(const void *p, size_t n)
{
    ptq_graph *g;
    ck_assert_ok(ptq_onnx_load_memory(p, n, NULL, NULL, &g));
    return g;
}

START_TEST(save__an_untouched_model_keeps_every_byte)
{
    wire m = rich_model();
    ptq_graph *g = load_bytes(m.p, m.n), *clone;
    ck_assert_ok(ptq_graph_verify(g));
    void *bytes;
    size_t n;
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &n));
    ck_assert_uint_eq(n, m.n);
    ck_assert_mem_eq(bytes, m.p, n);
    free(bytes);
    ck_assert_ok(ptq_graph_clone(g, &clone));
    ck_assert_ok(ptq_onnx_save_memory(clone, &bytes, &n));
    ck_assert_uint_eq(n, m.n);
    ck_assert_mem_eq(bytes, m.p, n);
    free(bytes);
    ptq_graph_free(clone);
    ptq_graph_free(g);
    wire_free(&m);
}
END_TEST

START_TEST(save__subgraphs_and_captures)
{
    wire m = rich_model();
    ptq_graph *g = load_bytes(m.p, m.n);
    const ptq_node *n = g->first->next;
    ck_assert_str_eq(n->name, "if");
    ck_assert_int_eq(n->ncaptures, 3); /* cond by the inner If, s, typed */
    const ptq_graph *then = ptq_attr_find(n, "then_branch")->graph;
    ck_assert_str_eq(then->first->op, "If");
    ck_assert_int_eq(then->first->ncaptures, 1);
    ck_assert_str_eq(then->first->captures[0]->name, "s");
    /* Names that a branch uses are never made up outside. */
    ck_assert_str_ne(ptq_graph_unique_name(g, "deep_t"), "deep_t");
    ptq_graph_free(g);
    wire_free(&m);
}
END_TEST

START_TEST(save__changes_reach_the_file)
{
    wire m = rich_model();
    ptq_graph *g = load_bytes(m.p, m.n), *back;
    ptq_node *custom = ptq_graph_find(g, "c")->producer, *q;
    ptq_value *scale, *y;
    static const int64_t axes[] = {0, 2, -3};
    static float one = 0.5f;
    ptq_tensor t = {.dtype = PTQ_DT_F32, .data = &one, .nbytes = sizeof one};
    ck_assert_ok(ptq_attr_set_ints(g, custom, "axes", axes, 3));
    ptq_attr_remove(custom, "alpha");
    ck_assert_ok(ptq_attr_set_str(g, custom, "added", "text"));
    ck_assert_ok(ptq_attr_set_float(g, custom, "real", 0.125f));
    ck_assert_ok(ptq_graph_constant(g, "scale", &t, true, &scale));
    ck_assert_ok(ptq_graph_node(g, "Mul", "", "scaled", 2, 1, custom, &q));
    ck_assert_ok(ptq_graph_value(g, "scaled_out", &y));
    y->dtype = PTQ_DT_F32;
    y->shape = (ptq_shape){.rank = 2, .dims = {ptq_dim_sym(ptq_symbol(g, "batch")), ptq_dim_of(2)}};
    ptq_node_set_input(g, q, 0, ptq_graph_find(g, "i"));
    ptq_node_set_input(g, q, 1, scale);
    ptq_node_set_output(g, q, 0, y);
    ptq_node_set_input(g, custom, 0, y);
    q->doc = "made here";
    g->opset = 23;
    g->opset_ms = 1;
    ck_assert_ok(ptq_graph_set_metadata(g, "author", "somebody else"));
    ck_assert_ok(ptq_graph_set_metadata(g, "ptq.method", "mse"));
    ck_assert_ok(ptq_graph_verify(g));

    void *bytes, *again;
    size_t n, n2;
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &n));
    ptq_graph_free(g);
    back = load_bytes(bytes, n);
    ck_assert_ok(ptq_graph_verify(back));
    ck_assert_int_eq(back->opset, 23);
    ck_assert_int_eq(back->opset_ms, 1);
    ck_assert_int_eq(back->ir_version, 11);
    custom = ptq_graph_find(back, "c")->producer;
    size_t count;
    const int64_t *v = ptq_attr_ints(custom, "axes", &count);
    ck_assert(count == 3 && v[0] == 0 && v[1] == 2 && v[2] == -3);
    ck_assert_ptr_null(ptq_attr_find(custom, "alpha"));
    ck_assert_str_eq(ptq_attr_str(custom, "added", ""), "text");
    ck_assert(ptq_attr_float(custom, "real", 0) == 0.125f);
    ck_assert_uint_eq(ptq_attr_find(custom, "mode")->n, 3);
    ck_assert_str_eq(custom->name, "Custom_2");
    const ptq_value *s = ptq_graph_find(back, "scale"), *o = ptq_graph_find(back, "scaled_out");
    ck_assert(*(const float *)s->constant->data == 0.5f);
    ck_assert_int_eq(o->dtype, PTQ_DT_F32);
    ck_assert(ptq_dim_equal(o->shape.dims[0], ptq_graph_find(back, "x")->shape.dims[0]));
    /* Searched as bytes: the graph itself keeps neither. */
    ck_assert_ptr_nonnull(memmem(bytes, n, "made here", 9));
    ck_assert_ptr_nonnull(memmem(bytes, n, "somebody 1.0", 12));
    ck_assert_ptr_nonnull(memmem(bytes, n, "ptq.source_producer", 19));
    ck_assert_ptr_nonnull(memmem(bytes, n, "somebody else", 13));
    ck_assert_ptr_null(memmem(bytes, n, "nobody", 6));
    ck_assert_ok(ptq_onnx_save_memory(back, &again, &n2));
    ck_assert_uint_eq(n, n2);
    ck_assert_mem_eq(bytes, again, n);
    ptq_graph_free(back);
    free(bytes);
    free(again);
    wire_free(&m);
}
END_TEST

START_TEST(save__what_nothing_reads_is_dropped)
{
    wire m = rich_model();
    ptq_graph *g = load_bytes(m.p, m.n), *back;
    ptq_node *add = g->first;
    ptq_node_set_input(g, add, 1, ptq_graph_find(g, "typed"));
    void *bytes;
    size_t n;
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &n));
    back = load_bytes(bytes, n);
    ck_assert_ptr_null(ptq_graph_find(back, "w"));
    ck_assert_ptr_nonnull(ptq_graph_find(back, "unused")); /* it was so before */
    ck_assert_ptr_null(memmem(bytes, n, "SCALE_TENSOR", 12)); /* the annotation named w */
    ptq_graph_free(back);
    ptq_graph_free(g);
    free(bytes);
    wire_free(&m);
}
END_TEST

START_TEST(save__a_graph_built_here)
{
    ptq_graph *g, *back;
    ptq_value *x, *y, *w;
    ptq_node *n;
    static float data[2] = {1, 2};
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = 1, .dims = {2}, .data = data, .nbytes = sizeof data};
    void *bytes;
    size_t size;
    ck_assert_ok(ptq_graph_new(&g));
    ck_assert_ok(ptq_graph_value(g, "x", &x));
    x->dtype = PTQ_DT_F32;
    x->shape = (ptq_shape){.rank = 1, .dims = {ptq_dim_of(2)}};
    ck_assert_ok(ptq_graph_add_input(g, x));
    ck_assert_ok(ptq_graph_constant(g, "w", &t, false, &w));
    ck_assert_ok(ptq_graph_node(g, "Add", "", NULL, 2, 1, NULL, &n));
    ptq_node_set_input(g, n, 0, x);
    ptq_node_set_input(g, n, 1, w);
    ck_assert_ok(ptq_graph_value(g, "y", &y));
    y->dtype = PTQ_DT_F32;
    ptq_node_set_output(g, n, 0, y);
    ck_assert_ok(ptq_graph_add_output(g, y));
    ck_assert_fails(ptq_onnx_save_memory(g, &bytes, &size), PTQ_ERR_ARG);
    g->opset = 13;
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &size));
    back = load_bytes(bytes, size);
    ck_assert_int_eq(back->ir_version, 7);
    ck_assert_int_eq(back->nnodes, 1);
    ck_assert_int_eq(ptq_graph_find(back, "y")->shape.rank, -1);
    ck_assert_ptr_nonnull(memmem(bytes, size, "ptq", 3));
    ptq_graph_free(back);
    ptq_graph_free(g);
    free(bytes);
}
END_TEST

START_TEST(save__never_over_the_input)
{
    wire sg = small_graph();
    wire m = wire_model(&sg, 8, 17);
    ptq_graph *g;
    scratch_put("m.onnx", m.p, m.n);
    ck_assert_ok(ptq_onnx_load(scratch_at("m.onnx"), NULL, &g));
    ptq_onnx_save_options opt = {.force = true};
    ck_assert_fails(ptq_onnx_save(g, scratch_at("m.onnx"), &opt), PTQ_ERR_ARG);
    ck_assert_fails(ptq_onnx_save(g, scratch_at("../") , &opt), PTQ_ERR_IO);
    ck_assert_int_eq(link(scratch_at("m.onnx"), scratch_at("same.onnx")), 0);
    ck_assert_fails(ptq_onnx_save(g, scratch_at("same.onnx"), &opt), PTQ_ERR_ARG);
    const char *other = scratch_put("other", "x", 1);
    opt.not_over = &other;
    opt.n_not_over = 1;
    ck_assert_fails(ptq_onnx_save(g, other, &opt), PTQ_ERR_ARG);
    opt.n_not_over = 0;
    opt.force = false;
    ck_assert_fails(ptq_onnx_save(g, other, &opt), PTQ_ERR_IO);
    ck_assert_int_eq(scratch_entries(), 3);
    ck_assert_ok(ptq_onnx_save(g, scratch_at("out.onnx"), &opt));
    ck_assert_int_eq(scratch_entries(), 4);
    /* The mapped file grows: what is in memory can no longer be trusted. */
    FILE *f = fopen(scratch_at("m.onnx"), "ab");
    fputc(0, f);
    fclose(f);
    ck_assert_fails(ptq_onnx_save(g, scratch_at("late.onnx"), NULL), PTQ_ERR_IO);
    ck_assert_says("was changed");
    ck_assert_int_eq(scratch_entries(), 4);
    ptq_graph_free(g);
    wire_free(&m);
}
END_TEST

START_TEST(save__external_data)
{
    static float big[3][1000];
    for (int i = 0; i < 3000; i++)
        big[i / 1000][i % 1000] = (float)i;
    wire sg = {0};
    for (int i = 0; i < 3; i++)
        wire_tensor(&sg, 5, (const char *[]){"a", "b", "c"}[i], PTQ_DT_F32, 1, (int64_t[]){1000}, big[i],
                    sizeof big[i]);
    wire_tensor(&sg, 5, "tiny", PTQ_DT_F32, 0, NULL, big[1], 4);
    wire m = wire_model(&sg, 8, 17);
    ptq_graph *g, *back;
    ck_assert_ok(ptq_onnx_load_memory(m.p, m.n, NULL, NULL, &g));
    ptq_onnx_save_options opt = {.external = true};
    ck_assert_ok(ptq_onnx_save(g, scratch_at("m.onnx"), &opt));
    ck_assert_int_eq(scratch_entries(), 2);
    struct stat st;
    ck_assert_int_eq(stat(scratch_at("m.onnx.data"), &st), 0);
    ck_assert_int_eq(st.st_size, 2 * 4096 + 4000);
    ck_assert_int_eq(stat(scratch_at("m.onnx"), &st), 0);
    ck_assert(st.st_size < 1000);
    ck_assert_ok(ptq_onnx_load(scratch_at("m.onnx"), NULL, &back));
    for (int i = 0; i < 3; i++) {
        const ptq_tensor *t = ptq_graph_find(back, (const char *[]){"a", "b", "c"}[i])->constant;
        ck_assert_mem_eq(t->data, big[i], sizeof big[i]);
        ck_assert_uint_eq((uintptr_t)t->data % 4096, 0);
    }
    /* Its data file is an input as well; written elsewhere, the tensors come home. */
    opt.force = true;
    ck_assert_fails(ptq_onnx_save(back, scratch_at("m.onnx.data"), &opt), PTQ_ERR_ARG);
    ck_assert_ok(ptq_onnx_save(back, scratch_at("whole.onnx"), NULL));
    FILE *f = fopen(scratch_at("m.onnx.data"), "ab"); /* changed under the mapping */
    fputc(0, f);
    fclose(f);
    ck_assert_fails(ptq_onnx_save(back, scratch_at("late.onnx"), NULL), PTQ_ERR_IO);
    ck_assert_says("m.onnx.data: was changed");
    ptq_graph_free(back);
    ck_assert_ok(ptq_onnx_load(scratch_at("whole.onnx"), NULL, &back));
    ck_assert_mem_eq(ptq_graph_find(back, "c")->constant->data, big[2], sizeof big[2]);
    ptq_graph_free(back);
    opt.external_threshold = 1;
    ck_assert_ok(ptq_onnx_save(g, scratch_at("all.onnx"), &opt));
    ck_assert_int_eq(stat(scratch_at("all.onnx.data"), &st), 0);
    ck_assert_int_eq(st.st_size, 3 * 4096 + 4);
    opt.force = false; /* an existing data file alone is enough to refuse */
    unlink(scratch_at("all.onnx"));
    ck_assert_fails(ptq_onnx_save(g, scratch_at("all.onnx"), &opt), PTQ_ERR_IO);
    ck_assert_int_eq(scratch_entries(), 4);
    ptq_graph_free(g);
    wire_free(&m);
}
END_TEST

START_TEST(save__old_ir_lists_its_initializers)
{
    wire sg = small_graph();
    wire_value(&sg, 11, "w", PTQ_DT_F32, 1, (int64_t[]){2});
    wire m = wire_model(&sg, 3, 8);
    ptq_graph *g = load_bytes(m.p, m.n), *back;
    ptq_value *k;
    void *bytes;
    size_t n;
    ck_assert_uint_eq(g->inputs.n, 1);
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &n));
    back = load_bytes(bytes, n);
    ck_assert_int_eq(back->ir_version, 3);
    ptq_graph_free(back);
    free(bytes);
    /* A constant made here is not listed: IR 4 is the first that allows it. */
    ptq_tensor t = *ptq_graph_find(g, "w")->constant;
    ck_assert_ok(ptq_graph_constant(g, "k", &t, false, &k));
    ptq_node_set_input(g, g->first, 0, k);
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &n));
    back = load_bytes(bytes, n);
    ck_assert_int_eq(back->ir_version, 4);
    ptq_graph_free(back);
    free(bytes);
    ptq_graph_free(g);
    wire_free(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx_save");
    TCase *t = tcase_create("save");
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, save__an_untouched_model_keeps_every_byte);
    tcase_add_test(t, save__subgraphs_and_captures);
    tcase_add_test(t, save__changes_reach_the_file);
    tcase_add_test(t, save__what_nothing_reads_is_dropped);
    tcase_add_test(t, save__a_graph_built_here);
    tcase_add_test(t, save__never_over_the_input);
    tcase_add_test(t, save__external_data);
    tcase_add_test(t, save__old_ir_lists_its_initializers);
    suite_add_tcase(s, t);
    return unit_run(s);
}

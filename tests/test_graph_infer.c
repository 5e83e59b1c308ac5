/* SPDX-License-Identifier: Apache-2.0 */
/* Shape inference: rules written down by hand, symbolic sizes, elements of shape tensors. */
#include "tests/graph_text.h"
#include "tests/unit.h"

#include "lib/graph/infer.h"

static const char *shape_of(const ptq_graph *g, const char *name)
{
    static char buf[256];
    return ptq_shape_print(&ptq_graph_find(g, name)->shape, g->syms, buf, sizeof buf);
}

/* text, value, its shape; NULL: inference fails and the message holds `want`'s value name. */
static const struct {
    const char *text, *value, *shape;
} rows[] = {
    /* convolution */
    {"input x f32 [batch,3,32,32]\nconst w f32 [8,3,3,3]\ny = Conv(x, w) pads=[1,1,1,1]", "y",
     "[batch,8,32,32]"},
    {"input x f32 [batch,3,33,32]\nconst w f32 [8,3,3,3]\ny = Conv(x, w) strides=[2,2]", "y",
     "[batch,8,16,15]"},
    {"input x f32 [batch,3,33,32]\nconst w f32 [8,3,3,3]\ny = Conv(x, w) strides=[2,2] "
     "auto_pad=\"SAME_UPPER\"",
     "y", "[batch,8,17,16]"},
    {"input x f32 [1,3,H,W]\nconst w f32 [8,3,3,3]\ny = Conv(x, w) pads=[1,1,0,0]", "y",
     "[1,8,H-1,W-1]"},
    {"input x f32 [1,3,H,W]\nconst w f32 [8,3,3,3]\ny = Conv(x, w) auto_pad=\"SAME_LOWER\"", "y",
     "[1,8,H,W]"},
    {"input x f32 [1,3,H,W]\nconst w f32 [8,3,3,3]\ny = Conv(x, w) strides=[2,2]", "y", "[1,8,?,?]"},
    {"input x f32 [1,8,40]\nconst w f32 [8,1,5]\ny = Conv(x, w) group=8 dilations=[3]", "y",
     "[1,8,28]"},
    {"input x f32 [1,4,8,8]\nconst w f32 [8,3,3,3]\ny = Conv(x, w)", "channels", NULL},
    {"input x f32 [1,3,2,8]\nconst w f32 [8,3,3,3]\ny = Conv(x, w)", "does not fit", NULL},
    {"input x f32 [1,4,8,8]\nconst w f32 [9,2,3,3]\ny = Conv(x, w) group=2", "groups", NULL},
    {"input x f32 [1,3,8,8]\nconst w f32 [8,3,3,3]\nconst b f32 [7]\ny = Conv(x, w, b)", "bias", NULL},
    {"input x f32 [1,3,8,8]\nconst w f32 [8,3,3,3]\ny = Conv(x, w) pads=[1,1]", "pads", NULL},
    {"input x f32 [1,3,8,8]\nconst w f32 [8,3,3,3]\ny = Conv(x, w) strides=[0,1]", "strides", NULL},
    {"input x f32 [n,4,7,9]\nconst w f32 [4,6,3,3]\ny = ConvTranspose(x, w) strides=[2,2] "
     "pads=[1,1,1,1] output_padding=[1,0]",
     "y", "[n,6,14,17]"},
    /* pools */
    {"input x f32 [n,4,7,7]\ny = MaxPool(x) kernel_shape=[2,2] strides=[2,2]", "y", "[n,4,3,3]"},
    {"input x f32 [n,4,7,7]\ny = MaxPool(x) kernel_shape=[2,2] strides=[2,2] ceil_mode=1", "y",
     "[n,4,4,4]"},
    /* the fourth window starts in the trailing pad: as in ONNX Runtime 1.20 */
    {"input x f32 [n,4,6,6]\ny = MaxPool(x) kernel_shape=[1,1] strides=[2,2] ceil_mode=1 "
     "pads=[0,0,1,1]",
     "y", "[n,4,4,4]"},
    {"opset 22\ninput x f32 [n,4,6,6]\ny = MaxPool(x) kernel_shape=[1,1] strides=[2,2] ceil_mode=1 "
     "pads=[0,0,1,1]",
     "y", "[n,4,3,3]"},
    {"input x f32 [n,4,7,7]\ny, i = MaxPool(x) kernel_shape=[7,7]", "i", "[n,4,1,1]"},
    {"input x f32 [n,4,7,7]\ny = GlobalAveragePool(x)", "y", "[n,4,1,1]"},
    {"input x f32 [n,4,7,7]\ny = AveragePool(x)", "kernel_shape", NULL},
    /* products */
    {"input x f32 [batch,time,64]\nconst w f32 [64,32]\ny = MatMul(x, w)", "y", "[batch,time,32]"},
    {"input x f32 [b,1,4,8]\ninput z f32 [6,8,5]\ny = MatMul(x, z)", "y", "[b,6,4,5]"},
    {"input x f32 [8]\ninput z f32 [3,8,5]\ny = MatMul(x, z)", "y", "[3,5]"},
    {"input x f32 [3,4,8]\ninput z f32 [8]\ny = MatMul(x, z)", "y", "[3,4]"},
    {"input x f32 [8]\ninput z f32 [8]\ny = MatMul(x, z)", "y", "[]"},
    {"input x f32 [3,8]\ninput z f32 [7,2]\ny = MatMul(x, z)", "inner", NULL},
    {"input x f32 [batch,8]\nconst w f32 [10,8]\nconst c f32 [10]\ny = Gemm(x, w, c) transB=1", "y",
     "[batch,10]"},
    {"input x f32 [8,batch]\nconst w f32 [8,10]\ny = Gemm(x, w) transA=1", "y", "[batch,10]"},
    {"input x f32 [batch,8]\nconst w f32 [10,8]\nconst c f32 [9]\ny = Gemm(x, w, c) transB=1",
     "broadcast", NULL},
    /* elementwise */
    {"input x f32 [batch,1,4]\ninput z f32 [3,1]\ny = Add(x, z)", "y", "[batch,3,4]"},
    {"input x f32 [batch,4]\ninput z f32 [1,4]\ny = Mul(x, z)", "y", "[batch,4]"},
    {"input x f32 [batch,4]\ninput z f32 [other,4]\ny = Mul(x, z)", "y", "[?,4]"},
    {"input x f32 [batch,4]\ninput z f32 [5,4]\ny = Mul(x, z)", "y", "[5,4]"},
    {"input x f32 [3,4]\ninput z f32 [3,5]\ny = Mul(x, z)", "[3,5]", NULL},
    {"input x f32 [3]\ninput z s64 [3]\ny = Mul(x, z)", "types", NULL},
    {"input x f32 [3]\ninput z s64 [3]\ny = Pow(x, z)", "y", "[3]"},
    {"input x f32 [b,3]\ninput z f32 []\ninput c bool [2,1,1]\ny = Where(c, x, z)", "y", "[2,b,3]"},
    {"input x f32 [b,3]\ninput z f32 [3]\ny = Max(x, z, z)", "y", "[b,3]"},
    /* movement */
    {"input x f32 [b,2,3]\ny = Transpose(x)", "y", "[3,2,b]"},
    {"input x f32 [b,2,3]\ny = Transpose(x) perm=[0,2,1]", "y", "[b,3,2]"},
    {"input x f32 [b,2,3]\ny = Transpose(x) perm=[0,2,2]", "perm", NULL},
    {"input x f32 [b,2,3]\ny = Flatten(x) axis=-1", "y", "[2*b,3]"},
    {"input x f32 [b,2,t]\ny = Flatten(x) axis=2", "y", "[2*b,t]"},
    {"input x f32 [b,2,t]\ny = Flatten(x) axis=0", "y", "[1,?]"},
    {"opset 11\ninput x f32 [b,1,3,1]\ny = Squeeze(x) axes=[1,-1]", "y", "[b,3]"},
    {"opset 13\ninput x f32 [b,1,3,1]\nconst a s64 [1] 1\ny = Squeeze(x, a)", "y", "[b,3,1]"},
    {"opset 13\ninput x f32 [2,1,3,1]\ny = Squeeze(x)", "y", "[2,3]"},
    {"opset 13\ninput x f32 [b,1,3,1]\ny = Squeeze(x)", "y", "[...]"},
    {"opset 11\ninput x f32 [b,2,3]\ny = Squeeze(x) axes=[1]", "not 1", NULL},
    {"opset 11\ninput x f32 [b,3]\ny = Unsqueeze(x) axes=[0,-1]", "y", "[1,b,3,1]"},
    {"input x f32 [b,3]\nconst a s64 [1] 5\ny = Unsqueeze(x, a)", "axis 5", NULL},
    {"input x f32 [b,12]\nconst s s64 [3] 0 -1 4\ny = Reshape(x, s)", "y", "[b,3,4]"},
    {"input x f32 [b,12]\nconst s s64 [1] -1\ny = Reshape(x, s)", "y", "[12*b]"},
    {"input x f32 [b,12]\nconst s s64 [2] -1 6\ny = Reshape(x, s)", "y", "[2*b,6]"},
    {"input x f32 [b,t,12]\nconst s s64 [4] 0 0 3 -1\ny = Reshape(x, s)", "y", "[b,t,3,4]"},
    {"input x f32 [b,t,12]\nconst s s64 [2] -1 6\ny = Reshape(x, s)", "y", "[?,6]"},
    {"input x f32 [5,12]\nconst s s64 [2] 7 -1\ny = Reshape(x, s)", "[7,?]", NULL},
    {"input x f32 [5,12]\nconst s s64 [2] 7 9\ny = Reshape(x, s)", "[5,12]", NULL},
    {"input x f32 [0,12]\nconst s s64 [2] 0 3\ny = Reshape(x, s) allowzero=1", "y", "[0,3]"},
    {"input x f32 [b,12]\ninput s s64 [3]\ny = Reshape(x, s)", "y", "[?,?,?]"},
    {"input x f32 [b,20]\nconst s s64 [1] 2\nconst e s64 [1] -3\nconst a s64 [1] 1\nconst p s64 [1] 4\n"
     "y = Slice(x, s, e, a, p)",
     "y", "[b,4]"},
    {"opset 9\ninput x f32 [b,20]\ny = Slice(x) starts=[3] ends=[9223372036854775807] axes=[1]", "y",
     "[b,17]"},
    {"input x f32 [b,20]\nconst s s64 [1] -1\nconst e s64 [1] -9223372036854775807\nconst a s64 [1] 0\n"
     "y = Slice(x, s, e, a, s)",
     "y", "[b,20]"},
    {"input x f32 [b,20]\nconst s s64 [1] 1\nconst e s64 [1] 99999999999\nconst a s64 [1] 0\n"
     "y = Slice(x, s, e, a)",
     "y", "[b-1,20]"},
    {"input x f32 [b,20]\nconst s s64 [1] 0\nconst e s64 [1] 4\nconst a s64 [1] 0\n"
     "y = Slice(x, s, e, a)",
     "y", "[?,20]"},
    {"input x f32 [b,20]\nconst s s64 [1] 0\nconst p s64 [1] 0\nconst a s64 [1] 1\n"
     "y = Slice(x, s, s, a, p)",
     "step is 0", NULL},
    {"opset 11\ninput x f32 [b,20]\ny, z = Split(x) axis=1 split=[5,15]", "z", "[b,15]"},
    {"input x f32 [b,20]\ny, z = Split(x) axis=1", "z", "[b,10]"},
    {"opset 18\ninput x f32 [b,20]\ny, z, u = Split(x) axis=1 num_outputs=3", "u", "[b,6]"},
    {"input x f32 [b,20]\ny, z, u = Split(x) axis=1", "equal parts", NULL},
    {"input x f32 [b,5]\ninput z f32 [b,t]\ny = Concat(x, z, x) axis=-1", "y", "[b,t+10]"},
    {"input x f32 [b,5]\ninput z f32 [3,6]\ny = Concat(x, z) axis=1", "y", "[3,11]"},
    {"input x f32 [4,5]\ninput z f32 [3,6]\ny = Concat(x, z) axis=1", "dimension 0", NULL},
    {"input x f32 [65,32]\ninput i s64 [b,t]\ny = Gather(x, i)", "y", "[b,t,32]"},
    {"input x f32 [b,32,7]\nconst i s64 [] 3\ny = Gather(x, i) axis=1", "y", "[b,7]"},
    {"input x f32 [b,1,7]\nconst s s64 [3] 1 5 1\ny = Expand(x, s)", "y", "[b,5,7]"},
    {"input x f32 [b,2]\nconst s s64 [2] 1 3\ny = Tile(x, s)", "y", "[b,6]"},
    {"input x f32 [b,2]\nconst s s64 [4] 0 1 0 -2\ny = Pad(x, s)", "y", "[b,1]"},
    {"opset 10\ninput x f32 [b,2]\ny = Pad(x) pads=[0,1,0,2]", "y", "[b,5]"},
    {"opset 18\ninput x f32 [b,2]\nconst s s64 [2] 3 4\nconst a s64 [1] -1\ny = Pad(x, s, , a)", "y",
     "[b,9]"},
    {"input x f32 [b,3,5,5]\nconst s f32 [4] 1 1 2.5 0.5\ny = Resize(x, , s)", "y", "[b,3,12,2]"},
    {"input x f32 [b,3,5,5]\nconst s s64 [4] 1 3 9 8\ny = Resize(x, , , s)", "y", "[1,3,9,8]"},
    {"opset 18\ninput x f32 [b,3,5,10]\nconst s s64 [2] 20 20\n"
     "y = Resize(x, , , s) axes=[2,3] keep_aspect_ratio_policy=\"not_larger\"",
     "y", "[b,3,10,20]"},
    {"opset 9\ninput x f32 [b,3,5,5]\nconst s f32 [4] 1 1 2 3\ny = Upsample(x, s)", "y",
     "[b,3,10,15]"},
    {"input x f32 [b,12,4,6]\ny = DepthToSpace(x) blocksize=2", "y", "[b,3,8,12]"},
    {"input x f32 [b,3,4,6]\ny = SpaceToDepth(x) blocksize=2", "y", "[b,12,2,3]"},
    /* reductions */
    {"opset 11\ninput x f32 [b,3,4]\ny = ReduceSum(x) axes=[-1] keepdims=0", "y", "[b,3]"},
    {"opset 13\ninput x f32 [b,3,4]\nconst a s64 [2] 1 2\ny = ReduceSum(x, a)", "y", "[b,1,1]"},
    {"opset 18\ninput x f32 [b,3,4]\nconst a s64 [2] 1 2\ny = ReduceMean(x, a) keepdims=0", "y",
     "[b]"},
    {"opset 13\ninput x f32 [b,3,4]\ny = ReduceMean(x)", "y", "[1,1,1]"},
    {"opset 18\ninput x f32 [b,3,4]\ny = ReduceMean(x) noop_with_empty_axes=1", "y", "[b,3,4]"},
    {"opset 18\ninput x f32 [b,3,4]\ninput a s64 [1]\ny = ReduceMean(x, a)", "y", "[?,?,?]"},
    {"input x f32 [b,3,4]\ny = ArgMax(x) axis=1 keepdims=0", "y", "[b,4]"},
    {"input x f32 [b,t,4]\nconst s f32 [4]\ny, m = LayerNormalization(x, s)", "m", "[b,t,1]"},
    {"input x f32 [b,t,4]\nconst s f32 [5]\ny = LayerNormalization(x, s)", "broadcast", NULL},
    {"input x f32 [b,4,t]\nconst s f32 [5]\ny = BatchNormalization(x, s, s, s, s)", "channel", NULL},
    {"opset 11\ninput x f32 [b]\ny = Softmax(x)", "axis 1", NULL},
    /* quantization */
    {"input x f32 [b,4]\nconst s f32 [4]\nconst z s8 [4] 0\ny = QuantizeLinear(x, s, z) axis=1", "y",
     "[b,4]"},
    {"input x f32 [b,4]\nconst s f32 [3]\ny = QuantizeLinear(x, s) axis=1", "3 elements", NULL},
    {"input x u8 [b,4,8,8]\nconst s f32 []\nconst z u8 [] 3\nconst w s8 [6,4,3,3]\nconst q s8 [] 0\n"
     "y = QLinearConv(x, s, z, w, s, q, s, z)",
     "y", "[b,6,6,6]"},
    {"input x u8 [b,4]\nconst s f32 []\nconst z u8 [] 3\ninput w u8 [3,1,4]\n"
     "y = com.microsoft.QLinearAdd(x, s, z, w, s, z, s, z)",
     "y", "[3,b,4]"},
    {"input x u8 [b,4]\nconst s f32 []\nconst z u8 [] 3\ninput w u8 [b,2]\n"
     "y = com.microsoft.QLinearConcat(s, z, x, s, z, w, s, z) axis=1",
     "y", "[b,6]"},
    {"input x u8 [b,8,9,4]\nconst s f32 []\ny = com.microsoft.QLinearGlobalAveragePool(x, s, , s, ) "
     "channels_last=1",
     "y", "[b,1,1,4]"},
    /* shape arithmetic as exporters leave it */
    {"input x f32 [batch,3,8]\nh = Shape(x)\nconst zero s64 [] 0\nb = Gather(h, zero)\n"
     "const ax s64 [1] 0\nu = Unsqueeze(b, ax)\nconst m s64 [1] -1\nc = Concat(u, m) axis=0\n"
     "y = Reshape(x, c)",
     "y", "[batch,24]"},
    {"opset 15\ninput x f32 [batch,time,8]\nh = Shape(x) start=1 end=-1\nconst a s64 [1] 0\n"
     "q = Squeeze(h, a)\nconst z s64 [] 0\nconst o s64 [] 1\ny = Range(z, q, o)",
     "y", "[time]"},
    {"input x f32 [batch,3]\nh = Shape(x)\nconst m s64 [1] -1\ne = Equal(h, m)\n"
     "one = ConstantOfShape(n2)\nconst n2 s64 [1] 2\nw = Where(e, m, h)\nconst t f32 [1,3]\n"
     "y = Expand(t, w)",
     "y", "[batch,3]"},
    {"input x f32 [batch,6,t]\nh = Shape(x)\na, b, c = Split(h)\nconst two s64 [1] 2\n"
     "d = Div(b, two)\nn = Mul(a, two)\ns = Concat(n, d, c) axis=0\ny = Reshape(x, s)",
     "y", "[2*batch,3,t]"},
    {"input x f32 [4,5]\ns = Size(x)\nconst a s64 [1] 0\nu = Unsqueeze(s, a)\ny = ConstantOfShape(u)",
     "y", "[20]"},
    {"input x f32 [4,n]\nh = Shape(x)\np = ReduceProd(h) keepdims=1\ny = ConstantOfShape(p)", "y",
     "[4*n]"},
    /* declarations */
    {"input x f32 [b,3]\nvalue y f32 [7,3]\ny = Relu(x)", "y", "[7,3]"},
    {"input x f32 [b,3]\nvalue y f32 [b,4]\ny = Relu(x)", "declared", NULL},
    {"input x f32 [b,3]\nvalue y f32 [b,3,1]\ny = Relu(x)", "declared", NULL},
    {"input x f32 [b,3]\nvalue y s64 [b,3]\ny = Relu(x)", "declared", NULL},
    {"input x f32 [b,3]\nvalue y f32 [...]\ny = Relu(x)", "y", "[b,3]"},
    {"input x f32 [b,3]\ny = Relu(x, x)", "2 inputs", NULL},
    {"input x f32 [b,3]\ny = Add(x, , )", "missing", NULL},
    {"input x f32 [?,3]\ny = Relu(x)\nz = Add(x, y)", "z", "[unk__0,3]"},
};

START_TEST(infer__table)
{
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_graph *g = gt_parse(rows[i].text);
        ptq_status s = ptq_infer_graph(g);
        if (rows[i].shape) {
            ck_assert_msg(s == PTQ_OK, "%s: %s", rows[i].text, ptq_last_error());
            ck_assert_msg(strcmp(shape_of(g, rows[i].value), rows[i].shape) == 0, "%s: %s, want %s",
                          rows[i].text, shape_of(g, rows[i].value), rows[i].shape);
            ck_assert_ok(ptq_infer_graph(g)); /* what was inferred does not contradict itself */
        } else {
            ck_assert_msg(s == PTQ_ERR_MODEL, "%s: gives %d", rows[i].text, (int)s);
            ck_assert_msg(strstr(ptq_last_error(), rows[i].value) != NULL, "%s: %s", rows[i].text,
                          ptq_last_error());
        }
        ptq_graph_free(g);
    }
}
END_TEST

START_TEST(infer__types)
{
    static const struct {
        const char *text;
        ptq_dtype t;
    } types[] = {
        {"input x f32 [3]\nconst s f32 [] 1\ny = QuantizeLinear(x, s)", PTQ_DT_U8},
        {"input x f32 [3]\nconst s f32 [] 1\nconst z s8 [] 1\ny = QuantizeLinear(x, s, z)", PTQ_DT_S8},
        {"opset 21\ninput x f32 [3]\nconst s f32 [] 1\ny = QuantizeLinear(x, s) output_dtype=5",
         PTQ_DT_S16},
        {"input x u8 [3]\nconst s f32 [] 1\ny = DequantizeLinear(x, s)", PTQ_DT_F32},
        {"input x f32 [3]\ny = Cast(x) to=7", PTQ_DT_S64},
        {"input x f32 [3]\ninput z f32 [3]\ny = Less(x, z)", PTQ_DT_BOOL},
        {"input x f32 [3]\ny = ArgMax(x)", PTQ_DT_S64},
        {"input x f32 [3]\ny = Shape(x)", PTQ_DT_S64},
        {"input c bool [3]\ninput x s32 [3]\ny = Where(c, x, x)", PTQ_DT_S32},
        {"const s s64 [1] 3\ny = ConstantOfShape(s)", PTQ_DT_F32},
    };
    for (size_t i = 0; i < PTQ_COUNT(types); i++) {
        ptq_graph *g = gt_parse(types[i].text);
        ck_assert_ok(ptq_infer_graph(g));
        ck_assert_msg(ptq_graph_find(g, "y")->dtype == types[i].t, "%s", types[i].text);
        ptq_graph_free(g);
    }
}
END_TEST

/* "1,2,3" of every output, separated by ';'. */
static void check_outputs(const ptq_graph *g, const char *want, const char *line)
{
    char got[512] = "";
    size_t at = 0;
    for (int i = 0; i < g->first->nout; i++) {
        const ptq_shape *s = &g->first->out[i]->shape;
        ck_assert_msg(ptq_shape_known(s), "%s: output %d is not known", line, i);
        for (int k = 0; k < s->rank; k++)
            at += (size_t)snprintf(got + at, sizeof got - at, "%s%lld", k ? "," : i ? ";" : "",
                                   (long long)s->dims[k].add);
    }
    ck_assert_msg(strcmp(got, want) == 0, "%s: inferred %s", line, got);
}

START_TEST(infer__single_nodes)
{
    char path[1024], line[1024], text[2048], *part[5];
    const char *src = getenv("srcdir");
    int cases = 0;
    snprintf(path, sizeof path, "%s/tests/golden/op_shapes.txt", src ? src : ".");
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    while (fgets(line, sizeof line, f)) {
        char copy[1024], *p = line;
        line[strcspn(line, "\n")] = 0;
        strcpy(copy, line);
        for (size_t i = 0; i < PTQ_COUNT(part); i++)
            part[i] = strsep(&p, "|");
        ck_assert_ptr_nonnull(part[4]);
        for (char *c = part[3]; *c; c++)
            *c = *c == ';' ? '\n' : *c;
        snprintf(text, sizeof text, "opset %s\ninput x f32 [%s]\n%s\n%s\n", part[0], part[1], part[3],
                 part[2]);
        ptq_graph *g = gt_parse(text);
        ck_assert_msg(ptq_infer_graph(g) == PTQ_OK, "%s: %s", copy, ptq_last_error());
        check_outputs(g, part[4], copy);
        ptq_graph_free(g);
        cases++;
    }
    fclose(f);
    ck_assert_int_gt(cases, 400);
}
END_TEST

/* Against a walk over the elements. */
START_TEST(infer__slice_range)
{
    static const int64_t ends[] = {INT64_MIN, -9, -5, -4, -1, 0, 1, 3, 5, 6, INT64_MAX};
    static const int64_t steps[] = {INT64_MIN, -7, -2, -1, 1, 2, 7, INT64_MAX};
    for (int64_t n = 0; n <= 5; n++)
        for (size_t a = 0; a < PTQ_COUNT(ends); a++)
            for (size_t b = 0; b < PTQ_COUNT(ends); b++)
                for (size_t k = 0; k < PTQ_COUNT(steps); k++) {
                    __int128 s = ends[a], e = ends[b], st = steps[k], count = 0;
                    s += s < 0 ? n : 0;
                    e += e < 0 ? n : 0;
                    s = s < 0 ? 0 : s > n ? n : s;
                    if (st < 0 && s == n)
                        s = n - 1;
                    if (st < 0 && ends[b] == INT64_MAX)
                        e = -1;
                    __int128 lo = st < 0 ? -1 : 0;
                    e = e < lo ? lo : e > n ? n : e;
                    for (__int128 i = s; st > 0 ? i < e : i > e; i += st)
                        count++;
                    int64_t first, got = ptq_slice_range(n, ends[a], ends[b], steps[k], &first);
                    ck_assert_msg(got == (int64_t)count && (count == 0 || first == (int64_t)s),
                                  "n %d [%lld:%lld:%lld] gives %lld", (int)n, (long long)ends[a],
                                  (long long)ends[b], (long long)steps[k], (long long)got);
                }
}
END_TEST

/* At run time there is no graph, all sizes are numbers, and nobody asks for elements. */
START_TEST(infer__without_graph)
{
    ptq_graph *g = gt_parse("input x f32 [b,12]\ninput s s64 [3]\ny = Reshape(x, s)");
    int64_t dims[3] = {0, -1, 4};
    ptq_tensor t = {.dtype = PTQ_DT_S64, .rank = 1, .dims = {3}, .data = dims, .nbytes = sizeof dims};
    const ptq_tensor *value[2] = {NULL, &t};
    ptq_type in[2] = {{PTQ_DT_F32, {.rank = 2, .dims = {ptq_dim_of(5), ptq_dim_of(12)}}},
                      {PTQ_DT_S64, {.rank = 1, .dims = {ptq_dim_of(3)}}}};
    ptq_type out = {PTQ_DT_UNDEFINED, {.rank = -1}};
    ptq_infer i = {.node = g->first, .opset = 13, .nin = 2, .nout = 1, .in = in, .value = value,
                   .out = &out};
    char buf[64];
    ck_assert_ok(g->first->def->infer(&i));
    ck_assert_str_eq(ptq_shape_print(&out.shape, NULL, buf, sizeof buf), "[5,3,4]");
    ptq_graph_free(g);
}
END_TEST

START_TEST(infer__long_chain)
{
    enum { N = 100000 };
    ptq_graph *g = gt_parse("input x f32 [batch,4]");
    ptq_value *prev = ptq_graph_find(g, "x");
    for (int i = 0; i < N; i++) {
        ptq_node *n;
        ptq_value *v;
        ck_assert_ok(ptq_graph_value(g, ptq_graph_unique_name(g, "t"), &v));
        ck_assert_ok(ptq_graph_node(g, "Relu", "", NULL, 1, 1, NULL, &n));
        ptq_node_set_input(g, n, 0, prev);
        ptq_node_set_output(g, n, 0, v);
        prev = v;
    }
    double t0 = unit_cpu_seconds();
    ck_assert_ok(ptq_infer_graph(g));
    ck_assert_str_eq(shape_of(g, prev->name), "[batch,4]");
    ck_assert_msg(unit_cpu_seconds() - t0 < 20, "%.2f s", unit_cpu_seconds() - t0);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("infer");
    TCase *t = tcase_create("infer");
    tcase_add_test(t, infer__table);
    tcase_add_test(t, infer__types);
    tcase_add_test(t, infer__single_nodes);
    tcase_add_test(t, infer__slice_range);
    tcase_add_test(t, infer__without_graph);
    tcase_add_test(t, infer__long_chain);
    tcase_set_timeout(t, 30);
    suite_add_tcase(s, t);
    return unit_run(s);
}

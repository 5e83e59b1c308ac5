/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs for the device's float kernels beside those of cpu_cases.txt: types, forms and shapes that
 * the operators' own cases lack - whole tiles and the rest of a tile, rows longer and shorter than
 * the threads that share one, fused activations, parameters that are computed. */
#ifndef PTQ_TESTS_GPU_CASES_H
#define PTQ_TESTS_GPU_CASES_H

static const char *const gpu_cases[] = {
    /* integers and bytes */
    "input a f32 [5,7]\ninput i s64 [3,5]\ninput j s64 [5]\ninput k s32 [3,5]\ninput l s32 [1]\n"
    "input m s8 [3,5]\ninput n s8 [3,1]\nconst two f32 [] 2\nconst three s64 [1] 3\nconst half f32 [1] 0.5\n"
    "c = Less(i, j)\nd = GreaterOrEqual(k, l)\ne = Equal(m, n)\nf = And(c, d)\ng = Where(f, i, i)\n"
    "h = Where(e, m, n)\no = Pow(a, two)\np = Abs(a)\nq = Pow(p, half)\nr = Pow(a, three)\n"
    "output c\noutput d\noutput e\noutput g\noutput h\noutput o\noutput q\noutput r\n",
    "input x s8 [2,3,4]\ninput i s64 [3,4]\nconst at s32 [2] 2 -1\nconst pads s64 [6] 0 1 0 1 0 2\n"
    "a = Transpose(x)\nb = Concat(x, x) axis=1\nc = Gather(x, at) axis=1\nd = Pad(x, pads)\n"
    "e = Transpose(i)\nf = Trilu(i)\ng = Cast(i) to=3\nh = Trilu(i) upper=0\n"
    "output a\noutput b\noutput c\noutput d\noutput e\noutput f\noutput g\noutput h\n",
    "input x u8 [1,3,9,9]\ny, i = MaxPool(x) kernel_shape=[3,2] pads=[1,0,1,1] storage_order=1\noutput y\noutput i\n",
    /* other shapes for the same bytes, between a graph's input and output */
    "input x f32 [2,1,6]\nconst s s64 [2] 3 4\nconst one s64 [1] 1\na = Identity(x)\nb = Reshape(x, s)\n"
    "c = Flatten(x)\nd = Squeeze(x, one)\ne = Unsqueeze(x, one)\nf = Dropout(x)\noutput a\noutput b\noutput c\n"
    "output d\noutput e\noutput f\n",
    /* scales and zero points that are computed */
    "input x f32 [2,6,5]\ninput s f32 []\ninput z s8 []\ninput sc f32 [6]\ninput zc u8 [6]\n"
    "a = QuantizeLinear(x, s, z)\nb = QuantizeLinear(x, sc, zc)\nc = DequantizeLinear(a, s, z)\n"
    "d = DequantizeLinear(b, sc, zc)\ne = com.microsoft.QuantizeLinear(x, s, z)\n"
    "f = com.microsoft.DequantizeLinear(e, s, z)\ng = QuantizeLinear(x, s)\n"
    "output a\noutput b\noutput c\noutput d\noutput e\noutput f\noutput g\n",
    "opset 21\ninput x f32 [2,5,3]\ninput s f32 [2,3,3]\ninput z s8 [2,3,3]\n"
    "a = QuantizeLinear(x, s, z) axis=1 block_size=2\nb = DequantizeLinear(a, s, z) axis=1 block_size=2\n"
    "output a\noutput b\n",
    /* convolutions: 130 channels, columns of several images in one tile, groups, no padding */
    "input x f32 [2,5,19,17]\nconst w f32 [130,5,3,3]\nconst b f32 [130]\nc = Conv(x, w, b) pads=[1,1,1,1]\n"
    "d = Relu(c)\noutput d\n",
    "input x f32 [3,36,9,9]\nconst w f32 [80,18,3,2]\nc = Conv(x, w) group=2 strides=[2,1] dilations=[1,2]\n"
    "const lo f32 [] -0.25\nconst hi f32 [] 0.5\nd = Clip(c, lo, hi)\noutput d\n",
    "input x f32 [2,70,7,7]\nconst w f32 [129,70,1,1]\nconst b f32 [129]\nc = Conv(x, w, b)\n"
    "const v f32 [16,70,1,1]\nd = Conv(x, v) strides=[2,2]\noutput c\noutput d\n",
    "input x f32 [2,7,31]\nconst w f32 [65,7,9]\nc = Conv(x, w) pads=[4,4]\ninput y f32 [1,3,5,6,7]\n"
    "const v f32 [20,3,2,3,2]\nd = Conv(y, v) pads=[1,1,0,0,1,1] strides=[1,2,1]\noutput c\noutput d\n",
    /* products */
    "input a f32 [3,70,45]\nconst b f32 [45,131]\ninput c f32 [3,45,67]\nd = MatMul(a, b)\ne = MatMul(a, c)\n"
    "input f f32 [2,1,70,45]\ng = MatMul(f, c)\noutput d\noutput e\noutput g\n",
    "input a f32 [70,45]\nconst b f32 [131,45]\nconst c f32 [131]\nd = Gemm(a, b, c) transB=1\ne = Relu(d)\n"
    "input f f32 [45,70]\nconst g f32 [70,1]\nh = Gemm(f, b, g) transA=1 transB=1 alpha=0.5 beta=1.5\n"
    "output e\noutput h\n",
    /* rows and columns */
    "input x f32 [37,301]\na = Softmax(x)\nb = LogSoftmax(x)\nc = ReduceMax(x) axes=[1]\n"
    "d = ReduceMean(x) axes=[1]\ne = ReduceMax(x) axes=[0]\nf = ReduceSum(x)\nconst one f32 [1] 0.5\n"
    "g = LayerNormalization(x, one, one)\nh = Softmax(x) axis=0\noutput a\noutput b\noutput c\noutput d\n"
    "output e\noutput f\noutput g\noutput h\n",
    "opset 11\ninput x f32 [3,5,7,4]\na = ReduceMean(x) axes=[0,2]\nb = ReduceMax(x) axes=[1,3]\n"
    "c = ReduceLogSumExp(x) axes=[0,3]\nd = Softmax(x) axis=2\ne = ReduceSum(x) axes=[1,2,3] keepdims=0\n"
    "f = ArgMax(x) axis=2 select_last_index=1\noutput a\noutput b\noutput c\noutput d\noutput e\noutput f\n",
};

#endif

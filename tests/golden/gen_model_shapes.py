#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shapes that ONNX Runtime gives to the intermediate tensors of the models in $PTQ_SHARED.

usage: gen_model_shapes.py SHARED > model_shapes.txt
Runs every model once with batch 3 and time 7 and prints "model tensor dims..." for the outputs of
the operators that change shapes. Made with onnx 1.17 and onnxruntime 1.20.1.
"""
import glob
import os
import sys

import numpy as np
import onnx
import onnxruntime as ort

BATCH, TIME = 3, 7
SAME = {"Add", "Mul", "Sub", "Div", "Relu", "Clip", "Sigmoid", "HardSwish", "HardSigmoid", "Erf",
        "BatchNormalization", "LayerNormalization", "Softmax", "Constant", "Gelu", "Identity",
        "Sqrt", "Exp", "Cast"}


def main(shared):
    for path in sorted(glob.glob(os.path.join(shared, "models", "*.onnx"))):
        model = onnx.load(path)
        name = os.path.basename(path)[:-5]
        constants = {i.name for i in model.graph.initializer}
        feeds = {}
        for i in model.graph.input:
            if i.name in constants:
                continue
            dims = [{"batch": BATCH, "time": TIME}.get(d.dim_param, d.dim_value)
                    for d in i.type.tensor_type.shape.dim]
            kind = np.int64 if i.type.tensor_type.elem_type == 7 else np.float32
            feeds[i.name] = np.zeros(dims, kind)
        wanted = [o.name for o in model.graph.output]
        seen = set(wanted)
        for node in model.graph.node:
            for o in node.output:
                if o and o not in seen and node.op_type not in SAME:
                    wanted.append(o)
                    model.graph.output.append(onnx.ValueInfoProto(name=o))
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(model.SerializeToString(), options)
        for o, v in zip(wanted, session.run(wanted, feeds)):
            print(name, o, *v.shape)


main(sys.argv[1])

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draw the embedded images, train the embedded classifier, write both.

    make_data.py            images, training, model, measurement (minutes on two cores)
    make_data.py --images   images only
    make_data.py --check    redraw the images, compare them with the files, measure the model

Every image comes from SEED alone. Training starts from SEED too, but its last bits depend on
the machine, so the committed model is the result of one run (see README.md beside this file).
"""
import argparse
import multiprocessing
import os
import sys
import time

import numpy as np

SEED = 20240607
SIZE = 32                      # pixels, both ways
SUPER = 3                      # samples per pixel and axis when drawing
CLASSES = ["disk", "ring", "triangle", "square", "pentagon",
           "star", "cross", "crescent", "heart", "arrow"]
TRAIN, CALIB, VAL = 20000, 160, 2000
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SCALE = np.float32(1.0 / 255.0)
SWING, CONTRAST, RADIUS = 40, 150, (6.0, 13.0)   # ground colours, shape against ground, pixels
EPOCHS, BATCH, RATE, DECAY = 18, 50, 1e-2, 0.02
EPSILON, KEEP = 1e-5, 0.95     # of BatchNormalization: epsilon, running average
FLOOR = 0.95                   # smallest accepted accuracy


# ---- drawing -------------------------------------------------------------------------------

def polygon(corners, u, v):
    """Points inside a polygon, by counting the edges that a ray to the right crosses."""
    inside = np.zeros(u.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
        if y0 != y1:
            crosses = (v >= min(y0, y1)) & (v < max(y0, y1))
            inside ^= crosses & (u < x0 + (v - y0) * (x1 - x0) / (y1 - y0))
    return inside


def regular(n, radius=1.0, inner=None):
    """Corners of a regular polygon, or of a star where an inner radius is given."""
    count = n if inner is None else 2 * n
    radii = [radius if inner is None or i % 2 == 0 else inner for i in range(count)]
    return [(r * np.cos(2 * np.pi * i / count), r * np.sin(2 * np.pi * i / count))
            for i, r in enumerate(radii)]


def shape(name, u, v):
    """Points inside the shape; it fills about the unit disk."""
    r2 = u * u + v * v
    if name == "disk":
        return r2 < 0.92
    if name == "ring":
        return (r2 < 1.0) & (r2 > 0.30)
    if name == "triangle":
        return polygon(regular(3, 1.15), u, v)
    if name == "square":
        return np.maximum(abs(u), abs(v)) < 0.80
    if name == "pentagon":
        return polygon(regular(5, 1.08), u, v)
    if name == "star":
        return polygon(regular(5, 1.2, 0.52), u, v)
    if name == "cross":
        return (np.minimum(abs(u), abs(v)) < 0.30) & (np.maximum(abs(u), abs(v)) < 1.0)
    if name == "crescent":
        return (r2 < 1.1) & ((u - 0.50) ** 2 + v * v > 0.62)
    if name == "heart":
        x, y = 1.2 * u, 1.2 * v + 0.1
        return (x * x + y * y - 1.0) ** 3 < x * x * y ** 3
    return polygon([(1.1, 0.0), (0.1, 0.85), (0.1, 0.32), (-1.0, 0.32),
                    (-1.0, -0.32), (0.1, -0.32), (0.1, -0.85)], u, v)   # arrow


def background(rng, x, y):
    """A plain, shaded, striped or checked ground between two near colours."""
    low = rng.randint(20, 236, 3).astype(float)
    high = np.clip(low + rng.randint(-SWING, SWING + 1, 3), 0, 255)
    angle, period, kind = rng.uniform(0, 2 * np.pi), rng.uniform(5, 14), rng.randint(4)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    t = [np.zeros(x.shape), np.clip(along / SIZE + 0.5, 0, 1),
         (along % period < period / 2).astype(float),
         ((along % period < period / 2) ^ (across % period < period / 2)).astype(float)][kind]
    return low + (high - low) * t[..., None]


def contrasting(rng, ground, least):
    """A colour that differs from the ground's mean by at least this much (sum over RGB)."""
    while True:
        colour = rng.randint(0, 256, 3).astype(float)
        if abs(colour - ground).sum() >= least:
            return colour


def draw(rng, label):
    """One image, uint8 [SIZE, SIZE, 3], RGB."""
    axis = (np.arange(SIZE * SUPER) + 0.5) / SUPER - SIZE / 2
    x, y = np.meshgrid(axis, axis)
    image = background(rng, x, y)
    ground = image.mean((0, 1))
    for _ in range(rng.randint(0, 4)):                       # specks that mean nothing
        cx, cy, r = rng.uniform(-15, 15), rng.uniform(-15, 15), rng.uniform(0.8, 2.2)
        image[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = contrasting(rng, ground, 60)
    radius = rng.uniform(*RADIUS)
    room = SIZE / 2 - 0.85 * radius                          # corners may leave the image a little
    cx, cy = rng.uniform(-room, room), rng.uniform(-room, room)
    angle, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0.82, 1.0)
    u = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)) / radius
    v = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)) / (radius * squeeze)
    image[shape(CLASSES[label], u, v)] = contrasting(rng, ground, CONTRAST)
    if rng.randint(3) == 0:                                  # a thin line over everything
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-10, 10)
        line = abs(x * np.cos(angle) + y * np.sin(angle) - offset) < 0.6
        image[line] = rng.randint(0, 256, 3)
    image = image.reshape(SIZE, SUPER, SIZE, SUPER, 3).mean((1, 3))
    grain = rng.randint(0, 4) * 4                            # coarse steps, so that files stay small
    image += grain * rng.randint(-1, 2, (SIZE, SIZE, 1))
    return np.clip(np.floor(image / 4 + 0.5) * 4, 0, 255).astype(np.uint8)


def draw_one(job):
    stream, i, label = job
    return draw(np.random.RandomState([SEED, stream, i]), label)


def images(part, count):
    """Balanced images and labels; each has a generator of its own, so none depends on another."""
    stream = {"train": 0, "calib": 1, "val": 2}[part]
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    np.random.RandomState([SEED, stream]).shuffle(labels)
    with multiprocessing.Pool() as pool:
        jobs = [(stream, i, label) for i, label in enumerate(labels)]
        return np.stack(pool.map(draw_one, jobs, 100)), labels


def normalize(pixels):
    return (pixels.astype(np.float32) * SCALE - MEAN) / STD


# ---- image files ---------------------------------------------------------------------------

def write_calibration(folder, pixels, labels):
    from PIL import Image
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "labels.txt"), "w", encoding="ascii", newline="\n") as out:
        for i, (image, label) in enumerate(zip(pixels, labels)):
            name = f"{i:03d}_{CLASSES[label]}.png"
            Image.fromarray(image).save(os.path.join(folder, name), optimize=True)
            out.write(f"{name} {label}\n")


def read_calibration(folder):
    from PIL import Image
    with open(os.path.join(folder, "labels.txt"), encoding="ascii") as lines:
        rows = [line.split() for line in lines]
    pixels = []
    for name, _ in rows:
        with Image.open(os.path.join(folder, name)) as image:
            pixels.append(np.array(image))
    return np.stack(pixels), np.array([int(label) for _, label in rows], np.int64)


def write_validation(path, pixels, labels):
    import h5py
    with h5py.File(path, "w", libver=("earliest", "v110")) as f:
        f.attrs["source"] = f"shapes drawn by make_data.py, seed {SEED}, {len(labels)} images"
        f.attrs["scale"], f.attrs["mean"], f.attrs["std"] = SCALE, MEAN, STD
        d = f.create_dataset("images", data=pixels, chunks=(50, SIZE, SIZE, 3),
                             maxshape=pixels.shape, compression="gzip", compression_opts=9,
                             shuffle=True)
        d.attrs["layout"], d.attrs["color"], d.attrs["range"] = "NHWC", "RGB", "0..255"
        f.create_dataset("labels", data=labels)


def read_validation(path):
    import h5py
    with h5py.File(path, "r") as f:
        return f["images"][:], f["labels"][:]


# ---- the network ---------------------------------------------------------------------------
# One list describes it; training and the ONNX writer both walk it. Each row is
# (operator, name, ...); "conv" is Conv + BatchNormalization and, where asked for, Relu;
# "keep" remembers the value that the next "add" takes as its second input.

#        operator name       in  out  kernel stride groups relu
NETWORK = [
    ("conv", "stem",         3,  24,  3, 2, 1,  True),
    ("keep", "res1"),
    ("conv", "res1_a",       24, 24,  3, 1, 1,  True),
    ("conv", "res1_b",       24, 24,  3, 1, 1,  False),
    ("add",  "res1_add",     True),
    ("max",  "pool1"),
    ("conv", "sep_dw",       24, 24,  3, 1, 24, True),
    ("conv", "sep_pw",       24, 48,  1, 1, 1,  True),
    ("keep", "inv"),
    ("conv", "inv_expand",   48, 96,  1, 1, 1,  True),
    ("conv", "inv_dw",       96, 96,  3, 1, 96, True),
    ("conv", "inv_project",  96, 48,  1, 1, 1,  False),
    ("add",  "inv_add",      False),
    ("avg",  "pool2"),
    ("conv", "wide",         48, 64,  3, 1, 1,  True),
    ("keep", "res2"),
    ("conv", "res2_a",       64, 64,  3, 1, 1,  False),
    ("add",  "res2_add",     True),
]
FEATURES = 64


def start(rng):
    """Weights (He et al. 2015) as HWIO, and BatchNormalization's running statistics."""
    weights, running = {}, {}
    for row in NETWORK:
        if row[0] == "conv":
            _, name, cin, cout, k, _, groups, _ = row
            fan = k * k * cin // groups
            weights[name + ".weight"] = rng.randn(k, k, cin // groups, cout) * np.sqrt(2.0 / fan)
            weights[name + ".gamma"], weights[name + ".beta"] = np.ones(cout), np.zeros(cout)
            running[name + ".mean"], running[name + ".var"] = np.zeros(cout), np.ones(cout)
    weights["fc.weight"] = rng.randn(FEATURES, len(CLASSES)) * np.sqrt(1.0 / FEATURES)
    weights["fc.bias"] = np.zeros(len(CLASSES))
    return ({k: v.astype(np.float32) for k, v in weights.items()},
            {k: v.astype(np.float32) for k, v in running.items()})


def convolve(x, w, stride, groups):
    """NHWC convolution with pad k/2; depthwise as shifted products, faster on a CPU."""
    from jax import lax, numpy as jnp
    k = w.shape[0]
    if k == 1:
        return x @ w[0, 0]
    if groups == 1:
        return lax.conv_general_dilated(x, w, (stride, stride), [(k // 2, k // 2)] * 2,
                                        dimension_numbers=("NHWC", "HWIO", "NHWC"))
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return sum(x[:, i:i + height, j:j + width, :] * w[i, j, 0]
               for i in range(k) for j in range(k))


def forward(weights, x):
    """Logits and the batch's statistics, as BatchNormalization in training sees them."""
    from jax import numpy as jnp
    seen, kept = {}, None
    for row in NETWORK:
        kind, name = row[:2]
        if kind == "conv":
            x = convolve(x, weights[name + ".weight"], row[5], row[6])
            mean = x.mean((0, 1, 2))
            var = (x * x).mean((0, 1, 2)) - mean * mean
            seen[name + ".mean"], seen[name + ".var"] = mean, var
            gain = weights[name + ".gamma"] / jnp.sqrt(var + EPSILON)
            x = x * gain + (weights[name + ".beta"] - mean * gain)
            x = jnp.maximum(x, 0) if row[7] else x
        elif kind in ("max", "avg"):
            n, h, w, c = x.shape
            x = x.reshape(n, h // 2, 2, w // 2, 2, c)
            x = x.max((2, 4)) if kind == "max" else x.mean((2, 4))
        elif kind == "keep":
            kept = x
        else:
            x = x + kept
            x = jnp.maximum(x, 0) if row[2] else x
    return x.mean((1, 2)) @ weights["fc.weight"] + weights["fc.bias"], seen


def train(pixels, labels, epochs):
    """AdamW (Loshchilov and Hutter 2019), cosine rate, cross-entropy; numpy dictionaries back."""
    import jax
    from jax import numpy as jnp

    def loss(weights, x, y):
        logits, seen = forward(weights, x)
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)
        return -picked.mean(), seen

    @jax.jit
    def step(weights, first, second, running, x, y, rate):
        (value, seen), slope = jax.value_and_grad(loss, has_aux=True)(weights, x, y)
        first = {k: 0.9 * first[k] + 0.1 * g for k, g in slope.items()}
        second = {k: 0.99 * second[k] + 0.01 * g * g for k, g in slope.items()}
        weights = {k: w * (1 - rate * DECAY * k.endswith("weight"))
                   - rate * first[k] / (jnp.sqrt(second[k]) + 1e-8) for k, w in weights.items()}
        running = {k: KEEP * running[k] + (1 - KEEP) * seen[k] for k in running}
        return weights, first, second, running, value

    rng = np.random.RandomState([SEED, 3])
    weights, running = start(rng)
    first = second = {k: np.zeros_like(v) for k, v in weights.items()}
    steps, done, began = epochs * (len(labels) // BATCH), 0, time.time()
    for epoch in range(epochs):
        order, total = rng.permutation(len(labels)), 0.0
        for at in range(0, len(order) - BATCH + 1, BATCH):
            pick = order[at:at + BATCH]
            x = pixels[pick]
            x = x[:, :, ::-1] if rng.randint(2) else x       # mirrored shapes are the same class
            x = np.rot90(x, rng.randint(4), (1, 2))
            rate = RATE * min(1, (done + 1) / 200) * (1 + np.cos(np.pi * done / steps)) / 2
            weights, first, second, running, value = step(
                weights, first, second, running, normalize(x), labels[pick], np.float32(rate))
            total, done = total + float(value), done + 1
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {total / (len(order) // BATCH):.4f}  "
              f"{time.time() - began:.0f} s", file=sys.stderr)
    return ({k: np.asarray(v) for k, v in weights.items()},
            {k: np.asarray(v) for k, v in running.items()})


# ---- ONNX ----------------------------------------------------------------------------------

def build(weights, running):
    """The model with BatchNormalization as nodes of its own, opset 13, free batch."""
    from onnx import TensorProto, checker, helper, numpy_helper
    nodes, constants = [], []

    def constant(name, value):
        value = np.ascontiguousarray(value, np.float32)
        constants.append(numpy_helper.from_array(value, name))
        return name

    def add(op, name, inputs, output=None, **attributes):
        nodes.append(helper.make_node(op, inputs, [output or name + "_out"], name, **attributes))
        return nodes[-1].output[0]

    def convolution(row, x):
        _, name, _, _, k, stride, groups, relu = row
        w = constant(name + ".weight", weights[name + ".weight"].transpose(3, 2, 0, 1))
        x = add("Conv", name + "_conv", [x, w], kernel_shape=[k, k], strides=[stride, stride],
                pads=[k // 2] * 4, dilations=[1, 1], group=groups)
        x = add("BatchNormalization", name + "_bn",
                [x] + [constant(name + suffix, source[name + suffix]) for suffix, source in
                       ((".gamma", weights), (".beta", weights), (".mean", running),
                        (".var", running))], epsilon=EPSILON)
        return add("Relu", name + "_relu", [x]) if relu else x

    x, kept = "input", None
    for row in NETWORK:
        kind, name = row[:2]
        if kind == "conv":
            x = convolution(row, x)
        elif kind == "max":
            x = add("MaxPool", name, [x], kernel_shape=[2, 2], strides=[2, 2])
        elif kind == "avg":
            x = add("AveragePool", name, [x], kernel_shape=[2, 2], strides=[2, 2])
        elif kind == "keep":
            kept = x
        else:
            x = add("Add", name, [x, kept])
            x = add("Relu", name + "_relu", [x]) if row[2] else x
    x = add("GlobalAveragePool", "gap", [x])
    x = add("Flatten", "flatten", [x], axis=1)
    add("Gemm", "fc", [x, constant("fc.weight", weights["fc.weight"].T),
                       constant("fc.bias", weights["fc.bias"])], "logits", transB=1)
    graph = helper.make_graph(
        nodes, "shapes",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7,
                              producer_name="make_data.py", producer_version="1",
                              doc_string="Ten shapes, 32x32 RGB; drawn and trained by make_data.py")
    # What a reader needs to feed it: x * scale, minus mean, over std, per channel.
    helper.set_model_props(model, {
        "classes": " ".join(CLASSES), "color": "RGB", "layout": "NCHW", "scale": "1/255",
        "mean": "0.485 0.456 0.406", "std": "0.229 0.224 0.225", "license": "Apache-2.0"})
    checker.check_model(model, full_check=True)
    return model


def accuracy(path, pixels, labels):
    """Top-1 with ONNX Runtime on the CPU."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    right = 0
    for first in range(0, len(labels), 100):
        x = normalize(pixels[first:first + 100]).transpose(0, 3, 1, 2)
        logits = session.run(["logits"], {"input": np.ascontiguousarray(x)})[0]
        right += int((logits.argmax(1) == labels[first:first + 100]).sum())
    return right / len(labels)


# ---- command -------------------------------------------------------------------------------

def versions():
    import importlib.metadata as metadata
    names = ["numpy", "pillow", "h5py", "jax", "onnx", "onnxruntime"]
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return f"Python {sys.version.split()[0]}, " + ", ".join(found)


def check(calib_dir, val_path, model_path):
    """Redraw and compare; returns the exit status."""
    status = 0
    for part, count, stored in (("calib", CALIB, read_calibration(calib_dir)),
                                ("val", VAL, read_validation(val_path))):
        pixels, labels = images(part, count)
        same = pixels.shape == stored[0].shape and (labels == stored[1]).all()
        differing = int((pixels != stored[0]).sum()) if same else -1
        print(f"{part}: " + (f"{count} images, {differing} of {pixels.size} bytes differ"
                             if same else "shape or labels differ"))
        status |= differing != 0
    top1 = accuracy(model_path, *read_validation(val_path))
    print(f"top-1 {100 * top1:.2f} % of {VAL} (onnxruntime)")
    return int(status or top1 < FLOOR)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)),
                        help="folder to write to (default: the script's)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--images", action="store_true", help="write the images and stop")
    parser.add_argument("--check", action="store_true",
                        help="compare the stored images with redrawn ones, measure the model")
    args = parser.parse_args()
    calib_dir, val_path, model_path = (os.path.join(args.out, name) for name in
                                       ("calib", "shapes_val.h5", "shapes.onnx"))
    print(versions())
    if args.check:
        return check(calib_dir, val_path, model_path)
    calib, val = images("calib", CALIB), images("val", VAL)
    write_calibration(calib_dir, *calib)
    write_validation(val_path, *val)
    if args.images:
        return 0
    began = time.time()
    pixels, labels = images("train", TRAIN)
    print(f"{TRAIN} training images drawn in {time.time() - began:.0f} s")
    began = time.time()
    model = build(*train(pixels, labels, args.epochs))
    with open(model_path, "wb") as out:
        out.write(model.SerializeToString(deterministic=True))
    top1 = accuracy(model_path, *val)
    print(f"trained in {time.time() - began:.0f} s, {os.path.getsize(model_path)} bytes")
    print(f"top-1 with onnxruntime: validation {100 * top1:.2f} % of {VAL}, "
          f"calibration {100 * accuracy(model_path, *calib):.2f} % of {CALIB}")
    return 0 if top1 >= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())

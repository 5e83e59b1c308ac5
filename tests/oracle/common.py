# SPDX-License-Identifier: Apache-2.0
"""Shared by the oracle scripts: where things are, and real inputs for each of the models.

PTQ_SHARED names the folder with models/ and data/; PTQ_BUILD the build tree (default: here)."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

SKIP = 77


def shared():
    p = os.environ.get("PTQ_SHARED", "")
    if not p:
        print("SKIP: PTQ_SHARED is not set")
        sys.exit(SKIP)
    return pathlib.Path(p)


def build(name):
    p = pathlib.Path(os.environ.get("PTQ_BUILD", ".")) / name
    if not p.exists():
        print(f"SKIP: {p} is not built")
        sys.exit(SKIP)
    return p


def models():
    return json.loads((shared() / "models" / "models.json").read_text())


MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def inputs(model, n, first=0, calib=False):
    """Samples of the model's evaluation (or calibration) set, preprocessed: one array."""
    name, root = model["name"], shared()
    part = "calib" if calib else "eval"
    if name.startswith("cifar10"):
        import h5py
        x = h5py.File(root / f"data/cifar10_{part}.h5")["images"][first:first + n]
    elif name.startswith("shakespeare"):
        import h5py
        return h5py.File(root / f"data/shakespeare_{part}.h5")["tokens"][first:first + n]
    else:
        from PIL import Image
        face = name.startswith("ultraface")
        files = sorted((root / "data" / ("faces" if face else f"tinyimagenet_{part}")).glob("*.jpg"))
        ims = [Image.open(f).convert("RGB") for f in files[first:first + n]]
        if face:
            x = np.stack([np.asarray(i.resize((320, 240))) for i in ims]).astype(np.float32)
            return np.ascontiguousarray(((x - 127) / 128).transpose(0, 3, 1, 2))
        x = np.stack([np.asarray(i) for i in ims])
    x = ((x.astype(np.float32) / 255) - MEAN) / STD
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2).astype(np.float32))


def labels(model, n):
    """Labels of the first evaluation samples (classes, next tokens), or None."""
    name, root = model["name"], shared()
    if name.startswith("ultraface"):
        return None
    if name.startswith("tinyimagenet"):
        lines = (root / "data/tinyimagenet_eval/labels.txt").read_text().split("\n")
        by_file = dict(line.split() for line in lines if line.strip())
        return np.array([int(by_file[f]) for f in sorted(by_file)[:n]])
    import h5py
    return h5py.File(root / f"data/{name.split('-')[0]}_eval.h5")["labels"][:n]


def run_model(path, feeds, nout, options=()):
    """Our outputs of a model for a list of input arrays."""
    with tempfile.TemporaryDirectory() as d:
        ins, outs = [], [f"{d}/out{i}.npy" for i in range(nout)]
        for i, x in enumerate(feeds):
            np.save(f"{d}/in{i}.npy", x)
            ins.append(f"{d}/in{i}.npy")
        subprocess.run([str(build("tests/run_model")), *options, str(path), *ins, *outs], check=True)
        return [np.load(o) for o in outs]

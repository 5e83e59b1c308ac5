# SPDX-License-Identifier: Apache-2.0
"""The tables of doc/results.md, beside ONNX Runtime: fp32, int8 accuracy by method, agreement of
integer steps and whole models, memory and time of calibration, ONNX Runtime's optimization levels.

usage: tables.py [--models A,B] [--methods A,B] [--targets A,B] [--tables 1,2,3,4,5]
                 [--samples N] [--calib N] [--cache FILE] [--out FILE] [--cached-only]

Each finished cell is kept in the cache file, so an interrupted run goes on where it was; remove
the file after a change of the numbers. --cached-only prints what is known and runs nothing."""
import argparse
import datetime
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

import common

SMALL_FIRST = ["cifar10-resnet20", "cifar10-repvgg", "cifar10-mobilenet_v3_small", "cifar10-convnext",
               "ultraface-rfb-320", "shakespeare-gpt", "tinyimagenet-mobilenet_v2",
               "tinyimagenet-efficientnet_b0", "tinyimagenet-vit", "tinyimagenet-resnet50"]
METHODS = ["minmax", "percentile", "entropy", "mse", "auto", "log"]
ORT_METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
EXACT = ["cifar10-resnet20", "tinyimagenet-resnet50", "cifar10-repvgg", "tinyimagenet-mobilenet_v2"]
CHUNK = 125  # samples of one run of tests/run_model

words = lambda s: s.split(",")
ap = argparse.ArgumentParser()
ap.add_argument("--models", type=words, default=SMALL_FIRST)
ap.add_argument("--methods", type=words, default=METHODS)
ap.add_argument("--targets", type=words, default=["portable", "ort"])
ap.add_argument("--tables", type=words, default=["1", "2", "3", "4", "5"])
ap.add_argument("--samples", type=int, default=10 ** 9, help="evaluation samples (default: all)")
ap.add_argument("--calib", type=int, default=10 ** 9, help="calibration samples (default: all)")
ap.add_argument("--level-samples", type=int, default=1000, help="evaluation samples of table 5 (default: 1000)")
ap.add_argument("--cache", default="oracle-cells.json")
ap.add_argument("--out", help="write the tables as Markdown too")
ap.add_argument("--work", help="folder for models and statistics (default: a temporary one)")
ap.add_argument("--cached-only", action="store_true")
args = ap.parse_args()

MODELS = {m["name"]: m for m in common.models()}
unknown = [m for m in args.models if m not in MODELS]
if unknown:
    ap.error(f"no such model: {', '.join(unknown)}")
INFO = open("/proc/cpuinfo").read()
CPU = next(line.split(":")[1].strip() for line in INFO.splitlines() if line.startswith("model name"))
VNNI = "avx512_vnni" in INFO or "avx_vnni" in INFO
holder = tempfile.TemporaryDirectory()
WORK = pathlib.Path(args.work or holder.name)
WORK.mkdir(parents=True, exist_ok=True)
QUANTIZE = common.build("bin/quantize")


class Cells:
    """Finished cells by name; a failed cell is its message and is tried again by the next run."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.map = json.loads(self.path.read_text()) if self.path.exists() else {}

    def get(self, key, make):
        if key not in self.map and not args.cached_only:
            start = time.time()
            try:
                value = make()
            except Exception as e:
                why = getattr(e, "stderr", None) or str(e)
                why = why.strip().splitlines()[-1][:300] if why.strip() else type(e).__name__
                print(f"FAILED {key}: {why}", file=sys.stderr, flush=True)
                return {"failed": why}
            self.map[key] = value
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps(self.map, indent=0))
            part.replace(self.path)
            print(f"done {key} in {time.time() - start:.1f} s", file=sys.stderr, flush=True)
        return self.map.get(key)


cells = Cells(args.cache)


def model_path(m):
    return str(common.shared() / "models" / (m["name"] + ".onnx"))


def preprocess(m, evaluation=False):
    """Options of the command that say what common.inputs does."""
    if m["name"].startswith("ultraface"):
        return ["--resize", "320x240", "--scale", "1/128", "--mean", "0.9921875", "--std", "1"]
    if m["name"].startswith("shakespeare") or m["name"].startswith("cifar10") and evaluation:
        return []
    return ["--preprocess", "imagenet-norm"]


def high_water(pid):
    """Peak resident MiB so far of a running program."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return max((int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM")), default=0)
    except OSError:
        return 0


def quantize(*argv):
    """The command: (standard output, seconds, peak resident MiB)."""
    start = time.time()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        p = subprocess.Popen([str(QUANTIZE), *map(str, argv)], stdout=out, stderr=err)
        peak = 0  # of the program itself: what wait4 tells counts this process from before the exec as well
        while p.poll() is None:
            peak = max(peak, high_water(p.pid))
            time.sleep(0.005)
        out.seek(0)
        err.seek(0)
        text, why = out.read(), err.read()
    if p.returncode:
        raise RuntimeError(f"quantize {argv[0]} exit {p.returncode}: {why.strip().splitlines()[-1:]}")
    return text, time.time() - start, peak


def calib_count(m):
    whole = 12 if m["name"].startswith("ultraface") else 256 if m["name"].startswith("shak") else 512
    return min(args.calib, whole)


def eval_count(m):
    whole = 12 if m["name"].startswith("ultraface") else 870 if m["name"].startswith("shak") else 5000
    return min(args.samples, whole)


def session(path, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL, save=None):
    o = ort.SessionOptions()
    o.graph_optimization_level = level
    o.log_severity_level = 3
    if save:
        o.optimized_model_filepath = str(save)
    return ort.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])


def batches(m, n):
    size = 1 if m["name"].startswith("ultraface") else CHUNK
    for first in range(0, n, size):
        yield common.inputs(m, min(size, n - first), first)


def ort_outputs(path, m, n, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
    s = session(path, level)
    name = s.get_inputs()[0].name
    for x in batches(m, n):
        yield s.run(None, {name: x})


def our_outputs(path, m, n, options=("--int",)):
    nout = 2 if m["name"].startswith("ultraface") else 1
    for x in batches(m, n):
        yield common.run_model(path, [x], nout, options)


# ---- accuracy, per sample, so that two rows can be compared in pairs

def nms(score, box):
    """Boxes of one picture with score above 0.7, overlaps above 0.3 removed."""
    keep = []
    for i in np.argsort(-score):
        if score[i] <= 0.7:
            break
        if all(iou(box[i], box[j]) <= 0.3 for j in keep):
            keep.append(i)
    return keep


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    area = lambda r: (r[2] - r[0]) * (r[3] - r[1])
    return both / (area(a) + area(b) - both) if both > 0 else 0.0


def found(reference, outputs):
    """Per fp32 box above 0.7: 1 when a box above 0.7 overlaps it by 0.9; all boxes, then after NMS."""
    every, kept = [], []
    for (rs, rb), (s, b) in zip(reference, outputs):
        rs, rb, s, b = rs[0, :, 1], rb[0], s[0, :, 1], b[0]
        hits = b[s > 0.7]
        every += [int(any(iou(r, x) >= 0.9 for x in hits)) for r in rb[rs > 0.7]]
        mine = b[nms(s, b)]
        kept += [int(any(iou(r, x) >= 0.9 for x in mine)) for r in rb[nms(rs, rb)]]
    return {"every": every, "kept": kept}


def judge(m, n, outputs):
    """The per-sample figures of one model: 0 or 1, or nats of each sequence."""
    if m["name"].startswith("ultraface"):
        return found(ort_outputs(model_path(m), m, n), outputs)
    want, have, at = common.labels(m, n), [], 0
    for out in outputs:
        y = out[0].astype(np.float64)
        t = want[at:at + len(y)]
        at += len(y)
        if m["name"].startswith("shakespeare"):
            y = y.reshape(*t.shape, -1)
            top = y.max(-1, keepdims=True)
            nats = np.log(np.exp(y - top).sum(-1)) + top[..., 0] - np.take_along_axis(y, t[..., None], -1)[..., 0]
            have += [round(float(v), 6) for v in nats.mean(-1)]
        else:
            have += [int(v) for v in y.argmax(-1) == t]
    assert at == n, (at, n)
    return {"each": have}


def value(m, cell):
    if "each" not in cell:
        share = lambda v: f"{100 * np.mean(v):.1f} %" if v else "no boxes"
        return f"{share(cell['every'])} ({share(cell['kept'])})"
    v = np.mean(cell["each"])
    return f"{v:.4f}" if m["name"].startswith("shakespeare") else f"{100 * v:.2f}"


def paired(m, a, b):
    """a - b with its paired 95 % interval, in points or nats."""
    if "each" not in a or "each" not in b:
        return ""
    d = np.subtract(a["each"], b["each"]) * (1 if m["name"].startswith("shakespeare") else 100)
    half = 1.96 * d.std(ddof=1) / math.sqrt(len(d))
    digits = 4 if m["name"].startswith("shakespeare") else 2
    return f"{d.mean():+.{digits}f} ± {half:.{digits}f}"


# ---- our models and ONNX Runtime's

def statistics(m, n=None):
    n = n or calib_count(m)
    path = WORK / f"{m['name']}-{n}.h5"
    if not path.exists():
        quantize("calibrate", model_path(m), "-d", common.shared() / m["calib"], "-n", n, "-o", path,
                 "-q", *preprocess(m))
    return path


def ours(m, method, target, *more):
    """Our quantized model: (path, the summary)."""
    path = WORK / f"{m['name']}-{calib_count(m)}-{method}-{target}{'-'.join(('', *more)).replace('/', '_')}.onnx"
    argv = ["run", model_path(m), "-o", path, "-f", "-q", "--json", "--no-compare", "--target", target, *more]
    argv += ["--weight", "log2x16"] if method == "log" else ["--method", method]
    if method in ("auto", "log"):
        argv += ["-d", common.shared() / m["calib"], "-n", calib_count(m), *preprocess(m)]
    else:
        argv += ["--stats", statistics(m)]
    out = json.loads(quantize(*argv)[0])
    return path, out.get("quantize", out)


def our_cell(m, method, target):
    def make():
        path, told = ours(m, method, target)
        cell = judge(m, eval_count(m), our_outputs(path, m, eval_count(m)))
        cell["float"] = len(told.get("left_in_float", []))
        cell["macs"] = told.get("int8_mac_share")
        return cell
    name = "log2x16-auto" if method == "log" else method
    return cells.get(f"ours {m['name']} {name} {target} calib {calib_count(m)} eval {eval_count(m)}", make)


class Reader:
    """Calibration samples for quantize_static, in chunks that it collects one after another."""

    def __init__(self, m, name):
        self.x, self.name = common.inputs(m, calib_count(m), calib=True), name
        self.step = 1 if m["name"].startswith("ultraface") else 32
        self.set_range(0, len(self.x))

    def __len__(self):
        return len(self.x)

    def set_range(self, start_index, end_index):
        self.at, self.end = start_index, end_index

    def get_next(self):
        if self.at >= self.end:
            return None
        part = self.x[self.at:min(self.at + self.step, self.end)]
        self.at += len(part)
        return {self.name: part}


def ort_model(m, method, act):
    """quantize_static's model: per channel, QDQ."""
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process
    path = WORK / f"{m['name']}-{calib_count(m)}-ort-{method}-{act}.onnx"
    if path.exists():
        return path
    plain, ready = onnx.load(model_path(m)), str(WORK / f"{m['name']}-ready.onnx")
    if next(o.version for o in plain.opset_import if o.domain == "") < 13:
        plain = onnx.version_converter.convert_version(plain, 13)
    onnx.save(plain, ready)
    quant_pre_process(ready, ready, skip_symbolic_shape=True)
    n = calib_count(m)
    q.quantize_static(ready, str(path), Reader(m, plain.graph.input[0].name), quant_format=q.QuantFormat.QDQ,
                      per_channel=True, weight_type=q.QuantType.QInt8,
                      activation_type=q.QuantType.QUInt8 if act == "u8" else q.QuantType.QInt8,
                      calibrate_method=getattr(q.CalibrationMethod, ORT_METHODS[method]),
                      extra_options={"CalibStridedMinMax": 32 if n % 32 == 0 else n})
    return path


def ort_cell(m, method, act, run):
    def make():
        path, n = ort_model(m, method, act), eval_count(m)
        return judge(m, n, ort_outputs(path, m, n) if run == "ORT" else our_outputs(path, m, n))
    return cells.get(f"ort {m['name']} {method} {act} in {run} calib {calib_count(m)} eval {eval_count(m)}", make)


def float_cell(m):
    n = eval_count(m)
    return cells.get(f"fp32 {m['name']} eval {n}", lambda: judge(m, n, ort_outputs(model_path(m), m, n)))


# ---- the tables: lists of lines

def row(*items):
    return "| " + " | ".join(str(i) for i in items) + " |"


def shown(cell, how):
    return "not run" if cell is None else f"failed: {cell['failed']}" if "failed" in cell else how(cell)


def table1():
    out = ["## 1. fp32", "",
           "Accuracy by `quantize eval`; the difference is the largest of all outputs, relative to the largest "
           "output value, on the number of samples in the last column.", "",
           row("model", "samples", "ours", "models.json (all samples)", "ONNX Runtime, same samples",
               "largest difference", "on"), row(*["---"] * 7)]
    for m in chosen():
        n = eval_count(m)

        def evaluated():
            if m["name"].startswith("ultraface"):
                return {"value": "boxes"}
            told = json.loads(quantize("eval", model_path(m), "-d", common.shared() / m["eval"], "-n", n, "-q",
                                       "--json", *preprocess(m, True))[0])
            return {"value": f"{told['nats_per_token']:.4f}" if "nats_per_token" in told
                    else f"{told['top1']['percent']:.2f}"}

        def difference():
            few, worst = min(16, n), 0.0
            for a, b in zip(ort_outputs(model_path(m), m, few), our_outputs(model_path(m), m, few, ())):
                for x, y in zip(a, b):
                    worst = max(worst, float(np.abs(x - y).max() / np.abs(x).max()))
            return {"worst": worst, "n": few}

        e = cells.get(f"eval {m['name']} {n}", evaluated)
        d = cells.get(f"difference {m['name']} {n}", difference)
        listed = f"{100 * m['top1']:.2f}" if "top1" in m else m.get("nats_per_token", "")
        f = None if m["name"].startswith("ultraface") else float_cell(m)
        out.append(row(m["name"], n, shown(e, lambda c: c["value"]), listed,
                       "" if m["name"].startswith("ultraface") else shown(f, lambda c: value(m, c)),
                       shown(d, lambda c: f"{c['worst']:.1e}"), shown(d, lambda c: c["n"])))
    return out + [""]


def table2():
    out = ["## 2. int8 accuracy by method", "",
           "Top-1 in percent (nats per token for shakespeare-gpt; for ultraface the share of fp32 boxes above 0.7 "
           "that int8 finds with IoU 0.9 or more, in brackets after NMS on both sides). Beside each figure: its "
           "difference to fp32 on the same samples with the paired 95 % interval. \"log\" is `--weight log2x16` with "
           "the default method, auto. Rows of ONNX Runtime are `quantize_static`, per channel, QDQ, the same "
           "calibration samples; \"run in\" says whose kernels ran the model.", ""]
    if not VNNI:
        out += ["**This CPU has no VNNI: ONNX Runtime's u8 x s8 kernels add pairs of products with saturation in "
                "16 bits, so its rows \"run in ORT\" can be lower than the model deserves. The rows \"run in ptq\" "
                "are the same ONNX Runtime models in exact integer arithmetic; `reduce_range` was off.**", ""]
    for m in chosen():
        f = float_cell(m)
        out += [f"### {m['name']}", "", f"{eval_count(m)} evaluation, {calib_count(m)} calibration samples", "",
                row("row", "run in", "accuracy", "minus fp32", "layers in float"), row(*["---"] * 5),
                row("fp32", "ORT", shown(f, lambda c: value(m, c)), "", "")]
        usable = lambda c: c is not None and "failed" not in c
        delta = lambda c: paired(m, c, f) if usable(c) and usable(f) else ""
        theirs, autos = {}, {}
        for target in args.targets:
            for method in args.methods:
                c = our_cell(m, method, target)
                if method == "auto" and usable(c):
                    autos[target] = c
                out.append(row(f"ptq {method}, {target}", "ptq", shown(c, lambda c: value(m, c)), delta(c),
                               c.get("float", "") if usable(c) else ""))
        for method in [k for k in ORT_METHODS if k in args.methods]:
            for act in ("u8", "s8"):
                for run in ("ORT", "ptq"):
                    c = ort_cell(m, method, act, run)
                    if usable(c) and "each" in c:
                        theirs[f"{method} {act} in {run}"] = c
                    out.append(row(f"ORT {method}, {act}", run, shown(c, lambda c: value(m, c)), delta(c), ""))
        out.append("")
        if theirs and autos:
            sign = -1 if m["name"].startswith("shakespeare") else 1
            best = max(theirs, key=lambda k: sign * np.mean(theirs[k]["each"]))
            out += [f"auto, {t}, minus the best ONNX Runtime row ({best}): {paired(m, c, theirs[best])}"
                    + "  " for t, c in autos.items()] + [""]
    return out


def steps(script):
    def make():
        p = subprocess.run([sys.executable, str(pathlib.Path(__file__).parent / script), "-n", "20"],
                           capture_output=True, text=True)
        lines = [line.split() for line in p.stdout.splitlines()]
        found = [w[:4] for w in lines if len(w) >= 4 and w[1].isdigit() and w[2].isdigit()]
        if not found:
            raise RuntimeError(p.stderr or p.stdout)
        return {"rows": found}
    return cells.get(f"steps {script}", make)


def end_to_end(m):
    """One QOperator model in both: integer tensors by name (ONNX Runtime's optimized model with them as
    outputs, run as it stands), outputs, accuracy."""
    n, few = eval_count(m), min(8, eval_count(m))
    path, _ = ours(m, "mse", "ort", "--format", "qoperator", *([] if VNNI else ["--reduce-range"]))
    saved = WORK / "optimized.onnx"
    session(path, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, saved)
    graph = onnx.load(str(saved))
    have = {o.name for o in graph.graph.output}
    produced = [o for node in graph.graph.node for o in node.output if o]
    x = next(batches(m, few))
    with tempfile.TemporaryDirectory() as d:
        nout = len(have)
        mine = common.run_model(path, [x], nout, ["--int", "--plain", "--dump", d])
        names = [line.split(maxsplit=1) for line in (pathlib.Path(d) / "names.txt").read_text().splitlines()]
        known = {w[1]: f"{d}/{w[0]}.npy" for w in names if len(w) == 2}
        wanted = [p for p in produced if p in known and p not in have]
        graph.graph.output.extend(onnx.ValueInfoProto(name=p) for p in wanted)
        onnx.save(graph, str(saved))
        s = session(saved, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        theirs = dict(zip([o.name for o in s.get_outputs()], s.run(None, {s.get_inputs()[0].name: x})))
        tensors = equal = total = differ = 0
        for name in wanted:
            t, o = theirs[name], np.load(known[name])
            if t.dtype not in (np.int8, np.uint8) or o.dtype not in (np.int8, np.uint8):
                continue
            if t.shape != o.shape:
                raise RuntimeError(f"{name}: shape {t.shape} and {o.shape}")
            if t.dtype != o.dtype:  # s8 may appear as u8 + 128
                t, o = ((v.astype(np.int16) - (128 if v.dtype == np.uint8 else 0)) for v in (t, o))
            bad = int((t != o).sum())
            tensors, equal, total, differ = tensors + 1, equal + (bad == 0), total + t.size, differ + bad
    wrong = count = 0
    for a, b in zip(session(path).run(None, {s.get_inputs()[0].name: x}), mine):
        wrong, count = wrong + int((a != b).sum()), count + a.size
    return {"tensors": tensors, "equal": equal, "bytes": total, "differ": differ, "outputs": count,
            "wrong": wrong, "ours": judge(m, n, our_outputs(path, m, n)), "theirs": judge(m, n, ort_outputs(path, m, n))}


def table3():
    out = ["## 3. Agreement with ONNX Runtime", "", "Integer steps alone, the same input bytes:", "",
           row("step", "cases", "values", "that differ"), row(*["---"] * 4)]
    for script in ("int_steps.py", "steps.py"):
        c = steps(script)
        out += [row(*r) for r in c["rows"]] if c and "rows" in c else [row(script, shown(c, str), "", "")]
    out += ["", "Whole models in QOperator form (`--target ort --format qoperator --method mse"
            + ("" if VNNI else " --reduce-range") + "`):"
            + ("" if VNNI else " 7-bit weights, because this CPU has no VNNI and ONNX Runtime would saturate."), "",
            row("model", "int8 tensors equal", "bytes that differ", "output values that differ", "ours",
                "ONNX Runtime", "ours minus ORT", "bar"), row(*["---"] * 8)]
    for m in chosen():
        c = cells.get(f"end {m['name']} calib {calib_count(m)} eval {eval_count(m)}", lambda: end_to_end(m))
        if c is None or "failed" in c:
            out.append(row(m["name"], shown(c, str), *[""] * 6))
            continue
        out.append(row(m["name"], f"{c['equal']} of {c['tensors']}",
                       f"{c['differ']} of {c['bytes']} ({100 * c['differ'] / max(c['bytes'], 1):.3f} %)",
                       f"{c['wrong']} of {c['outputs']}", value(m, c["ours"]), value(m, c["theirs"]),
                       paired(m, c["ours"], c["theirs"]), "0 bytes" if m["name"] in EXACT else "0.5 points"))
    return out + [""]


def table4():
    out = ["## 4. Memory and time of calibration", "",
           row("model", "samples", "time, s", "peak RSS, MiB", "RSS beside the smaller count",
               "solve again (entropy), s"), row(*["---"] * 6)]
    for m in chosen():
        before = None
        for n in sorted({min(64, calib_count(m)), calib_count(m)}):
            def make():
                stats = WORK / f"{m['name']}-{n}-timed.h5"
                _, seconds, peak = quantize("calibrate", model_path(m), "-d", common.shared() / m["calib"], "-n", n,
                                            "-o", stats, "-f", "-q", *preprocess(m))
                again = quantize("run", model_path(m), "--stats", stats, "--method", "entropy", "--no-compare",
                                 "-q", "-f", "-o", WORK / "again.onnx")[1]
                return {"seconds": seconds, "peak": peak, "again": again}
            c = cells.get(f"calibration {m['name']} {n}", make)
            usable = c is not None and "failed" not in c
            grow = f"{100 * (c['peak'] / before - 1):+.1f} %" if before and usable else ""
            out.append(row(m["name"], n, shown(c, lambda c: f"{c['seconds']:.1f}"),
                           shown(c, lambda c: f"{c['peak']:.0f}"), grow, shown(c, lambda c: f"{c['again']:.2f}")))
            before = c["peak"] if usable else before
    return out + [""]


LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]
FORMS = [("portable", "qdq"), ("ort", "qdq"), ("ort", "qoperator")]


def table5():
    out = ["## 5. The optimization levels of ONNX Runtime", "",
           "Our quantized models (method mse, all calibration samples) in ONNX Runtime at its four levels, on the "
           "first evaluation samples; the last column is the largest difference between two levels (points, nats "
           "or percent of the boxes), the bar is 0.5 points.", "",
           row("model", "form", "samples", *[v[4:].lower() for v in LEVELS], "spread"), row(*["---"] * 8)]
    for m in chosen():
        n = min(eval_count(m), args.level_samples)
        for target, form in FORMS:
            def make():
                path, _ = ours(m, "mse", target, "--format", form)
                return {v: judge(m, n, ort_outputs(path, m, n, getattr(ort.GraphOptimizationLevel, v)))
                        for v in LEVELS}
            c = cells.get(f"levels {m['name']} {target} {form} calib {calib_count(m)} eval {n}", make)
            if c is None or "failed" in c:
                out.append(row(m["name"], f"{form}, {target}", n, shown(c, str), *[""] * 4))
                continue
            scale = 1 if m["name"].startswith("shakespeare") else 100
            means = [scale * float(np.mean(c[v].get("each", c[v].get("every")))) for v in LEVELS]
            out.append(row(m["name"], f"{form}, {target}", n, *[value(m, c[v]) for v in LEVELS],
                           f"{max(means) - min(means):.{4 if scale == 1 else 2}f}"))
    return out + [""]


def chosen():
    return [MODELS[name] for name in SMALL_FIRST if name in args.models]


def main():
    text = ["# Results", "", f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, {CPU}, "
            f"{os.cpu_count()} processors, {'with' if VNNI else 'without'} VNNI, onnx {onnx.__version__}, "
            f"onnxruntime {ort.__version__}. Printed by `make oracle`.", ""]
    for t in args.tables:
        text += {"1": table1, "2": table2, "3": table3, "4": table4, "5": table5}[t]()
    text = "\n".join(text).rstrip() + "\n"
    print(text)
    if args.out:
        pathlib.Path(args.out).write_text(text)


if __name__ == "__main__":
    main()

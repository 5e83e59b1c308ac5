# SPDX-License-Identifier: Apache-2.0
"""Whole networks beside PyTorch on one GPU: exports them to ONNX (random weights), quantizes them for
target tensorrt, times the engine with `quantize bench`, times PyTorch in fp16 (eager, torch.compile, and
CUDA graphs at batch 1), and prints one table with the bars.

usage: networks.py --quantize COMMAND [--only ROW,...] [--work FOLDER] [--json FILE] [--skip-peers]
                   [--skip-ours] [--fast-math] [--precision NAME] [--float] [--compile MODE|none] [--seconds S] [--budget S]
                   [--backend NAME] [--batch N]
Rows: resnet50-256 resnet50-1 mobilenet_v2-256 vit_b_16-256 bert-128.
What has been exported and quantized is kept in the work folder and found there again (--fresh: made
anew). --budget bounds the whole run: parts that do not fit are named, and --only runs them in another
call. A part that fails is named in the table's last column; the others go on.

Both sides read their inputs from device memory: the engine fp32 images (it quantizes them itself),
PyTorch fp16 images with channels last; tokens are int64 on both. Times are medians of CUDA events
around single runs."""
import argparse
import json
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
START = time.monotonic()

# name: network, batch, must (factor over the better peer, or milliseconds), next gate
ROWS = {
    "resnet50-256": ("resnet50", 256, {"times": 1.6}, {"rate": 95000}),
    "resnet50-1": ("resnet50", 1, {"ms": 0.35}, {"ms": 0.15}),
    "mobilenet_v2-256": ("mobilenet_v2", 256, {"times": 1.5}, {"rate": 180000}),
    "vit_b_16-256": ("vit_b_16", 256, {"times": 1.3}, {"rate": 30000}),
    "bert-128": ("bert", 128, {"times": 1.3}, {"rate": 45000}),
}
VOCABULARY, TOKENS = 30522, 128


def say(text):
    print(f"[{time.monotonic() - START:6.1f} s] {text}", file=sys.stderr, flush=True)


# ---- networks ----

class LastHidden(torch.nn.Module):
    """One kind of token, which is given as a constant: the model's own buffer is looked up by position."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.register_buffer("kinds", torch.zeros(1, TOKENS, dtype=torch.int64))

    def forward(self, input_ids):
        return self.model(input_ids=input_ids, token_type_ids=self.kinds).last_hidden_state


def network(name, attention):
    torch.manual_seed(0)
    if name == "bert":
        import transformers
        config = transformers.BertConfig(attn_implementation=attention)
        return LastHidden(transformers.BertModel(config, add_pooling_layer=False)).eval()
    import torchvision
    model = getattr(torchvision.models, name)(weights=None).eval()
    if name == "vit_b_16":  # its last layer starts as zeros, which would be no work to quantize
        torch.nn.init.normal_(model.heads.head.weight, std=0.02)
    return model


def inputs(name, batch, seed):
    r = np.random.default_rng(seed)
    if name == "bert":
        return r.integers(0, VOCABULARY, (batch, TOKENS), dtype=np.int64)
    return r.standard_normal((batch, 3, 224, 224), dtype=np.float32)


def export(name, folder, fresh):
    path = folder / f"{name}.onnx"
    if path.exists() and not fresh:
        return path
    model = network(name, "eager")
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operator that ONNX does not have
    given = "input_ids" if name == "bert" else "input"
    try:
        with torch.no_grad():
            torch.onnx.export(model, (torch.from_numpy(inputs(name, 2, 1)),), str(path) + ".part", opset_version=17,
                              dynamo=False, input_names=[given], output_names=["output"],
                              dynamic_axes={given: {0: "batch"}, "output": {0: "batch"}})
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    (folder / f"{name}.onnx.part").rename(path)
    return path


def run(command, limit):
    r = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=max(limit, 1))
    if r.returncode:
        lines = [x for x in r.stderr.strip().splitlines() if x.strip()] or ["no message"]
        raise RuntimeError(f"{command[1]}: exit {r.returncode}: {lines[-1]}")
    return r.stdout, r.stderr


def quantized(name, args, limit):
    path = args.work / f"{name}.int8.onnx"
    if path.exists() and not args.fresh:
        return path
    model = export(name, args.work, args.fresh)
    data = args.work / f"{name}.npy"
    np.save(data, inputs(name, args.samples, 2))
    out, err = run([args.quantize, "run", model, "-d", data, "--target", "tensorrt", "--method", "minmax",
                    "--no-compare", "-f", "-o", path] + ([] if name == "bert" else ["--scale", "1"]), limit)
    for line in (out + err).splitlines():
        if re.match(r"plan |warning|note", line):
            say(f"  {line}")
    return path


# ---- the engine ----

def ours(name, batch, args, limit):
    path = export(name, args.work, args.fresh) if args.float else quantized(name, args, limit)
    command = [args.quantize, "bench", path, "--backend", args.backend, "--batch", batch, "--seconds", args.seconds,
               "--json"]
    if args.fast_math:
        command += ["--fast-math"]
    if args.precision:
        command += ["--precision", args.precision]
    if args.backend == "cuda":
        command += ["--timing-cache", args.work / "timing.cache"]
    out, _ = run(command, limit)
    report = json.loads(out)
    best = report.get("from_device") or report["from_host"]
    return {"ms": best["median_ms"], "rate": batch / best["median_ms"] * 1e3, "spread": best["spread"],
            "report": report}


def marks(report, args):
    """What the table says of our side beside the row."""
    found = [f"precision {report['precision']}"] if args.precision else []
    return ["not quantized"] * args.float + found + ["fast math"] * report["fast_math"]


def describe(row, result, args):
    r = result["report"]
    text = [f"\n{', '.join([row] + marks(r, args))}: {result['ms']:.3f} ms, {result['rate']:.0f} samples/s, spread {100 * result['spread']:.1f} %, "
            f"activations {r['activation_bytes'] / 1e6:.1f} MB; steps {r['layers_ms']:.3f} ms, at the limits "
            f"{r['layers_least_ms']:.3f} ms ({r['layers_timed_by']})"]
    if "overlapped" in r:
        text[0] += f"; from host memory {r['overlapped']['samples_per_second']:.0f} samples/s"
    kinds = {}
    for x in r["layers"]:
        k = x["op"] if x["kind"] == "float" else x["kind"]
        k += " on the CPU" if x["on_cpu"] else " in fp16" if x["precision"] == "fp16" else ""
        n, ms, least = kinds.get(k, (0, 0.0, 0.0))
        kinds[k] = (n + 1, ms + x["ms"], least + x["least_ms"])
    for k, (n, ms, least) in sorted(kinds.items(), key=lambda i: -i[1][1])[:12]:
        text.append(f"  {n:4} {k:28} {ms:9.4f} ms, at the limits {least:9.4f} ms")
    for x in r["layers"][:8]:
        text.append(f"       {x['step'][-44:]:44} {x['kernel'] or '-':16} {x['ms']:8.4f} ms {x['tops']:7.1f} TOPS "
                    f"{x['gb_per_second']:7.0f} GB/s {100 * x['of_limit']:5.1f} %  {x['why']}")
    return "\n".join(text)


# ---- PyTorch ----

def time_torch(f, seconds):
    """Median milliseconds of f(), events around each run, after warm-up."""
    for _ in range(5):
        f()
    torch.cuda.synchronize()
    t = time.monotonic()
    f()
    torch.cuda.synchronize()
    n = int(min(max(seconds / max(time.monotonic() - t, 1e-6), 10), 2000))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(n + 1)]
    marks[0].record()
    for m in marks[1:]:
        f()
        m.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(marks, marks[1:]))


def graphed(f):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            f()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        f()
    return graph.replay


def peers(name, batch, args, deadline):
    """Milliseconds by mode, and what failed."""
    found, failed = {}, []
    model = network(name, "sdpa").cuda().half()
    x = torch.from_numpy(inputs(name, batch, 3)).cuda()
    if name != "bert":
        model = model.to(memory_format=torch.channels_last)
        x = x.half().contiguous(memory_format=torch.channels_last)
    modes = ["eager"] + (["eager, graph"] if batch == 1 else [])
    if args.compile != "none":
        modes += [args.compile] + (["reduce-overhead"] if batch == 1 else [])
    for mode in modes:
        if time.monotonic() > deadline:
            failed.append(f"{mode}: no time left")
            continue
        try:
            with torch.inference_mode():
                g = model
                if not mode.startswith("eager"):
                    torch._dynamo.reset()
                    g = torch.compile(model, mode=None if mode == "default" else mode)
                run_one = (lambda: g(x))
                found[mode] = time_torch(graphed(run_one) if "graph" in mode else run_one, args.seconds)
            say(f"  torch {mode}: {found[mode]:.3f} ms, {batch / found[mode] * 1e3:.0f} samples/s")
        except Exception as e:  # a peer that does not run here is told, the others go on
            failed.append(f"torch {mode}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}")
            say(f"  {failed[-1]}")
    del model, x
    torch.cuda.empty_cache()
    return found, failed


# ---- the table ----

def bar(want, batch, peer):
    """Samples per second that a bar asks for; None without a peer."""
    if "rate" in want:
        return want["rate"]
    if "ms" in want:
        return batch / want["ms"] * 1e3
    return want["times"] * peer if peer else None


def table_row(row, batch, result, args):
    must, gate = ROWS[row][2], ROWS[row][3]
    mine, modes = result.get("ours"), result.get("peers", {})
    mode = min(modes, key=modes.get) if modes else None
    peer = batch / modes[mode] * 1e3 if mode else None
    need, after = bar(must, batch, peer), bar(gate, batch, peer)
    how = marks(mine["report"], args) if mine else []
    cells = [row + (f" ({', '.join(how)})" if how else ""), f"{mine['ms']:.3f}" if mine else "-", f"{mine['rate']:.0f}" if mine else "-",
             f"{modes[mode]:.3f}" if mode else "-", f"{peer:.0f} ({mode})" if mode else "-",
             f"{mine['rate'] / peer:.2f}" if mine and peer else "-"]
    for goal in (need, after):
        reached = "" if not mine or not goal else " (met)" if mine["rate"] >= goal else f" (at {mine['rate'] / goal:.2f})"
        cells.append(f"{goal:.0f}{reached}" if goal else "-")
    return cells + ["; ".join(result.get("failed", [])) or "-"]


def print_table(results, batches, args):
    head = ["row", "ms", "samples/s", "PyTorch ms", "PyTorch samples/s", "ratio", "must", "next gate", "failed"]
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row, result in results.items():
        print("| " + " | ".join(table_row(row, batches[row], result, args)) + " |")


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quantize", default="quantize", help="the command")
    p.add_argument("--only", default=",".join(ROWS), help="rows, with commas between")
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path("networks"), help="folder for models and caches")
    p.add_argument("--json", type=pathlib.Path, help="file for all figures")
    p.add_argument("--samples", type=int, default=16, help="of the calibration")
    p.add_argument("--seconds", type=float, default=1.0, help="of each measurement, about")
    p.add_argument("--budget", type=float, default=570.0, help="seconds of the whole run")
    p.add_argument("--backend", default="cuda")
    p.add_argument("--batch", type=int, help="another batch, to try the script")
    p.add_argument("--compile", default="default",
                   help="mode of torch.compile, such as max-autotune-no-cudagraphs (minutes), or none")
    p.add_argument("--skip-peers", action="store_true")
    p.add_argument("--skip-ours", action="store_true")
    p.add_argument("--fast-math", action="store_true", help="our side rounds otherwise than the CPU; marked in the table")
    p.add_argument("--precision", choices=["model", "fp16", "fp32"], help="of our side, as `quantize bench` has it")
    p.add_argument("--float", action="store_true", help="our side runs the network as it was exported, not quantized")
    p.add_argument("--fresh", action="store_true", help="export and quantize again")
    args = p.parse_args()
    args.rows = args.only.split(",")
    unknown = [r for r in args.rows if r not in ROWS]
    if unknown:
        p.error(f"no row {unknown[0]}; rows are {', '.join(ROWS)}")
    if not torch.cuda.is_available() and not args.skip_peers:
        say("PyTorch finds no GPU: its side is left out")
        args.skip_peers = True
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def out_of_time(*_):
    raise TimeoutError("no time left")


def main():
    args = options()
    deadline = START + args.budget
    signal.signal(signal.SIGALRM, out_of_time)  # ends what runs now; the table is printed all the same
    signal.alarm(max(int(args.budget), 1))
    results, batches = {}, {}
    if torch.cuda.is_available():
        say(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    for row in args.rows:
        name, batch = ROWS[row][0], args.batch or ROWS[row][1]
        batches[row], result = batch, {"failed": []}
        results[row] = result
        say(row)
        try:
            if not args.skip_ours:
                result["ours"] = ours(name, batch, args, deadline - time.monotonic())
                print(describe(row, result["ours"], args), flush=True)
        except Exception as e:
            result["failed"].append(f"ours: {e if isinstance(e, RuntimeError) else f'{type(e).__name__}: {e}'}"[:300])
            say(f"  {result['failed'][-1]}")
        if not args.skip_peers:
            try:
                result["peers"], failed = peers(name, batch, args, deadline)
                result["failed"] += failed
            except Exception as e:
                result["failed"].append(f"peers: {type(e).__name__}: {e}"[:300])
                say(f"  {result['failed'][-1]}")
        if args.json:
            args.json.write_text(json.dumps(results, indent=1))
    print_table(results, batches, args)
    return 1 if any(r["failed"] for r in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

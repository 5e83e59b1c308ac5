#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command from outside: the main job on the embedded model, and a table of wrong uses with
# their exit codes. Everything happens in a temporary directory.
q=$(cd "${top_builddir:-.}" && pwd)/bin/quantize
src=$(cd "${srcdir:-.}" && pwd)
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 99
export COLUMNS=300 # lines are looked for whole
bad=0
model=$src/data/shapes.onnx calib=$src/data/calib val=$src/data/shapes_val.h5
pre="--preprocess imagenet-norm"

expect() { # code, text that must be in stderr or stdout, command...
    code=$1 text=$2; shift 2
    "$@" >out.txt 2>err.txt
    got=$?
    if [ $got != "$code" ]; then
        echo "FAILED (exit $got, not $code): $*"; tail -3 err.txt; bad=1
    elif [ -n "$text" ] && ! grep -q -e "$text" out.txt err.txt; then
        echo "FAILED (no '$text' in the output): $*"; cat out.txt err.txt | head -5; bad=1
    fi
}
same() { cmp -s "$1" "$2" || { echo "FAILED: $1 and $2 differ"; bad=1; }; }

if "$q" backends | grep -q "no PNG"; then
    echo "SKIP: built without PNG, and the calibration images are PNG"; exit 77
fi

# shellcheck disable=SC2086
{
# the main job
expect 0 "chose" "$q" "$model" -d "$calib" $pre -o a.onnx --no-latency -n 64
expect 0 "^check .*scales and their zero points ok" "$q" "$model" -d "$calib" $pre -o chk.onnx --method mse --no-latency -n 8
expect 0 "float simulation" "$q" "$model" -d "$calib" $pre -o chk.onnx -f --method mse --no-latency -n 8
expect 0 "^  on cpu (ref, 1 thread)$" env COLUMNS=40 "$q" "$model" -d "$calib" $pre -o chk.onnx -f --method mse -n 2 --isa ref -j 1
[ "$(wc -L < out.txt)" -le 40 ] || { echo "FAILED: lines wider than 40 columns"; bad=1; }
expect 0 "^quantize  [0-9.]*   cpu (ref, 1 thread)   target ort$" "$q" "$model" -d "$calib" $pre -o chk.onnx -f --method mse -n 2 --isa ref -j 1 \
    --target ort --no-latency
grep -q "^model .*shapes.onnx: opset [0-9]*, [0-9]* nodes, 0.0[0-9] M parameters; input .*,3,32,32.$" err.txt || { echo "FAILED: model line"; cat err.txt; bad=1; }
grep -q "^next  *top-1 .*--eval" out.txt || { echo "FAILED: next line"; cat out.txt; bad=1; }
sum=$( (sha256sum chk.onnx || shasum -a 256 chk.onnx) 2>/dev/null | cut -c 1-12)
grep -q "^wrote  *chk.onnx (sha256 $sum...) in .* PASSED (check)$" err.txt || { echo "FAILED: last line"; cat err.txt; bad=1; }
expect 0 "wrote .*), chk.json in .* PASSED (check, 2 of --fail-if)$" "$q" "$model" -d "$calib" $pre -o chk.onnx -f --method mse -n 2 \
    --no-latency --dump-params chk.json --fail-if "sqnr<1" --fail-if "cosine<0"
expect 1 "wrote .* FAILED (--fail-if)$" "$q" "$model" -d "$calib" $pre -o chk.onnx -f --method mse -n 2 --no-latency --fail-if "sqnr<1000"
expect 0 '"next": {' "$q" "$model" -d "$calib" $pre -o chk.onnx -f --method mse --no-compare --json -n 8
expect 0 '"compare": null' "$q" "$model" -d "$calib" $pre -o chk.onnx -f --method mse --no-compare --json -n 8
expect 0 '"simulation": null' "$q" "$model" -d "$calib" $pre -o chk.onnx -f --method mse --no-compare --json -n 8
expect 0 '"top1_change"' "$q" run "$model" -d "$calib" $pre -o b.onnx --method mse --json -q --no-latency
expect 0 "" "$q" run "$model" -d "$calib" $pre -o c.onnx --method mse -q --no-compare -j 1 --batch 1
same b.onnx c.onnx
expect 0 "" "$q" run "$model" -d "$calib" $pre -o r.onnx --method mse -q --no-compare --isa ref
same b.onnx r.onnx
for t in portable ort tensorrt; do
    for w in s8 log2 log2x2 log2x16; do
        expect 0 "" "$q" "$model" -d "$calib" $pre -o t.onnx -f --target $t --weight $w --method mse -q --no-latency -n 16
    done
    expect 0 "" "$q" "$model" -d "$calib" $pre -o t.onnx -f --target $t --act log2 --method mse -q --no-latency -n 16
done
expect 0 "" "$q" "$model" -d "$calib" $pre -o qop.onnx --target ort --format qoperator --method mse -q --no-compare
expect 0 "" "$q" "$model" -d "$calib" $pre -o qdq.onnx --target ort --method mse -q --no-compare
expect 0 "identical" "$q" compare qdq.onnx qop.onnx -d "$calib" $pre --no-latency -n 32 --fail-if "sqnr<100"
expect 0 "reference *candidate" "$q" compare qdq.onnx qop.onnx -d "$calib" $pre --no-latency -n 4
expect 0 "fp32 *int8" "$q" compare "$model" qop.onnx -d "$calib" $pre --no-latency -n 4

# engines
expect 0 "engine     cpu" "$q" build qdq.onnx -o e.plan --backend cpu
expect 6 "exists" "$q" build qdq.onnx -o e.plan --backend cpu
expect 2 "is an input" "$q" build qdq.onnx -o qdq.onnx -f --backend cpu
expect 0 "from .1,3,32,32. to .16,3,32,32., best at .4,3,32,32." "$q" build qdq.onnx -o e.plan -f --backend cpu \
    --shapes input=1x3x32x32:4x3x32x32:16x3x32x32
expect 0 "profile 1" "$q" build qdq.onnx -o e.plan -f --backend cpu --shapes input=1x3x32x32 --shapes input=8x3x32x32
expect 2 "expected NAME=" "$q" build qdq.onnx -o x.plan --backend cpu --shapes input=1x3x32x32:
expect 2 "no input 'inptu'" "$q" build qdq.onnx -o x.plan --backend cpu --shapes inptu=1x3x32x32
expect 2 "expected shape" "$q" build qdq.onnx -o x.plan --backend cpu --shapes input=1x4x32x32
expect 2 "did you mean 'fp32'" "$q" build qdq.onnx -o x.plan --backend cpu --precision fp23
expect 0 "warning: precision fp16 changes nothing on backend cpu" "$q" build qdq.onnx -o h.plan --backend cpu --precision fp16
expect 0 "precision model" "$q" bench h.plan --seconds 0.01
expect 0 "warning: --precision changes nothing here" "$q" bench e.plan --seconds 0.01 --precision fp32
expect 2 "there are model, fp32, fp16" "$q" eval qdq.onnx -d "$calib" $pre -n 4 --backend cpu --precision int4
expect 0 "warning: precision fp16 changes nothing" "$q" compare "$model" qdq.onnx -d "$calib" $pre --no-latency -n 4 --backend cpu --precision fp16
expect 2 "no output" "$q" build qdq.onnx
expect 2 "number of a GPU" "$q" build qdq.onnx -o x.plan --backend cpu --device one
expect 0 "the slowest 10 of" "$q" bench qdq.onnx --backend cpu --seconds 0.01 --batch 2
expect 0 "input .4,3,32,32." "$q" bench qdq.onnx --backend cpu --seconds 0.01 --shapes input=1x3x32x32:4x3x32x32:16x3x32x32
expect 0 "input .8,3,32,32." "$q" bench e.plan --seconds 0.01 --shapes input=8x3x32x32 -v
expect 0 '"from_host": {' "$q" bench e.plan --seconds 0.01 --json
expect 2 "outside the" "$q" bench e.plan --seconds 0.01 --batch 9
expect 2 "--seconds wants" "$q" bench e.plan --seconds 0
expect 2 "expected .quantize bench" "$q" bench

# statistics: shards, merge, resume, solving again
if "$q" backends | grep -q "no HDF5"; then
    for o in "calibrate $model -o x.h5" "run $model -o x.onnx --save-stats x.h5"; do
        expect 5 "^error: x.h5: this program was built without HDF5" "$q" $o -d "$calib" $pre
        grep -q calibrating err.txt && { echo "FAILED: calibrated for a file that cannot be written"; bad=1; }
    done
else
    expect 0 "" "$q" calibrate "$model" -d "$calib" $pre -o all.h5 -q
    expect 0 "" "$q" calibrate "$model" -d "$calib" $pre -o s0.h5 -q --shard 0/3
    expect 0 "" "$q" calibrate "$model" -d "$calib" $pre -o s1.h5 -q --shard 1/3 -j 1 --batch 1
    expect 0 "" "$q" calibrate "$model" -d "$calib" $pre -o s2.h5 -q --shard 2/3 --batch 5
    expect 0 "^wrote  *part.h5: 107 of 160 samples$" "$q" merge s0.h5 s1.h5 -o part.h5
    expect 0 "^wrote  *m.h5: 160 samples$" "$q" merge s2.h5 s0.h5 s1.h5 -o m.h5
    expect 0 '^{"bad": 0, "samples": 54, "total": 160}$' "$q" calibrate "$model" -d "$calib" $pre -o s0.h5 -f -q --json --shard 0/3
    same all.h5 m.h5
    for method in minmax mean_minmax percentile entropy mse; do # what shards have observed serves all of them
        expect 0 "" "$q" "$model" -d "$calib" $pre -o whole.onnx -f --method $method -q --no-compare
        expect 0 "" "$q" run "$model" --stats m.h5 -o parts.onnx -f --method $method -q
        same whole.onnx parts.onnx
    done
    expect 0 "" "$q" calibrate "$model" -d "$calib" $pre -o p.h5 -q -n 50
    expect 0 "" "$q" calibrate "$model" -d "$calib" $pre -o p.h5 -q --resume
    same all.h5 p.h5
    expect 4 "^error: p.h5: statistics were made with other preprocessing" "$q" calibrate "$model" -d "$calib" --scale 1 -o p.h5 --resume
    expect 0 "resume    160 samples are done" "$q" calibrate "$model" -d "$calib" $pre -o p.h5 --resume
    grep -q "0/0" err.txt && { echo "FAILED: progress of nothing"; bad=1; }
    timeout --foreground -s INT 1 "$q" calibrate "$model" -d "$val" -o int.h5 --isa ref 2>err.txt
    grep -q "interrupted after .*--resume goes on" err.txt || { echo "FAILED: interruption"; cat err.txt; bad=1; }
    expect 0 "" "$q" merge all.h5 -o m1.h5 -q
    same all.h5 m1.h5
    expect 0 "warning: --save-stats changes nothing" "$q" run "$model" --stats all.h5 --save-stats no.h5 -o ss.onnx --method mse -q
    expect 0 "^wrote  *ss.onnx (sha256 [0-9a-f]*...) in" "$q" run "$model" --stats all.h5 --save-stats no.h5 -o ss.onnx -f --method mse
    [ -e no.h5 ] && { echo "FAILED: statistics of nothing"; bad=1; }
    expect 4 "observed" "$q" merge s0.h5 s0.h5 -o n.h5
    expect 0 "" "$q" run "$model" --stats all.h5 -o d.onnx --method mse -q
    same b.onnx d.onnx
    expect 0 "" "$q" run "$model" --stats all.h5 -o e.onnx --method entropy -q
    expect 2 "needs the samples" "$q" run "$model" --stats all.h5 -o f.onnx --method auto
    expect 6 "exists" "$q" calibrate "$model" -d "$calib" $pre -o all.h5
    head -c 5000 all.h5 > cut.h5
    expect 4 "" "$q" run "$model" --stats cut.h5 -o g.onnx
    # numbers that were not calibrated on are told, for the data of -d and of --eval
    expect 0 "warning: the data of --eval is preprocessed otherwise" "$q" "$model" -d "$calib" -o w.onnx --eval "$val" --method mse -q --no-latency -n 8
    expect 0 "warning: the data of -d is preprocessed otherwise" "$q" "$model" --stats all.h5 -d "$calib" -o w.onnx -f --method mse -q --no-latency -n 8
    expect 0 "eval .*mean 0.485" "$q" "$model" -d "$calib" $pre -o w.onnx -f --eval "$val" --method mse --no-latency -n 8
    grep -q warning err.txt && { echo "FAILED: warned of the same preprocessing"; bad=1; }
    expect 0 "top-1" "$q" eval "$model" -d "$val" -n 200
    expect 1 "FAILED" "$q" eval "$model" -d "$val" -n 200 --fail-if "top1.percent<101"
    expect 2 "no figure.*top1_drop, top1" "$q" eval "$model" -d "$val" -n 20 --fail-if "nonsense<1"
    # data of --input is for calibration; no path is left out in silence
    expect 0 "^2000 samples" "$q" "$model" --input "input=$calib" $pre -o in.onnx --eval "$val" --method mse -q --no-latency
    expect 2 "feeds no input" "$q" "$model" --input "input=$calib" -d "$calib" -o x.onnx
    expect 6 "standard output" sh -c "'$q' calibrate '$model' -d '$calib' $pre -o full.h5 -q --json -n 4 >/dev/full"
    expect 0 "^eval      none" "$q" run "$model" --stats all.h5 -o ev1.onnx
fi

# any part of the model can be left in float
for o in "--exclude-op Relu" "--exclude inv_dw_relu" "--only *conv"; do
    expect 0 "float: .*Relu" "$q" "$model" -d "$calib" $pre -o scope.onnx -f $o --method mse -q --no-latency -n 16
done

# decisions written, edited, fed back
expect 0 "" "$q" "$model" -d "$calib" $pre -o h.onnx --method mse -q --no-compare --dump-params p.json
expect 6 "p.json: exists" "$q" "$model" -d "$calib" $pre -o h2.onnx --method mse -q --no-compare --dump-params p.json
[ -e h2.onnx ] && { echo "FAILED: a model was written beside refused parameters"; bad=1; }
expect 0 "" "$q" "$model" -d "$calib" $pre -o i.onnx --method minmax -q --no-compare --overrides p.json
# what doc/overrides.md shows
sed -n '/^    {$/,/^    }$/p' "$src/doc/overrides.md" > doc.json
expect 0 "^float  *res2_add:" "$q" "$model" -d "$calib" $pre -o doc.onnx --method mse -v --no-compare --overrides doc.json --dump-params back.json
tr -d ' \n' < back.json | grep -q '"input":{"comment":"override","high":2.6[0-9]*,"low":-2.1[0-9]*}.*"res1_add_relu_out":{"comment":"entropy"' ||
    { echo "FAILED: the overrides of doc/overrides.md"; cat back.json; bad=1; }
echo '{"tensors": {"nonsense": {"low": 0, "high": 1}}}' > o.json
expect 2 "nonsense" "$q" "$model" -d "$calib" $pre -o j.onnx --method mse --overrides o.json
echo '{"tensors": ' > o.json
expect 2 "o.json: overrides, line" "$q" "$model" -d "$calib" $pre -o j.onnx --method mse --overrides o.json

# wrong uses
expect 2 "Usage" "$q"
expect 0 "Usage" "$q" --help
expect 0 "ptq" "$q" --version
for v in --help --version backends "backends --json" "inspect $model"; do
    expect 6 "standard output" sh -c "'$q' $v >/dev/full"
done
expect 2 "quantize run. has no option .*quantize run --help" "$q" "$model" --nonsense
expect 2 "has no option '-o'.*quantize eval --help" "$q" eval "$model" -d "$calib" -o x.onnx
expect 2 "no option '--layers=3', other verbs" "$q" "$model" --layers=3
expect 2 "quantize compare REFERENCE CANDIDATE" "$q" compare "$model" -d "$calib"
expect 2 "'calibarte' is neither a verb nor a file" "$q" calibarte "$model" -d "$calib" -o x.h5
expect 0 "^  tensorrt" "$q" inspect --help
expect 0 "libpng [0-9]" "$q" backends
if [ "${with_mpi:-no}" = yes ]; then mpi="MPI.*[0-9]"; else mpi="no MPI"; fi
expect 0 "^ptq .*, [^,]*$mpi[^,]*$" "$q" backends
expect 0 "^cuda  *\(works\|does not work\|not in this build (./configure --with-cuda=DIR)\)" "$q" backends
expect 2 "no output" "$q" "$model" -d "$calib"
expect 2 "no data" "$q" "$model" -o x.onnx
expect 2 "expected .quantize backends.;" "$q" backends "$model"
expect 3 "e.plan: is not ONNX (looks like a plan of quantize build, which only quantize bench takes)" "$q" inspect e.plan
expect 3 "looks like a plan" "$q" compare "$model" e.plan -d "$calib"
expect 6 "nosuch.txt: No such file" "$q" eval "$model" -d "$calib" $pre --labels nosuch.txt
expect 2 "^error: --mean has 2 and --std 1 numbers, input input has 3 channels" "$q" eval "$model" -d "$calib" --mean 1,2
expect 4 "is one image.*@FILE" "$q" "$model" -d "$calib/000_heart.png" $pre -o x.onnx
for o in "--percentile 99" "--no-compare --eval $calib" "--no-compare --labels $calib/labels.txt"; do
    expect 0 "warning: --.* changes nothing here" "$q" "$model" -d "$calib" $pre -o un.onnx -f --method mse -n 2 --no-latency $o
done
expect 0 "" "$q" "$model" -d "$calib" $pre -o un.onnx -f --method percentile --percentile 99 -n 2 --no-latency
grep -q "changes nothing" err.txt && { echo "FAILED: --percentile is used"; bad=1; }
expect 2 "matches no" "$q" "$model" -d "$calib" $pre -o x.onnx --exclude 'nothing*' --method mse
expect 2 "no target" "$q" "$model" -d "$calib" $pre -o x.onnx --target nonsense
expect 2 "takes auto or .*did you mean 'entropy'" "$q" "$model" -d "$calib" $pre -o x.onnx --method entropi
expect 2 "zero points" "$q" "$model" -d "$calib" $pre -o x.onnx --asymmetric --target tensorrt
expect 2 "whole number" "$q" "$model" -d "$calib" $pre -o x.onnx -n 0
expect 6 "" "$q" no-such-file.onnx -d "$calib" -o x.onnx
expect 6 "exists" "$q" "$model" -d "$calib" $pre -o a.onnx
expect 6 "" "$q" "$model" -d no-such-folder -o x.onnx
mkdir empty; expect 4 "" "$q" "$model" -d empty -o x.onnx
expect 6 "" "$q" "$model" -d "$calib" $pre -o no/such/dir/x.onnx --method mse
cp "$model" own.onnx
expect 2 "input of this job" "$q" own.onnx -d "$calib" $pre -o own.onnx -f --method minmax -n 8 -q
same "$model" own.onnx
# nothing that the job reads is replaced, and no output by another one
cp "$calib/000_heart.png" one.png; printf 'one.png\n' > one.txt
for o in "-o x.onnx --dump-params own.onnx" "-o x.onnx --save-stats own.onnx" "-o one.txt" "-o x.onnx --dump-params one.txt"; do
    expect 2 "input of this job" "$q" own.onnx -d @one.txt $pre $o -f --method minmax -q
done
expect 2 "input of this job" "$q" calibrate own.onnx -d "$calib" $pre -o own.onnx -f
mkdir mine; cp "$calib"/00?_*.png mine/; (cd mine && ls | sed 's/\(.*\)/\1 1/' > labels.txt); echo note > mine/notes.txt
heart=mine/000_heart.png; cp -r mine kept; echo $heart > mine.txt
for o in "$heart" mine/labels.txt; do
    expect 2 "input of this job" "$q" "$model" -d mine $pre -o $o -f --method minmax -q
    expect 2 "input of this job" "$q" "$model" -d mine $pre -o x.onnx --save-stats $o -f --method minmax -q
    expect 2 "input of this job" "$q" "$model" -d mine $pre -o x.onnx --dump-params $o -f --method minmax -q
    expect 2 "input of this job" "$q" "$model" -d one.txt --eval mine $pre -o $o -f --method minmax -q
    expect 2 "input of this job" "$q" "$model" --input input=mine $pre -o $o -f --method minmax -q
    expect 2 "input of this job" "$q" calibrate "$model" -d mine $pre -o $o -f -q
done
expect 2 "input of this job" "$q" "$model" -d @mine.txt $pre -o $heart -f --method minmax -q
expect 2 "input of this job" "$q" calibrate "$model" -d mine.txt $pre -o $heart --resume -q
expect 0 "" "$q" "$model" -d mine $pre -o mine/notes.txt -f --method minmax -q --no-compare
cp kept/notes.txt mine/notes.txt
[ -z "$(diff -r mine kept)" ] || { echo "FAILED: the data were written over"; bad=1; }
expect 2 "two outputs" "$q" build own.onnx -o x.plan --timing-cache x.plan --backend cpu
expect 2 "two outputs" "$q" own.onnx -d "$calib" $pre -o x.onnx --dump-params x.onnx
same "$model" own.onnx
ln -s a.onnx link.onnx
expect 2 "no name" "$q" "$model" -d "$calib" $pre -o ""
mkdir plain; cp "$calib"/00?_*.png plain/ # without labels
expect 2 "expected FIGURE OP NUMBER" "$q" "$model" -d "$calib" $pre -o x.onnx --fail-if top1_drop
expect 2 "speedup<1: with --no-latency" "$q" compare "$model" b.onnx -d "$calib" $pre --no-latency --fail-if "speedup<1"
expect 2 "top1_drop>1: the data have no labels" "$q" compare "$model" b.onnx -d plain $pre --fail-if "top1_drop>1"
expect 0 "PASSED (check, 1 of --fail-if)" "$q" "$model" -d plain $pre -o fi.onnx --method mse --no-latency --fail-if "agreement<1"
expect 1 "^FAILED  compare.outputs.0.sqnr_db<1000 (it is [0-9]" "$q" "$model" -d plain $pre -o fi.onnx -f --method mse --no-latency \
    --fail-if "compare.outputs.0.sqnr_db<1000"
# wrong words are told before the work, of which there would be a line on stderr
for o in "--method no" "--exclude no" "--act no" "--weight no" "--format no" "--overrides o.json" "--fail-if top1_drop>no" \
         "--fail-if sqnr<nan" "--eval no" "--skip-bad nan" "--skip-bad 2" "--percentile 0" "--percentile nan" "--nonfinite no" \
         "--no-compare --fail-if sqnr<9" "--fail-if top1_dorp>1" "-o no/such/x.onnx" "-o empty -f" "-o link.onnx -f" "--save-stats no/such/x.h5" \
         "--dump-params no/such/x.json" "--fail-if top1_drop" "--fail-if compare.nonsense<1" "--no-latency --fail-if speedup<1" \
         "--no-latency --fail-if compare.latency_ms.speedup<1" "--eval plain --fail-if top1<70" \
         "--eval plain --fail-if compare.top1_change.points<-1"; do
    "$q" "$model" -d "$calib" $pre -o x.onnx $o >out.txt 2>err.txt
    got=$?
    case $o in *"eval no"|*/such/*|"-o "*) want=6 ;; *) want=2 ;; esac
    [ $got = $want ] || { echo "FAILED (exit $got): $o"; bad=1; }
    grep -q calibrating err.txt && { echo "FAILED (calibrated first): $o"; bad=1; }
done
for t in '{"tensors": []}' '{"float_nodes": "fc"}' '{"tensors": {"input": {"scale": 1}}}' \
         '{"tensors": {"input": {"method": 3}}}' '{"tensors": {"input": {"low": 0, "high": 1e300}}}'; do
    printf '%s' "$t" > o.json
    expect 2 "overrides" "$q" "$model" -d "$calib" $pre -o x.onnx --overrides o.json --method mse -q
done
# preprocessing: what is missing is said once, an advice can be followed, a wrong size is not told 160 times
expect 0 "no preprocessing is given" "$q" eval "$model" -d "$calib" -n 20
[ "$(grep -c 'no preprocessing' err.txt)" = 1 ] || { echo "FAILED: said more than once"; bad=1; }
"$q" eval "$model" -d "$calib" -n 20 $pre 2>&1 | grep -q "no preprocessing" && { echo "FAILED: preprocessing is given"; bad=1; }
"$q" eval "$model" -d "$calib" -n 20 --scale 1/255 2>&1 | grep -q "no preprocessing" && { echo "FAILED: a scale is given"; bad=1; }
expect 4 "is 224 x 224 .* after resize and crop but .* add --resize 32x32 --crop none" "$q" eval "$model" -d "$calib" \
    --preprocess imagenet --resize shorter:256 --crop 224 --skip-bad 1
[ "$(grep -c '^warning: sample' err.txt)" = 5 ] || { echo "FAILED: not 5 warnings"; bad=1; }
expect 0 "top-1" "$q" eval "$model" -d "$calib" --preprocess imagenet --resize 32x32 --crop none
expect 0 "resize shorter:37,bilinear; crop 32x32;" "$q" eval "$model" -d "$calib" --preprocess imagenet -n 10
expect 0 "pad 7;" "$q" eval "$model" -d "$calib" $pre --resize letterbox --pad 7 -n 10
expect 2 "expected 0..255" "$q" eval "$model" -d "$calib" --pad 300
# what was compared, and on how many
expect 0 "work  *4.6 M" "$q" inspect qop.onnx
grep -q "^int8\|^float\|nodes.*int8" out.txt && { echo "FAILED: a plan for a quantized model"; bad=1; }
expect 0 "^int8  *100.0" "$q" inspect "$model"
expect 0 "judged on 1 sample;" "$q" "$model" -d "$calib" $pre -o one.onnx -n 1 --no-compare
expect 0 "^20 samples  *fp32  *int8" "$q" compare "$model" b.onnx -d "$calib" $pre -n 20 --no-latency
expect 0 "^eval      the data of -d" "$q" "$model" -d "$calib" $pre -o ev0.onnx --method mse --no-latency
grep -q ' $' out.txt && { echo "FAILED: blanks at the end of a line"; bad=1; }
printf '{"float_nodes": ["nothing"]}' > o.json
expect 2 "overrides: float_nodes: 'nothing' matches no node" "$q" "$model" -d "$calib" $pre -o x.onnx --overrides o.json
# labels are those of the data that accuracy is measured on
mkdir ev; cp "$calib"/00?_*.png ev/; for i in 0 1 2 3 4 5 6 7 8 9; do echo "$i"; done > ev.txt
expect 0 "top-1" "$q" "$model" -d "$calib" $pre -o ev.onnx --eval ev --labels ev.txt --method mse -q --no-latency
# a name from outside moves no cursor, a limit on files is an error, closed streams stay closed
expect 6 "no?\[31msuch" "$q" inspect "$(printf 'no\033[31msuch')"
expect 6 "x.onnx: cannot write" sh -c "ulimit -f 20; '$q' '$model' -d '$calib' $pre -o x.onnx --method minmax --no-compare -q"
expect 0 "" sh -c "'$q' '$model' -d '$calib' $pre -o closed.onnx --method mse --no-compare <&- >&- 2>&-"
same b.onnx closed.onnx
"$q" backends | grep -q "no HDF5" || expect 6 "" "$q" run "$model" --stats no-such.h5 -o x.onnx
head -c 1000 "$model" > cut.onnx
expect 3 "cut.onnx" "$q" cut.onnx -d "$calib" -o x.onnx
echo "not a model" > text.onnx
expect 3 "" "$q" text.onnx -d "$calib" -o x.onnx
expect 5 "quantized already; start from the float model" "$q" b.onnx -d "$calib" $pre -o x.onnx
expect 0 "" "$q" "$model" -d "$calib" $pre -o half.onnx --method mse -q --no-compare --exclude-op Gemm
expect 0 "^plan  *int8: 1 Gemm " "$q" half.onnx -d "$calib" $pre -o requ.onnx --method mse -q --no-compare --requantize
expect 0 "" "$q" inspect "$model" --json
expect 2 "not in this build" "$q" "$model" -d "$calib" $pre -o x.onnx --backend gpu
if "$q" backends | grep -q "^cuda *works"; then
    expect 0 "" "$q" run "$model" -d "$calib" $pre -o cuda.onnx --method mse -q --no-compare --backend cuda
    same b.onnx cuda.onnx
else
    expect 8 "cuda" "$q" "$model" -d "$calib" $pre -o x.onnx --backend cuda
fi
mkdir few; cp "$calib"/00*.png few/; head -c 100 "$calib/000_heart.png" > few/broken.png
expect 4 "broken.png" "$q" "$model" -d few $pre -o x.onnx --method minmax
if "$q" backends | grep -q "no HDF5"; then :; else
    expect 0 '"bad": 1, "samples": 10, "total": 11' "$q" calibrate "$model" -d few $pre -o few.h5 --skip-bad 0.5 --json -q
fi
expect 0 "skipped" "$q" "$model" -d few $pre -o y.onnx --method minmax --skip-bad 0.5 --no-compare
}
[ -e x.onnx ] && { echo "FAILED: a failed run left an output"; bad=1; }
find . -name '.*.tmp.*' | grep -q . && { echo "FAILED: a temporary file was left"; bad=1; }
[ $bad = 0 ] && echo "all as expected"
exit $bad

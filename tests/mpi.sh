#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The jobs under mpirun: 1, 2 and 4 processes give the bytes of one, shards that are merged too, and an error ends
# all of them with its code.
[ "${with_mpi:-no}" = yes ] || { echo "SKIP: built without MPI"; exit 77; }
[ "${PTQ_SLOW:-1}" != 0 ] || { echo "SKIP: MPI and sanitizers do not go together (tests/test_jobs_team does)"; exit 77; }
command -v mpirun > /dev/null || { echo "SKIP: no mpirun"; exit 77; }
q=$(cd "${top_builddir:-.}" && pwd)/bin/quantize
src=$(cd "${srcdir:-.}" && pwd)
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 99
if "$q" backends | grep -q "no PNG\|no HDF5"; then
    echo "SKIP: built without PNG or HDF5, which the data need"; exit 77
fi
root=
[ "$(id -u)" != 0 ] || root=--allow-run-as-root
bad=0
model=$src/data/shapes.onnx calib=$src/data/calib val=$src/data/shapes_val.h5
pre="--preprocess imagenet-norm"

mpi() { n=$1; shift; timeout 300 mpirun --oversubscribe $root -n "$n" "$@"; }
mpi 1 true 2> err || { cat err; echo "SKIP: mpirun starts nothing here"; exit 77; }
same() { cmp -s "$1" "$2" || { echo "FAILED: $1 and $2 differ"; bad=1; }; }
good() { "$@" > out 2> err || { echo "FAILED (exit $?): $*"; tail -5 err; bad=1; }; }

# shellcheck disable=SC2086
{
# The whole job with everything that it can write, then evaluation and comparison.
job() { # how many, name
    n=$1 name=$2
    start() { if [ "$n" = 0 ]; then "$@"; else mpi "$n" "$@"; fi; }
    good start "$q" "$model" -d "$calib" $pre -o q.onnx -f --json --no-latency --eval "$val" -n 90 --save-stats "$name.h5" \
        --dump-params "$name.params" -j 1
    cp out "$name.job"; cp q.onnx "$name.onnx"
    good start "$q" calibrate "$model" -d "$calib" $pre -o "$name.c.h5" -f -q --json -j 1
    good start "$q" eval q.onnx -d "$val" $pre --json -n 500 -j 1
    cp out "$name.eval"
    good start "$q" compare "$model" q.onnx -d "$val" $pre --json --layers --no-latency -n 203 -j 1 --batch 7
    cp out "$name.compare"
}
job 0 one
for n in 1 2 4; do
    job $n "r$n"
    for f in onnx h5 c.h5 params job eval compare; do same "one.$f" "r$n.$f"; done
done
[ -s one.job ] && [ -s one.eval ] && [ -s one.compare ] || { echo "FAILED: an empty report"; bad=1; }

# Shards without MPI, two of them by teams, merged: every method finds what it finds in one process.
good "$q" calibrate "$model" -d "$calib" $pre -o s0.h5 -q --shard 0/3
good mpi 2 "$q" calibrate "$model" -d "$calib" $pre -o s1.h5 -q --shard 1/3 -j 1
good mpi 4 "$q" calibrate "$model" -d "$calib" $pre -o s2.h5 -q --shard 2/3 -j 1
good "$q" merge s2.h5 s0.h5 s1.h5 -o m.h5 -q
same m.h5 one.c.h5
good mpi 2 "$q" merge s2.h5 s0.h5 s1.h5 -o m2.h5 -q
same m.h5 m2.h5
# A team goes on where one process has stopped.
cp s1.h5 resumed.h5
good mpi 4 "$q" calibrate "$model" -d "$calib" $pre -o resumed.h5 -q --resume -j 1
same resumed.h5 one.c.h5

# Not a team, and told so: in its own shards it is meant.
good env PTQ_MPI=0 OMPI_COMM_WORLD_SIZE=3 OMPI_COMM_WORLD_RANK=0 "$q" eval q.onnx -d "$val" $pre -n 20
grep -q "warning: each of 3 processes does this job alone" err || { echo "FAILED: no warning"; bad=1; }
good env PTQ_MPI=0 SLURM_STEP_NUM_TASKS=3 SLURM_PROCID=0 "$q" calibrate "$model" -d "$calib" $pre -o s0.h5 -f --shard 0/3
grep "warning" err && { echo "FAILED: a warning"; bad=1; }

# Errors: one message, the code of one process, and nobody waits.
fails() { # code, text, command...
    code=$1 text=$2; shift 2
    "$@" > out 2> err
    got=$?
    [ $got = "$code" ] || { echo "FAILED (exit $got, not $code): $*"; tail -5 err; bad=1; }
    [ "$(grep -c -e "$text" err)" = 1 ] || { echo "FAILED ('$text' not once): $*"; cat err; bad=1; }
}
fails 6 "error: nothere.onnx" mpi 2 "$q" nothere.onnx -d "$calib" -o x.onnx
fails 2 "did you mean 'minmax'" mpi 4 "$q" "$model" -d "$calib" $pre -o x.onnx --method minmx
fails 1 "FAILED  top1<101" mpi 2 "$q" eval q.onnx -d "$val" $pre -n 40 -j 1 --fail-if "top1<101"
cp -r "$calib" broken && chmod -R u+w broken && echo text > "broken/$(ls broken | sed -n 7p)"
fails 4 "error: 1 of 160 samples cannot be used" mpi 4 "$q" calibrate "$model" -d broken $pre -o x.h5 -j 1 --skip-bad 0
fails 4 "error: .* cannot be used" mpi 2 "$q" eval q.onnx -d broken $pre -j 1 --skip-bad 0
fails 2 "want one command line" mpirun --oversubscribe $root -n 1 "$q" backends : -n 1 "$q" inspect "$model"
mkdir elsewhere && cp "$model" elsewhere/m.onnx && cp "$model" m.onnx # only one process lacks the data
fails 6 "error: broken: .*(process 1)" mpi 3 sh -c "[ \$OMPI_COMM_WORLD_RANK != 1 ] || cd elsewhere; exec $q m.onnx -d broken $pre -o x.onnx -j 1"
[ ! -e x.onnx ] && [ ! -e x.h5 ] || { echo "FAILED: a failed job has written"; bad=1; }
}
exit $bad

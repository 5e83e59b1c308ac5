#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The ONNX backend node tests. Sets: Debian's libonnx-testdata (onnx 1.12), with which come exports of
# PyTorch modules and operators (opset 6), and those of the onnx wheel ("make conformance-data"
# fetches it). PTQ_ONNX_TESTDATA, folders of tests with ':' between them, takes their place.
# Arguments go to the program (-v, -k TEXT).
top_builddir=${top_builddir:-.}
run=$top_builddir/tests/conformance/conformance

# Tests that pass at least; raised as operators land.
floor_debian=891
floor_converted=82
floor_operator=35
floor_simple=15
floor_wheel=1348

if [ -n "$PTQ_ONNX_TESTDATA" ]; then
    IFS=:
    # shellcheck disable=SC2086
    exec "$run" "$@" $PTQ_ONNX_TESTDATA
fi
add() { # name, floor, folder: to the arguments in $args
    if [ -d "$3" ]; then
        args="$args --floor $2 $3"
    else
        echo "SKIP: the $1 set is not here ($3)"
    fi
}
args=
debian=/usr/share/libonnx-testdata/data
add Debian $floor_debian $debian/node
add "converted PyTorch modules" $floor_converted $debian/pytorch-converted
add "PyTorch operators" $floor_operator $debian/pytorch-operator
add "small models" $floor_simple $debian/simple
add wheel $floor_wheel "$top_builddir/conformance/onnx/backend/test/data/node"
[ -n "$args" ] || exit 77
# shellcheck disable=SC2086
exec "$run" "$@" $args

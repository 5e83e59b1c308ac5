#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# nvcc as libtool expects a C compiler: options for the host compiler are passed through.
nvcc=$1; shift
n=$#
while [ "$n" -gt 0 ]; do
    a=$1; shift; n=$((n - 1))
    case $a in
    -fPIC | -fPIE | -DPIC | -pie | -pthread | -W* | -f*) set -- "$@" -Xcompiler "$a" ;;
    *) set -- "$@" "$a" ;;
    esac
done
exec "$nvcc" -Werror all-warnings "$@"

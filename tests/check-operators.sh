#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# doc/operators.md is what the tables say; "tests/gen_operators > doc/operators.md" makes it anew.
top_builddir=${top_builddir:-.}
"$top_builddir"/tests/gen_operators | diff -u "${srcdir:-.}"/doc/operators.md - || {
    echo "doc/operators.md is not current"
    exit 1
}

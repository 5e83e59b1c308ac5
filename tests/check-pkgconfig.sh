#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What pkg-config says to those that build against the libraries: a shared program inherits nothing, a static one gets
# every library that was configured in, and links where archives of all of them are there.
command -v pkg-config >/dev/null || { echo "SKIP: no pkg-config"; exit 77; }
build=$(cd "${top_builddir:-.}" && pwd)
PKG_CONFIG_PATH=$build/lib${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
bad=0
fail() { echo "FAILED: $*"; bad=1; }

shared=$(pkg-config --libs ptq-io ptq) || { echo "FAILED: pkg-config --libs ptq-io ptq"; exit 1; }
static=$(pkg-config --static --libs ptq-io ptq) || { echo "FAILED: pkg-config --static --libs ptq-io ptq"; exit 1; }
for l in ptq-io ptq; do
    case " $shared " in *" -l$l "*) ;; *) fail "--libs does not name -l$l: $shared" ;; esac
done
for l in hdf5 png zip jpeg jansson protobuf-c; do
    case " $shared " in *" -l$l"*) fail "--libs hands -l$l on to shared programs: $shared" ;; esac
done
wanted="ptq-io ptq protobuf-c jansson md"
while read -r macro lib; do
    grep -q "^#define $macro 1" "$build/config.h" && wanted="$wanted $lib"
done <<LIST
HAVE_HDF5 hdf5
HAVE_PNG png
HAVE_JPEG jpeg
HAVE_ZIP zip
HAVE_CUDA cudart_static
LIST
for l in $wanted; do # libpng is called png16 and the like
    case " $static " in *" -l$l "* | *" -l$l"[0-9]*) ;; *) fail "--static --libs does not name -l$l: $static" ;; esac
done

# A program, where the archives are there; the sanitizers have no static form.
[ -e "$build/lib/.libs/libptq-io.a" ] && grep -q '^SAN_CFLAGS = *$' "$build/Makefile" || exit $bad
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
flags=$(pkg-config --define-variable=libdir="$build/lib/.libs" --static --libs ptq-io ptq)
echo 'int main(void) { return 0; }' >"$tmp/nothing.c"
cat >"$tmp/prog.c" <<PROGRAM
#include <ptq/io.h>
#include <ptq/ptq.h>
int main(int argc, char **argv)
{
    ptq_model *m = NULL;
    ptq_data *d = NULL;
    ptq_data_options pre = PTQ_DATA_OPTIONS_INIT;
    ptq_statistics *s = NULL;
    int bad = argc != 3 || ptq_model_load(argv[1], NULL, &m) || ptq_data_open(argv[2], m, &pre, &d) ||
              ptq_data_samples(d) == NULL || ptq_statistics_load(argv[2], &s) != PTQ_ERR_DATA;
    ptq_data_close(d);
    ptq_model_free(m);
    return bad;
}
PROGRAM
# shellcheck disable=SC2086
if ${CC:-cc} -static "$tmp/nothing.c" $flags -o "$tmp/nothing" 2>"$tmp/err"; then
    ${CC:-cc} -static -I"${srcdir:-.}/include" "$tmp/prog.c" $flags -o "$tmp/prog" 2>"$tmp/err" ||
        { fail "a static program does not link"; grep -v warning "$tmp/err" | tail -5; }
else
    echo "no archives of: $(grep -o 'cannot find -l[^:]*' "$tmp/err" | tr '\n' ' ')"
fi
exit $bad

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Completion for bash: every option of every verb is offered there, and nowhere else; verbs and files.
command -v bash >/dev/null || { echo "SKIP: no bash"; exit 77; }
bash -c 'complete' 2>/dev/null || { echo "SKIP: bash without completion"; exit 77; }
srcdir=${srcdir:-.} file=${top_builddir:-.}/bin/quantize.bash
bad=0
offers() { # words of the line, the last one to be completed
    bash -c '. "$0" && COMP_WORDS=("$@") && COMP_CWORD=$(($# - 1)) && _quantize; echo " ${COMPREPLY[*]} "' "$file" "$@"
}
check() { # what is offered, what must be in it (or not), words
    case $1 in *" $3 "*) has=yes ;; *) has=no ;; esac
    [ $has = "$2" ] || { echo "FAILED: $3 offered for $4: $has"; bad=1; }
}
verbs=$(sed -n "s/^    {\"\([a-z]*\)\", '\(.\)',.*/\1 \2/p" "$srcdir/bin/args.c")
options=$(sed -n 's/^PTQ_OPTION([^,]*, [^,]*, "\([^"]*\)", [^,]*, [A-Z]*, "\([a-z]*\)".*/\1 \2/p' "$srcdir/bin/options.def")
[ "$(echo "$options" | wc -l)" = "$(grep -c '^PTQ_OPTION' "$srcdir/bin/options.def")" ] || { echo "FAILED: options not read"; bad=1; }
while read -r verb letter; do
    all=$(offers quantize "$verb" -)
    while read -r option of; do
        case $of in *$letter*) wanted=yes ;; *) wanted=no ;; esac
        check "$all" $wanted "--$option" "$verb"
    done <<OPTIONS
$options
OPTIONS
    check "$(offers quantize "${verb%?}")" yes "$verb" "its beginning"
done <<VERBS
$verbs
VERBS
check "$(offers quantize model.onnx --o)" yes --output "a model"
for o in -d --data; do check "$(offers quantize eval model.onnx $o -)" no --labels "the argument of $o"; done
exit $bad

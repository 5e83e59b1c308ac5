/* SPDX-License-Identifier: Apache-2.0 */
/* Prints doc/operators.md from the tables of lib/graph. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/graph/pass.h"

static const struct {
    unsigned flag;
    const char *text;
} flags[] = {
    {PTQ_OPF_WEIGHTED, "weighted"}, {PTQ_OPF_UNARY, "unary"}, {PTQ_OPF_BINARY, "binary"},
    {PTQ_OPF_MOVER, "mover"},       {PTQ_OPF_VIEW, "view"},   {PTQ_OPF_SHAPE, "shape"},
    {PTQ_OPF_RANDOM, "random"},     {PTQ_OPF_CONTROL, "control"},
};

static int by_name(const void *a, const void *b)
{
    const ptq_op *x = *(const ptq_op *const *)a, *y = *(const ptq_op *const *)b;
    int d = strcmp(x->domain, y->domain);
    return d ? d : strcmp(x->name, y->name);
}

static void range(int least, int most)
{
    if (most < 0)
        printf(" | %d or more", least);
    else if (least == most)
        printf(" | %d", least);
    else
        printf(" | %d-%d", least, most);
}

static void operators(const char *domain)
{
    const ptq_op *rows[256];
    size_t n = 0;
    for (size_t i = 0; i < ptq_op_count() && n < PTQ_COUNT(rows); i++)
        if (strcmp(ptq_op_at(i)->domain, domain) == 0)
            rows[n++] = ptq_op_at(i);
    qsort(rows, n, sizeof *rows, by_name);
    printf("\n| operator | opsets | inputs | outputs | properties |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        const ptq_op *op = rows[i];
        printf("| %s | %d-", op->name, op->since);
        if (op->until)
            printf("%d", op->until);
        range(op->min_in, op->max_in);
        range(op->min_out, op->max_out);
        printf(" |");
        for (size_t k = 0; k < PTQ_COUNT(flags); k++)
            if (op->flags & flags[k].flag)
                printf(" %s", flags[k].text);
        printf(" |\n");
    }
}

static void upgrades(void)
{
    printf("\n## Opset upgrades\n\n"
           "A model of opset 7 or newer is brought to a newer one without changing its function. These\n"
           "operators change their form or meaning on the way; the others only gained types.\n\n"
           "| operator | at opset |\n|---|---|\n");
#define PTQ_UPGRADE(op, at, fn) printf("| %s | %d |\n", #op, at);
#include "lib/graph/upgrades.def"
#undef PTQ_UPGRADE
}

static void expansions(void)
{
    printf("\n## Put together\n\n"
           "These become others when a model is loaded; the opset is raised where they need it.\n\n"
           "| operator | becomes |\n|---|---|\n");
    for (size_t i = 0; i < ptq_expansion_count(); i++) {
        const ptq_expansion *e = ptq_expansion_at(i);
        printf("| %s%s%s | %s |\n", e->domain, *e->domain ? "." : "", e->op, e->text);
    }
}

int main(void)
{
    printf("# Operators\n\n"
           "Made from `lib/graph/ops.def` by `tests/gen_operators`; do not edit. Shape inference knows\n"
           "each of these, before a run with symbolic sizes and at run time with numbers.\n\n"
           "- **weighted**: input 1 may be a weight. **unary**: a function of one element, a lookup\n"
           "  table in 8 bits. **binary**: elementwise on two tensors with broadcasting.\n"
           "- **mover**: moves or selects elements of its input unchanged, so the output may share its\n"
           "  scale and zero point. **view**: the same bytes under another shape.\n"
           "- **shape**: works on sizes. **random**: not a function of its inputs when training. **control**:\n"
           "  runs subgraphs; what is inside of them stays in float.\n\n"
           "## ai.onnx\n");
    operators("");
    printf("\n## com.microsoft\n");
    operators("com.microsoft");
    expansions();
    printf("\n## Passes\n\nIn this order, until nothing changes:\n\n| pass | does |\n|---|---|\n");
    for (size_t i = 0; i < ptq_pass_count(); i++)
        printf("| %s | %s |\n", ptq_pass_at(i)->name, ptq_pass_at(i)->summary);
    upgrades();
    return 0;
}

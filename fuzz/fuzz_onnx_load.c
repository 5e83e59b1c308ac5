/* SPDX-License-Identifier: Apache-2.0 */
/* Model bytes to graph, back to bytes and to a graph again. What loads must be consistent and must
 * load again from what it was saved as.
 *
 * Under a coverage-guided fuzzer:
 *   ./configure CC=clang --enable-sanitizers --disable-shared && make check TESTS= CFLAGS='-g -O1 -fsanitize=fuzzer-no-link'
 *   clang -fsanitize=fuzzer,address,undefined -Iinclude -I. fuzz/fuzz_onnx_load.c lib/.libs/libptqcore.a ... */
#include <stdint.h>
#include <stdlib.h>

#include "lib/onnx/onnx_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(ptq_status s)
{
    if (s != PTQ_OK) {
        fprintf(stderr, "%s\n", ptq_last_error());
        abort();
    }
}

static void one_input(const uint8_t *data, size_t size, bool inline_calls)
{
    const ptq_onnx_load_options opt = {.memory_limit = (size_t)64 << 20, .inline_calls = inline_calls};
    ptq_graph *g, *clone, *back;
    void *bytes;
    size_t n;
    if (ptq_onnx_load_memory(data, size, NULL, &opt, &g) != PTQ_OK)
        return;
    must(ptq_graph_verify(g));
    must(ptq_graph_clone(g, &clone));
    must(ptq_graph_verify(clone));
    must(ptq_graph_set_metadata(clone, "ptq.fuzz", "1"));
    must(ptq_onnx_save_memory(clone, &bytes, &n));
    must(ptq_onnx_load_memory(bytes, n, NULL, NULL, &back));
    if (back->nnodes != g->nnodes || back->inputs.n != g->inputs.n || back->outputs.n != g->outputs.n)
        abort();
    must(ptq_graph_verify(back));
    ptq_graph_free(back);
    ptq_graph_free(clone);
    ptq_graph_free(g);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    one_input(data, size, false);
    one_input(data, size, true);
    return 0;
}

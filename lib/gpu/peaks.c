/* SPDX-License-Identifier: Apache-2.0 */
/* What the device can do at most: its clocks times what a streaming multiprocessor does in a clock. */
#include "lib/gpu/gpu.h"

/* Operations per clock of one multiprocessor, by compute capability, a multiplication with its addition
 * counted as two: 8-bit products of the matrix units (dense), and float lanes. From the architecture
 * white papers: their peak rates, divided by processors and boost clock (8.0: 624 TOPS of 108 at
 * 1.41 GHz; 8.6: 284 of 82 at 1.70; 8.9: 661 of 128 at 2.52; 9.0: 1979 of 132 at 1.83; 10.0: 4500
 * of 148 at 1.85; 12.0: 838 of 170 at 2.41). float16 has half the rate of 8 bits. */
static const struct {
    int capability, int8, f32;
} units[] = {{80, 4096, 128}, {86, 2048, 256}, {87, 4096, 256}, {89, 2048, 256}, {90, 8192, 256}, {100, 16384, 256},
             {120, 2048, 256}};

ptq_status ptq_gpu_peaks(const ptq_gpu *g, ptq_peaks *out)
{
    ptq_dev_rates r;
    int capability = ptq_dev_capability(g->dev), processors = ptq_dev_processors(g->dev);
    size_t at = 0;
    PTQ_TRY(ptq_dev_rates_of(g->dev, &r));
    for (size_t i = 0; i < PTQ_COUNT(units); i++) /* newer ones count as the newest known before them */
        if (units[i].capability <= capability)
            at = i;
    *out = (ptq_peaks){.bytes = r.memory_bytes, .int8 = r.clock * processors * units[at].int8,
                       .f32 = r.clock * processors * units[at].f32, .f16 = 0.5 * r.clock * processors * units[at].int8};
    snprintf(out->source, sizeof out->source,
             "device attributes: memory clock times bus width; %d processors at %.2f GHz times %d 8-bit, half as many "
             "float16 and %d float operations per clock", processors, r.clock * 1e-9, units[at].int8, units[at].f32);
    return PTQ_OK;
}

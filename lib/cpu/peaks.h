/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_CPU_PEAKS_H
#define PTQ_CPU_PEAKS_H

#include "lib/cpu/cpu.h"

/* Measured now, on the threads of the backend. */
ptq_status ptq_cpu_peaks(const ptq_cpu *c, ptq_peaks *out);

#endif

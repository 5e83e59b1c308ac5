/* SPDX-License-Identifier: Apache-2.0 */
/* GELU with fast math: x / 2 (1 + tanh(x (a + b x^2))), with a and b for the least error against x Phi(x) instead of
 * those of the textbook. With an exact tanh it is within PTQ_TANH_GELU_ERROR (tests/test_cpu_fmath.c); the device's
 * tanh.approx, which is 2^-11 away, adds 0.001. */
#ifndef PTQ_GPU_GELU_TANH_H
#define PTQ_GPU_GELU_TANH_H

#define PTQ_TANH_GELU_A 0.800157131f
#define PTQ_TANH_GELU_B 0.0347008802f
#define PTQ_TANH_GELU_ERROR 2.72e-4f

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Everything of libptq. Data sets and statistics files are in <ptq/io.h> (libptq-io). */
#ifndef PTQ_PTQ_H
#define PTQ_PTQ_H

#include <ptq/calib.h>
#include <ptq/engine.h>
#include <ptq/model.h>
#include <ptq/plugin.h>
#include <ptq/quant.h>
#include <ptq/report.h>
#include <ptq/status.h>
#include <ptq/team.h>
#include <ptq/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the library, "0.1.0". */
PTQ_API const char *ptq_version(void);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of a team become one. */
#ifndef PTQ_CALIB_REDUCE_H
#define PTQ_CALIB_REDUCE_H

#include "lib/calib/statistics.h"
#include "lib/core/team.h"

/* Every rank has observed other samples into statistics over the same tensors; afterwards every rank holds the sum,
 * which is exact, tensor by tensor, so that no more than one is on its way. On failure *s is no longer exact. */
ptq_status ptq_statistics_reduce(const ptq_team *team, ptq_statistics *s);

#endif

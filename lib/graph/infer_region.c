/* SPDX-License-Identifier: Apache-2.0 */
/* Operators on regions and positions of images. */
#include <string.h>

#include "lib/graph/infer.h"

ptq_status ptq_infer_max_unpool(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    ptq_contents tmp;
    const ptq_contents *c = ptq_infer_has(in, 2) ? ptq_infer_elements(in, 2, &tmp) : NULL;
    ptq_window w;
    if (s.rank >= 0) {
        PTQ_TRY(ptq_window_read(in->node, s.rank - 2, NULL, NULL, &w));
        if (c && c->n != s.rank)
            return ptq_infer_fail(in, "%d output sizes for rank %d", c->n, s.rank);
        for (int d = 0; d < s.rank; d++) {
            ptq_dim *y = &s.dims[d];
            if (ptq_infer_has(in, 2))
                *y = c ? c->v[d] : ptq_dim_unknown();
            else if (d > 1)
                *y = ptq_dim_add(ptq_dim_mul(ptq_dim_sub(*y, ptq_dim_of(1)), ptq_dim_of(w.stride[d - 2])),
                                 ptq_dim_of(w.kernel[d - 2] - w.pad_begin[d - 2] - w.pad_end[d - 2]));
            if (ptq_dim_known(*y) && y->add < 0)
                return ptq_infer_fail(in, "output size %lld in dimension %d", (long long)y->add, d);
        }
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

/* [regions, channels, height, width]; regions are rows of `width` numbers. */
static ptq_status regions(ptq_infer *in, int64_t width, ptq_dim height_out, ptq_dim width_out)
{
    const ptq_shape *x = &in->in[0].shape, *rois = &in->in[1].shape;
    ptq_dim d;
    if ((x->rank >= 0 && x->rank != 4) ||
        (rois->rank >= 0 && (rois->rank != 2 || !ptq_dim_merge(rois->dims[1], ptq_dim_of(width), &d))))
        return ptq_infer_fail(in, "needs images of rank 4 and regions [n,%lld]", (long long)width);
    if ((ptq_dim_known(height_out) && height_out.add < 1) || (ptq_dim_known(width_out) && width_out.add < 1))
        return ptq_infer_fail(in, "an output of %lld by %lld", (long long)height_out.add, (long long)width_out.add);
    ptq_shape s = {.rank = 4, .dims = {rois->rank == 2 ? rois->dims[0] : ptq_dim_unknown(),
                                       x->rank == 4 ? x->dims[1] : ptq_dim_unknown(), height_out, width_out}};
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_max_roi_pool(ptq_infer *in)
{
    size_t n;
    const int64_t *size = ptq_attr_ints(in->node, "pooled_shape", &n);
    if (!size || n != 2)
        return ptq_infer_fail(in, "pooled_shape needs two numbers");
    return regions(in, 5, ptq_dim_of(size[0]), ptq_dim_of(size[1]));
}

ptq_status ptq_infer_roi_align(ptq_infer *in)
{
    const ptq_shape *rois = &in->in[1].shape, *at = &in->in[2].shape;
    ptq_dim d;
    if (at->rank >= 0 && (at->rank != 1 || (rois->rank == 2 && !ptq_dim_merge(at->dims[0], rois->dims[0], &d))))
        return ptq_infer_fail(in, "there is not one image index for each region");
    return regions(in, 4, ptq_dim_of(ptq_attr_int(in->node, "output_height", 1)),
                   ptq_dim_of(ptq_attr_int(in->node, "output_width", 1)));
}

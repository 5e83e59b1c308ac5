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

/* [N, C, D...] sampled at [N, E..., d]. */
ptq_status ptq_infer_grid_sample(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape, *grid = &in->in[1].shape;
    ptq_shape s = ptq_shape_unknown();
    ptq_dim d;
    if (x->rank >= 0 && grid->rank >= 0) {
        if (x->rank < 3 || grid->rank != x->rank || !ptq_dim_merge(x->dims[0], grid->dims[0], &d) ||
            !ptq_dim_merge(grid->dims[grid->rank - 1], ptq_dim_of(x->rank - 2), &d))
            return ptq_infer_fail(in, "an input of rank %d and a grid of rank %d do not fit", x->rank, grid->rank);
        s = *x;
        for (int i = 2; i < s.rank; i++)
            s.dims[i] = grid->dims[i - 1];
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_affine_grid(ptq_infer *in)
{
    const ptq_shape *theta = &in->in[0].shape;
    ptq_contents tmp;
    const ptq_contents *size = ptq_infer_elements(in, 1, &tmp);
    ptq_shape s = ptq_shape_unknown();
    ptq_dim d;
    if (size) {
        int nd = size->n - 2;
        if (nd < 2 || nd > 3 ||
            (theta->rank >= 0 && (theta->rank != 3 || !ptq_dim_merge(theta->dims[0], size->v[0], &d) ||
                                  !ptq_dim_merge(theta->dims[1], ptq_dim_of(nd), &d) ||
                                  !ptq_dim_merge(theta->dims[2], ptq_dim_of(nd + 1), &d))))
            return ptq_infer_fail(in, "theta does not fit a size of %d numbers", size->n);
        s.rank = nd + 2;
        s.dims[0] = size->v[0];
        for (int i = 0; i < nd; i++)
            s.dims[1 + i] = size->v[2 + i];
        s.dims[nd + 1] = ptq_dim_of(nd);
        for (int i = 0; i < s.rank; i++)
            if (ptq_dim_known(s.dims[i]) && s.dims[i].add < 0)
                return ptq_infer_fail(in, "size %lld", (long long)s.dims[i].add);
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

/* [N, C * block, places] and the sizes of the image and of a block. */
ptq_status ptq_infer_col2im(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_contents ti, tb;
    const ptq_contents *image = ptq_infer_elements(in, 1, &ti), *block = ptq_infer_elements(in, 2, &tb);
    ptq_shape s = ptq_shape_unknown();
    if (x->rank >= 0 && x->rank != 3)
        return ptq_infer_fail(in, "the input has rank %d, not 3", x->rank);
    if (image && block && x->rank == 3) {
        if (image->n != block->n || image->n + 2 > PTQ_MAX_RANK)
            return ptq_infer_fail(in, "%d sizes of the image, %d of a block", image->n, block->n);
        s.rank = image->n + 2;
        s.dims[0] = x->dims[0];
        s.dims[1] = ptq_dim_div(x->dims[1], ptq_infer_product(block->v, block->n));
        for (int i = 0; i < image->n; i++) {
            s.dims[2 + i] = image->v[i];
            if (ptq_dim_known(image->v[i]) && image->v[i].add < 0)
                return ptq_infer_fail(in, "size %lld", (long long)image->v[i].add);
        }
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_non_max(ptq_infer *in)
{
    const ptq_shape *boxes = &in->in[0].shape, *scores = &in->in[1].shape;
    ptq_shape s = {.rank = 2, .dims = {ptq_dim_unknown(), ptq_dim_of(3)}};
    ptq_dim d;
    if ((boxes->rank >= 0 && (boxes->rank != 3 || !ptq_dim_merge(boxes->dims[2], ptq_dim_of(4), &d))) ||
        (scores->rank >= 0 && scores->rank != 3) ||
        (boxes->rank == 3 && scores->rank == 3 &&
         (!ptq_dim_merge(boxes->dims[0], scores->dims[0], &d) || !ptq_dim_merge(boxes->dims[1], scores->dims[2], &d))))
        return ptq_infer_fail(in, "boxes and scores do not fit");
    ptq_infer_set(in, 0, PTQ_DT_S64, &s);
    return PTQ_OK;
}

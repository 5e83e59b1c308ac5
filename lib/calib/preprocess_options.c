/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/calib/preprocess.h"
#include "lib/core/clocale.h"

static bool plain_number(const char **s, double *out)
{
    char *end;
    if (!strchr("+-.0123456789", **s) || !**s)
        return false;
    *out = strtod(*s, &end);
    if (end == *s)
        return false;
    *s = end;
    return true;
}

bool ptq_parse_number(const char *s, double *out)
{
    ptq_clocale locale = ptq_clocale_enter();
    double a = 0, b = 1;
    bool ok = plain_number(&s, &a);
    if (ok && *s == '/') {
        s++;
        ok = plain_number(&s, &b);
    }
    ptq_clocale_leave(locale);
    if (!ok || *s || b == 0 || !isfinite(a / b))
        return false;
    *out = a / b;
    return true;
}

const char *ptq_format_number(double v, char *buf, size_t n)
{
    ptq_clocale locale = ptq_clocale_enter();
    /* The fewest digits that give the same float again: 0.485, not 0.485000014. */
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(buf, n, "%.*g", digits, v);
        if (strtof(buf, NULL) == (float)v)
            break;
    }
    ptq_clocale_leave(locale);
    return buf;
}

void ptq_preprocess_init(ptq_preprocess *pp)
{
    *pp = (ptq_preprocess){.scale = 1.0f, .n_mean = 1, .n_std = 1, .std = {1.0f}, .pad = 114.0f};
}

static ptq_status bad(const char *key, const char *value, const char *want)
{
    return ptq_fail(PTQ_ERR_ARG, "--%s %s: expected %s", key, value, want);
}

/* "224" or "640x480". */
static bool parse_size(const char *s, int *w, int *h)
{
    char *end;
    long a = strtol(s, &end, 10), b = a;
    if (end == s || *s < '0' || *s > '9')
        return false;
    if (*end == 'x' && end[1] >= '0' && end[1] <= '9')
        b = strtol(end + 1, &end, 10);
    if (*end || a < 1 || b < 1 || a > PTQ_IMAGE_MAX_SIDE || b > PTQ_IMAGE_MAX_SIDE)
        return false;
    *w = (int)a;
    *h = (int)b;
    return true;
}

static bool parse_filter(const char *s, ptq_filter *out)
{
    static const char *const names[] = {"bilinear", "bicubic", "nearest"};
    for (size_t i = 0; i < PTQ_COUNT(names); i++)
        if (strcmp(s, names[i]) == 0) {
            *out = (ptq_filter)i;
            return true;
        }
    return false;
}

static ptq_status set_filter(ptq_preprocess *pp, const char *key, const char *value)
{
    if (!parse_filter(value, &pp->filter))
        return bad(key, value, "bilinear, bicubic or nearest");
    pp->set |= PTQ_PP_FILTER;
    return PTQ_OK;
}

static ptq_status set_resize(ptq_preprocess *pp, const char *key, const char *value)
{
    char mode[64];
    ptq_preprocess p = *pp;
    snprintf(mode, sizeof mode, "%s", value);
    char *comma = strchr(mode, ',');
    if (comma) {
        *comma = '\0';
        if (!parse_filter(comma + 1, &p.filter))
            return bad(key, value, "a filter bilinear, bicubic or nearest after the comma");
        p.set |= PTQ_PP_FILTER;
    }
    char *colon = strchr(mode, ':');
    if (colon)
        *colon++ = '\0';
    p.resize_w = p.resize_h = 0;
    bool ok = true;
    if (strcmp(mode, "none") == 0 && !colon) {
        p.resize = PTQ_RESIZE_NONE;
    } else if (strcmp(mode, "shorter") == 0) {
        p.resize = PTQ_RESIZE_SHORTER;
        ok = colon && parse_size(colon, &p.resize_w, &p.resize_h) && p.resize_w == p.resize_h;
    } else if (strcmp(mode, "letterbox") == 0) {
        p.resize = PTQ_RESIZE_LETTERBOX;
        ok = !colon || parse_size(colon, &p.resize_w, &p.resize_h);
    } else if (strcmp(mode, "exact") == 0) {
        p.resize = PTQ_RESIZE_EXACT;
        ok = !colon || parse_size(colon, &p.resize_w, &p.resize_h);
    } else {
        p.resize = PTQ_RESIZE_EXACT;
        ok = !colon && parse_size(mode, &p.resize_w, &p.resize_h);
    }
    if (!ok)
        return bad(key, value, "none, shorter:N, WxH, exact (the model's size) or letterbox[:WxH], "
                               "then perhaps ,bilinear ,bicubic or ,nearest");
    p.fit = false;
    p.set |= PTQ_PP_RESIZE;
    *pp = p;
    return PTQ_OK;
}

static ptq_status set_crop(ptq_preprocess *pp, const char *key, const char *value)
{
    const char *s = strncmp(value, "center:", 7) == 0 ? value + 7 : value;
    int w = 0, h = 0;
    if (strcmp(s, "none") != 0 && !parse_size(s, &w, &h))
        return bad(key, value, "none, N, WxH, center:N or center:WxH");
    pp->crop_w = w;
    pp->crop_h = h;
    pp->set |= PTQ_PP_CROP;
    pp->fit = false;
    return PTQ_OK;
}

static ptq_status set_color(ptq_preprocess *pp, const char *key, const char *value)
{
    static const char *const names[] = {"rgb", "bgr", "gray"};
    for (size_t i = 0; i < PTQ_COUNT(names); i++)
        if (strcmp(value, names[i]) == 0) {
            pp->color = (ptq_color)i;
            pp->set |= PTQ_PP_COLOR;
            return PTQ_OK;
        }
    return bad(key, value, "rgb, bgr or gray");
}

static ptq_status set_layout(ptq_preprocess *pp, const char *key, const char *value)
{
    static const char *const names[] = {"auto", "nchw", "nhwc"};
    for (size_t i = 0; i < PTQ_COUNT(names); i++)
        if (strcmp(value, names[i]) == 0) {
            pp->layout = (ptq_pixel_layout)i;
            pp->set |= PTQ_PP_LAYOUT;
            return PTQ_OK;
        }
    return bad(key, value, "auto, nchw or nhwc");
}

static ptq_status set_scale(ptq_preprocess *pp, const char *key, const char *value)
{
    double v;
    if (!ptq_parse_number(value, &v) || (float)v == 0.0f || !isfinite((float)v))
        return bad(key, value, "a number other than 0, or a fraction such as 1/255");
    pp->scale = (float)v;
    pp->set |= PTQ_PP_SCALE;
    return PTQ_OK;
}

/* "0.5" or "0.5,0.5,0.5" or with spaces. */
static bool parse_list(const char *s, float out[4], int *n)
{
    char item[64];
    *n = 0;
    while (*s) {
        size_t len = strcspn(s, ", ");
        double v;
        if (len == 0 || len >= sizeof item || *n == 4)
            return false;
        memcpy(item, s, len);
        item[len] = '\0';
        if (!ptq_parse_number(item, &v) || !isfinite((float)v))
            return false;
        out[(*n)++] = (float)v;
        s += len;
        if (*s == ',' || *s == ' ') {
            s++;
            while (*s == ' ')
                s++;
            if (!*s)
                return false;
        }
    }
    return *n > 0;
}

static ptq_status set_mean(ptq_preprocess *pp, const char *key, const char *value)
{
    float v[4];
    int n;
    if (!parse_list(value, v, &n))
        return bad(key, value, "one number, or one for each channel: 0.485,0.456,0.406");
    memcpy(pp->mean, v, sizeof pp->mean);
    pp->n_mean = n;
    pp->set |= PTQ_PP_MEAN;
    return PTQ_OK;
}

static ptq_status set_std(ptq_preprocess *pp, const char *key, const char *value)
{
    float v[4] = {1, 1, 1, 1};
    int n = 0;
    bool ok = parse_list(value, v, &n);
    for (int i = 0; ok && i < n; i++)
        ok = v[i] != 0.0f;
    if (!ok)
        return bad(key, value, "one number, or one for each channel, none of them 0");
    memcpy(pp->std, v, sizeof pp->std);
    pp->n_std = n;
    pp->set |= PTQ_PP_STD;
    return PTQ_OK;
}

static ptq_status set_pad(ptq_preprocess *pp, const char *key, const char *value)
{
    bool letterbox = strncmp(value, "letterbox:", 10) == 0;
    double v;
    if (!ptq_parse_number(letterbox ? value + 10 : value, &v) || v < 0 || v > 255)
        return bad(key, value, "0..255, or letterbox:0..255");
    if (letterbox && !(pp->set & PTQ_PP_RESIZE))
        PTQ_TRY(set_resize(pp, "resize", "letterbox"));
    pp->pad = (float)v;
    pp->set |= PTQ_PP_PAD;
    return PTQ_OK;
}

static const struct {
    const char *preset, *key, *value;
} presets[] = {
    {"imagenet", "resize", "shorter:256"},
    {"imagenet", "crop", "224"},
    {"imagenet", "color", "rgb"},
    {"imagenet", "scale", "1/255"},
    {"imagenet", "mean", "0.485,0.456,0.406"},
    {"imagenet", "std", "0.229,0.224,0.225"},
    {"imagenet-norm", "color", "rgb"},
    {"imagenet-norm", "scale", "1/255"},
    {"imagenet-norm", "mean", "0.485,0.456,0.406"},
    {"imagenet-norm", "std", "0.229,0.224,0.225"},
    {"tf", "color", "rgb"},
    {"tf", "scale", "1/127.5"},
    {"tf", "mean", "1"},
    {"tf", "std", "1"},
    {"yolo", "resize", "letterbox"},
    {"yolo", "pad", "114"},
    {"yolo", "color", "rgb"},
    {"yolo", "scale", "1/255"},
    {"yolo", "mean", "0"},
    {"yolo", "std", "1"},
    {"caffe", "color", "bgr"},
    {"caffe", "scale", "1"},
    {"caffe", "mean", "104,117,123"},
    {"caffe", "std", "1"},
    {"none", "resize", "none"},
    {"none", "crop", "none"},
    {"none", "scale", "1"},
    {"none", "mean", "0"},
    {"none", "std", "1"},
};

static ptq_status set_preset(ptq_preprocess *pp, const char *key, const char *value)
{
    bool found = false;
    for (size_t i = 0; i < PTQ_COUNT(presets); i++)
        if (strcmp(presets[i].preset, value) == 0) {
            PTQ_TRY(ptq_preprocess_set(pp, presets[i].key, presets[i].value));
            found = true;
        }
    pp->fit = pp->fit || strcmp(value, "imagenet") == 0;
    return found ? PTQ_OK : bad(key, value, "imagenet, imagenet-norm, tf, yolo, caffe or none");
}

static const struct {
    const char *key;
    ptq_status (*set)(ptq_preprocess *pp, const char *key, const char *value);
} keys[] = {
    {"preprocess", set_preset}, {"resize", set_resize}, {"crop", set_crop},
    {"color", set_color},       {"scale", set_scale},   {"mean", set_mean},
    {"std", set_std},           {"layout", set_layout}, {"pad", set_pad},
    {"filter", set_filter},
};

ptq_status ptq_preprocess_set(ptq_preprocess *pp, const char *key, const char *value)
{
    for (size_t i = 0; i < PTQ_COUNT(keys); i++)
        if (strcmp(keys[i].key, key) == 0)
            return keys[i].set(pp, key, value);
    return ptq_fail(PTQ_ERR_ARG, "unknown preprocessing option %s", key);
}

void ptq_preprocess_fill(ptq_preprocess *pp, const ptq_preprocess *d)
{
    unsigned take = d->set & ~pp->set;
    if (take & PTQ_PP_RESIZE) {
        pp->resize = d->resize;
        pp->resize_w = d->resize_w;
        pp->resize_h = d->resize_h;
    }
    if (take & PTQ_PP_FILTER)
        pp->filter = d->filter;
    if (take & PTQ_PP_CROP) {
        pp->crop_w = d->crop_w;
        pp->crop_h = d->crop_h;
    }
    if (take & PTQ_PP_COLOR)
        pp->color = d->color;
    if (take & PTQ_PP_SCALE)
        pp->scale = d->scale;
    if (take & PTQ_PP_MEAN) {
        pp->n_mean = d->n_mean;
        memcpy(pp->mean, d->mean, sizeof pp->mean);
    }
    if (take & PTQ_PP_STD) {
        pp->n_std = d->n_std;
        memcpy(pp->std, d->std, sizeof pp->std);
    }
    if (take & PTQ_PP_LAYOUT)
        pp->layout = d->layout;
    if (take & PTQ_PP_PAD)
        pp->pad = d->pad;
    pp->set |= take;
}

/* Appends to the text at *at, which never passes n. */
static void add(char *buf, size_t n, size_t *at, const char *text)
{
    int k = snprintf(buf + *at, n - *at, "%s", text);
    *at += (size_t)k < n - *at ? (size_t)k : n - *at - 1;
}

static void add_list(char *buf, size_t n, size_t *at, const char *key, const float *v, int count)
{
    char number[40];
    add(buf, n, at, key);
    for (int i = 0; i < count; i++) {
        add(buf, n, at, i ? "," : "");
        add(buf, n, at, ptq_format_number((double)v[i], number, sizeof number));
    }
}

const char *ptq_preprocess_text(const ptq_preprocess *pp, char *buf, size_t n)
{
    static const char *const modes[] = {"none", "shorter", "exact", "letterbox"};
    static const char *const filters[] = {"bilinear", "bicubic", "nearest"};
    static const char *const colors[] = {"rgb", "bgr", "gray"};
    static const char *const layouts[] = {"auto", "nchw", "nhwc"};
    char part[96];
    size_t at = 0;
    snprintf(part, sizeof part, "resize %s", modes[pp->resize]);
    add(buf, n, &at, part);
    if (pp->resize == PTQ_RESIZE_SHORTER)
        snprintf(part, sizeof part, ":%d,%s", pp->resize_w, filters[pp->filter]);
    else if (pp->resize != PTQ_RESIZE_NONE && pp->resize_w)
        snprintf(part, sizeof part, ":%dx%d,%s", pp->resize_w, pp->resize_h, filters[pp->filter]);
    else
        snprintf(part, sizeof part, "%s%s", pp->resize ? "," : "",
                 pp->resize ? filters[pp->filter] : "");
    add(buf, n, &at, part);
    if (pp->crop_w)
        snprintf(part, sizeof part, "; crop %dx%d", pp->crop_w, pp->crop_h);
    add(buf, n, &at, pp->crop_w ? part : "");
    if (pp->resize == PTQ_RESIZE_LETTERBOX)
        add_list(buf, n, &at, "; pad ", &pp->pad, 1);
    snprintf(part, sizeof part, "; %s", colors[pp->color]);
    add(buf, n, &at, part);
    add_list(buf, n, &at, "; scale ", &pp->scale, 1);
    add_list(buf, n, &at, "; mean ", pp->mean, pp->n_mean);
    add_list(buf, n, &at, "; std ", pp->std, pp->n_std);
    snprintf(part, sizeof part, "; layout %s", layouts[pp->layout]);
    add(buf, n, &at, part);
    return buf;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lib/onnx/onnx_priv.h"

/* Leading bytes of things that get named .onnx by mistake. */
static const struct {
    size_t at, n;
    const char *magic, *what;
} kinds[] = {
    {0, 8, "\x89PNG\r\n\x1a\n", "a PNG image"},
    {0, 3, "\xff\xd8\xff", "a JPEG image"},
    {0, 4, "\x7f"
           "ELF",
     "an ELF program"},
    {0, 2, "\x1f\x8b", "a gzip archive; unpack it first"},
    {0, 4, "PK\x03\x04", "a ZIP archive (a PyTorch file or an .npz)"},
    {0, 6, "\xfd"
           "7zXZ\0",
     "an xz archive; unpack it first"},
    {0, 4, "\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"},
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file (a Keras model or a data set)"},
    {0, 6, "\x93NUMPY", "a NumPy array"},
    {4, 4, "TFL3", "a TensorFlow Lite model"},
    {4, 4, "ORTM", "an ONNX Runtime .ort file; use the .onnx it was made from"},
    {0, 4, "GGUF", "a GGUF model"},
    {0, 7, "PTQPLAN", "a plan of quantize build, which only quantize bench takes"},
    {0, 4, "%PDF", "a PDF document"},
    {257, 5, "ustar", "a tar archive; unpack it first"},
    {0, 23, "version https://git-lfs", "a Git LFS pointer; run 'git lfs pull' to get the model"},
    {0, 5, "<?xml", "an XML document"},
    {0, 9, "<!DOCTYPE", "a web page; the download was not the model itself"},
    {0, 9, "<!doctype", "a web page; the download was not the model itself"},
    {0, 5, "<html", "a web page; the download was not the model itself"},
};

static bool is_text(const unsigned char *p, size_t n)
{
    size_t look = n < 512 ? n : 512;
    for (size_t i = 0; i < look; i++)
        if ((p[i] < 0x20 && p[i] != '\n' && p[i] != '\r' && p[i] != '\t') || p[i] == 0x7f)
            return false;
    return look > 0;
}

const char *ptq_onnx_sniff(const void *bytes, size_t n)
{
    for (size_t i = 0; i < PTQ_COUNT(kinds); i++)
        if (n >= kinds[i].at + kinds[i].n &&
            memcmp((const char *)bytes + kinds[i].at, kinds[i].magic, kinds[i].n) == 0)
            return kinds[i].what;
    return is_text(bytes, n) ? "text" : NULL;
}

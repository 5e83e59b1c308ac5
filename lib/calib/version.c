/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <ptq/io.h>

#ifdef HAVE_HDF5
#include <H5public.h>
#endif
#ifdef HAVE_PNG
#include <png.h>
#endif
#ifdef HAVE_JPEG
#include <stdio.h>

#include <jpeglib.h>
#endif
#ifdef HAVE_ZIP
#include <zip.h>
#endif

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define H5_VERSION_TEXT TEXT(H5_VERS_MAJOR) "." TEXT(H5_VERS_MINOR) "." TEXT(H5_VERS_RELEASE)

const char *ptq_io_version(void)
{
    return "built with"
#ifdef HAVE_HDF5
           " HDF5 " H5_VERSION_TEXT
#else
           " no HDF5"
#endif
#ifdef HAVE_PNG
           ", libpng " PNG_LIBPNG_VER_STRING
#else
           ", no PNG"
#endif
#ifdef HAVE_JPEG
           ", libjpeg " TEXT(LIBJPEG_TURBO_VERSION)
#else
           ", no JPEG"
#endif
#ifdef HAVE_ZIP
           ", libzip " LIBZIP_VERSION
#else
           ", no npz"
#endif
        ;
}

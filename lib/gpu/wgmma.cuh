/* SPDX-License-Identifier: Apache-2.0 */
/* PTX of Hopper (compute capability 9.0, target sm_90a): barriers in shared memory, the tensor copy
 * engine, and the warpgroup products of 64 x N x 32 bytes. */
#ifndef PTQ_GPU_WGMMA_CUH
#define PTQ_GPU_WGMMA_CUH

#include <cuda.h>

#include "lib/gpu/mma.cuh"

static __device__ __forceinline__ void barrier_init(uint32_t bar, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}

static __device__ __forceinline__ void barrier_expect(uint32_t bar, uint32_t nbytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(nbytes) : "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint32_t bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

/* Waits until the phase of this parity is over. */
static __device__ __forceinline__ void barrier_wait(uint32_t bar, uint32_t parity)
{
    uint32_t done;
    do {
        asm volatile("{\n\t.reg .pred p;\n\t"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                     "selp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(done)
                     : "r"(bar), "r"(parity)
                     : "memory");
    } while (!done);
}

static __device__ __forceinline__ void tensor_copy_2d(uint32_t dst, const CUtensorMap *map, uint32_t bar, int x, int y)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
                 "[%2];" ::"r"(dst), "l"(map), "r"(bar), "r"(x), "r"(y)
                 : "memory");
}

static __device__ __forceinline__ void tensor_copy_window(uint32_t dst, const CUtensorMap *map, uint32_t bar, int c,
                                                          int w, int h, int n, uint16_t dw, uint16_t dh)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(dst),
                 "l"(map), "r"(bar), "r"(c), "r"(w), "r"(h), "r"(n), "h"(dw), "h"(dh)
                 : "memory");
}

/* Programmatic dependent launch: a kernel may start while the one before it on the stream still runs. It sets up and
 * reads constants, then all its threads wait here: from then on everything that was written before is there, and
 * memory that others read may be written again. */
static __device__ __forceinline__ void after_previous()
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

/* From here on the next kernel may start where there is room. */
static __device__ __forceinline__ void let_next()
{
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

/* Rows of ROW bytes (64 or 128), swizzled over as many bytes, groups of 8 rows one behind the other. */
template <int ROW> static __device__ __forceinline__ uint64_t descriptor(uint32_t address)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | 1ull << 16 | (uint64_t)(8 * ROW / 16) << 32 |
           (uint64_t)(ROW == 128 ? 1 : 2) << 62;
}

/* The same with the address in units of 16 bytes, to which steps can be added: addresses are below 2^18. */
template <int ROW> static __device__ __forceinline__ uint64_t descriptor_at(uint32_t units)
{
    constexpr uint32_t high = 8 * ROW / 16 | (ROW == 128 ? 1u : 2u) << 30;
    return (uint64_t)high << 32 | (units | 1u << 16);
}

/* The number of a warpgroup, known to be the same in all lanes. */
static __device__ __forceinline__ int warpgroup()
{
    return __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0);
}

static __device__ __forceinline__ void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int LEFT> static __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

/* Accumulators that a wait has made good: nothing that reads them may move before it. */
template <int N> static __device__ __forceinline__ void hold(int32_t (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+r"(d[i])::"memory");
}

/* d = A B (first) or d += A B; A is 64 x 32 bytes, B is N x 32 int8, both K-major in shared memory. */
template <int N, bool SIGNED> struct wgmma;

#define PTQ_WGMMA(types)                                                                           \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %34, 0;\n\t" \
                 "wgmma.mma_async.sync.aligned.m64n64k32.s32." types " {" \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, " \
                 "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31" \
                 "}, %32, %33, p;\n\t}" \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), \
                   "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), \
                   "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]), "+r"(d[17]), \
                   "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), \
                   "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), \
                   "+r"(d[30]), "+r"(d[31]) \
                 : "l"(a), "l"(b), "r"(keep))
template <bool SIGNED> struct wgmma<64, SIGNED> {
    static __device__ __forceinline__ void run(int32_t (&d)[32], uint64_t a, uint64_t b, int keep)
    {
        if constexpr (SIGNED)
            PTQ_WGMMA("s8.s8");
        else
            PTQ_WGMMA("u8.s8");
    }
};
#undef PTQ_WGMMA

#define PTQ_WGMMA(types)                                                                           \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %66, 0;\n\t" \
                 "wgmma.mma_async.sync.aligned.m64n128k32.s32." types " {" \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, " \
                 "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, " \
                 "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
                 "%62, %63" \
                 "}, %64, %65, p;\n\t}" \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), \
                   "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), \
                   "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]), "+r"(d[17]), \
                   "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), \
                   "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), \
                   "+r"(d[30]), "+r"(d[31]), "+r"(d[32]), "+r"(d[33]), "+r"(d[34]), "+r"(d[35]), \
                   "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]), "+r"(d[40]), "+r"(d[41]), \
                   "+r"(d[42]), "+r"(d[43]), "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]), \
                   "+r"(d[48]), "+r"(d[49]), "+r"(d[50]), "+r"(d[51]), "+r"(d[52]), "+r"(d[53]), \
                   "+r"(d[54]), "+r"(d[55]), "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59]), \
                   "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63]) \
                 : "l"(a), "l"(b), "r"(keep))
template <bool SIGNED> struct wgmma<128, SIGNED> {
    static __device__ __forceinline__ void run(int32_t (&d)[64], uint64_t a, uint64_t b, int keep)
    {
        if constexpr (SIGNED)
            PTQ_WGMMA("s8.s8");
        else
            PTQ_WGMMA("u8.s8");
    }
};
#undef PTQ_WGMMA

#define PTQ_WGMMA(types)                                                                           \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %98, 0;\n\t" \
                 "wgmma.mma_async.sync.aligned.m64n192k32.s32." types " {" \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, " \
                 "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, " \
                 "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
                 "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, " \
                 "%77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, " \
                 "%92, %93, %94, %95" \
                 "}, %96, %97, p;\n\t}" \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), \
                   "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), \
                   "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]), "+r"(d[17]), \
                   "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), \
                   "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), \
                   "+r"(d[30]), "+r"(d[31]), "+r"(d[32]), "+r"(d[33]), "+r"(d[34]), "+r"(d[35]), \
                   "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]), "+r"(d[40]), "+r"(d[41]), \
                   "+r"(d[42]), "+r"(d[43]), "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]), \
                   "+r"(d[48]), "+r"(d[49]), "+r"(d[50]), "+r"(d[51]), "+r"(d[52]), "+r"(d[53]), \
                   "+r"(d[54]), "+r"(d[55]), "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59]), \
                   "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63]), "+r"(d[64]), "+r"(d[65]), \
                   "+r"(d[66]), "+r"(d[67]), "+r"(d[68]), "+r"(d[69]), "+r"(d[70]), "+r"(d[71]), \
                   "+r"(d[72]), "+r"(d[73]), "+r"(d[74]), "+r"(d[75]), "+r"(d[76]), "+r"(d[77]), \
                   "+r"(d[78]), "+r"(d[79]), "+r"(d[80]), "+r"(d[81]), "+r"(d[82]), "+r"(d[83]), \
                   "+r"(d[84]), "+r"(d[85]), "+r"(d[86]), "+r"(d[87]), "+r"(d[88]), "+r"(d[89]), \
                   "+r"(d[90]), "+r"(d[91]), "+r"(d[92]), "+r"(d[93]), "+r"(d[94]), "+r"(d[95]) \
                 : "l"(a), "l"(b), "r"(keep))
template <bool SIGNED> struct wgmma<192, SIGNED> {
    static __device__ __forceinline__ void run(int32_t (&d)[96], uint64_t a, uint64_t b, int keep)
    {
        if constexpr (SIGNED)
            PTQ_WGMMA("s8.s8");
        else
            PTQ_WGMMA("u8.s8");
    }
};
#undef PTQ_WGMMA

#define PTQ_WGMMA(types)                                                                           \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %130, 0;\n\t" \
                 "wgmma.mma_async.sync.aligned.m64n256k32.s32." types " {" \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, " \
                 "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, " \
                 "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
                 "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, " \
                 "%77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, " \
                 "%92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, " \
                 "%106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, " \
                 "%119, %120, %121, %122, %123, %124, %125, %126, %127" \
                 "}, %128, %129, p;\n\t}" \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), \
                   "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), \
                   "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]), "+r"(d[17]), \
                   "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), \
                   "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), \
                   "+r"(d[30]), "+r"(d[31]), "+r"(d[32]), "+r"(d[33]), "+r"(d[34]), "+r"(d[35]), \
                   "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]), "+r"(d[40]), "+r"(d[41]), \
                   "+r"(d[42]), "+r"(d[43]), "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]), \
                   "+r"(d[48]), "+r"(d[49]), "+r"(d[50]), "+r"(d[51]), "+r"(d[52]), "+r"(d[53]), \
                   "+r"(d[54]), "+r"(d[55]), "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59]), \
                   "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63]), "+r"(d[64]), "+r"(d[65]), \
                   "+r"(d[66]), "+r"(d[67]), "+r"(d[68]), "+r"(d[69]), "+r"(d[70]), "+r"(d[71]), \
                   "+r"(d[72]), "+r"(d[73]), "+r"(d[74]), "+r"(d[75]), "+r"(d[76]), "+r"(d[77]), \
                   "+r"(d[78]), "+r"(d[79]), "+r"(d[80]), "+r"(d[81]), "+r"(d[82]), "+r"(d[83]), \
                   "+r"(d[84]), "+r"(d[85]), "+r"(d[86]), "+r"(d[87]), "+r"(d[88]), "+r"(d[89]), \
                   "+r"(d[90]), "+r"(d[91]), "+r"(d[92]), "+r"(d[93]), "+r"(d[94]), "+r"(d[95]), \
                   "+r"(d[96]), "+r"(d[97]), "+r"(d[98]), "+r"(d[99]), "+r"(d[100]), \
                   "+r"(d[101]), "+r"(d[102]), "+r"(d[103]), "+r"(d[104]), "+r"(d[105]), \
                   "+r"(d[106]), "+r"(d[107]), "+r"(d[108]), "+r"(d[109]), "+r"(d[110]), \
                   "+r"(d[111]), "+r"(d[112]), "+r"(d[113]), "+r"(d[114]), "+r"(d[115]), \
                   "+r"(d[116]), "+r"(d[117]), "+r"(d[118]), "+r"(d[119]), "+r"(d[120]), \
                   "+r"(d[121]), "+r"(d[122]), "+r"(d[123]), "+r"(d[124]), "+r"(d[125]), \
                   "+r"(d[126]), "+r"(d[127]) \
                 : "l"(a), "l"(b), "r"(keep))
template <bool SIGNED> struct wgmma<256, SIGNED> {
    static __device__ __forceinline__ void run(int32_t (&d)[128], uint64_t a, uint64_t b, int keep)
    {
        if constexpr (SIGNED)
            PTQ_WGMMA("s8.s8");
        else
            PTQ_WGMMA("u8.s8");
    }
};
#undef PTQ_WGMMA

/* ---- host ---- */

/* Launches a kernel that calls after_previous. `most`: no launch of this kernel has more shared memory; the attribute
 * is the kernel's, and other threads may launch it at the same time. */
template <typename... P, typename... A>
static void launch_early(void (*kernel)(P...), unsigned blocks, unsigned threads, int smem, int most,
                         ptq_dev *d, const A &...args)
{
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = (size_t)smem;
    config.stream = (cudaStream_t)ptq_dev_stream(d);
    config.attrs = &early;
    config.numAttrs = 1;
    cudaLaunchKernelEx(&config, kernel, args...); /* its error is the last one, which ptq_dev_launched asks for */
}

/* Maps for the copy engine. */

/* Entry points of the driver, found through the runtime: nothing links to libcuda. */
template <typename F> static F driver(const char *name)
{
    void *f = nullptr;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion(name, &f, 12000, cudaEnableDefault, &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess)
        return nullptr;
    return (F)f;
}

static bool matrix_map(CUtensorMap *map, const void *base, uint64_t k, uint64_t rows, int box_k, int box_rows)
{
    static auto encode = driver<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
    cuuint64_t dims[2] = {k, rows}, strides[1] = {k};
    cuuint32_t box[2] = {(cuuint32_t)box_k, (cuuint32_t)box_rows}, step[2] = {1, 1};
    return encode && encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)base, dims, strides, box, step,
                            CU_TENSOR_MAP_INTERLEAVE_NONE,
                            box_k == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                            CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/* The corners cut the input so that exactly out_h x out_w windows start in it. */
static bool window_map(CUtensorMap *map, const ptq_k_gemm *a, int box_k, int box_rows)
{
    static auto encode = driver<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
    uint64_t images = (uint64_t)(a->m / ((int64_t)a->out_h * a->out_w));
    cuuint64_t c = (cuuint64_t)a->c, w = (cuuint64_t)a->in_w, h = (cuuint64_t)a->in_h;
    cuuint64_t dims[4] = {c, w, h, images}, strides[3] = {c, c * w, c * w * h};
    int lower[2] = {-a->pad_w, -a->pad_h};
    int upper[2] = {(a->out_w - 1) * a->stride_w - a->pad_w - (a->in_w - 1),
                    (a->out_h - 1) * a->stride_h - a->pad_h - (a->in_h - 1)};
    cuuint32_t step[4] = {1, (cuuint32_t)a->stride_w, (cuuint32_t)a->stride_h, 1};
    return encode && encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 4, (void *)a->x, dims, strides, lower, upper,
                            (cuuint32_t)box_k, (cuuint32_t)box_rows, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                            box_k == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                            CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/* Both operands, in boxes of box_k bytes and so many rows. */
static ptq_status operand_maps(CUtensorMap *x, CUtensorMap *w, const ptq_k_gemm *a, bool window, int box_k, int x_rows,
                               int w_rows)
{
    bool good = window ? window_map(x, a, box_k, x_rows)
                       : matrix_map(x, a->x, (uint64_t)a->c, (uint64_t)a->m, box_k, x_rows);
    return good && matrix_map(w, a->w, (uint64_t)a->kpad, (uint64_t)a->npad, box_k, w_rows) ? PTQ_OK
                                                                                            : ptq_k_gemm_unmapped(a);
}

static bool is_matrix(const ptq_k_gemm *a)
{
    return a->kernel_h == 1 && a->kernel_w == 1 && a->stride_h == 1 && a->stride_w == 1 && a->pad_h == 0 &&
           a->pad_w == 0 && a->out_h == a->in_h && a->out_w == a->in_w;
}

/* Can the copy engine feed this product? */
static bool maps_fit(const ptq_dev *d, const ptq_k_gemm *a)
{
    if (ptq_dev_capability(d) != 90 || a->c % 16 != 0 || a->m >= INT32_MAX - 256 ||
        (a->m + 63) / 64 * ((a->n + 63) / 64) >= INT32_MAX || (uintptr_t)a->x % 16 != 0)
        return false;
    if (is_matrix(a))
        return true;
    /* Limits of the window mode: corners are bytes, steps at most 8; padding reads as zero. */
    int upper_w = (a->out_w - 1) * a->stride_w - a->pad_w - (a->in_w - 1);
    int upper_h = (a->out_h - 1) * a->stride_h - a->pad_h - (a->in_h - 1);
    return (a->zx == 0 || !a->padded) && a->stride_h <= 8 && a->stride_w <= 8 && a->pad_h < 128 && a->pad_w < 128 &&
           upper_w > -128 && upper_w < 128 && upper_h > -128 && upper_h < 128 &&
           (a->kernel_w - 1) * a->dil_w < 256 && (a->kernel_h - 1) * a->dil_h < 256;
}

#endif

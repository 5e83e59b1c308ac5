/* SPDX-License-Identifier: Apache-2.0 */
/* First layers: convolutions of images with four channels by mma.sync. A block keeps the weights of 64
 * channels in shared memory and walks over pieces of 4 x 32 output pixels, one line per warp. The input
 * under a piece is copied once; a pixel is one register of a fragment, so that the windows need no
 * copies of their own: step k takes eight taps, two groups of four side by side. */
#include "lib/gpu/mma.cuh"

enum { LINES = 4, WIDTH = 32, BN = 64, THREADS = 32 * LINES, BLOCKS = 4 };

struct patch {
    int h, w; /* of the input under a piece */
};

static __host__ __device__ __forceinline__ patch patch_of(const ptq_k_gemm &a)
{
    int taps = (a.kernel_w + 3) & ~3;
    return {(LINES - 1) * a.stride_h + a.kernel_h, (WIDTH - 1) * a.stride_w + taps};
}

/* One warp: its line of WIDTH pixels. */
template <bool SIGNED>
static __device__ __forceinline__ void multiply(const ptq_k_gemm &a, const uint32_t *pixels, int pw, uint32_t weights,
                                                int row_bytes, int32_t (&acc)[WIDTH / 16][BN / 8][4])
{
    int lane = (int)threadIdx.x % 32, g = lane / 4, q = lane % 4, line = (int)threadIdx.x / 32;
    int fours = (a.kernel_w + 3) / 4, groups = a.kernel_h * fours;
    const uint32_t *base = pixels + line * a.stride_h * pw + g * a.stride_w + q;
    for (int k = 0; k < (groups + 1) / 2; k++) {
        uint32_t b[BN / 16][4];
#pragma unroll
        for (int j = 0; j < BN / 16; j++)
            load_matrix4(b[j], weights + (uint32_t)((j * 16 + lane / 16 * 8 + lane % 8) * row_bytes + k * 32 +
                                                    lane / 8 % 2 * 16));
        int second = 2 * k + 1 < groups ? 2 * k + 1 : 2 * k; /* the weights of a missing group are zero */
        int o0 = 2 * k / fours * pw + 2 * k % fours * 4, o1 = second / fours * pw + second % fours * 4;
#pragma unroll
        for (int i = 0; i < WIDTH / 16; i++) {
            const uint32_t *p = base + i * 16 * a.stride_w;
            uint32_t f[4] = {p[o0], p[o0 + 8 * a.stride_w], p[o1], p[o1 + 8 * a.stride_w]};
#pragma unroll
            for (int j = 0; j < BN / 8; j++)
                mma_16x8x32<SIGNED>(acc[i][j], f, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
}

template <bool SIGNED, bool ADDS>
static __global__ void __launch_bounds__(THREADS, BLOCKS) stem(const __grid_constant__ ptq_k_gemm a, int columns)
{
    extern __shared__ __align__(16) uint8_t smem[];
    patch size = patch_of(a);
    int row_bytes = a.kpad + 16; /* rows shifted by four banks */
    uint32_t *pixels = (uint32_t *)(smem + BN * row_bytes);
    int n0 = (int)(blockIdx.x % (unsigned)columns) * BN, lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x; i < BN * a.kpad / 16; i += THREADS) {
        int r = i / (a.kpad / 16), c = i % (a.kpad / 16);
        *(uint4 *)(smem + r * row_bytes + c * 16) = *(const uint4 *)(a.w + (int64_t)(n0 + r) * a.kpad + c * 16);
    }
    int down = (a.out_h + LINES - 1) / LINES, across = (a.out_w + WIDTH - 1) / WIDTH;
    int images = (int)(a.m / ((int64_t)a.out_h * a.out_w)), step = (int)(gridDim.x / (unsigned)columns);
    for (int64_t t = blockIdx.x / (unsigned)columns; t < (int64_t)images * down * across; t += step) {
        int image = (int)(t / (down * across)), in = (int)(t - (int64_t)image * down * across);
        int y0 = in / across * LINES, x0 = in % across * WIDTH;
        const uint8_t *src = a.x + (int64_t)image * a.in_h * a.in_w * 4;
        __syncthreads(); /* the piece before has been read */
        for (int i = (int)threadIdx.x; i < size.h * size.w; i += THREADS) {
            int py = i / size.w, h = y0 * a.stride_h - a.pad_h + py, w = x0 * a.stride_w - a.pad_w + i - py * size.w;
            bool inside = (unsigned)h < (unsigned)a.in_h && (unsigned)w < (unsigned)a.in_w;
            copy4_async(smem_address(pixels + i), inside ? src + ((int64_t)h * a.in_w + w) * 4 : a.zero);
        }
        commit_async();
        wait_async<0>();
        __syncthreads();
        int32_t acc[WIDTH / 16][BN / 8][4] = {};
        multiply<SIGNED>(a, pixels, size.w, smem_address(smem), row_bytes, acc);
        int y = y0 + (int)threadIdx.x / 32, n = n0 + lane % 4 * 16;
        if (y >= a.out_h)
            continue;
        int64_t line = ((int64_t)image * a.out_h + y) * a.out_w;
#pragma unroll
        for (int i = 0; i < WIDTH / 16; i++)
            finish_rows<ADDS>(a, channels(a.bias, a.mult, nullptr, n), &acc[i][0][0], line + x0 + i * 16 + lane / 4, n,
                              line + a.out_w);
    }
}

static int smem_bytes(const ptq_k_gemm *a)
{
    patch p = patch_of(*a);
    return BN * (a->kpad + 16) + p.h * p.w * 4;
}

static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    auto kernel = a->x_signed ? stem<true, false> : stem<false, false>;
    if (a->residual.kind)
        kernel = a->x_signed ? stem<true, true> : stem<false, true>;
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    int columns = (a->n + BN - 1) / BN, smem = smem_bytes(a);
    int64_t images = a->m / ((int64_t)a->out_h * a->out_w);
    int64_t pieces = images * ((a->out_h + LINES - 1) / LINES) * ((a->out_w + WIDTH - 1) / WIDTH);
    int64_t most = BLOCKS * ptq_dev_processors(d) / columns;
    most = most < 1 ? 1 : most > pieces ? pieces : most;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 48 * 1024); /* of all launches */
    kernel<<<(unsigned)(most * columns), THREADS, smem, (cudaStream_t)ptq_dev_stream(d)>>>(ptq_k_gemm_ends(a), columns);
    return ptq_dev_launched(d, "stem");
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return ptq_dev_capability(d) >= 80 && a->c == 4 && !a->tail.on && a->dil_h == 1 && a->dil_w == 1 && a->m < 1 << 30 &&
           smem_bytes(a) <= 48 * 1024;
}

extern "C" {
extern const ptq_k_gemm_row ptq_k_gemm_stem_128x64;
const ptq_k_gemm_row ptq_k_gemm_stem_128x64 = {"stem_128x64", supports, run};
}

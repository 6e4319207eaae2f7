// AMX-INT8 beside the AVX-512 of the avx512 table: Intel servers since Sapphire Rapids. Everything but the table is in an unnamed
// namespace and only small headers are included (DESIGN.md says why).

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu_feature.h"
#include "kernels/tables.h"

namespace tern {
namespace {

#include "kernels/x86_zmm.inl"

#include "kernels/x86_ternary.inl"

#include "kernels/x86_vnni.inl"

#include "kernels/amx_tiles.inl"

#include "kernels/amx_ternary.inl"

// A tile product takes as long for one token as for sixteen. Below this many, products by vpdpbusd are faster.
constexpr int32_t kTileTokens = 4;

// One packing: Few multiplies a few tokens, and reads the same layout.
template <class Few, class Format>
void amx_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y, int64_t y_stride,
                uint8_t* scratch) noexcept {
  static_assert(Few::kLayout == Format::kLayout);
  if (x.rows < kTileTokens) {
    ternary_matmul<Few>(w, x, rows, y, y_stride, scratch);
  } else {
    amx::matmul<Tiles, Format>(w, x, rows, y, y_stride, scratch);
  }
}

template <class Few, class Format>
size_t amx_scratch_bytes(int32_t cols, int32_t tokens) noexcept {
  const size_t few = ternary_scratch_bytes<Few>(cols, tokens);
  const size_t many = amx::Scratch<Format>::bytes(cols, tokens);
  return few > many ? few : many;
}

template <class Few, class Format>
constexpr TernaryKernel kAmx{Format::kLayout, amx_matmul<Few, Format>,
                             amx_scratch_bytes<Few, Format>};

// Products of tiles in registers: 16 x 16 sums of 64 products each.
int64_t peak_ternary(int64_t rounds) noexcept {
  Tiles::configure();
  for (int64_t round = 0; round < rounds; ++round) {
    Tiles::dot<0, 4, 6>();
    Tiles::dot<1, 4, 7>();
    Tiles::dot<2, 5, 6>();
    Tiles::dot<3, 5, 7>();
  }
  Tiles::release();
  return rounds * 4 * 16 * 16 * 64;
}

}  // namespace

const KernelTable kAmxTable = {
    .name = "amx",
    .needs =
        kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni | kCpuAvx512Vbmi | kCpuAvx512Bitalg | kCpuAmxInt8,
    .ternary = {kAmx<Vnni<VnniTwoBit, kAllTokens>, amx::TwoBit>,
                kAmx<Vnni<VnniBase3, kAllTokens>, amx::Base3>,
                {},
                {},
                kAmx<Vnni<VnniSign, kAllTokens>, amx::Sign>},
    .streamed = TernaryKind::kBase3,  // as in avx512, which multiplies single tokens
    .peak = {.ternary = peak_ternary},
};

}  // namespace tern

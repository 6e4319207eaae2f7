#pragma once
// The features of processors that kernel tables may need. Apart from cpu.h so that instruction-set files can name them
// without pulling in library headers.

#include <cstdint>

namespace tern {

enum CpuFeature : uint32_t {
  kCpuAvx2 =
      1u << 0,  // AVX2, FMA and F16C together, with the operating system saving ymm registers
  kCpuAvxVnni = 1u << 1,
  kCpuAvx512 = 1u << 2,  // F, BW, VL, DQ
  kCpuAvx512Vnni = 1u << 3,
  kCpuAvx512Vbmi = 1u << 4,
  kCpuAvx512Bitalg = 1u << 5,
  kCpuAmxInt8 = 1u << 6,
  kCpuNeon = 1u << 7,
  kCpuDotprod = 1u << 8,
  kCpuI8mm = 1u << 9,
};

}  // namespace tern

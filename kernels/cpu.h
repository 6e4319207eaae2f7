#pragma once
// What this CPU and its operating system can run.

#include <cstdint>
#include <string>

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

// Bits of CpuFeature found, asked once.
uint32_t cpu_features();
// For people: "AMD EPYC 9354" and "avx2 avx512 avx512vnni".
std::string cpu_name();
std::string cpu_feature_names(uint32_t features);

}  // namespace tern

#pragma once
// IEEE half precision, one value at a time: for the scales in files. Kernels have their own, a register at a time.

#include <bit>
#include <cstdint>

namespace tern {

// Exact: every half is a float. NaNs stay NaNs.
constexpr float half_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16U;
  const uint32_t exponent = (bits >> 10U) & 31U;
  const uint32_t fraction = bits & 0x3FFU;
  if (exponent == 31) {  // infinity, NaN
    return std::bit_cast<float>(sign | 0x7F800000U | fraction << 13U);
  }
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112U) << 23U | fraction << 13U);
}

}  // namespace tern

#pragma once
// Rounding to ternary weights, which the formats that Tern writes share.

#include <cstdint>

namespace tern::formats {

// The code (0, 1, 2) of the trit nearest to weight * inverse, ties away from zero; `inverse`: one over the scale.
inline uint8_t nearest_code(float weight, float inverse) {
  const float x = weight * inverse;
  return static_cast<uint8_t>(1 + (x >= 0.5F ? 1 : 0) - (x <= -0.5F ? 1 : 0));
}

}  // namespace tern::formats

#include "kernels/kv.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tern {
namespace {

// The number at `index` of a line.
void put(uint8_t* line, int32_t index, Half value) {
  std::memcpy(line + static_cast<size_t>(index) * sizeof(Half), &value, sizeof(value));
}
void put(uint8_t* line, int32_t index, int8_t value) {
  line[index] = static_cast<uint8_t>(value);
}

// Dimensions [first, first + count) of one position: of a key, then of a value.
template <class Number>
void put_key(const KvLayout& layout, int32_t position, int32_t first, int32_t count,
             const Number* numbers, uint8_t* block) {
  for (int32_t i = 0; i < count; ++i) {
    put(block + layout.key_line(position / kKvLine, first + i), position % kKvLine, numbers[i]);
  }
}
template <class Number>
void put_value(const KvLayout& layout, int32_t position, int32_t first, int32_t count,
               const Number* numbers, uint8_t* block) {
  for (int32_t i = 0; i < count; i += kKvLine) {
    const auto some = static_cast<size_t>(std::min(kKvLine, count - i));
    std::memcpy(block + layout.value_line((first + i) / kKvLine, position), numbers + i,
                some * sizeof(Number));
  }
}

// Value of a positive half.
float value_of(Half half) {
  const auto scaled = std::bit_cast<float>(static_cast<uint32_t>(half) << 13) * 0x1p112F;
  return half >= 0x7C00 ? std::numeric_limits<float>::infinity() : scaled;
}

struct Quantized {
  Half scale = 0;
  int8_t q[kKvScaleDims] = {};
};

template <class ToHalf>
Quantized quantize(ToHalf to_half, const float* x, int32_t count) {
  float max = 0.0F;
  for (int32_t i = 0; i < count; ++i) {
    max = std::max(max, std::fabs(x[i]));
  }
  const float exact = max / 127.0F;
  Quantized out;
  to_half(&exact, 1, &out.scale);
  const float scale = value_of(out.scale);
  const float inverse = scale > 0.0F ? 1.0F / scale : 0.0F;
  for (int32_t i = 0; i < count; ++i) {
    // Adding 1.5 x 2^23 leaves no fraction bits: half to even.
    constexpr float kNoFraction = 12582912.0F;
    const float clamped = std::clamp(x[i] * inverse, -127.0F, 127.0F);
    const float rounded = (clamped + kNoFraction) - kNoFraction;
    out.q[i] = rounded == rounded ? static_cast<int8_t>(rounded) : int8_t{0};
  }
  return out;
}

}  // namespace

void store_kv(void (*to_half)(const float* x, int32_t n, Half* out) noexcept,
              const KvLayout& layout, int32_t position, const float* k, const float* v,
              uint8_t* blocks) {
  uint8_t* block = blocks + static_cast<size_t>(position / kKvBlock) * layout.block_bytes();
  const int32_t at = position % kKvBlock;
  for (int32_t first = 0; first < layout.dims; first += kKvScaleDims) {
    const int32_t count = std::min(kKvScaleDims, layout.dims - first);
    if (layout.type == KvType::kF16) {
      Half halves[kKvScaleDims];
      to_half(k + first, count, halves);
      put_key(layout, at, first, count, halves, block);
      to_half(v + first, count, halves);
      put_value(layout, at, first, count, halves, block);
      continue;
    }
    const int32_t group = first / kKvScaleDims;
    const Quantized key = quantize(to_half, k + first, count);
    put_key(layout, at, first, count, key.q, block);
    put(block + layout.key_scales(group), at, key.scale);
    const Quantized value = quantize(to_half, v + first, count);
    put_value(layout, at, first, count, value.q, block);
    put(block + layout.value_scales(group), at, value.scale);
  }
}

}  // namespace tern

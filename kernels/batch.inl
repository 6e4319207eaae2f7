// Loads, stores and sums over a vector type of floats: xsimd's batch, or one with the same members. Included inside the unnamed
// namespace of an instruction-set file.

template <class F>
struct Batch {
  static constexpr auto kWidth = static_cast<int32_t>(F::size);

  // The batch at `p`, of which `left` values exist; the others are `fill`.
  static F load(const float* p, int32_t left, float fill) {
    if (left >= kWidth) {
      return F::load_unaligned(p);
    }
    float padded[kWidth];
    for (int32_t i = 0; i < kWidth; ++i) {
      padded[i] = i < left ? p[i] : fill;
    }
    return F::load_unaligned(padded);
  }

  static void store(const F& value, float* p, int32_t left) {
    if (left >= kWidth) {
      value.store_unaligned(p);
      return;
    }
    float padded[kWidth];
    value.store_unaligned(padded);
    for (int32_t i = 0; i < left; ++i) {
      p[i] = padded[i];
    }
  }

  // The lanes of one batch, joined in a fixed order.
  static float sum(const F& value) {
    float lanes[kWidth];
    value.store_unaligned(lanes);
    for (int32_t width = kWidth / 2; width > 0; width /= 2) {
      for (int32_t i = 0; i < width; ++i) {
        lanes[i] += lanes[i + width];
      }
    }
    return lanes[0];
  }

  static float max(const F& value) {
    float lanes[kWidth];
    value.store_unaligned(lanes);
    float result = lanes[0];
    for (int32_t i = 1; i < kWidth; ++i) {
      result = lanes[i] > result ? lanes[i] : result;
    }
    return result;
  }
};

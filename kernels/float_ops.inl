// Float operations over xsimd batches, one instantiation per instruction set. Included inside the unnamed namespace of an
// instruction-set file, after its xsimd header: nothing here may be shared between files with different compiler flags.
//
// After batch.inl. Arrays of any length and alignment: the last, incomplete batch goes through a padded copy.

template <class F>
[[gnu::flatten]] void rms_norm(const float* x, const float* weight, int32_t n, float eps,
                               float* out) noexcept {
  constexpr int32_t kWidth = Batch<F>::kWidth;
  constexpr int32_t kSums = 4;  // chains of additions that run side by side
  F sums[kSums] = {F(0.0F), F(0.0F), F(0.0F), F(0.0F)};
  int32_t i = 0;
  for (; i + kSums * kWidth <= n; i += kSums * kWidth) {
    for (int32_t j = 0; j < kSums; ++j) {
      const F v = F::load_unaligned(x + i + j * kWidth);
      sums[j] = xsimd::fma(v, v, sums[j]);
    }
  }
  for (; i < n; i += kWidth) {
    const F v = Batch<F>::load(x + i, n - i, 0.0F);
    sums[0] = xsimd::fma(v, v, sums[0]);
  }
  const float mean =
      Batch<F>::sum((sums[0] + sums[1]) + (sums[2] + sums[3])) / static_cast<float>(n);
  const F scale = F(1.0F) / xsimd::sqrt(F(mean + eps));
  for (i = 0; i < n; i += kWidth) {
    const F v = Batch<F>::load(x + i, n - i, 0.0F) * scale;
    Batch<F>::store(v * Batch<F>::load(weight + i, n - i, 0.0F), out + i, n - i);
  }
}

template <class F>
[[gnu::flatten]] void silu_mul(float* gate, const float* up, int32_t n) noexcept {
  for (int32_t i = 0; i < n; i += Batch<F>::kWidth) {
    const F g = Batch<F>::load(gate + i, n - i, 0.0F);
    const F silu = g / (F(1.0F) + xsimd::exp(F(0.0F) - g));
    Batch<F>::store(silu * Batch<F>::load(up + i, n - i, 0.0F), gate + i, n - i);
  }
}

template <class F>
[[gnu::flatten]] void relu2_mul(float* gate, const float* up, int32_t n) noexcept {
  for (int32_t i = 0; i < n; i += Batch<F>::kWidth) {
    const F positive = xsimd::max(Batch<F>::load(gate + i, n - i, 0.0F), F(0.0F));
    const F product = positive * positive * Batch<F>::load(up + i, n - i, 0.0F);
    Batch<F>::store(product, gate + i, n - i);
  }
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), which loses nothing where tanh is close to -1.
template <class F>
[[gnu::flatten]] void gelu_mul(float* gate, const float* up, int32_t n) noexcept {
  const F scale(-1.5957691216057308F);  // -2 sqrt(2 / pi)
  for (int32_t i = 0; i < n; i += Batch<F>::kWidth) {
    const F g = Batch<F>::load(gate + i, n - i, 0.0F);
    const F exponent = scale * (g + F(0.044715F) * g * g * g);
    const F gelu = g / (F(1.0F) + xsimd::exp(exponent));
    Batch<F>::store(gelu * Batch<F>::load(up + i, n - i, 0.0F), gate + i, n - i);
  }
}

template <class F>
[[gnu::flatten]] void add(float* x, const float* y, int32_t n) noexcept {
  for (int32_t i = 0; i < n; i += Batch<F>::kWidth) {
    const F sum = Batch<F>::load(x + i, n - i, 0.0F) + Batch<F>::load(y + i, n - i, 0.0F);
    Batch<F>::store(sum, x + i, n - i);
  }
}

// Pairs (i, i + dims / 2): two runs of memory, batch by batch.
template <class F>
[[gnu::flatten]] void rope_halves(float* head, const float* cos, const float* sin, int32_t pairs) {
  for (int32_t i = 0; i < pairs; i += Batch<F>::kWidth) {
    const int32_t left = pairs - i;
    const F a = Batch<F>::load(head + i, left, 0.0F);
    const F b = Batch<F>::load(head + pairs + i, left, 0.0F);
    const F c = Batch<F>::load(cos + i, left, 0.0F);
    const F s = Batch<F>::load(sin + i, left, 0.0F);
    Batch<F>::store(a * c - b * s, head + i, left);
    Batch<F>::store(b * c + a * s, head + pairs + i, left);
  }
}

template <class F>
void rope(float* head, const float* cos, const float* sin, int32_t dims,
          bool rotate_half) noexcept {
  const int32_t pairs = dims / 2;
  if (rotate_half) {
    rope_halves<F>(head, cos, sin, pairs);
    return;
  }
  for (int32_t i = 0; i < pairs; ++i) {
    const float a = head[2 * i];
    const float b = head[2 * i + 1];
    head[2 * i] = a * cos[i] - b * sin[i];
    head[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

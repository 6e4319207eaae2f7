#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

namespace tern::reference {
namespace {

template <class T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

double half_at(const uint8_t* from) {
  return half_value(load<uint16_t>(from));
}

double q8_0_weight(const uint8_t* block, int32_t i) {
  return half_at(block) * static_cast<int8_t>(block[2 + i]);
}

double q4_0_weight(const uint8_t* block, int32_t i) {
  const int byte = block[2 + i % 16];
  const int q = i < 16 ? byte % 16 : byte / 16;
  return half_at(block) * (q - 8);
}

double q4_1_weight(const uint8_t* block, int32_t i) {
  const int byte = block[4 + i % 16];
  const int q = i < 16 ? byte % 16 : byte / 16;
  return half_at(block) * q + half_at(block + 2);
}

// A code of 5 bits: its top bit is one of 32 in a row, its others a nibble.
int code_of_5_bits(const uint8_t* high, const uint8_t* low, int32_t i) {
  const int byte = low[i % 16];
  const int top = high[i / 8] >> (i % 8) & 1;
  return (i < 16 ? byte % 16 : byte / 16) + 16 * top;
}

double q5_0_weight(const uint8_t* block, int32_t i) {
  return half_at(block) * (code_of_5_bits(block + 2, block + 6, i) - 16);
}

double q5_1_weight(const uint8_t* block, int32_t i) {
  return half_at(block) * code_of_5_bits(block + 4, block + 8, i) + half_at(block + 2);
}

double iq4_nl_weight(const uint8_t* block, int32_t i) {
  constexpr int kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};
  const int byte = block[2 + i % 16];
  return half_at(block) * kLevels[i < 16 ? byte % 16 : byte / 16];
}

// OCP's MX formats: a power of two, 2^(e - 127), and floats of a sign, 2 exponent bits (biased by 1) and one fraction bit. As
// in ggml, no zero is negative, and e = 255 is a power like the others.
double mxfp4_weight(const uint8_t* block, int32_t i) {
  const int byte = block[1 + i % 16];
  const int code = i < 16 ? byte % 16 : byte / 16;
  const int exponent = code / 2 % 4;
  const double magnitude =
      exponent == 0 ? 0.5 * (code % 2) : std::ldexp(1.0 + 0.5 * (code % 2), exponent - 1);
  return std::ldexp(code <= 8 ? magnitude : -magnitude, block[0] - 127);
}

// Bits 2k, 2k + 1 of 32 bytes are the weights 32 k of half a block.
int code_of_2_bits(const uint8_t* packed, int32_t i) {
  return packed[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3;
}

double q2_k_weight(const uint8_t* block, int32_t i) {
  const int scale = block[i / 16] % 16;
  const int min = block[i / 16] / 16;
  return half_at(block + 80) * scale * code_of_2_bits(block + 16, i) - half_at(block + 82) * min;
}

double q3_k_weight(const uint8_t* block, int32_t i) {
  const uint8_t* packed = block + 96;
  const int group = i / 16;
  const int low = group < 8 ? packed[group] % 16 : packed[group - 8] / 16;
  const int high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
  const int top = block[i % 32] >> (i / 32) & 1;
  return half_at(block + 108) * (low + 16 * high - 32) *
         (code_of_2_bits(block + 32, i) + 4 * top - 4);
}

// The 96 bits after d and dmin, by table: for each of 8 sub-blocks, the byte and lowest bit of the low and the high part of
// its scale and of its minimum. Sub-blocks 0-3 have all six bits in one place; 4-7 have four bits and, elsewhere, two.
// Q4_K and, with 32 bytes of top bits before the nibbles, Q5_K.
double q4_k_weight(const uint8_t* block, int32_t i, bool five_bits) {
  const int sub = i / 32;
  const uint8_t* packed = block + 4;
  int scale = 0;
  int min = 0;
  if (sub < 4) {
    scale = packed[sub] % 64;
    min = packed[sub + 4] % 64;
  } else {
    scale = packed[sub + 4] % 16 + 16 * (packed[sub - 4] / 64);
    min = packed[sub + 4] / 16 + 16 * (packed[sub] / 64);
  }
  const int byte = block[(five_bits ? 48 : 16) + 32 * (sub / 2) + i % 32];
  const int top = five_bits ? block[16 + i % 32] >> sub & 1 : 0;
  const int q = (sub % 2 == 0 ? byte % 16 : byte / 16) + 16 * top;
  return half_at(block) * scale * q - half_at(block + 2) * min;
}

double q6_k_weight(const uint8_t* block, int32_t i) {
  const int half = i / 128;
  const int in_half = i % 128;
  const int low_byte = block[64 * half + in_half % 64];
  const int low = in_half < 64 ? low_byte % 16 : low_byte / 16;
  const int high_byte = block[128 + 32 * half + in_half % 32];
  const int high = (high_byte >> (2 * (in_half / 32))) % 4;
  const int scale = static_cast<int8_t>(block[192 + i / 16]);
  return half_at(block + 208) * scale * (low + 16 * high - 32);
}

}  // namespace

int64_t ternary_sum(const TritMatrix& w, const Q8Rows& x, int32_t token, int32_t row,
                    int32_t group) {
  const int32_t begin = group * w.cols_per_scale;
  const int32_t end = std::min(w.cols, begin + w.cols_per_scale);
  int64_t sum = 0;
  for (int32_t col = begin; col < end; ++col) {
    sum += int64_t{w.trits[int64_t{row} * w.cols + col]} * x.q[int64_t{token} * x.stride + col];
  }
  return sum;
}

float ternary_product(const TritMatrix& w, const Q8Rows& x, int32_t token, int32_t row) {
  const int32_t groups = (w.cols + w.cols_per_scale - 1) / w.cols_per_scale;
  float total = 0.0F;
  for (int32_t group = 0; group < groups; ++group) {
    const float scale = w.scales[int64_t{row / w.rows_per_scale} * groups + group];
    const float scaled = static_cast<float>(ternary_sum(w, x, token, row, group)) * scale;
    total = total + scaled;
  }
  return x.scale[token] * total;
}

double half_value(Half h) {
  const int exponent = (h >> 10) & 31;
  const int fraction = h & 1023;
  double magnitude = 0.0;
  if (exponent == 31) {
    magnitude = fraction == 0 ? std::numeric_limits<double>::infinity()
                              : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(fraction, -24);
  } else {
    magnitude = std::ldexp(1024 + fraction, exponent - 25);
  }
  return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

Half nearest_half(float x) {
  const auto sign = static_cast<Half>(std::signbit(x) ? 0x8000 : 0);
  const double magnitude = std::fabs(static_cast<double>(x));
  if (std::isnan(x)) {
    return static_cast<Half>(sign | 0x7E00);
  }
  // 65520 lies half way between the largest half, 65504, and the next power of two.
  if (magnitude >= 65520.0) {
    return static_cast<Half>(sign | 0x7C00);
  }
  // Finite halves are ordered like their bits; the nearest is one of two neighbours.
  int low = 0;
  int high = 0x7C00;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (half_value(static_cast<Half>(middle)) <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - half_value(static_cast<Half>(low));
  const double above = (high == 0x7C00 ? 65536.0 : half_value(static_cast<Half>(high))) - magnitude;
  const bool up = above < below || (above == below && low % 2 == 1);
  return static_cast<Half>(sign | (up ? high : low));
}

double dense_weight(const DenseMatrix& w, int32_t row, int32_t col) {
  const DenseTypeInfo info = dense_type_info(w.type);
  const uint8_t* block = w.data + static_cast<size_t>(row) * w.row_bytes() +
                         static_cast<size_t>(col / info.block_weights * info.block_bytes);
  const int32_t i = col % info.block_weights;
  switch (w.type) {
    case DenseType::kF32:
      return load<float>(block);
    case DenseType::kF16:
      return half_at(block);
    case DenseType::kBF16: {
      const uint32_t bits = static_cast<uint32_t>(load<uint16_t>(block)) << 16;
      float value = 0.0F;
      std::memcpy(&value, &bits, sizeof(value));
      return value;
    }
    case DenseType::kQ8_0:
      return q8_0_weight(block, i);
    case DenseType::kQ4_0:
      return q4_0_weight(block, i);
    case DenseType::kQ4_K:
      return q4_k_weight(block, i, false);
    case DenseType::kQ6_K:
      return q6_k_weight(block, i);
    case DenseType::kQ4_1:
      return q4_1_weight(block, i);
    case DenseType::kQ5_0:
      return q5_0_weight(block, i);
    case DenseType::kQ5_1:
      return q5_1_weight(block, i);
    case DenseType::kQ2_K:
      return q2_k_weight(block, i);
    case DenseType::kQ3_K:
      return q3_k_weight(block, i);
    case DenseType::kQ5_K:
      return q4_k_weight(block, i, true);
    case DenseType::kIQ4_NL:
      return iq4_nl_weight(block, i);
    case DenseType::kMXFP4:
      return mxfp4_weight(block, i);
  }
  return 0.0;
}

DenseProduct dense_product(const DenseMatrix& w, const float* x, int32_t row) {
  DenseProduct product;
  for (int32_t col = 0; col < w.cols; ++col) {
    const double term = dense_weight(w, row, col) * static_cast<double>(x[col]);
    product.value += term;
    product.magnitude += std::fabs(term);
  }
  return product;
}

namespace {

// The numbers behind one weight of a split head.
struct SplitCode {
  int coarse;
  int fine;
  int scale;
  double d;
};

SplitCode split_code(const SplitMatrix& w, int32_t row, int32_t col) {
  const uint8_t* coarse = w.coarse_row(row);
  const int32_t block = col / 256;
  const int32_t group = col % 256 / 16;
  const int32_t field = col % 16 / 4;
  const int32_t byte = 4 * group + col % 4;
  const int pair = coarse[128 * block + 64 * (field / 2) + byte];
  const int four = w.fine_row(row)[64 * block + byte];
  const auto scale =
      static_cast<int8_t>(coarse[w.scales_at() + static_cast<size_t>(16 * block + group)]);
  return {field % 2 == 0 ? pair % 16 : pair / 16, four >> (2 * field) & 3, scale,
          half_at(coarse + w.halves_at() + 2 * block)};
}

// Lanes joined by halves: 0 with 8, 1 with 9, ...; then 0 with 4; and so on.
float join_lanes(std::vector<float> lanes) {
  while (lanes.size() > 1) {
    const size_t half = lanes.size() / 2;
    for (size_t i = 0; i < half; ++i) {
      lanes[i] += lanes[i + half];
    }
    lanes.resize(half);
  }
  return lanes[0];
}

}  // namespace

SplitWeight split_weight(const SplitMatrix& w, int32_t row, int32_t col) {
  const SplitCode code = split_code(w, row, col);
  const double step = code.d * code.scale;
  return {step * (4 * code.coarse + code.fine - 32), step * (code.fine - 1.5)};
}

int32_t split_input_at(const SplitInput& x, int32_t col) {
  const SplitInputBlock& block = x.blocks[col / 256];
  const int32_t byte = 4 * (col % 256 / 16) + col % 4;
  const int32_t field = col % 16 / 4;
  return 128 * block.high[field][byte] + block.low[field][byte];
}

float split_sum(const SplitMatrix& w, const SplitInput& x, int32_t row) {
  std::vector<float> lanes(16);
  for (int32_t block = 0; block < w.blocks(); ++block) {
    for (int32_t group = 0; group < 16; ++group) {
      int64_t sum = 0;
      SplitCode code{};
      for (int32_t col = 256 * block + 16 * group; col < 256 * block + 16 * group + 16; ++col) {
        code = split_code(w, row, col);
        sum += int64_t{4 * code.coarse + code.fine - 32} * code.scale * split_input_at(x, col);
      }
      const float d = static_cast<float>(code.d) * x.units[block];
      lanes[static_cast<size_t>(group)] += d * static_cast<float>(sum);
    }
  }
  return join_lanes(lanes);
}

Q8Row quantize_q8(const float* x, int32_t n, int32_t stride) {
  Q8Row row;
  float max = 1e-5F;
  for (int32_t i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > max) {
      max = std::fabs(x[i]);
    }
  }
  row.scale = max / 127.0F;
  const float inverse = 127.0F / max;
  row.q.assign(static_cast<size_t>(stride), 0);
  row.sums.assign(static_cast<size_t>(stride / kQ8SumBlock), 0);
  for (int32_t i = 0; i < n; ++i) {
    const float scaled = x[i] * inverse;
    const float clamped = std::min(127.0F, std::max(-128.0F, std::nearbyint(scaled)));
    const auto q = std::isnan(scaled) ? int8_t{0} : static_cast<int8_t>(clamped);
    row.q[static_cast<size_t>(i)] = q;
    row.sums[static_cast<size_t>(i / kQ8SumBlock)] += q;
  }
  return row;
}

std::vector<double> rms_norm(const float* x, const float* weight, int32_t n, float eps) {
  double squares = 0.0;
  for (int32_t i = 0; i < n; ++i) {
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  const double norm = std::sqrt(squares / n + static_cast<double>(eps));
  std::vector<double> out;
  for (int32_t i = 0; i < n; ++i) {
    out.push_back(static_cast<double>(x[i]) / norm * static_cast<double>(weight[i]));
  }
  return out;
}

std::vector<double> silu_mul(const float* gate, const float* up, int32_t n) {
  std::vector<double> out;
  for (int32_t i = 0; i < n; ++i) {
    const double g = gate[i];
    out.push_back(g / (1.0 + std::exp(-g)) * static_cast<double>(up[i]));
  }
  return out;
}

std::vector<double> relu2_mul(const float* gate, const float* up, int32_t n) {
  std::vector<double> out;
  for (int32_t i = 0; i < n; ++i) {
    const double positive = std::max(0.0, static_cast<double>(gate[i]));
    out.push_back(positive * positive * static_cast<double>(up[i]));
  }
  return out;
}

std::vector<double> gelu_mul(const float* gate, const float* up, int32_t n) {
  std::vector<double> out;
  for (int32_t i = 0; i < n; ++i) {
    const double g = gate[i];
    const double u = std::sqrt(2.0 / std::numbers::pi) * (g + 0.044715 * g * g * g);
    // (1 + tanh(u)) / 2, without its cancellation far below 0.
    out.push_back(g / (1.0 + std::exp(-2.0 * u)) * static_cast<double>(up[i]));
  }
  return out;
}

std::vector<double> rope(const float* head, const float* cos, const float* sin, int32_t dims,
                         bool rotate_half) {
  std::vector<double> out(static_cast<size_t>(dims));
  for (int32_t i = 0; i < dims / 2; ++i) {
    const auto first = static_cast<size_t>(rotate_half ? i : 2 * i);
    const auto second = static_cast<size_t>(rotate_half ? i + dims / 2 : 2 * i + 1);
    const double c = cos[i];
    const double s = sin[i];
    const double a = head[first];
    const double b = head[second];
    out[first] = a * c - b * s;
    out[second] = a * s + b * c;
  }
  return out;
}

std::vector<double> kv_row(KvType type, const float* x, int32_t dims) {
  std::vector<double> row;
  for (int32_t i = 0; i < dims; ++i) {
    if (type == KvType::kF16) {
      row.push_back(half_value(nearest_half(x[i])));
      continue;
    }
    const int32_t first = i / 32 * 32;
    float max = 0.0F;
    for (int32_t j = first; j < std::min(first + 32, dims); ++j) {
      max = std::max(max, std::fabs(x[j]));
    }
    const double scale = half_value(nearest_half(max / 127.0F));
    const float inverse = scale > 0.0 ? 1.0F / static_cast<float>(scale) : 0.0F;
    const float rounded = std::nearbyint(std::clamp(x[i] * inverse, -127.0F, 127.0F));
    row.push_back(static_cast<double>(rounded) * scale);
  }
  return row;
}

std::vector<double> attention(const float* q, const std::vector<std::vector<double>>& keys,
                              const std::vector<std::vector<double>>& values, RowRange positions,
                              double scale) {
  std::vector<double> scores;
  for (int32_t p = positions.begin; p < positions.end; ++p) {
    const std::vector<double>& key = keys[static_cast<size_t>(p)];
    double sum = 0.0;
    for (size_t d = 0; d < key.size(); ++d) {
      sum += static_cast<double>(q[d]) * key[d];
    }
    scores.push_back(scale * sum);
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  std::vector<double> out(values[0].size(), 0.0);
  double total = 0.0;
  for (int32_t p = positions.begin; p < positions.end; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p - positions.begin)] - max);
    total += weight;
    for (size_t d = 0; d < out.size(); ++d) {
      out[d] += weight * values[static_cast<size_t>(p)][d];
    }
  }
  for (double& value : out) {
    value /= total;
  }
  return out;
}

}  // namespace tern::reference

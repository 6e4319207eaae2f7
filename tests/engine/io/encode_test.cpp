// The encoders of weight formats: the bytes of an independent program, and bounds on what rounding may lose.

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/base/half.h"
#include "engine/io/weight_format.h"
#include "kernels/reference.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/golden_format.h"

namespace tern {
namespace {

using testing::ByteVector;
using testing::GoldenFormat;
using testing::read_golden_format;

ByteVector encode(const WeightFormat& format, std::span<const float> weights, float scale = 1) {
  const size_t blocks = weights.size() / static_cast<size_t>(format.block_weights);
  ByteVector out(blocks * static_cast<size_t>(format.block_bytes));
  format.encode(weights, scale, out.data());
  return out;
}

std::vector<float> random_weights(size_t count, float deviation) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> weights(count);
  for (float& weight : weights) {
    weight = normal(random);
  }
  return weights;
}

class Encode : public ::testing::TestWithParam<const char*> {};

TEST_P(Encode, WritesTheBytesOfAnIndependentProgram) {
  const GoldenFormat golden = read_golden_format(std::string("encode_") + GetParam());
  const WeightFormat* format = find_weight_format(GetParam());
  ASSERT_NE(format, nullptr);
  ASSERT_EQ(format->ggml_type, golden.ggml_type);
  EXPECT_EQ(encode(*format, golden.values), golden.data);
}

INSTANTIATE_TEST_SUITE_P(WeightFormat, Encode,
                         ::testing::Values("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1",
                                           "mxfp4", "tq1_0", "tq2_0"));

TEST(Encode, I2sTakesTheScaleOfTheTensor) {
  std::mt19937 random(3);
  std::vector<int8_t> trits(512);
  std::vector<float> weights;
  for (int8_t& trit : trits) {
    trit = static_cast<int8_t>(static_cast<int>(random() % 3) - 1);
    // Anything nearer to this trit's weight than to another's.
    weights.push_back(0.37F * (static_cast<float>(trit) + (random() % 2 == 0 ? 0.4F : -0.4F)));
  }
  const WeightFormat& format = *find_weight_format("i2_s");
  ByteVector data = encode(format, weights, 0.37F);
  data.resize(data.size() + static_cast<size_t>(format.extra_bytes), std::byte{0xAA});
  encode_end(format, 0.37F, &data[128]);
  EXPECT_EQ(data, testing::encode_i2s(trits, 0.37F));
}

// Groups of 16 share a step of about 1/32 of their largest magnitude m, itself rounded to a multiple of u, where u is 1/127 of
// the block's largest step. Rounding errs by half a step, and at the end of the codes (31 where 32 is asked for) by a step
// more than that; a wrong step errs 32-fold. So |error| <= (m / 32 + u / 2) + 32 u / 2.
TEST(Encode, Q6kErrsByNoMoreThanItsSteps) {
  constexpr int32_t kCols = 1024;
  std::vector<float> weights = random_weights(kCols, 0.02F);
  std::fill_n(&weights[256], 256, 0.0F);
  for (size_t i = 512; i < 528; ++i) {
    weights[i] *= 100;  // one group of a block far larger than the others
  }
  const ByteVector data = encode(*find_weight_format("Q6_K"), weights);
  const DenseMatrix matrix{reinterpret_cast<const uint8_t*>(data.data()), 1, kCols,
                           DenseType::kQ6_K};
  const auto largest = [&](size_t first, size_t count) {
    float m = 0;
    for (size_t i = first; i < first + count; ++i) {
      m = std::max(m, std::fabs(weights[i]));
    }
    return static_cast<double>(m);
  };
  for (size_t i = 0; i < weights.size(); ++i) {
    const double step = largest(i / 16 * 16, 16) / 32;
    const double unit = largest(i / 256 * 256, 256) / 32 / 127;
    const double back = reference::dense_weight(matrix, 0, static_cast<int32_t>(i));
    EXPECT_LE(std::fabs(back - static_cast<double>(weights[i])), step + 16.6 * unit) << i;
  }
}

TEST(Encode, Q6kKeepsNormalWeightsWithinTwoPercent) {
  constexpr int32_t kCols = 16384;
  const std::vector<float> weights = random_weights(kCols, 0.02F);
  const ByteVector data = encode(*find_weight_format("Q6_K"), weights);
  const DenseMatrix matrix{reinterpret_cast<const uint8_t*>(data.data()), 1, kCols,
                           DenseType::kQ6_K};
  double error = 0;
  double total = 0;
  for (int32_t i = 0; i < kCols; ++i) {
    const double weight = weights[static_cast<size_t>(i)];
    error += std::pow(reference::dense_weight(matrix, 0, i) - weight, 2);
    total += weight * weight;
  }
  // The largest of 16 normal values is 1.8 deviations on average: a step of 0.056, and 0.056 / sqrt(12) = 0.016 of error.
  EXPECT_LT(std::sqrt(error / total), 0.02);
}

// Half of every float on a grid that has each half, the middle between it and the next, and both neighbours of that.
TEST(Half, RoundsToTheNearestEven) {
  for (uint32_t bits = 0; bits < 0x7C00U; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    const float value = half_to_float(low);
    const float above =
        bits + 1 == 0x7C00U ? 65536.0F : half_to_float(static_cast<uint16_t>(bits + 1));
    const float middle = (value + above) / 2;
    const auto even = static_cast<uint16_t>(bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(float_to_half(value), low);
    ASSERT_EQ(float_to_half(middle), even) << middle;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 0.0F)), low) << middle;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 1e9F)), bits + 1) << middle;
    ASSERT_EQ(float_to_half(-value), low | 0x8000U);
  }
  EXPECT_EQ(float_to_half(INFINITY), 0x7C00U);
  EXPECT_EQ(float_to_half(-1e30F), 0xFC00U);
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(NAN))));
}

}  // namespace
}  // namespace tern

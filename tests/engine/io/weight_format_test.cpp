// The weight formats: golden bytes of an independent program, and bytes spelled out by hand.

#include "engine/io/weight_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "engine/base/half.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/golden_format.h"

namespace tern {
namespace {

using testing::ByteVector;
using testing::GoldenFormat;
using testing::read_golden_format;

struct Unpacked {
  bool good = false;
  std::vector<int8_t> trits;
  std::vector<float> scales;
};

Unpacked unpack(const WeightFormat& format, const ByteVector& data, int64_t rows, int64_t cols,
                int64_t first, int64_t count) {
  Unpacked out;
  out.trits.assign(static_cast<size_t>(count * cols), 99);
  const int64_t scales = format.cols_per_scale == 0 ? 1 : count * (cols / format.scale_width(cols));
  out.scales.assign(static_cast<size_t>(scales), -1);
  out.good = format.unpack(data, rows, cols, first, count, out.trits.data(), out.scales.data());
  return out;
}

std::vector<int8_t> random_trits(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int8_t> trits(count);
  for (int8_t& trit : trits) {
    trit = static_cast<int8_t>(static_cast<int>(random() % 3) - 1);
  }
  return trits;
}

const WeightFormat& format_named(std::string_view name) {
  for (const WeightFormat* format : all_weight_formats()) {
    if (format->name == name) {
      return *format;
    }
  }
  throw std::invalid_argument(std::string(name));
}

TEST(WeightFormat, SizesAgreeWithFilesOfAnotherProgram) {
  for (const char* name : {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k",
                           "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "mxfp4", "tq1_0", "tq2_0"}) {
    const GoldenFormat golden = read_golden_format(name);
    const std::vector<const WeightFormat*> formats = formats_of_type(golden.ggml_type);
    ASSERT_EQ(formats.size(), 1U) << name;
    const WeightFormat* format = formats.front();
    std::string lower(format->name);
    for (char& c : lower) {
      c = static_cast<char>(std::tolower(c));
    }
    EXPECT_EQ(lower, name);
    EXPECT_EQ(tensor_bytes(*format, golden.rows, golden.cols), golden.data.size()) << name;
  }
}

TEST(WeightFormat, RefusesShapesThatDoNotFit) {
  EXPECT_EQ(tensor_bytes(format_named("Q8_0"), 4, 33), 0U);
  EXPECT_EQ(tensor_bytes(format_named("TQ2_0"), 2, 128), 0U);  // whole rows count
  EXPECT_EQ(tensor_bytes(format_named("I2_S"), 2, 64), 64U);   // the whole tensor counts
  EXPECT_EQ(tensor_bytes(format_named("I2_S"), 3, 64), 0U);
  EXPECT_EQ(tensor_bytes(format_named("I2_S/1x4"), 6, 128), 0U);  // rows in fours
  EXPECT_EQ(tensor_bytes(format_named("F32"), 0, 128), 0U);
  EXPECT_EQ(tensor_bytes(format_named("F32"), -1, 128), 0U);
  const int64_t large = int64_t{1} << 32;
  EXPECT_EQ(tensor_bytes(format_named("F32"), large, large), 0U);  // overflows 64 bits
}

TEST(WeightFormat, LayoutOfI2sIsAChoice) {
  const auto names = [](uint32_t type, I2sLayout layout = I2sLayout::k128) {
    std::vector<std::string_view> found;
    for (const WeightFormat* format : formats_of_type(type, layout)) {
      found.push_back(format->name);
    }
    return found;
  };
  using Names = std::vector<std::string_view>;
  EXPECT_EQ(names(36), Names{"I2_S"});
  EXPECT_EQ(names(36, I2sLayout::kArm64), Names{"I2_S/arm64"});
  EXPECT_EQ(names(36, I2sLayout::k1x4), Names{"I2_S/1x4"});
  EXPECT_EQ(names(35, I2sLayout::k1x4), Names{"TQ2_0"});
  EXPECT_EQ(names(42), (Names{"Q2_0", "Q2_0/128", "STQ1_0"}));
  EXPECT_EQ(names(77), Names{});
}

class TernaryGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(TernaryGolden, AllRowsAndAnyRangeOfRowsAgree) {
  const GoldenFormat golden = read_golden_format(GetParam());
  std::string name = GetParam();  // "q2_0-128" for Q2_0/128
  std::ranges::transform(name, name.begin(), [](char c) {
    return c == '-' ? '/' : static_cast<char>(std::toupper(c));
  });
  const auto formats = formats_of_type(golden.ggml_type);
  const auto found = std::ranges::find(formats, name, &WeightFormat::name);
  ASSERT_NE(found, formats.end()) << name;
  const WeightFormat& format = **found;
  ASSERT_EQ(tensor_bytes(format, golden.rows, golden.cols), golden.data.size());
  const auto width = static_cast<size_t>(format.scale_width(golden.cols));
  for (int64_t first = 0; first < golden.rows; ++first) {
    for (int64_t count = 1; first + count <= golden.rows; ++count) {
      const Unpacked got = unpack(format, golden.data, golden.rows, golden.cols, first, count);
      ASSERT_TRUE(got.good);
      for (size_t i = 0; i < got.trits.size(); ++i) {
        const float expected = golden.values[static_cast<size_t>(first * golden.cols) + i];
        ASSERT_EQ(static_cast<float>(got.trits[i]) * got.scales[i / width], expected) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(WeightFormat, TernaryGolden,
                         ::testing::Values("tq1_0", "tq2_0", "ptq1_0", "q1_0", "q2_0", "q2_0-128",
                                           "pq2_0", "stq1_0", "iq1_bn", "iq2_bn", "iq2_bn_r4"));

// The encoders that other tests build models with write the very bytes of the independent program.
TEST(Encoders, WriteTheGoldenBytes) {
  for (const auto& [name, encode] :
       {std::pair("tq1_0", &testing::encode_tq1_0), std::pair("tq2_0", &testing::encode_tq2_0)}) {
    const GoldenFormat golden = read_golden_format(name);
    std::vector<int8_t> trits;
    std::vector<float> scales;
    for (size_t i = 0; i < golden.values.size(); ++i) {
      if (i % 256 == 0) {
        float largest = 0;
        for (size_t j = i; j < i + 256; ++j) {
          largest = std::max(largest, std::abs(golden.values[j]));
        }
        scales.push_back(largest);
      }
      const float value = golden.values[i];
      trits.push_back(static_cast<int8_t>(value > 0 ? 1 : value < 0 ? -1 : 0));
    }
    EXPECT_EQ(encode(trits, scales), golden.data) << name;
  }
}

// Block of 128 weights, all zero (code 1, byte 0x55) but for a few whose place in the bytes is worked out here.
TEST(I2s, BytesSpelledOutByHand) {
  ByteVector data(32, std::byte{0x55});
  data[0] = std::byte{0b10'01'01'01};   // weight 0 is +1
  data[5] = std::byte{0b01'00'01'01};   // weight 5 + 32 is -1
  data[31] = std::byte{0b01'01'10'00};  // weight 31 + 64 is +1, weight 31 + 96 is -1
  testing::put(data, 0.75F);
  data.resize(64);
  const Unpacked got = unpack(format_named("I2_S"), data, 1, 128, 0, 1);
  ASSERT_TRUE(got.good);
  for (size_t i = 0; i < 128; ++i) {
    const int expected = i == 0 || i == 95 ? 1 : i == 37 || i == 127 ? -1 : 0;
    EXPECT_EQ(got.trits[i], expected) << i;
  }
  EXPECT_EQ(got.scales[0], 0.75F);
}

TEST(I2s, Arm64BytesSpelledOutByHand) {
  ByteVector data(32, std::byte{0x55});
  data[3] = std::byte{0b00'01'01'10};   // block 0: weight 3 is -1, weight 3 + 48 is +1
  data[16] = std::byte{0b01'10'01'01};  // block 1: weight 64 + 16 is +1
  testing::put(data, 2.0F);
  data.resize(64);
  const Unpacked got = unpack(format_named("I2_S/arm64"), data, 1, 128, 0, 1);
  ASSERT_TRUE(got.good);
  for (size_t i = 0; i < 128; ++i) {
    const int expected = i == 51 || i == 80 ? 1 : i == 3 ? -1 : 0;
    EXPECT_EQ(got.trits[i], expected) << i;
  }
}

TEST(I2s, FourRowBytesSpelledOutByHand) {
  ByteVector data(64, std::byte{0x55});     // 8 rows of 32
  data[7] = std::byte{0b10'01'00'01};       // rows 0 and 2, column 7
  data[32 + 1] = std::byte{0b01'01'01'10};  // row 7, column 1
  testing::put(data, 2.0F);
  data.resize(96);
  const Unpacked got = unpack(format_named("I2_S/1x4"), data, 8, 32, 0, 8);
  ASSERT_TRUE(got.good);
  for (size_t i = 0; i < 256; ++i) {
    const int expected = i == 7 || i == 7 * 32 + 1 ? 1 : i == 2 * 32 + 7 ? -1 : 0;
    EXPECT_EQ(got.trits[i], expected) << i;
  }
}

TEST(Tq2, BytesSpelledOutByHand) {
  ByteVector data(64, std::byte{0x55});
  data[2] = std::byte{0b10'01'01'01};       // half 0, plane 3: weight 96 + 2 is +1
  data[32 + 9] = std::byte{0b01'01'00'01};  // half 1, plane 1: weight 128 + 32 + 9 is -1
  testing::put(data, uint16_t{0x3E00});     // 1.5
  const Unpacked got = unpack(format_named("TQ2_0"), data, 1, 256, 0, 1);
  ASSERT_TRUE(got.good);
  for (size_t i = 0; i < 256; ++i) {
    EXPECT_EQ(got.trits[i], i == 98 ? 1 : i == 169 ? -1 : 0) << i;
  }
  EXPECT_EQ(got.scales[0], 1.5F);
}

// Every row range of a tensor whose rows begin and end inside blocks.
TEST(I2s, RowsMayStraddleBlocks) {
  const int64_t rows = 12;
  const int64_t cols = 96;
  const std::vector<int8_t> trits = random_trits(static_cast<size_t>(rows * cols), 7);
  const std::pair<std::string_view, ByteVector> cases[] = {
      {"I2_S", testing::encode_i2s(trits, 0.5F)},
      {"I2_S/arm64", testing::encode_i2s_arm64(trits, 0.5F)},
      {"I2_S/1x4", testing::encode_i2s_1x4(trits, static_cast<size_t>(rows), 0.5F)}};
  for (const auto& [name, data] : cases) {
    const WeightFormat& format = format_named(name);
    ASSERT_EQ(data.size(), tensor_bytes(format, rows, cols)) << name;
    for (int64_t first = 0; first < rows; ++first) {
      for (int64_t count = 1; first + count <= rows; ++count) {
        const Unpacked got = unpack(format, data, rows, cols, first, count);
        ASSERT_TRUE(got.good);
        ASSERT_EQ(got.scales[0], 0.5F);
        ASSERT_TRUE(std::equal(got.trits.begin(), got.trits.end(), trits.begin() + first * cols))
            << name << " rows " << first << " + " << count;
      }
    }
  }
}

TEST(WeightFormat, ACodeOfThreeIsRefused) {
  const std::vector<int8_t> trits(256, 0);
  const std::pair<std::string_view, ByteVector> cases[] = {
      {"I2_S", testing::encode_i2s(trits, 1)},
      {"I2_S/arm64", testing::encode_i2s_arm64(trits, 1)},
      {"I2_S/1x4", testing::encode_i2s_1x4(trits, 4, 1)},
      {"TQ2_0", testing::encode_tq2_0(trits, {1})}};
  for (const auto& [name, data] : cases) {
    const WeightFormat& format = format_named(name);
    const int64_t rows = format.row_group;
    EXPECT_TRUE(unpack(format, data, rows, 256 / rows, 0, rows).good) << name;
    for (size_t byte = 0; byte < 64; ++byte) {
      for (unsigned field = 0; field < 4; ++field) {
        ByteVector broken = data;
        broken[byte] |= std::byte{3} << (2 * field);
        EXPECT_FALSE(unpack(format, broken, rows, 256 / rows, 0, rows).good)
            << name << " byte " << byte << " field " << field;
      }
    }
  }
}

TEST(Half, AllHalvesAgreeWithTheirDefinition) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint32_t exponent = (bits >> 10U) & 31U;
    const double fraction = bits & 1023U;
    const float value = half_to_float(static_cast<uint16_t>(bits));
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), fraction != 0) << bits;
      EXPECT_EQ(std::isinf(value), fraction == 0) << bits;
    } else {
      const double magnitude = exponent == 0
                                   ? std::ldexp(fraction, -24)
                                   : std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25);
      EXPECT_EQ(value, (bits & 0x8000U) != 0 ? -magnitude : magnitude) << bits;
      EXPECT_EQ(std::signbit(value), (bits & 0x8000U) != 0) << bits;
      EXPECT_EQ(testing::half_bits(value), bits);
    }
  }
}

TEST(Half, GoldenHalves) {
  const GoldenFormat golden = read_golden_format("f16");
  for (size_t i = 0; i < golden.values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, &golden.data[2 * i], sizeof bits);
    EXPECT_EQ(half_to_float(bits), golden.values[i]);
  }
}

}  // namespace
}  // namespace tern

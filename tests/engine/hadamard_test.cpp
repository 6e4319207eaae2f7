// Hadamard transforms against OneCompression's own (tests/golden/onecomp/make_hadamard.py) and against their definition.

#include "engine/run/hadamard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <vector>

#include "engine/model/hadamard_matrix.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

std::vector<float> numbers(int32_t size) {
  std::vector<float> x;
  for (int64_t i = 0; i < size; ++i) {
    x.push_back(static_cast<float>(static_cast<double>((i * 7919 + 13) % 1009) / 1009 - 0.5));
  }
  return x;
}

TEST(Hadamard, TransformsAsOneCompressionDoes) {
  std::ifstream in(testing::source_path("tests/golden/onecomp/hadamard.bin"), std::ios::binary);
  int32_t size = 0;
  int cases = 0;
  while (in.read(reinterpret_cast<char*>(&size), sizeof size)) {
    std::vector<float> truth(static_cast<size_t>(size));
    in.read(reinterpret_cast<char*>(truth.data()),
            static_cast<std::streamsize>(truth.size() * sizeof(float)));
    std::vector<float> x = numbers(size);
    std::vector<float> scratch(truth.size());
    const HadamardMatrix matrix = hadamard_matrix_for(size).value();
    rotate(Rotation{size / matrix.order, {}, matrix.values}, x.data(), size, scratch.data());
    for (size_t i = 0; i < truth.size(); ++i) {
      ASSERT_NEAR(x[i], truth[i], 1e-6) << "size " << size << ", value " << i;
    }
    ++cases;
  }
  EXPECT_EQ(cases, 16);
}

TEST(Hadamard, BlocksAreTransformedByTheMatrixOfSylvester) {
  for (const int64_t block : {1, 2, 4, 8, 32, 128}) {
    const std::vector<float> x = numbers(256);
    std::vector<float> y = x;
    walsh_hadamard(y.data(), 256, block);
    for (int64_t i = 0; i < 256; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < block; ++j) {
        const auto ones = std::popcount(static_cast<uint64_t>(i % block & j));
        sum += (ones % 2 == 0 ? 1.0 : -1.0) * double{x[static_cast<size_t>(i / block * block + j)]};
      }
      ASSERT_NEAR(y[static_cast<size_t>(i)], sum / std::sqrt(static_cast<double>(block)), 1e-5);
    }
  }
}

TEST(Hadamard, SizesWithoutAMatrixAreRefused) {
  for (const int32_t size : {3, 14, 92, 180, 4096 * 5 + 1}) {
    const auto matrix = hadamard_matrix_for(size);
    ASSERT_FALSE(matrix.has_value()) << size;
    EXPECT_NE(matrix.error().message.find("found " + std::to_string(size)), std::string::npos);
  }
}

}  // namespace
}  // namespace tern

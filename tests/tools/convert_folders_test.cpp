// Folders whose GGUF files have other tensors or another order: mixtures of experts (one tensor for all experts of a matrix) and Qwen3.5
// (tiled heads of values). Truth: the GGUF files of the same weights that Python wrote (make_experts.py, make_hybrid.py), and the logits.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <numeric>

#include "engine/base/half.h"
#include "engine/io/formats.h"
#include "tests/support/golden_logits.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"
#include "tools/convert_matrix.h"
#include "tools/convert_model.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using cli::ConvertOptions;
using testing::kGolden;

std::vector<float> floats_of(const Tensor& tensor) {
  const DenseMatrix matrix = dense_matrix(tensor).value();
  std::vector<float> values(static_cast<size_t>(tensor.count()));
  for (int32_t row = 0; row < matrix.rows; ++row) {
    testing::tested_table().dense_row(
        matrix, row, &values[static_cast<size_t>(row) * static_cast<size_t>(matrix.cols)]);
  }
  return values;
}

class ConvertFolder : public ::testing::Test {
 protected:
  // The folder as a file of that type.
  fs::path convert(const char* folder, const char* type) const {
    const fs::path out = folder_ / (std::string(type) + ".gguf");
    const TensorFile in = TensorFile::open(kGolden / folder).value();
    const auto done = cli::convert_model(in, out, {.type = find_weight_format(type), .threads = 2});
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().message);
    return out;
  }
  static std::vector<float> logits(const fs::path& path, const testing::Golden& golden) {
    const TensorFile file = TensorFile::open(path).value();
    return testing::DecoderRunner(file, testing::tested_table(), 2).logits(golden.tokens, 32);
  }

  testing::TempFolder folder_;
};

// Every tensor has the name, the shape and the values of the file that Python wrote, and no other is there.
void expect_same_tensors(const fs::path& path, const fs::path& golden_path) {
  const TensorFile file = TensorFile::open(path).value();
  const TensorFile golden = TensorFile::open(golden_path).value();
  EXPECT_EQ(file.tensors().size(), golden.tensors().size());
  for (const Tensor& truth : golden.tensors()) {
    const Tensor* tensor = file.find(truth.name);
    ASSERT_NE(tensor, nullptr) << truth.name;
    EXPECT_EQ(tensor->shape, truth.shape) << truth.name;
    EXPECT_EQ(floats_of(*tensor), floats_of(truth)) << truth.name;
  }
}

TEST_F(ConvertFolder, OfExpertsHasTheTensorsOfAGgufFile) {
  for (const char* folder : {"experts/qwen3moe", "experts/qwen3moe-fused"}) {
    SCOPED_TRACE(folder);
    const fs::path out = convert(folder, "F16");
    expect_same_tensors(out, kGolden / "experts/qwen3moe-f16.gguf");
    const testing::Golden golden = testing::read_golden("experts/qwen3moe-f16");
    EXPECT_EQ(logits(out, golden), logits(kGolden / folder, golden));
    EXPECT_LT(testing::distance(out, golden, 32), 1e-3);
    EXPECT_FALSE(TensorFile::open(out)->metadata().contains("tern.rope.rotate_half"));
  }
}

TEST_F(ConvertFolder, OfMapleKeepsCodesAndScales) {
  const testing::Golden golden = testing::read_golden("experts/maple-mlx");
  const fs::path out = convert("experts/maple-mlx", "Q2_0");
  const TensorFile file = TensorFile::open(out).value();
  const Tensor& experts = *file.find("blk.1.ffn_down_exps.weight");
  EXPECT_EQ(experts.shape, (std::vector<int64_t>{64, 64, 8}));
  EXPECT_EQ(experts.format->name, "Q2_0");
  EXPECT_EQ(file.find("blk.0.ffn_gate_inp.weight")->format->name, "F32");
  EXPECT_EQ(file.get_int("maple.rope.dimension_count").value(), 8);
  EXPECT_EQ(**file.get_array<double>("maple.swiglu_clamp_exp"), std::vector<double>(2, 7.0));
  EXPECT_LT(testing::distance(out, golden, 32), 1e-3);
  EXPECT_LT(testing::overall(testing::differences(
                logits(out, golden), logits(kGolden / "experts/maple-mlx", golden), golden.vocab)),
            1e-6);
}

TEST_F(ConvertFolder, OfExpertsNeedsATypeThatHoldsThem) {
  const TensorFile in = TensorFile::open(kGolden / "experts/maple-mlx").value();
  const auto done =
      cli::convert_model(in, folder_ / "out.gguf", {.type = find_weight_format("I2_S")});
  ASSERT_FALSE(done.has_value());
  EXPECT_NE(done.error().message.find("scales of their own for experts"), std::string::npos)
      << done.error().message;
  EXPECT_FALSE(fs::exists(folder_ / "out.gguf"));
}

TEST_F(ConvertFolder, OfQwen35IsInTheOrderOfAGgufFile) {
  const fs::path out = convert("hybrid/qwen35-f16", "F16");
  expect_same_tensors(out, kGolden / "hybrid/qwen35-f16.gguf");
  const testing::Golden golden = testing::read_golden("hybrid/qwen35-f16");
  EXPECT_LT(testing::distance(out, golden, 33), 1e-3);
  EXPECT_LT(testing::overall(testing::differences(
                logits(out, golden), logits(kGolden / "hybrid/qwen35-f16", golden), golden.vocab)),
            1e-5);
  const TensorFile file = TensorFile::open(out).value();
  EXPECT_FALSE(file.metadata().contains("tern.delta_net.grouped_values"));
  EXPECT_EQ(**file.get_array<int64_t>("qwen35.rope.dimension_sections"),
            (std::vector<int64_t>{1, 1, 0, 0}));
}

// Two key heads of two values heads, 128 columns each, in blocks of `width` with a scale each.
std::string moved(int64_t width) {
  constexpr int64_t kHead = 128;
  constexpr int64_t kCols = 4 * kHead;
  std::vector<uint16_t> weights(2 * kCols);
  for (int64_t i = 0; i < std::ssize(weights); ++i) {
    const float scale = 1.0F + static_cast<float>(i / width) / 64;
    weights[static_cast<size_t>(i)] = float_to_half(static_cast<float>(i * 7 % 3 - 1) * scale);
  }
  Tensor tensor{
      "blk.0.ssm_out.weight", &formats::kF16, {kCols, 2}, std::as_bytes(std::span(weights))};
  const WeightFormat* ternary =
      formats::find_ternary_floats("F16", tensor.data, tensor.rows(), tensor.cols());
  cli::MatrixSource source{&tensor, ternary};
  source.value_cols = {2, 4, 0, kHead};
  const WeightFormat& q2 = *find_weight_format("Q2_0");
  const WeightFormat& tq2 = *find_weight_format("TQ2_0");
  const WeightFormat& to = width == 256 ? tq2 : q2;
  cli::MatrixConversion conversion(source, to, 1);
  std::vector<std::byte> bytes(conversion.bytes_of_rows(2));
  conversion.rows(0, 2, bytes.data());
  std::vector<int8_t> trits(2 * kCols);
  std::vector<float> scales(static_cast<size_t>(2 * kCols / to.cols_per_scale));
  EXPECT_TRUE(to.unpack(bytes, 2, kCols, 0, 2, trits.data(), scales.data()));
  std::vector<float> values;
  for (int64_t row = 0; row < 2; ++row) {
    for (const int64_t head :
         {0, 2, 1, 3}) {  // tiled: first value of each key head, then the second
      for (int64_t i = 0; i < kHead; ++i) {
        values.push_back(
            half_to_float(weights[static_cast<size_t>(row * kCols + head * kHead + i)]));
      }
    }
  }
  if (conversion.loss()->empty()) {
    std::vector<float> got;
    for (size_t i = 0; i < trits.size(); ++i) {
      const float scale = scales[i / static_cast<size_t>(to.cols_per_scale)];
      got.push_back(static_cast<float>(trits[i]) * scale);
    }
    EXPECT_EQ(got, values) << width;
  }
  return conversion.loss().value();
}

TEST(ConvertColumns, MoveByHeadsWhereBlocksAllowIt) {
  EXPECT_EQ(moved(64), "");
  EXPECT_EQ(moved(128), "");
  EXPECT_EQ(moved(512), "");
  EXPECT_NE(moved(256).find("several scales"), std::string::npos);
}

}  // namespace
}  // namespace tern

// What `tern inspect` says of a small model, and of one that Tern does not run.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "kernels/select.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"
#include "tools/inspect_report.h"

namespace tern::cli {
namespace {

using testing::ByteVector;
using testing::GgufWriter;

// 1 layer, width 256, ffn 512, 4 heads of 64 and 2 kv heads, vocabulary 10.
GgufWriter small_llama(bool keys = true, size_t vocabulary = 10) {
  GgufWriter writer;
  writer.set_string("general.architecture", "llama");
  writer.set_int("llama.block_count", 1);
  writer.set_int("llama.embedding_length", 256);
  writer.set_int("llama.feed_forward_length", 512);
  writer.set_int("llama.context_length", 32768);
  writer.set_int("llama.attention.head_count", 4);
  writer.set_int("llama.attention.head_count_kv", 2);
  writer.set_float("llama.attention.layer_norm_rms_epsilon", 1e-5);
  writer.set_strings("tokenizer.ggml.tokens",
                     {"a", "b", "c\x1B", "d", "e", "f", "g", "h", "i", "\xFF"});
  writer.add_f16("token_embd.weight", {256, vocabulary}, std::vector<float>(256 * vocabulary));
  writer.add_f32("blk.0.attn_norm.weight", {256}, std::vector<float>(256));
  const std::vector<int8_t> trits(256 * 256, 1);
  writer.add_tensor("blk.0.attn_q.weight", 36, {256, 256}, testing::encode_i2s(trits, 1));
  writer.add_tensor("blk.0.attn_output.weight", 35, {256, 256},
                    testing::encode_tq2_0(trits, std::vector<float>(256, 1)));
  for (const char* name : {"blk.0.ffn_norm.weight", "output_norm.weight"}) {
    writer.add_f32(name, {256}, std::vector<float>(256));
  }
  const auto add = [&](const std::string& name, uint64_t cols, uint64_t rows) {
    writer.add_f16("blk.0." + name + ".weight", {cols, rows}, std::vector<float>(cols * rows));
  };
  if (keys) {
    add("attn_k", 256, 128);
  }
  add("attn_v", 256, 128);
  add("ffn_gate", 256, 512);
  add("ffn_up", 256, 512);
  add("ffn_down", 512, 256);
  return writer;
}

class InspectTest : public ::testing::Test {
 protected:
  std::string report(const GgufWriter& writer, bool json) {
    writer.save(folder_ / "small.gguf");
    const auto file = TensorFile::open(folder_ / "small.gguf");
    EXPECT_TRUE(file) << file.error().message;
    return inspect_report(
        *file,
        {.json = json, .kernels = &testing::tested_table(), .threads = 2, .available = 1 << 30});
  }
  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(InspectTest, JsonHoldsTheNumbers) {
  const auto json = nlohmann::json::parse(report(small_llama(), true));
  EXPECT_EQ(json["architecture"]["name"], "llama");
  EXPECT_EQ(json["architecture"]["layers"], 1);
  EXPECT_EQ(json["architecture"]["head_dim"], 64);
  EXPECT_EQ(json["architecture"]["kv_heads"], 2);
  EXPECT_EQ(json["metadata"]["llama.context_length"], 32768);
  EXPECT_EQ(json["metadata"]["tokenizer.ggml.tokens"].size(), 10U);
  ASSERT_EQ(json["tensors"].size(), 11U);
  EXPECT_EQ(json["tensors"][2]["type"], "I2_S");
  EXPECT_EQ(json["tensors"][2]["shape"], (std::vector<int64_t>{256, 256}));
  EXPECT_EQ(json["tensors"][2]["bytes"], 65536 / 4 + 32);
  EXPECT_EQ(json["all"]["weights"], 2560 + 3 * 256 + 2 * 65536 + 2 * 32768 + 3 * 131072);
  EXPECT_EQ(json["ternary"]["weights"], 2 * 65536);
  EXPECT_NEAR(json["ternary"]["bits_per_weight"].get<double>(),
              8.0 * (65536.0 / 4 + 32 + 256 * 66) / (2 * 65536), 1e-9);
  EXPECT_EQ(json["memory"]["available"], 1 << 30);
  // Codes, a scale of the one matrix (in a line of the caches) and 256 of the other, three norms.
  EXPECT_EQ(json["memory"]["packed_weights"], 2 * 65536 / 4 + 64 + 4 * (256 + 3 * 256));
  EXPECT_EQ(json["memory"]["mapped_weights"], 2 * (2560 + 2 * 32768 + 3 * 131072));
  EXPECT_EQ(json["memory"]["looked_up"], 0);  // the embedding is the head
  // Keys and values as halves, one layer, 2 kv heads of 64; the file's context, then the default of 8192.
  ASSERT_EQ(json["memory"]["plans"].size(), 2U);
  EXPECT_EQ(json["memory"]["plans"][0]["kv_cache"], int64_t{2 * 2 * 128} * 32768);
  EXPECT_EQ(json["memory"]["plans"][1]["kv_cache"], int64_t{2 * 2 * 128} * 8192);
}

TEST_F(InspectTest, LongArraysAreShortened) {
  GgufWriter writer = small_llama();
  writer.set_ints("long", std::vector<int64_t>(1000, 7));
  const auto json = nlohmann::json::parse(report(writer, true));
  EXPECT_EQ(json["metadata"]["long"]["count"], 1000);
  EXPECT_EQ(json["metadata"]["long"]["first"].size(), 8U);
  EXPECT_HAS(report(writer, false), "[7, 7, 7, 7, ... 1000 in all]");
}

TEST_F(InspectTest, TextIsAlignedAndSafeForATerminal) {
  const std::string text = report(small_llama(), false);
  EXPECT_HAS(text, "small.gguf: GGUF, ");
  EXPECT_HAS(text, "llama: 1 layer of width 256, ffn 512, 4 heads of 64 (2 kv), vocabulary 10, ");
  EXPECT_HAS(text, "  name                      type       shape     size\n");
  EXPECT_HAS(text, "  token_embd.weight         F16     256 x 10  5.12 kB\n");
  EXPECT_HAS(text, "  blk.0.attn_q.weight       I2_S   256 x 256  16.4 kB\n");
  EXPECT_HAS(text, "fits");
  EXPECT_EQ(text.find('\x1B'), std::string::npos);
}

// A head that loading splits takes memory of its own, of 280 bytes a block of 256 and norms, and its rows in the file none; an
// embedding that is only looked up hardly any. Weights in the kernels' own order need no packing.
TEST_F(InspectTest, HeadsAndPackedWeightsAreCountedWhereTheyLie) {
  constexpr size_t kRows = 84'000;  // more than 16 MB of Q6_K, which is split without loss
  GgufWriter writer = small_llama(false, kRows);
  writer.add_tensor("output.weight", 14, {256, kRows}, ByteVector(210 * kRows));
  writer.set_alignment(64);
  writer.set_int("tern.packed.version", 1);
  const PackedLayout layout = testing::tested_table().kernel(TernaryKind::kBase3).layout;
  writer.set_ints("tern.packed.base3", {layout.tile_rows, layout.tile_k});
  const size_t bytes = packed_bytes(layout, 128, 256);
  writer.add_tensor("blk.0.attn_k.weight", 0x304E5255, {256, 128}, ByteVector(bytes));
  writer.add_f32("blk.0.attn_k.weight.scales", {1}, {1.0F});
  const auto json = nlohmann::json::parse(report(writer, true));
  EXPECT_EQ(json["memory"]["packed_weights"],
            2 * 65536 / 4 + 64 + 4 * (256 + 3 * 256) + kRows * (192 + 64 + 8));
  EXPECT_EQ(json["memory"]["mapped_weights"], bytes + 4 + 2 * (32768 + 3 * 131072));
  EXPECT_EQ(json["memory"]["looked_up"], 2 * 256 * kRows);
}

// The largest numbers that a configuration may hold do no harm.
TEST_F(InspectTest, HostileNumbersAreRefused) {
  const auto with = [](int64_t heads, int64_t head_dim, int64_t layers) {
    GgufWriter writer;
    writer.set_string("general.architecture", "llama");
    writer.set_int("llama.block_count", layers);
    writer.set_int("llama.embedding_length", 4);
    writer.set_int("llama.feed_forward_length", 1 << 24);
    writer.set_int("llama.context_length", 1 << 24);
    writer.set_int("llama.attention.head_count", heads);
    writer.set_int("llama.attention.key_length", head_dim);
    writer.set_float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    writer.add_f32("token_embd.weight", {4, 1}, std::vector<float>(4));
    return writer;
  };
  EXPECT_HAS(report(with(1 << 24, 1 << 24, 1), false), "16777216 heads of 16777216");
  EXPECT_HAS(report(with(1, 2, 4097), false), "llama.block_count: expected 1 to 4096, found 4097");
  const auto json = nlohmann::json::parse(report(with(1 << 12, 1 << 12, 1 << 12), true));
  EXPECT_TRUE(json["memory"]["plans"].empty());
  EXPECT_HAS(json["refusal"].get<std::string>(), "found no such tensor");
}

TEST_F(InspectTest, BitsAWeightOfCompressedMatricesAreThoseOfTheirSignsAndScales) {
  const auto file =
      TensorFile::open(testing::source_path("tests/golden/onecomp/tool/llama-dbf")).value();
  // Of each of two layers: columns, rows and middle of q, k, v, o, gate, up, down.
  double bits = 0;
  double weights = 0;
  for (const auto& [in, out, mid] : {std::array{32, 32, 24},
                                     {32, 16, 16},
                                     {32, 16, 16},
                                     {32, 32, 24},
                                     {32, 96, 32},
                                     {32, 96, 32},
                                     {96, 32, 32}}) {
    bits += mid * (in + out) + 16 * (in + mid + out);
    weights += in * out;
  }
  std::array<char, 64> expected{};
  std::snprintf(expected.data(), expected.size(), "14 compressed matrices take %.3f bits a weight",
                bits / weights);
  const std::string text = inspect_report(
      file, {.kernels = &testing::tested_table(), .threads = 1, .available = 1 << 30});
  EXPECT_HAS(text, expected.data());
  EXPECT_HAS(text, "llama-dbf/model.safetensors: safetensors, ");
}

TEST_F(InspectTest, AnArchitectureThatTernDoesNotRunIsDescribedAllTheSame) {
  GgufWriter writer;
  writer.set_string("general.architecture", "mamba");
  writer.add_f32("x", {4}, {1, 2, 3, 4});
  const std::string text = report(writer, false);
  EXPECT_HAS(text, "Tern cannot run it: ");
  EXPECT_HAS(text, "mamba");
  EXPECT_HAS(text, "  x     F32");
  EXPECT_EQ(text.find("Memory"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(report(writer, true)).count("architecture"), 0U);
}

}  // namespace
}  // namespace tern::cli

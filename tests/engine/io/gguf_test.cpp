// Good GGUF files, single and split, laid out by hand.

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "engine/io/tensor_file.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

using testing::ByteVector;
using testing::GgufKind;
using testing::GgufWriter;

class GgufTest : public ::testing::Test {
 protected:
  Result<TensorFile> open(const GgufWriter& writer, const OpenOptions& options = {}) {
    writer.save(folder_ / "tiny.gguf");
    return TensorFile::open(folder_ / "tiny.gguf", options);
  }

  testing::TempFolder folder_;
};

std::vector<float> floats_of(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.count()));
  EXPECT_EQ(tensor.data.size(), values.size() * sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

TEST_F(GgufTest, ReadsKeysOfEveryType) {
  GgufWriter writer;
  writer.set_int("u8", 200, GgufKind::kUint8);
  writer.set_int("i8", -100, GgufKind::kInt8);
  writer.set_int("u16", 60000, GgufKind::kUint16);
  writer.set_int("i16", -30000, GgufKind::kInt16);
  writer.set_int("u32", 4000000000, GgufKind::kUint32);
  writer.set_int("i32", -2000000000, GgufKind::kInt32);
  writer.set_int("u64", int64_t{1} << 60, GgufKind::kUint64);
  writer.set_int("i64", -(int64_t{1} << 60), GgufKind::kInt64);
  writer.set_float("f32", 0.5);
  writer.set_float("f64", 0.1, GgufKind::kFloat64);
  writer.set_bool("yes", true);
  writer.set_string("text", "h\xC3\xA9");
  writer.set_ints("ints", {1, -2, 3}, GgufKind::kInt16);
  writer.set_floats("floats", {0.25, -1});
  writer.set_bools("bools", {true, false, true});
  writer.set_strings("strings", {"a", "", "ccc"});
  const auto file = open(writer);
  ASSERT_TRUE(file) << file.error().message;
  const std::pair<std::string_view, int64_t> integers[] = {{"u8", 200},
                                                           {"i8", -100},
                                                           {"u16", 60000},
                                                           {"i16", -30000},
                                                           {"u32", 4000000000},
                                                           {"i32", -2000000000},
                                                           {"u64", int64_t{1} << 60},
                                                           {"i64", -(int64_t{1} << 60)}};
  for (const auto& [key, value] : integers) {
    EXPECT_EQ(file->get_int(key).value(), value) << key;
  }
  EXPECT_EQ(file->get_float("f32").value(), 0.5);
  EXPECT_EQ(file->get_float("f64").value(), 0.1);
  EXPECT_EQ(file->get_float("i8").value(), -100.0);
  EXPECT_EQ(file->get_bool("yes").value(), true);
  EXPECT_EQ(file->get_string("text").value(), "h\xC3\xA9");
  EXPECT_EQ(**file->get_array<int64_t>("ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(**file->get_array<double>("floats"), (std::vector<double>{0.25, -1}));
  EXPECT_EQ(**file->get_array<bool>("bools"), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(**file->get_array<std::string_view>("strings"),
            (std::vector<std::string_view>{"a", "", "ccc"}));
  EXPECT_EQ(file->metadata().size(), 16U);
}

TEST_F(GgufTest, AbsentKeysAreNoErrorAndWrongTypesAre) {
  GgufWriter writer;
  writer.set_string("text", "x");
  writer.set_ints("ints", {1});
  const auto file = open(writer);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->get_int("none").value(), std::nullopt);
  EXPECT_EQ(file->get_float("none").value(), std::nullopt);
  EXPECT_EQ(file->get_bool("none").value(), std::nullopt);
  EXPECT_EQ(file->get_string("none").value(), std::nullopt);
  EXPECT_EQ(file->get_array<double>("none").value(), nullptr);
  EXPECT_TRUE(file->get_int("text").error().message.ends_with(
      "tiny.gguf: key text: expected an integer, found a string."))
      << file->get_int("text").error().message;
  EXPECT_TRUE(file->get_array<double>("ints").error().message.ends_with(
      "expected an array of floats, found an array of integers."));
  EXPECT_FALSE(file->get_float("text"));
  EXPECT_FALSE(file->get_bool("text"));
  EXPECT_FALSE(file->get_string("ints"));
}

TEST_F(GgufTest, ReadsTensorsInBothVersionsAndSeveralAlignments) {
  for (const uint32_t version : {2U, 3U}) {
    for (const uint64_t alignment : {8U, 32U, 4096U}) {
      GgufWriter writer;
      writer.set_version(version);
      writer.set_alignment(alignment);
      writer.add_f32("a", {3}, {1, 2, 3});
      writer.add_f32("b", {2, 3, 1, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
      writer.set_pad_last(false);
      const auto file = open(writer);
      ASSERT_TRUE(file) << file.error().message;
      ASSERT_EQ(file->tensors().size(), 2U);
      EXPECT_EQ(file->tensors()[0].name, "a");
      EXPECT_EQ(file->tensors()[0].format->name, "F32");
      EXPECT_EQ(floats_of(file->tensors()[0]), (std::vector<float>{1, 2, 3}));
      const Tensor* b = file->find("b");
      ASSERT_NE(b, nullptr);
      EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 3, 1, 2}));
      EXPECT_EQ(b->cols(), 2);
      EXPECT_EQ(b->rows(), 6);
      EXPECT_EQ(floats_of(*b), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
      EXPECT_EQ(file->find("c"), nullptr);
    }
  }
}

TEST_F(GgufTest, AFileOfKeysOnlyIsFine) {
  GgufWriter writer;
  writer.set_strings("tokenizer.ggml.tokens", {"a", "b"});
  const auto file = open(writer);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(file->tensors().empty());
}

TEST_F(GgufTest, TensorsNeedNotLieInTheOrderOfTheIndex) {
  GgufWriter writer;
  writer.add_f32("a", {8}, std::vector<float>(8, 1.0F));
  writer.add_f32("b", {8}, std::vector<float>(8, 2.0F));
  writer.set_offset(0, 32);
  writer.set_offset(1, 0);
  const auto file = open(writer);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(floats_of(*file->find("a"))[0], 2.0F);
  EXPECT_EQ(floats_of(*file->find("b"))[0], 1.0F);
}

TEST_F(GgufTest, ReadsI2sWithEverySpacingThatOccurs) {
  const std::vector<int8_t> trits(256, 1);
  for (const uint64_t alignment : {32U, 64U, 256U}) {
    for (const bool pad_last : {false, true}) {
      GgufWriter writer;
      writer.set_alignment(alignment);
      writer.set_pad_last(pad_last);
      writer.add_tensor("a", 36, {128, 2}, testing::encode_i2s(trits, 2.0F));
      writer.add_tensor("b", 36, {256}, testing::encode_i2s(trits, 3.0F));
      const auto file = open(writer);
      ASSERT_TRUE(file) << file.error().message;
      const Tensor& b = *file->find("b");
      EXPECT_EQ(b.data.size(), 96U);
      std::array<int8_t, 256> got{};
      float scale = 0;
      ASSERT_TRUE(b.format->unpack(b.data, b.rows(), b.cols(), 0, 1, got.data(), &scale));
      EXPECT_EQ(scale, 3.0F);
      EXPECT_EQ(got[200], 1);
    }
  }
}

TEST_F(GgufTest, TheI2sLayoutIsTheCallersChoice) {
  GgufWriter writer;
  writer.add_tensor("a", 36, {128, 4}, testing::encode_i2s(std::vector<int8_t>(512, 1), 2.0F));
  const auto arm = open(writer, {.i2s_layout = I2sLayout::kArm64});
  ASSERT_TRUE(arm);
  EXPECT_EQ(arm->find("a")->format->name, "I2_S/arm64");
  EXPECT_TRUE(arm->notices().empty());

  GgufWriter without;
  without.add_f32("a", {1}, {1});
  const auto noticed = open(without, {.i2s_layout = I2sLayout::k1x4});
  ASSERT_TRUE(noticed);
  ASSERT_EQ(noticed->notices().size(), 1U);
  EXPECT_NE(noticed->notices()[0].find("no I2_S tensors"), std::string::npos);
}

class SplitTest : public ::testing::Test {
 protected:
  static GgufWriter part(int64_t number, int64_t count, const std::string& tensor) {
    GgufWriter writer;
    writer.set_int("split.no", number, GgufKind::kUint16);
    writer.set_int("split.count", count, GgufKind::kUint16);
    writer.set_int("split.tensors.count", count, GgufKind::kInt32);
    if (number == 0) {
      writer.set_string("general.architecture", "llama");
    }
    writer.add_f32(tensor, {2}, {static_cast<float>(number), 1});
    return writer;
  }
  void save(const std::string& name, const GgufWriter& writer) { writer.save(folder_ / name); }
  std::string error_of(const std::string& name) {
    const auto file = TensorFile::open(folder_ / name);
    return file ? "no error" : file.error().message;
  }

  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(SplitTest, ReadsAllParts) {
  save("m-00001-of-00003.gguf", part(0, 3, "a"));
  save("m-00002-of-00003.gguf", part(1, 3, "b"));
  save("m-00003-of-00003.gguf", part(2, 3, "c"));
  const auto file = TensorFile::open(folder_ / "m-00001-of-00003.gguf");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->files().size(), 3U);
  EXPECT_EQ(file->get_string("general.architecture").value(), "llama");
  for (const auto& [name, number] : {std::pair("a", 0), std::pair("b", 1), std::pair("c", 2)}) {
    const Tensor* tensor = file->find(name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->file, number);
    EXPECT_EQ(floats_of(*tensor)[0], static_cast<float>(number));
  }
}

TEST_F(SplitTest, OpeningAnotherPartNamesTheFirst) {
  save("m-00002-of-00003.gguf", part(1, 3, "b"));
  const std::string message = error_of("m-00002-of-00003.gguf");
  EXPECT_HAS(message, "part 2 of 3");
  EXPECT_HAS(message, "m-00001-of-00003.gguf");
}

TEST_F(SplitTest, AMissingPartIsNamed) {
  save("m-00001-of-00003.gguf", part(0, 3, "a"));
  save("m-00002-of-00003.gguf", part(1, 3, "b"));
  const std::string message = error_of("m-00001-of-00003.gguf");
  EXPECT_HAS(message, "m-00003-of-00003.gguf");
  EXPECT_HAS(message, "missing");
}

TEST_F(SplitTest, AWrongPartIsNamed) {
  save("m-00001-of-00002.gguf", part(0, 2, "a"));
  save("m-00002-of-00002.gguf", part(2, 3, "b"));
  EXPECT_HAS(error_of("m-00001-of-00002.gguf"), "expected part 2 of 2");
}

TEST_F(SplitTest, ARenamedPartIsExplained) {
  save("model.gguf", part(0, 2, "a"));
  EXPECT_HAS(error_of("model.gguf"), "-00001-of-00002.gguf");
}

TEST_F(SplitTest, TensorsMissingFromAllPartsAreCounted) {
  GgufWriter first = part(0, 2, "a");
  first.add_f32("extra", {1}, {1});
  save("m-00001-of-00002.gguf", first);
  save("m-00002-of-00002.gguf", part(1, 2, "b"));
  EXPECT_HAS(error_of("m-00001-of-00002.gguf"), "expected 2 tensors");
}

TEST_F(SplitTest, ATensorInTwoPartsIsRefused) {
  save("m-00001-of-00002.gguf", part(0, 2, "a"));
  save("m-00002-of-00002.gguf", part(1, 2, "a"));
  EXPECT_HAS(error_of("m-00001-of-00002.gguf"), "tensor a occurs twice");
}

TEST_F(SplitTest, APartNumberBeyondTheCountIsRefused) {
  save("m-00001-of-00002.gguf", part(2, 2, "a"));
  EXPECT_HAS(error_of("m-00001-of-00002.gguf"), "split.no");
}

TEST(Printable, EscapesWhatATerminalMustNotSee) {
  EXPECT_EQ(printable("blk.0 \xC3\xA9"), "blk.0 \xC3\xA9");
  EXPECT_EQ(printable("a\n\t\x1B[2J\xFF\xC2\x9B\xE2\x82"), "a\\n\\t\\x1B[2J\\xFF\\u009B\\xE2\\x82");
  EXPECT_EQ(printable("abcdef", 4), "abcd...");
  EXPECT_EQ(printable("abc\xC3\xA9", 4), "abc...");  // never half a character
}

}  // namespace
}  // namespace tern

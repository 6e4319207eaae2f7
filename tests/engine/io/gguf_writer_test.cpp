// The writer: the bytes that the tests' own writer makes from the format's description, and what the reader finds in them.

#include "engine/io/gguf_writer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "engine/io/tensor_file.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

using testing::ByteVector;
using testing::GgufKind;
using testing::TempFolder;

ByteVector file_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(content));
  return ByteVector(bytes.begin(), bytes.end());
}

ByteVector counting_bytes(size_t count) {
  ByteVector out;
  for (size_t i = 0; i < count; ++i) {
    out.push_back(static_cast<std::byte>(i * 7 + 1));
  }
  return out;
}

const WeightFormat& format_named(std::string_view name) {
  return *find_weight_format(name);
}

// Every type of value, and tensors whose sizes do and do not fill the alignment.
Result<GgufWriter> create(const std::filesystem::path& path, const GgufHead& head) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::create(path));
  return GgufWriter::create(std::move(file), head);
}

TEST(GgufWriter, WritesTheBytesOfTheFormatsDescription) {
  GgufHead head;
  testing::GgufWriter expected;
  const auto set_int = [&](const char* key, auto value, GgufKind kind) {
    head.set(key, value);
    expected.set_int(key, static_cast<int64_t>(value), kind);
  };
  set_int("a.u8", uint8_t{200}, GgufKind::kUint8);
  set_int("a.i8", int8_t{-100}, GgufKind::kInt8);
  set_int("a.u16", uint16_t{60000}, GgufKind::kUint16);
  set_int("a.i16", int16_t{-30000}, GgufKind::kInt16);
  set_int("a.u32", uint32_t{4000000000U}, GgufKind::kUint32);
  set_int("a.i32", int32_t{-2000000000}, GgufKind::kInt32);
  set_int("a.u64", uint64_t{1} << 40U, GgufKind::kUint64);
  set_int("a.i64", -(int64_t{1} << 40U), GgufKind::kInt64);
  head.set("a.f32", 0.1F);
  expected.set_float("a.f32", 0.1F);
  head.set("a.f64", 0.1);
  expected.set_float("a.f64", 0.1, GgufKind::kFloat64);
  head.set("a.bool", true);
  expected.set_bool("a.bool", true);
  head.set("a.text", "gr\xC3\xBC\xC3\x9F");
  expected.set_string("a.text", "gr\xC3\xBC\xC3\x9F");
  head.set_array("b.texts", std::vector<std::string>{"", "one", "two three"});
  expected.set_strings("b.texts", {"", "one", "two three"});
  const std::vector<int32_t> ints = {1, -2, 3};
  head.set_array("b.ints", std::span<const int32_t>(ints));
  expected.set_ints("b.ints", {1, -2, 3});
  const std::vector<float> floats = {0.5F, -1.5F};
  head.set_array("b.floats", std::span<const float>(floats));
  expected.set_floats("b.floats", {0.5, -1.5});

  const std::pair<const char*, std::vector<int64_t>> tensors[] = {
      {"F32", {3}}, {"Q8_0", {64, 5}}, {"F16", {5, 2, 3}}, {"I2_S", {64, 4}}};
  std::vector<ByteVector> data;
  for (const auto& [name, shape] : tensors) {
    const WeightFormat& format = format_named(name);
    ASSERT_TRUE(head.add_tensor(name, format, shape).has_value());
    data.push_back(counting_bytes(head.tensors().back().bytes));
    expected.add_tensor(name, format.ggml_type, {shape.begin(), shape.end()}, data.back());
  }

  const TempFolder folder;
  const std::filesystem::path path = folder / "out.gguf";
  Result<GgufWriter> writer = create(path, head);
  ASSERT_TRUE(writer.has_value()) << writer.error().message;
  for (const ByteVector& bytes : data) {
    const size_t half = bytes.size() / 2;
    ASSERT_TRUE(writer->write(std::span(bytes).first(half)).has_value());
    ASSERT_TRUE(writer->write(std::span(bytes).subspan(half)).has_value());
  }
  EXPECT_FALSE(std::filesystem::exists(path)) << "visible before it was complete";
  ASSERT_TRUE(writer->finish().has_value());
  EXPECT_EQ(file_bytes(path), expected.bytes());
}

TEST(GgufWriter, LeavesNothingBehindWithoutFinish) {
  const TempFolder folder;
  {
    GgufHead head;
    ASSERT_TRUE(head.add_tensor("a", format_named("F32"), {64}).has_value());
    ASSERT_TRUE(create(folder / "out.gguf", head).has_value());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder / ""));
}

TEST(GgufWriter, RefusesShapesThatDoNotDivide) {
  GgufHead head;
  const Result<void> added = head.add_tensor("blk.0.ffn_up", format_named("TQ2_0"), {3200, 8});
  ASSERT_FALSE(added.has_value());
  EXPECT_NE(added.error().message.find("blk.0.ffn_up"), std::string::npos);
  EXPECT_NE(added.error().message.find("256"), std::string::npos);
}

TEST(GgufWriter, RefusesAFullDiskAndAMissingFolder) {
  const TempFolder folder;
  GgufHead head;
  ASSERT_TRUE(head.add_tensor("a", format_named("F32"), {int64_t{1} << 50}).has_value());
  const Result<GgufWriter> writer = create(folder / "out.gguf", head);
  ASSERT_FALSE(writer.has_value());
  EXPECT_NE(writer.error().message.find("room"), std::string::npos) << writer.error().message;
  EXPECT_TRUE(std::filesystem::is_empty(folder / ""));
  EXPECT_FALSE(create(folder / "no/such/out.gguf", GgufHead()).has_value());
}

TEST(GgufWriter, TheReaderFindsWhatWasWritten) {
  const TempFolder folder;
  GgufHead head;
  head.set("general.architecture", "llama");
  head.set("llama.block_count", uint32_t{7});
  head.set("llama.rope.freq_base", 10000.0F);
  ASSERT_TRUE(head.add_tensor("x", format_named("F32"), {4, 2}).has_value());
  const std::vector<float> values = {1, 2, 3, 4, 5, 6, 7, 8};
  Result<GgufWriter> writer = create(folder / "out.gguf", head);
  ASSERT_TRUE(writer.has_value());
  ASSERT_TRUE(writer->write(std::as_bytes(std::span(values))).has_value());
  ASSERT_TRUE(writer->finish().has_value());

  const Result<TensorFile> file = TensorFile::open(folder / "out.gguf");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_EQ(file->get_string("general.architecture").value(), "llama");
  EXPECT_EQ(file->get_int("llama.block_count").value(), 7);
  EXPECT_EQ(file->get_float("llama.rope.freq_base").value(), 10000.0);
  const Tensor* tensor = file->find("x");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->shape, (std::vector<int64_t>{4, 2}));
  EXPECT_EQ(0, std::memcmp(tensor->data.data(), values.data(), 32));
}

}  // namespace
}  // namespace tern

// Broken, foreign and hostile GGUF files: each is refused with words that say what is wrong.

#include <gtest/gtest.h>

#include <fstream>

#include "engine/io/tensor_file.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

using testing::ByteVector;
using testing::GgufKind;
using testing::GgufWriter;

class MalformedGguf : public ::testing::Test {
 protected:
  std::string error_of(const ByteVector& bytes) {
    std::ofstream(folder_ / "bad.gguf", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    const auto file = TensorFile::open(folder_ / "bad.gguf");
    if (file) {
      return "no error";
    }
    EXPECT_NE(file.error().message.find("bad.gguf: "), std::string::npos) << file.error().message;
    return file.error().message;
  }
  std::string error_of(const GgufWriter& writer) { return error_of(writer.bytes()); }
  std::string error_of_text(std::string_view text) {
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    return error_of(ByteVector(bytes, bytes + text.size()));
  }

  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part)                                            \
  do {                                                                    \
    const std::string found = (text);                                     \
    EXPECT_NE(found.find(part), std::string::npos) << "found: " << found; \
  } while (false)

GgufWriter small_model() {
  GgufWriter writer;
  writer.set_string("general.architecture", "llama");
  writer.set_strings("tokens", {"a", "bc"});
  writer.add_f32("a", {8}, std::vector<float>(8, 1));
  writer.add_f32("b", {8, 2}, std::vector<float>(16, 2));
  return writer;
}

TEST_F(MalformedGguf, TheFilesOfTheseTestsAreGoodWhereNotBroken) {
  EXPECT_EQ(error_of(small_model()), "no error");
}

TEST_F(MalformedGguf, OtherKindsOfFilesAreNamed) {
  EXPECT_HAS(error_of_text(""), "an empty file");
  EXPECT_HAS(error_of_text("hello, world"), "expected a GGUF file");
  EXPECT_HAS(error_of_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull");
  EXPECT_HAS(error_of_text("tjgg...."), "before GGUF");
  EXPECT_HAS(error_of_text("<!DOCTYPE html><html>"), "a web page");
  EXPECT_HAS(error_of_text(std::string_view("\x40\0\0\0\0\0\0\0{\"a\":", 14)), "safetensors");
}

TEST_F(MalformedGguf, OtherVersionsAreNamed) {
  GgufWriter writer = small_model();
  writer.set_version(1);
  EXPECT_HAS(error_of(writer), "found version 1");
  writer.set_version(4);
  EXPECT_HAS(error_of(writer), "found version 4");
  writer.set_version(0x03000000);
  EXPECT_HAS(error_of(writer), "big-endian");
  EXPECT_HAS(error_of_text("FUGG\0\0\0\3"), "big-endian");
}

TEST_F(MalformedGguf, ImpossibleCountsAreRefused) {
  GgufWriter writer = small_model();
  writer.set_tensor_count((uint64_t{1} << 20) + 1);
  EXPECT_HAS(error_of(writer), "at most 1048576 tensors");
  writer.set_tensor_count(1000000);
  EXPECT_HAS(error_of(writer), "1000000 tensors need");
  writer = small_model();
  writer.set_key_count(UINT64_MAX - 1);
  EXPECT_HAS(error_of(writer), "at most 1048576 keys");
  writer.set_key_count(100000);
  EXPECT_HAS(error_of(writer), "100000 keys need");
}

// Cut at every byte: never accepted, and always told to be incomplete.
TEST_F(MalformedGguf, AFileCutAnywhereIsIncomplete) {
  GgufWriter writer = small_model();
  writer.add_tensor("c", 36, {128}, testing::encode_i2s(std::vector<int8_t>(128, 0), 1));
  writer.set_pad_last(false);
  const ByteVector whole = writer.bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string message =
        error_of(ByteVector(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    ASSERT_NE(message.find("download it again"), std::string::npos) << size << ": " << message;
  }
  EXPECT_EQ(error_of(whole), "no error");
}

TEST_F(MalformedGguf, MissingBytesAreCounted) {
  ByteVector bytes = small_model().bytes();
  bytes.erase(bytes.end() - 17, bytes.end());
  EXPECT_HAS(error_of(bytes), "at least 17 bytes are missing");
}

ByteVector value_of_kind(uint32_t kind) {
  ByteVector out;
  testing::put(out, kind);
  return out;
}

TEST_F(MalformedGguf, BrokenValuesNameTheirKey) {
  const auto with = [](const ByteVector& value) {
    GgufWriter writer;
    writer.set_raw("some.key", value);
    writer.set_string("filler", std::string(200, 'x'));
    return writer;
  };
  ByteVector value = value_of_kind(8);
  testing::put(value, uint64_t{65} << 20);
  EXPECT_HAS(error_of(with(value)), "key some.key: expected a text of at most 67108864 bytes");

  value = value_of_kind(8);
  testing::put(value, UINT64_MAX);
  EXPECT_HAS(error_of(with(value)), "key some.key: expected a text of at most");

  value = value_of_kind(9);
  testing::put(value, uint32_t{4});
  testing::put(value, UINT64_MAX / 4);
  EXPECT_HAS(error_of(with(value)), "key some.key: expected an array of");

  value = value_of_kind(9);
  testing::put(value, uint32_t{8});
  testing::put(value, uint64_t{1000});
  EXPECT_HAS(error_of(with(value)), "expected an array of 1000 values");

  value = value_of_kind(9);
  testing::put(value, uint32_t{9});
  testing::put(value, uint64_t{1});
  EXPECT_HAS(error_of(with(value)), "key some.key: arrays of arrays are not supported");

  value = value_of_kind(9);
  testing::put(value, uint32_t{13});
  testing::put(value, uint64_t{1});
  EXPECT_HAS(error_of(with(value)), "key some.key: expected a value type from 0 to 12, found 13");

  EXPECT_HAS(error_of(with(value_of_kind(99))), "found 99");

  value = value_of_kind(7);
  testing::put(value, uint8_t{2});
  EXPECT_HAS(error_of(with(value)), "key some.key: expected a boolean");

  value = value_of_kind(10);
  testing::put(value, uint64_t{1} << 63);
  EXPECT_HAS(error_of(with(value)), "key some.key: expected an integer below 2^63");
}

TEST_F(MalformedGguf, BrokenKeysAreRefused) {
  GgufWriter writer;
  writer.set_int("twice", 1);
  writer.set_int("twice", 2);
  EXPECT_HAS(error_of(writer), "key twice occurs twice");
  writer = GgufWriter();
  writer.set_int("", 1);
  EXPECT_HAS(error_of(writer), "found an empty text");
  writer = GgufWriter();
  writer.set_int("\x1B[2J", 1);
  writer.set_int("\x1B[2J", 1);
  EXPECT_HAS(error_of(writer), "\\x1B[2J");  // no control character reaches the terminal
}

TEST_F(MalformedGguf, AlignmentsThatAreNoneAreRefused) {
  for (const int64_t alignment : {0, 1, 4, 24, 33, 2147483647}) {
    GgufWriter writer;
    writer.set_int("general.alignment", alignment);
    writer.add_f32("a", {1}, {1});
    EXPECT_HAS(error_of(writer), "general.alignment: expected a power of two");
  }
  GgufWriter writer;
  writer.set_string("general.alignment", "32");
  EXPECT_HAS(error_of(writer), "general.alignment");
  writer = GgufWriter();
  writer.set_int("general.alignment", int64_t{1} << 62, GgufKind::kUint64);
  EXPECT_HAS(error_of(writer), "general.alignment");
}

TEST_F(MalformedGguf, BrokenShapesNameTheirTensor) {
  const auto with = [](const std::vector<uint64_t>& shape, uint32_t type = 0) {
    GgufWriter writer;
    writer.add_tensor("x", type, shape, ByteVector(256));
    return writer;
  };
  EXPECT_HAS(error_of(with({})), "tensor x: expected 1 to 4 dimensions, found 0");
  EXPECT_HAS(error_of(with({1, 1, 1, 1, 1})), "found 5");
  EXPECT_HAS(error_of(with({4, 0})), "tensor x: dimension 1 is 0");
  EXPECT_HAS(error_of(with({uint64_t{1} << 63})), "more than 2^63");
  EXPECT_HAS(error_of(with({uint64_t{1} << 32, uint64_t{1} << 32})), "more than 2^63");
  EXPECT_HAS(error_of(with({uint64_t{1} << 62})), "tensor x");  // times 4 bytes is more than 2^64
  EXPECT_HAS(error_of(with({48, 2}, 8)),
             "tensor x: expected rows of a multiple of 32 weights for Q8_0, found 48 x 2");
  EXPECT_HAS(error_of(with({128, 2}, 35)), "multiple of 256 weights for TQ2_0");
}

TEST_F(MalformedGguf, BrokenOffsetsNameTheirTensor) {
  GgufWriter writer = small_model();
  writer.set_offset(1, 48);
  EXPECT_HAS(error_of(writer), "tensor b: offset 48 is not a multiple of 32");
  writer.set_offset(1, 1 << 20);
  EXPECT_HAS(error_of(writer), "are missing");
  writer.set_offset(1, UINT64_MAX - 31);
  EXPECT_HAS(error_of(writer), "tensor b: offset 18446744073709551584 is beyond any file");
  writer = small_model();
  writer.set_offset(1, 0);
  EXPECT_HAS(error_of(writer), "overlap");
  writer = small_model();
  writer.set_offset(0, 32);
  writer.set_offset(1, 0);  // b's 64 bytes reach into a
  EXPECT_HAS(error_of(writer), "tensor b: F32, 8 x 2, needs 64 bytes");
}

TEST_F(MalformedGguf, DuplicateTensorsAreRefused) {
  GgufWriter writer = small_model();
  writer.add_f32("a", {1}, {1});
  EXPECT_HAS(error_of(writer), "tensor a occurs twice");
}

TEST_F(MalformedGguf, LongTensorNamesAreRefused) {
  GgufWriter writer;
  writer.add_f32(std::string(1025, 'n'), {1}, {1});
  EXPECT_HAS(error_of(writer), "at most 1024 bytes, found one of 1025");
}

// A file whose tensors all have this type id, this shape and this size.
GgufWriter foreign(uint32_t type, const std::vector<uint64_t>& shape, size_t bytes) {
  GgufWriter writer;
  writer.add_f32("norm", {1}, {1});
  writer.add_tensor("w1", type, shape, ByteVector(bytes));
  writer.add_tensor("w2", type, shape, ByteVector(bytes));
  return writer;
}

TEST_F(MalformedGguf, ForeignTypesAreNamedWithWhatToDo) {
  const std::tuple<uint32_t, const char*, const char*> cases[] = {
      {9, "Q8_1", "llama.cpp"},    {15, "Q8_K", "llama.cpp"},     {19, "IQ1_S", "llama.cpp"},
      {23, "IQ4_XS", "llama.cpp"}, {29, "IQ1_M", "llama.cpp"},    {31, "Q4_0_4_4", "removed"},
      {40, "NVFP4", "llama.cpp"},  {136, "Q8_K64", "ik_llama"},   {137, "IQ2_K", "ik_llama"},
      {77, "no format", "I2_S"},   {155, "ik_llama.cpp", "I2_S"}, {4000000000, "no format", ""}};
  for (const auto& [type, name, who] : cases) {
    const std::string message = error_of(foreign(type, {256, 4}, 640));
    EXPECT_HAS(message, "tensor w1 and 1 more");
    EXPECT_HAS(message, "type id " + std::to_string(type));
    EXPECT_HAS(message, name);
    EXPECT_HAS(message, who);
    EXPECT_HAS(message, " get ");
  }
}

// Ids that several programs use: the sizes say which it is.
TEST_F(MalformedGguf, CollidingTypesAreToldApartBySize) {
  const std::tuple<uint32_t, size_t, const char*> cases[] = {
      {36, 4096 / 32 * 18, "IQ4_NL_4_4"},
      {37, 4096, "I8_S"},
      {37, 4096 / 32 * 18, "IQ4_NL_4_8"},
      {38, 4096 / 4 + 32, "TL1"},
      {38, 4096 / 32 * 18, "IQ4_NL_8_8"},
      {39, 960 + 32, "TL2"},  // 426 bytes of triples, 512 of pairs, padded
      {42, 960 + 32, "TL2"},
      {142, 4096 / 4 + 8 * 4, "IQ2_TN"},
      {143, 4096 / 64 * 13 + 8 * 2, "IQ1_TN"}};
  for (const auto& [type, bytes, name] : cases) {
    const std::string message = error_of(foreign(type, {512, 8}, bytes));
    EXPECT_HAS(message, "type id " + std::to_string(type) + ": the sizes fit " + name);
  }
}

// bitnet.cpp's lookup-table formats depend on a file that is not in the model: the message says which file to get instead.
TEST_F(MalformedGguf, LookupTableFormatsAreRefusedWithTheFileToGet) {
  // The seven matrices of a layer of BitNet-b1.58-2B-4T, in numbers of rows and columns.
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{2560, 2560}, {640, 2560},  {640, 2560},
                                                       {2560, 2560}, {6912, 2560}, {6912, 2560},
                                                       {2560, 6912}};
  const auto tl1 = [](uint64_t rows, uint64_t cols) { return rows * cols / 4 + 32; };
  // 256 columns of pairs of weights in 4 bits, the others of triples in 5.
  const auto tl2 = [](uint64_t rows, uint64_t cols) {
    const uint64_t codes = rows * (cols - 256) / 3 * 5 / 8 + rows * 256 / 2 * 4 / 8;
    return (codes + 31) / 32 * 32 + 32;
  };
  const auto refusal = [&](uint32_t type, auto bytes_of) {
    GgufWriter writer;
    int next = 0;
    for (const auto& [rows, cols] : kShapes) {
      writer.add_tensor("w" + std::to_string(next++), type, {cols, rows},
                        ByteVector(bytes_of(rows, cols)));
    }
    return error_of(writer);
  };
  for (const auto& [type, name, message] :
       {std::tuple(38U, "TL1", refusal(38, tl1)), std::tuple(39U, "TL2", refusal(39, tl2)),
        std::tuple(42U, "TL2", refusal(42, tl2))}) {
    EXPECT_HAS(message, "type id " + std::to_string(type) + ": the sizes fit " + name);
    EXPECT_HAS(message, "bitnet.cpp");
    EXPECT_HAS(message, "kernel_config.ini");
    EXPECT_HAS(message, "get the I2_S file of this model");
  }
}

TEST_F(MalformedGguf, OurOwnFormatsAmongCollidingTypesAreRead) {
  const std::tuple<uint32_t, size_t, const char*> cases[] = {
      {42, 4096 / 64 * 18, "Q2_0"},    {42, 4096 / 128 * 34, "Q2_0/128"},
      {42, 4096 / 256 * 42, "STQ1_0"}, {43, 4096 / 256 * 42, "STQ1_0"},
      {142, 4096 / 128 * 34, "PQ2_0"}, {143, 4096 / 128 * 28, "PTQ1_0"},
      {39, 4096 / 32 * 17, "MXFP4"}};
  for (const auto& [type, bytes, name] : cases) {
    foreign(type, {512, 8}, bytes).save(folder_ / "ours.gguf");
    const auto file = TensorFile::open(folder_ / "ours.gguf");
    ASSERT_TRUE(file.has_value()) << file.error().message;
    EXPECT_EQ(file->find("w2")->format->name, name);
    // Where more than one of our formats goes by the id, the user is told which was taken.
    EXPECT_EQ(file->notices().size(), type == 42 ? 1U : 0U);
  }
}

TEST_F(MalformedGguf, CollidingTypesThatFitNothingListTheCandidates) {
  const std::string message = error_of(foreign(42, {512, 8}, 999));
  EXPECT_HAS(message, "fit none of them");
  EXPECT_HAS(message, "Q2_0;");
  EXPECT_HAS(message, "Q2_0/128;");
  EXPECT_HAS(message, "STQ1_0");
  EXPECT_HAS(message, "TL2");
  EXPECT_HAS(error_of(foreign(36, {512, 8}, 999 + 100)), "I2_S");
}

TEST_F(MalformedGguf, OneTensorThatDoesNotFitRulesACandidateOut) {
  GgufWriter writer = foreign(42, {512, 8}, 4096 / 64 * 18);
  writer.add_tensor("w3", 42, {512, 8}, ByteVector(4096 / 128 * 34));
  EXPECT_HAS(error_of(writer), "fit none of them");
}

// A file of both is damaged, whatever the names of its formats.
TEST_F(MalformedGguf, SizesOfBothMeaningsOfId39FitNone) {
  GgufWriter writer = foreign(39, {512, 8}, 4096 / 32 * 17);
  writer.add_tensor("w3", 39, {512, 8}, ByteVector(992));
  const std::string message = error_of(writer);
  EXPECT_HAS(message, "fit none of them");
  EXPECT_HAS(message, "MXFP4");
  EXPECT_HAS(message, "TL2");
}

// 256 columns take 68 bytes in PQ2_0 and in IQ2_TN: a file of nothing else could be either.
TEST_F(MalformedGguf, AForeignFormatThatFitsAsWellIsNotOverlooked) {
  const std::string message = error_of(foreign(142, {256, 8}, size_t{8} * 68));
  EXPECT_HAS(message, "fit more than one: PQ2_0; IQ2_TN");
  GgufWriter named = foreign(142, {256, 8}, size_t{8} * 68);
  named.set_int("general.file_type", 141);  // PQ2_0's
  EXPECT_EQ(error_of(named), "no error");
  GgufWriter writer = foreign(142, {256, 8}, size_t{8} * 68);
  writer.add_tensor("w3", 142, {512, 1}, ByteVector(4 * 34));  // IQ2_TN: 132
  writer.set_pad_last(false);
  EXPECT_EQ(error_of(writer), "no error");
}

TEST_F(MalformedGguf, ATensorOfOneBlockCanFitSeveral) {
  // 64 rows of one group of 64 are 1152 bytes in Q2_0 only; a file of tiny tensors may fit more than one.
  GgufWriter writer;
  writer.set_alignment(4096);
  writer.add_tensor("w", 42, {256}, ByteVector(72));
  EXPECT_HAS(error_of(writer), "fit more than one");
}

}  // namespace
}  // namespace tern

// The GGUF reader against files laid out by hand.

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <numeric>

#include "engine/io/tensor_file.h"
#include "tests/support/gguf_writer.h"

namespace tern {
namespace {

using testing::ByteVector;
using testing::GgufKind;
using testing::GgufWriter;

class GgufTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              (std::string("tern-gguf-test-") + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<TensorFile> open(const GgufWriter& writer, const OpenOptions& options = {}) {
    writer.save(folder_ / "tiny.gguf");
    return TensorFile::open(folder_ / "tiny.gguf", options);
  }

  std::filesystem::path folder_;
};

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
  for (const auto& [key, value] :
       std::initializer_list<std::pair<std::string_view, int64_t>>{{"u8", 200},
                                                                   {"i8", -100},
                                                                   {"u16", 60000},
                                                                   {"i16", -30000},
                                                                   {"u32", 4000000000},
                                                                   {"i32", -2000000000},
                                                                   {"u64", int64_t{1} << 60},
                                                                   {"i64", -(int64_t{1} << 60)}}) {
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

}  // namespace
}  // namespace tern

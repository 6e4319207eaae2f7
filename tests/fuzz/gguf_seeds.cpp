// Writes the seeds of the GGUF corpus into a folder: small files that reach every part of the reader. Not part of any build
// by default: cmake --build BUILD --target gguf_seeds.

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/gguf_writer.h"

namespace tern::testing {
namespace {

GgufWriter all_keys() {
  GgufWriter writer;
  writer.set_string("general.architecture", "bitnet-b1.58");
  writer.set_int("u8", 1, GgufKind::kUint8);
  writer.set_int("i8", -1, GgufKind::kInt8);
  writer.set_int("u16", 2, GgufKind::kUint16);
  writer.set_int("i16", -2, GgufKind::kInt16);
  writer.set_int("i32", -3, GgufKind::kInt32);
  writer.set_int("u64", 4, GgufKind::kUint64);
  writer.set_int("i64", -4, GgufKind::kInt64);
  writer.set_float("f32", 0.5);
  writer.set_float("f64", 0.25, GgufKind::kFloat64);
  writer.set_bool("bool", true);
  writer.set_ints("ints", {1, 2});
  writer.set_floats("floats", {0.5});
  writer.set_bools("bools", {true, false});
  writer.set_strings("strings", {"a", "\xC3\xA9", ""});
  return writer;
}

GgufWriter ternary() {
  const std::vector<int8_t> trits(512, 1);
  GgufWriter writer;
  writer.add_tensor("i2s", 36, {128, 4}, encode_i2s(trits, 1));
  writer.add_tensor("tq1", 34, {256, 2}, encode_tq1_0(trits, {1, 2}));
  writer.add_tensor("tq2", 35, {256, 2}, encode_tq2_0(trits, {1, 2}));
  writer.set_pad_last(false);
  return writer;
}

GgufWriter dense() {
  GgufWriter writer;
  writer.set_version(2);
  writer.set_alignment(64);
  writer.add_f32("f32", {2, 1, 3, 1}, std::vector<float>(6, 1));
  writer.add_f16("f16", {3}, {1, 2, 3});
  writer.add_tensor("bf16", 30, {2}, ByteVector(4));
  writer.add_tensor("q8_0", 8, {32}, ByteVector(34));
  writer.add_tensor("q4_0", 2, {32}, ByteVector(18));
  writer.add_tensor("q4_k", 12, {256}, ByteVector(144));
  writer.add_tensor("q6_k", 14, {256}, ByteVector(210));
  return writer;
}

GgufWriter foreign(uint32_t type, size_t bytes) {
  GgufWriter writer;
  writer.add_tensor("w", type, {256, 4}, ByteVector(bytes));
  return writer;
}

GgufWriter split() {
  GgufWriter writer;
  writer.set_int("split.no", 0, GgufKind::kUint16);
  writer.set_int("split.count", 2, GgufKind::kUint16);
  writer.set_int("split.tensors.count", 2, GgufKind::kInt32);
  return writer;
}

}  // namespace
}  // namespace tern::testing

int main(int argc, char** argv) {
  using namespace tern::testing;
  if (argc != 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  all_keys().save(folder / "keys.gguf");
  ternary().save(folder / "ternary.gguf");
  dense().save(folder / "dense.gguf");
  split().save(folder / "split.gguf");
  foreign(42, 288).save(folder / "type42_g64.gguf");
  foreign(42, 168).save(folder / "type42_stq.gguf");
  foreign(39, 544).save(folder / "type39_mxfp4.gguf");
  foreign(36, 576).save(folder / "type36_iq4nl.gguf");
  foreign(13, 704).save(folder / "type13.gguf");
  return 0;
}

// Writes the seeds of the corpora gguf and inspect: small files that reach every part of the reader and of the configuration.
// Not part of any build by default: cmake --build BUILD --target gguf_seeds; gguf_seeds tests/fuzz/corpus.

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

// The kernels' own layouts, scales of each kind, and a split head.
GgufWriter packed() {
  GgufWriter writer;
  writer.set_alignment(64);
  writer.set_int("tern.packed.version", 1);
  writer.set_bool("tern.packed.bitnet", true);
  writer.set_ints("tern.packed.two_bit", {32, 4});
  writer.set_ints("tern.packed.base3", {40, 4});
  writer.set_ints("tern.packed.bitplanes", {8, 64});
  writer.set_ints("tern.packed.sign", {64, 4});
  constexpr uint32_t kFirst = 0x304E5254;
  constexpr size_t kBytes[] = {1024, 1024, 512, 512};  // 33 x 128, 33 x 128, 9 x 128, 33 x 64
  for (uint32_t i = 0; i < 4; ++i) {
    const std::string name = "w" + std::to_string(i);
    const std::vector<uint64_t> shape = {i == 3 ? 64U : 128U, i == 2 ? 9U : 33U};
    writer.add_tensor(name, kFirst + i, shape, ByteVector(i < 1 ? 2 * kBytes[i] : kBytes[i]));
    if (i % 2 == 0) {
      writer.add_f32(name + ".scales", {1}, {0.5F});
    } else {
      writer.add_f32(name + ".scales", {shape[0] / 64, shape[1]},
                     std::vector<float>(shape[0] / 64 * shape[1], 0.25F));
    }
  }
  writer.add_tensor("head", kFirst + 4, {256, 2}, ByteVector(2 * (192 + 64 + 8)));
  return writer;
}

GgufWriter split() {
  GgufWriter writer;
  writer.set_int("split.no", 0, GgufKind::kUint16);
  writer.set_int("split.count", 2, GgufKind::kUint16);
  writer.set_int("split.tensors.count", 2, GgufKind::kInt32);
  return writer;
}

// What read_config asks for, with every optional key, and an embedding; the layers are not looked at.
GgufWriter configured(const std::string& architecture) {
  const std::string prefix = architecture + ".";
  GgufWriter writer;
  writer.set_string("general.architecture", architecture);
  writer.set_int(prefix + "block_count", 2);
  writer.set_int(prefix + "embedding_length", 8);
  writer.set_int(prefix + "feed_forward_length", 16);
  writer.set_int(prefix + "context_length", 16384);
  writer.set_int(prefix + "attention.head_count", 2);
  writer.set_int(prefix + "attention.head_count_kv", 1);
  writer.set_int(prefix + "attention.key_length", 4);
  writer.set_int(prefix + "attention.value_length", 4);
  writer.set_float(prefix + "attention.layer_norm_rms_epsilon", 1e-5);
  writer.set_int(prefix + "rope.dimension_count", 4);
  writer.set_float(prefix + "rope.freq_base", 10000);
  writer.set_string(prefix + "rope.scaling.type", "yarn");
  writer.set_float(prefix + "rope.scaling.factor", 4);
  writer.set_int(prefix + "rope.scaling.original_context_length", 4096);
  writer.add_f32("token_embd.weight", {8, 3}, std::vector<float>(24));
  writer.add_f32("rope_freqs.weight", {2}, {1, 8});
  return writer;
}

}  // namespace
}  // namespace tern::testing

int main(int argc, char** argv) {
  using namespace tern::testing;
  if (argc != 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  for (const char* architecture : {"bitnet", "bitnet-b1.58", "llama", "qwen3"}) {
    const std::string name = std::string(architecture) + ".gguf";
    configured(architecture).save(std::filesystem::path(argv[1]) / "inspect" / name);
  }
  const std::filesystem::path folder = std::filesystem::path(argv[1]) / "gguf";
  all_keys().save(folder / "keys.gguf");
  ternary().save(folder / "ternary.gguf");
  dense().save(folder / "dense.gguf");
  split().save(folder / "split.gguf");
  packed().save(folder / "packed.gguf");
  foreign(42, 288).save(folder / "type42_g64.gguf");
  foreign(42, 168).save(folder / "type42_stq.gguf");
  foreign(39, 544).save(folder / "type39_mxfp4.gguf");
  foreign(36, 576).save(folder / "type36_iq4nl.gguf");
  foreign(13, 704).save(folder / "type13.gguf");
  return 0;
}

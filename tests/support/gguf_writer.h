#pragma once
// Makes GGUF files for tests, from the published layouts and with none of the engine's code, so that the reader is checked
// against an independent description.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tern::testing {

using ByteVector = std::vector<std::byte>;

// The number types of the metadata, by their number in the file.
enum class GgufKind : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// Collects keys and tensors, then lays them out as a file.
//
//   GgufWriter writer;
//   writer.set_string("general.architecture", "llama");
//   writer.add_f32("output_norm.weight", {64}, values);
//   writer.add_tensor("blk.0.attn_q.weight", 35, {256, 64}, encode_tq2_0(trits, scales));
//   writer.save(path);
//
// It writes what it is told, right or wrong: shapes, ids and bytes need not fit each other.
class GgufWriter {
 public:
  // Metadata. set_int's default type is the one that model files use most.
  void set_int(std::string_view key, int64_t value, GgufKind kind = GgufKind::kUint32);
  void set_float(std::string_view key, double value, GgufKind kind = GgufKind::kFloat32);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_ints(std::string_view key, const std::vector<int64_t>& values,
                GgufKind kind = GgufKind::kInt32);
  void set_floats(std::string_view key, const std::vector<double>& values,
                  GgufKind kind = GgufKind::kFloat32);
  void set_bools(std::string_view key, const std::vector<bool>& values);
  void set_strings(std::string_view key, const std::vector<std::string>& values);
  // A key with bytes as they come after the key's name: the type's number, then the value.
  void set_raw(std::string_view key, const ByteVector& type_and_value);

  // Tensors; `shape` is fastest first, as in the file. Data lie in the order of the calls, each aligned.
  void add_tensor(std::string_view name, uint32_t ggml_type, const std::vector<uint64_t>& shape,
                  ByteVector data);
  void add_f32(std::string_view name, const std::vector<uint64_t>& shape,
               const std::vector<float>& values);
  void add_f16(std::string_view name, const std::vector<uint64_t>& shape,
               const std::vector<float>& values);

  // For broken files.
  void set_version(uint32_t version) { version_ = version; }
  void set_tensor_count(uint64_t count) { forced_tensor_count_ = count; }
  void set_key_count(uint64_t count) { forced_key_count_ = count; }
  void set_offset(size_t tensor,
                  uint64_t offset);  // what the index says; the data stay where they are
  // Also writes the key, unless it is 32.
  void set_alignment(uint64_t alignment);
  void set_pad_last(bool pad) { pad_last_ = pad; }  // whether the file's last tensor is padded too

  ByteVector bytes() const;
  void save(const std::filesystem::path& path) const;

 private:
  struct StoredTensor {
    std::string name;
    uint32_t type;
    std::vector<uint64_t> shape;
    ByteVector data;
    uint64_t forced_offset = UINT64_MAX;
  };

  uint32_t version_ = 3;
  uint64_t alignment_ = 32;
  uint64_t forced_tensor_count_ = UINT64_MAX;
  uint64_t forced_key_count_ = UINT64_MAX;
  bool pad_last_ = true;
  uint64_t key_count_ = 0;
  ByteVector keys_;
  std::vector<StoredTensor> tensors_;
};

// Little-endian bytes of a number, and of a text with its length before it.
template <class T>
void put(ByteVector& out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}
void put_text(ByteVector& out, std::string_view text);

// Nearest half, ties to even.
uint16_t half_bits(float value);

// Encoders of -1, 0, 1, written from the descriptions of the layouts.
// I2_S in its default 128-block layout: trits.size() a multiple of 128, one scale.
ByteVector encode_i2s(const std::vector<int8_t>& trits, float scale);
// Written on ARM: blocks of 64.
ByteVector encode_i2s_arm64(const std::vector<int8_t>& trits, float scale);
// Four rows in a byte: rows a multiple of 4.
ByteVector encode_i2s_1x4(const std::vector<int8_t>& trits, size_t rows, float scale);
// Blocks of 256, one scale each: scales.size() == trits.size() / 256.
ByteVector encode_tq1_0(const std::vector<int8_t>& trits, const std::vector<float>& scales);
ByteVector encode_tq2_0(const std::vector<int8_t>& trits, const std::vector<float>& scales);
// Blocks of 32: scale = max|x| / 127, rounded to half.
ByteVector encode_q8_0(const std::vector<float>& values);

}  // namespace tern::testing

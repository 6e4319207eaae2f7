#pragma once
// Writes GGUF files (version 3), for `tern synth` and for converters: keys and an index of tensors first, then the tensors' data
// as a stream, so that memory does not grow with the file.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "engine/base/output_file.h"
#include "engine/base/result.h"
#include "engine/io/weight_format.h"

namespace tern {

// The types of values, by their number in the file.
enum class GgufType : uint32_t {
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

// A number that a file has a type for; its C++ type decides which.
template <class T>
concept GgufNumber = std::is_arithmetic_v<T> && sizeof(T) <= 8 && !std::same_as<T, long double>;

template <GgufNumber T>
constexpr GgufType gguf_type() {
  if constexpr (std::same_as<T, bool>) {
    return GgufType::kBool;
  } else if constexpr (std::floating_point<T>) {
    return sizeof(T) == 4 ? GgufType::kFloat32 : GgufType::kFloat64;
  } else {
    constexpr GgufType kUnsigned[] = {GgufType::kUint8, GgufType::kUint16, GgufType::kUint32,
                                      GgufType::kUint64};
    constexpr GgufType kSigned[] = {GgufType::kInt8, GgufType::kInt16, GgufType::kInt32,
                                    GgufType::kInt64};
    constexpr int kIndex = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return std::is_signed_v<T> ? kSigned[kIndex] : kUnsigned[kIndex];
  }
}

// What stands before the data: keys in the order of the calls, then tensors, whose data follow in the same order.
//
//   GgufHead head;
//   head.set("general.architecture", "llama");
//   head.set("llama.block_count", uint32_t{2});
//   head.add_tensor("output_norm.weight", f32, {64});
//
// Whoever calls it names each key and each tensor once.
class GgufHead {
 public:
  struct Tensor {
    std::string name;
    const WeightFormat* format;
    std::vector<int64_t> shape;  // fastest first: {columns, rows}
    uint64_t bytes;
  };

  void set(std::string_view key, std::string_view value);
  // Without it a string literal would become a bool.
  void set(std::string_view key, const char* value) { set(key, std::string_view(value)); }
  template <GgufNumber T>
  void set(std::string_view key, T value) {
    begin_value(key, gguf_type<T>());
    put_number(value);
  }
  void set_array(std::string_view key, std::span<const std::string> values);
  void set_array(std::string_view key, std::span<const std::string_view> values);
  void set_bools(std::string_view key,
                 const std::vector<bool>& values);  // which are no span of bools
  // Type and value as they lie in another file (TensorFile::stored_value).
  void set_stored(std::string_view key, std::span<const std::byte> type_and_value);
  // Where tensors begin: multiples of this power of two, at least 32. Written as a key if it is another.
  void set_alignment(uint32_t alignment);
  template <GgufNumber T>
  void set_array(std::string_view key, std::span<const T> values) {
    begin_array(key, gguf_type<T>(), values.size());
    for (const T value : values) {
      put_number(value);
    }
  }

  // Errors: rows of shape[0] weights do not divide into the format's blocks.
  Result<void> add_tensor(std::string_view name, const WeightFormat& format,
                          std::vector<int64_t> shape);

  std::span<const Tensor> tensors() const { return tensors_; }
  uint64_t data_bytes() const;  // of all tensors, each padded

  // The file up to the data, padded.
  std::string bytes() const;
  uint64_t padding_after(uint64_t size) const {
    return (alignment_ - size % alignment_) % alignment_;
  }

 private:
  template <class T>
  void put_number(T value) {
    if constexpr (std::same_as<T, bool>) {
      keys_.push_back(value ? '\1' : '\0');
    } else {
      keys_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  void begin_value(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType type, size_t count);

  std::string keys_;  // as they stand in the file
  uint64_t key_count_ = 0;
  uint64_t alignment_ = 32;  // the format's default, so that no key need name it
  std::vector<Tensor> tensors_;
};

// A file in the making: appears under its name when finish() succeeds, and not before.
class GgufWriter {
 public:
  // Errors: the disk has too little room for the whole file, or cannot be written.
  static Result<GgufWriter> create(OutputFile file, GgufHead head);

  // The next bytes of the tensor that is due; one call may not span two tensors. The tensor after it is due when its last
  // byte is written.
  Result<void> write(std::span<const std::byte> bytes);
  // All tensors must be complete.
  Result<void> finish();

  const GgufHead& head() const { return head_; }

 private:
  GgufWriter(GgufHead head, OutputFile file) : head_(std::move(head)), file_(std::move(file)) {}

  GgufHead head_;
  OutputFile file_;
  size_t due_ = 0;        // index of the tensor being written
  uint64_t written_ = 0;  // bytes of it so far
};

// Errors: the disk that holds `folder` has fewer than `bytes` left for this user.
Result<void> require_disk_space(const std::filesystem::path& folder, uint64_t bytes);

}  // namespace tern

#pragma once
// A model file as metadata and named tensors, whatever its container. Everything in it has been checked against the file's
// size: readers index without fear.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/file.h"
#include "engine/base/result.h"
#include "engine/io/weight_format.h"

namespace tern {

using MetaArray = std::variant<std::vector<int64_t>, std::vector<double>, std::vector<bool>,
                               std::vector<std::string_view>>;
// Integers of every width come as int64_t (a uint64 above its range is refused), floats as double.
// Strings point into the mapped file.
using MetaValue = std::variant<int64_t, double, bool, std::string_view, MetaArray>;

struct Tensor {
  std::string name;
  const WeightFormat* format = nullptr;
  std::vector<int64_t> shape;  // 1 to 4 dimensions, fastest first (GGUF order): shape[0] = columns
  std::span<const std::byte> data;
  int file = 0;                            // index into TensorFile::files()
  std::span<const std::byte> scales = {};  // of formats with scale_at

  int64_t cols() const { return shape[0]; }
  int64_t count() const;  // product of shape
  int64_t rows() const { return count() / cols(); }
};

// What format.unpack writes for a ternary tensor, wherever its scales lie.
bool unpack_rows(const Tensor& tensor, const WeightFormat& format, int64_t first_row,
                 int64_t row_count, int8_t* trits, float* scales);

// Text from a file for people's eyes: control characters and broken UTF-8 escaped, cut at `limit` bytes.
std::string printable(std::string_view text, size_t limit = 80);

struct OpenOptions {
  I2sLayout i2s_layout = I2sLayout::k128;
};

class TensorFile {
 public:
  // Opens a GGUF file (one file, or the first of a split set, whose other parts are opened too), or a Hugging Face model folder
  // (or a safetensors file in it). Errors name the file, the tensor or key, what was expected and what was found.
  static Result<TensorFile> open(const std::filesystem::path& path,
                                 const OpenOptions& options = {});

  const std::filesystem::path& path() const { return files_.front().path(); }
  std::span<const MappedFile> files() const { return files_; }
  const std::map<std::string, MetaValue, std::less<>>& metadata() const { return metadata_; }
  // A key's type and value as they lie in a GGUF file, to be carried to another; empty in other containers.
  std::span<const std::byte> stored_value(std::string_view key) const;
  std::span<const Tensor> tensors() const { return tensors_; }  // in file order
  const Tensor* find(std::string_view name) const;              // null if absent
  // Whether its weights lie in one of files(). Those of some formats become halves when the file is opened.
  bool holds(const Tensor& tensor) const;
  // Bytes of weights that do not.
  size_t converted_bytes() const;

  // Typed access to metadata. Absent keys give nullopt; a present key of another type is an error that says so.
  // get_int accepts only integers; get_float accepts floats and integers.
  Result<std::optional<int64_t>> get_int(std::string_view key) const;
  Result<std::optional<double>> get_float(std::string_view key) const;
  Result<std::optional<bool>> get_bool(std::string_view key) const;
  Result<std::optional<std::string_view>> get_string(std::string_view key) const;
  // Null if absent.
  template <class T>
  Result<const std::vector<T>*> get_array(std::string_view key) const;

  // Things worth telling the user that are not errors ("id 42 read as Q2_0 because ...").
  std::span<const std::string> notices() const { return notices_; }

 private:
  friend class GgufReader;
  friend class HuggingFaceReader;
  TensorFile() = default;

  std::vector<MappedFile> files_;
  std::map<std::string, MetaValue, std::less<>> metadata_;
  std::map<std::string, std::span<const std::byte>, std::less<>> stored_values_;
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::vector<std::string> notices_;
  // What metadata and tensors point to where no file holds it.
  std::deque<std::string> texts_;
  std::deque<std::vector<float>> numbers_;
  std::deque<std::vector<uint16_t>> halves_;
  std::deque<WeightFormat> formats_;
};

}  // namespace tern

#include "engine/io/tensor_file.h"

#include <array>
#include <functional>

#include "engine/base/printable.h"

namespace tern {
namespace {

template <class T>
constexpr std::string_view kKind = "strings";
template <>
constexpr std::string_view kKind<int64_t> = "integers";
template <>
constexpr std::string_view kKind<double> = "floats";
template <>
constexpr std::string_view kKind<bool> = "booleans";

std::string kind_of(const MetaValue& value) {
  constexpr std::array<std::string_view, 4> kScalars = {"an integer", "a float", "a boolean",
                                                        "a string"};
  if (value.index() < kScalars.size()) {
    return std::string(kScalars[value.index()]);
  }
  return std::visit(
      []<class T>(const std::vector<T>&) { return "an array of " + std::string(kKind<T>); },
      std::get<MetaArray>(value));
}

Error wrong_kind(const std::filesystem::path& path, std::string_view key, std::string_view expected,
                 const MetaValue& found) {
  return Error{path.string() + ": key " + std::string(key) + ": expected " + std::string(expected) +
               ", found " + kind_of(found) + "."};
}

}  // namespace

int64_t Tensor::count() const {
  int64_t product = 1;
  for (const int64_t size : shape) {
    product *= size;  // the container has checked that this fits
  }
  return product;
}

bool unpack_rows(const Tensor& tensor, const WeightFormat& format, int64_t first_row,
                 int64_t row_count, int8_t* trits, float* scales) {
  const int64_t cols = tensor.cols();
  if (format.scale_at != nullptr) {
    const bool one = format.cols_per_scale == 0;
    const int64_t groups = cols / format.scale_width(cols);
    for (int64_t i = 0; i < (one ? 1 : row_count * groups); ++i) {
      scales[i] = format.scale_at(tensor.scales.data(), one ? 0 : first_row * groups + i);
    }
  }
  return format.unpack(tensor.data, tensor.rows(), cols, first_row, row_count, trits, scales);
}

std::string printable(std::string_view text, size_t limit) {
  return printable_line(text, limit);
}

const Tensor* TensorFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

bool TensorFile::holds(const Tensor& tensor) const {
  const std::span<const std::byte> bytes = files_[static_cast<size_t>(tensor.file)].bytes();
  return std::less_equal<>()(bytes.data(), tensor.data.data()) &&
         std::less<>()(tensor.data.data(), bytes.data() + bytes.size());
}

size_t TensorFile::converted_bytes() const {
  size_t bytes = 0;
  for (const std::vector<float>& values : numbers_) {
    bytes += values.size() * sizeof(float);
  }
  for (const std::vector<uint16_t>& values : halves_) {
    bytes += values.size() * sizeof(uint16_t);
  }
  return bytes;
}

std::span<const std::byte> TensorFile::stored_value(std::string_view key) const {
  const auto found = stored_values_.find(key);
  return found == stored_values_.end() ? std::span<const std::byte>() : found->second;
}

Result<std::optional<int64_t>> TensorFile::get_int(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) {
    return std::optional<int64_t>();
  }
  if (const auto* value = std::get_if<int64_t>(&found->second)) {
    return std::optional(*value);
  }
  return wrong_kind(path(), key, "an integer", found->second);
}

Result<std::optional<double>> TensorFile::get_float(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) {
    return std::optional<double>();
  }
  if (const auto* value = std::get_if<double>(&found->second)) {
    return std::optional(*value);
  }
  if (const auto* value = std::get_if<int64_t>(&found->second)) {
    return std::optional(static_cast<double>(*value));
  }
  return wrong_kind(path(), key, "a number", found->second);
}

Result<std::optional<bool>> TensorFile::get_bool(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) {
    return std::optional<bool>();
  }
  if (const auto* value = std::get_if<bool>(&found->second)) {
    return std::optional(*value);
  }
  return wrong_kind(path(), key, "a boolean", found->second);
}

Result<std::optional<std::string_view>> TensorFile::get_string(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) {
    return std::optional<std::string_view>();
  }
  if (const auto* value = std::get_if<std::string_view>(&found->second)) {
    return std::optional(*value);
  }
  return wrong_kind(path(), key, "a string", found->second);
}

template <class T>
Result<const std::vector<T>*> TensorFile::get_array(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) {
    return static_cast<const std::vector<T>*>(nullptr);
  }
  if (const auto* array = std::get_if<MetaArray>(&found->second)) {
    if (const auto* values = std::get_if<std::vector<T>>(array)) {
      return values;
    }
  }
  return wrong_kind(path(), key, "an array of " + std::string(kKind<T>), found->second);
}

template Result<const std::vector<int64_t>*> TensorFile::get_array(std::string_view) const;
template Result<const std::vector<double>*> TensorFile::get_array(std::string_view) const;
template Result<const std::vector<bool>*> TensorFile::get_array(std::string_view) const;
template Result<const std::vector<std::string_view>*> TensorFile::get_array(std::string_view) const;

}  // namespace tern

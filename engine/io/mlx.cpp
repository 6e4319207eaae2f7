#include "engine/io/mlx.h"

#include <algorithm>
#include <cmath>

#include "engine/base/half.h"
#include "engine/io/formats.h"

namespace tern::mlx {
namespace {

using Json = nlohmann::json;
using safetensors::Entry;
using ScaleAt = float (*)(const std::byte*, int64_t);

// The number of `key`, which must be one of `allowed`.
Result<int64_t> number(const Json& object, const char* key,
                       std::initializer_list<int64_t> allowed) {
  const auto found = object.find(key);
  if (found != object.end() && found->is_number_integer()) {
    const auto value = found->get<int64_t>();
    if (std::ranges::find(allowed, value) != allowed.end()) {
      return value;
    }
  }
  std::string list;
  for (const int64_t value : allowed) {
    list += (list.empty() ? "" : ", ") + std::to_string(value);
  }
  return Error{std::string("key ") + key + ": expected one of " + list + ", found " +
               (found == object.end() ? "none" : printable(found->dump())) +
               "; quantise the model again with one of these."};
}

Result<Quantization::Scheme> read_scheme(const Json& object) {
  const auto mode = object.find("mode");
  if (mode != object.end() && *mode != "affine") {
    return Error{"key mode: expected affine, found " + printable(mode->dump()) +
                 "; quantise the model again in affine groups."};
  }
  Quantization::Scheme scheme;
  ASSIGN_OR_RETURN(scheme.group_size, number(object, "group_size", {32, 64, 128}));
  ASSIGN_OR_RETURN(scheme.bits, number(object, "bits", {2, 4, 8}));
  return scheme;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text;
}

std::string shape_text(const Entry& entry) {
  return shape_text(entry.shape) + " " + entry.dtype;
}

// Scales and biases: one number of the same type for each group.
Result<void> check_numbers(const std::optional<Entry>& entry, const char* name,
                           const std::vector<int64_t>& shape, const std::string& dtype) {
  if (!entry) {
    return Error{std::string("expected ") + name + " beside the codes, found none; the folder is " +
                 "incomplete: download it again."};
  }
  if (entry->shape != shape || entry->dtype != dtype) {
    return Error{std::string(name) + ": expected " + shape_text(shape) + " " + dtype +
                 " (one for each group of columns), found " + shape_text(*entry) +
                 "; bits and group_size in config.json do not fit, or the file is damaged."};
  }
  return {};
}

// The first group whose bias is not -scale: only then are the codes 0, 1, 2 the weights -d, 0, d.
std::optional<int64_t> group_off_grid(const Matrix& matrix, ScaleAt at) {
  for (int64_t i = 0; i < matrix.scales->count; ++i) {
    if (at(matrix.biases->data.data(), i) != -at(matrix.scales->data.data(), i)) {
      return i;
    }
  }
  return {};
}

// The fewest columns with a scale of their own that a ternary kernel reads; kernels/ calls it kQ8SumBlock.
constexpr int64_t kNarrowest = 64;

// Whether scales change within columns that ternary kernels treat alike: those of a row, or of kNarrowest.
bool differ_within(const Matrix& matrix, int64_t group_size, int64_t groups, ScaleAt at) {
  if (group_size >= kNarrowest) {
    return false;
  }
  const auto equal_in = [&](int64_t together) {
    const std::byte* scales = matrix.scales->data.data();
    for (int64_t i = 0; i < matrix.scales->count; ++i) {
      if (at(scales, i) != at(scales, i - i % groups % together)) {
        return false;
      }
    }
    return true;
  };
  const bool experts = matrix.weight->shape.size() > 2;  // packed one by one, as their format says
  const int64_t together = kNarrowest / group_size;
  return experts || !(equal_in(groups) || (groups % together == 0 && equal_in(together)));
}

Result<std::vector<uint16_t>> as_halves(const Matrix& matrix, const Quantization::Scheme& scheme,
                                        ScaleAt at) {
  const int64_t count = matrix.scales->count * scheme.group_size;
  const int64_t in_byte = 8 / scheme.bits;
  const unsigned mask = (1U << static_cast<unsigned>(scheme.bits)) - 1U;
  std::vector<uint16_t> halves(static_cast<size_t>(count));
  for (int64_t group = 0; group < matrix.scales->count; ++group) {
    const float scale = at(matrix.scales->data.data(), group);
    const float bias = at(matrix.biases->data.data(), group);
    // The largest code is farthest from the bias: if both ends fit, all weights do.
    if (!std::isfinite(half_to_float(float_to_half(bias))) ||
        !std::isfinite(half_to_float(float_to_half(scale * static_cast<float>(mask) + bias)))) {
      return Error{
          "group " + std::to_string(group) +
          ": expected weights within the range of half precision, found others; the file " +
          "is damaged."};
    }
    for (int64_t i = group * scheme.group_size; i < (group + 1) * scheme.group_size; ++i) {
      const auto byte =
          std::to_integer<unsigned>(matrix.weight->data[static_cast<size_t>(i / in_byte)]);
      const unsigned code = byte >> static_cast<unsigned>(i % in_byte * scheme.bits) & mask;
      halves[static_cast<size_t>(i)] = float_to_half(static_cast<float>(code) * scale + bias);
    }
  }
  return halves;
}

}  // namespace

Result<std::optional<Quantization>> Quantization::read(const Json& config) {
  auto found = config.find("quantization");
  if (found == config.end() || !found->is_object()) {
    // mlx-lm writes the same once more under the name that Hugging Face shows; other programs' say who they are.
    found = config.find("quantization_config");
    if (found == config.end() || !found->is_object() || found->contains("quant_method") ||
        !found->contains("group_size")) {
      return std::optional<Quantization>();
    }
  }
  Quantization out;
  const auto in = [](const Error& error, const std::string& key) {
    return error.in("config.json: key " + key);
  };
  auto all = read_scheme(*found);
  if (!all) {
    return in(all.error(), "quantization");
  }
  out.all_ = *all;
  for (const auto& [module, own] : found->items()) {
    if (own.is_boolean()) {
      out.own_[module] = own.get<bool>() ? std::optional(out.all_) : std::nullopt;
    } else if (own.is_object()) {
      auto scheme = read_scheme(own);
      if (!scheme) {
        return in(scheme.error(), "quantization: key " + printable(module));
      }
      out.own_[module] = *scheme;
    }
  }
  return std::optional(std::move(out));
}

const Quantization::Scheme* Quantization::of(const std::string& module) const {
  const auto found = own_.find(module);
  if (found == own_.end()) {
    return &all_;
  }
  return found->second ? &*found->second : nullptr;
}

namespace {

// Maple's: a scale for each row.
Result<Read> read_rows(const Matrix& matrix) {
  const Entry& alphas = *matrix.row_alpha;
  std::vector<int64_t> shape = matrix.weight->shape;
  shape.pop_back();
  if (alphas.shape != shape) {
    return Error{"row_alpha: expected " + shape_text(shape) + " (one for each row), found " +
                 shape_text(alphas) + "; the files do not belong together."};
  }
  Read out;
  out.tensor.format = formats::find_mlx(alphas.dtype, WeightFormat::kWholeRow);
  if (out.tensor.format == nullptr) {
    return Error{"row_alpha: expected F32, F16 or BF16, found " + alphas.dtype + "."};
  }
  constexpr int64_t kInWord = 16;
  out.tensor.shape.assign(matrix.weight->shape.rbegin(), matrix.weight->shape.rend());
  out.tensor.shape[0] *= kInWord;
  out.tensor.file = matrix.file;
  out.tensor.data = matrix.weight->data;
  out.tensor.scales = alphas.data;
  return out;
}

}  // namespace

Result<Read> read(const Matrix& matrix, const Quantization::Scheme* scheme, bool must_be_ternary) {
  const size_t dimensions = matrix.weight ? matrix.weight->shape.size() : 0;
  if (dimensions < 2 || dimensions > 3 || matrix.weight->dtype != "U32" ||
      matrix.weight->count == 0) {
    return Error{"weight: expected a matrix of U32 beside scales and biases, found " +
                 (matrix.weight ? shape_text(*matrix.weight) : "none") + "."};
  }
  if (matrix.row_alpha && !matrix.scales) {
    return read_rows(matrix);
  }
  if (scheme == nullptr) {
    return Error{
        "expected floats, as quantization in config.json says, found codes; the files do not "
        "belong together."};
  }
  // The data are in memory: it fits.
  const int64_t cols = matrix.weight->shape.back() * (32 / scheme->bits);
  if (cols % scheme->group_size != 0) {
    return Error{"expected columns in groups of " + std::to_string(scheme->group_size) +
                 ", found " + std::to_string(cols) +
                 "; bits and group_size in config.json do not fit."};
  }
  const int64_t groups = cols / scheme->group_size;
  std::vector<int64_t> numbers = matrix.weight->shape;
  numbers.back() = groups;
  const std::string dtype = matrix.scales ? matrix.scales->dtype : "F16";
  const WeightFormat* ternary = formats::find_mlx(dtype, scheme->group_size);
  if (ternary == nullptr) {
    return Error{"scales: expected F32, F16 or BF16, found " + dtype + "."};
  }
  RETURN_IF_ERROR(check_numbers(matrix.scales, "scales", numbers, dtype));
  RETURN_IF_ERROR(check_numbers(matrix.biases, "biases", numbers, dtype));
  Read out;
  out.tensor.shape.assign(matrix.weight->shape.rbegin(), matrix.weight->shape.rend());
  out.tensor.shape[0] = cols;
  out.tensor.file = matrix.file;
  if (scheme->bits == 2) {
    const std::optional<int64_t> off = group_off_grid(matrix, ternary->scale_at);
    if (off && must_be_ternary) {
      return Error{
          "row " + std::to_string(*off / groups) + ", group " + std::to_string(*off % groups) +
          ": expected a bias of -scale " +
          std::to_string(-ternary->scale_at(matrix.scales->data.data(), *off)) +
          " (weights -d, 0 and d), found " +
          std::to_string(ternary->scale_at(matrix.biases->data.data(), *off)) +
          "; Tern runs matrices of 2 bits only where they are ternary: quantise the model " +
          "to 4 or 8 bits."};
    }
    out.too_narrow = !off && must_be_ternary &&
                     differ_within(matrix, scheme->group_size, groups, ternary->scale_at);
    if (!off && !out.too_narrow) {
      out.tensor.format = ternary;
      out.tensor.data = matrix.weight->data;
      out.tensor.scales = matrix.scales->data;
      return out;
    }
  }
  out.tensor.format = &formats::kF16;
  ASSIGN_OR_RETURN(out.own, as_halves(matrix, *scheme, ternary->scale_at));
  return out;
}

}  // namespace tern::mlx

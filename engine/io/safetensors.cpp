#include "engine/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/half.h"
#include "engine/base/json_limits.h"
#include "engine/base/json_text.h"
#include "engine/io/file_kind.h"
#include "engine/io/tensor_file.h"

namespace tern::safetensors {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kLongestHeader = 100'000'000;
constexpr size_t kMostDimensions = 8;

struct Dtype {
  std::string_view name;
  int64_t bits;
};
constexpr Dtype kDtypes[] = {{"F64", 64}, {"I64", 64},    {"U64", 64},   {"F32", 32},
                             {"I32", 32}, {"U32", 32},    {"F16", 16},   {"BF16", 16},
                             {"I16", 16}, {"U16", 16},    {"I8", 8},     {"U8", 8},
                             {"BOOL", 8}, {"F8_E4M3", 8}, {"F8_E5M2", 8}};

// A non-negative integer, which JSON may spell in more than one way that the library accepts; nothing else will do.
Result<int64_t> whole_number(const Json& value, const char* what) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    return Error{std::string(what) + ": expected a whole number, found " + printable(value.dump()) +
                 "."};
  }
  return static_cast<int64_t>(value.get<uint64_t>());
}

// Of a file whose header cannot be read: what it is instead, if its bytes say so. Not asked of others, since eight bytes
// of a length may look like anything.
std::optional<Error> other_kind(std::span<const std::byte> file) {
  const std::optional<FileKind> kind = kind_of_file(file);
  if (!kind || kind->what == "a safetensors file") {
    return {};
  }
  return wrong_kind_of_file(file, "a safetensors file", "get the safetensors file of this model.");
}

Result<Json> read_header(std::span<const std::byte> file) {
  uint64_t length = 0;
  if (file.size() < sizeof length) {
    return other_kind(file).value_or(Error{"expected a safetensors file, found only " +
                                           std::to_string(file.size()) +
                                           " bytes: download it again."});
  }
  std::memcpy(&length, file.data(), sizeof length);
  if (length > kLongestHeader) {
    return other_kind(file).value_or(Error{
        "expected a header of at most " + std::to_string(kLongestHeader) + " bytes, found one of " +
        std::to_string(length) + ": this is no safetensors file, or it is damaged."});
  }
  if (length > file.size() - sizeof length) {
    return other_kind(file).value_or(
        Error{"expected a header of " + std::to_string(length) + " bytes, found only " +
              std::to_string(file.size() - sizeof length) +
              " before the end of the file: it was cut off on its way; download it again."});
  }
  const auto* text = reinterpret_cast<const char*>(file.data()) + sizeof length;
  Json header = parse_json({text, length});
  if (!header.is_object()) {
    const bool too_much = exceeds_json_limits({text, length});
    return other_kind(file).value_or(
        Error{std::string("expected a header that is a JSON object, found ") +
              (too_much ? "one of more values than a model has" : "something else") +
              ": the file is damaged."});
  }
  return header;
}

Result<void> read_shape(const Json& tensor, Entry& entry) {
  const auto shape = tensor.find("shape");
  if (shape == tensor.end() || !shape->is_array() || shape->size() > kMostDimensions) {
    return Error{"expected a shape of at most " + std::to_string(kMostDimensions) +
                 " dimensions, found " +
                 (shape == tensor.end() ? "none" : printable(shape->dump())) + "."};
  }
  for (const Json& dimension : *shape) {
    ASSIGN_OR_RETURN(const int64_t size, whole_number(dimension, "shape"));
    if (__builtin_mul_overflow(entry.count, size, &entry.count)) {
      return Error{"its dimensions multiply to more than 2^63 values: the file is damaged."};
    }
    entry.shape.push_back(size);
  }
  return {};
}

Result<void> read_data(const Json& tensor, std::span<const std::byte> data, Entry& entry) {
  const auto dtype = std::ranges::find(kDtypes, entry.dtype, &Dtype::name);
  if (dtype == std::end(kDtypes)) {
    return Error{"expected a dtype that safetensors has, found " + printable(entry.dtype) + "."};
  }
  const auto offsets = tensor.find("data_offsets");
  if (offsets == tensor.end() || !offsets->is_array() || offsets->size() != 2) {
    return Error{"expected two data_offsets, found none."};
  }
  ASSIGN_OR_RETURN(const int64_t begin, whole_number((*offsets)[0], "data_offsets"));
  ASSIGN_OR_RETURN(const int64_t end, whole_number((*offsets)[1], "data_offsets"));
  int64_t bits = 0;
  if (__builtin_mul_overflow(entry.count, dtype->bits, &bits) || end < begin ||
      end - begin != bits / 8) {
    return Error{"expected " + std::to_string(bits / 8) + " bytes for its shape in " + entry.dtype +
                 ", found the offsets " + std::to_string(begin) + " to " + std::to_string(end) +
                 ": the file is damaged."};
  }
  if (static_cast<uint64_t>(end) > data.size()) {
    return Error{"its data end at byte " + std::to_string(end) + ", but the file holds only " +
                 std::to_string(data.size()) + ": it was cut off on its way; download it again."};
  }
  entry.data = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  return {};
}

Result<void> refuse_overlaps(const std::vector<Entry>& entries) {
  std::vector<const Entry*> order;
  for (const Entry& entry : entries) {
    if (!entry.data.empty()) {
      order.push_back(&entry);
    }
  }
  std::ranges::sort(order, {}, [](const Entry* entry) { return entry->data.data(); });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->data.data() + order[i - 1]->data.size() > order[i]->data.data()) {
      return Error{"tensors " + printable(order[i - 1]->name) + " and " +
                   printable(order[i]->name) + " overlap: the file is damaged."};
    }
  }
  return {};
}

// Behind the tensors of a file there may lie another one, if parts of a model were joined by `cat`.
Result<void> refuse_joined_files(std::span<const std::byte> data,
                                 const std::vector<Entry>& entries) {
  const std::byte* end = data.data();
  for (const Entry& entry : entries) {
    end = entry.data.empty() ? end : std::max(end, entry.data.data() + entry.data.size());
  }
  const std::span<const std::byte> rest = data.subspan(static_cast<size_t>(end - data.data()));
  const std::optional<FileKind> kind = rest.empty() ? std::nullopt : kind_of_file(rest);
  if (kind && kind->what == "a safetensors file") {
    return Error{
        "the file is longer than its tensors, and goes on with another safetensors file: "
        "parts of a model were joined, which `cat` does not do. Keep the parts as they "
        "are, beside their model.safetensors.index.json."};
  }
  return {};
}

}  // namespace

Result<std::vector<Entry>> read(std::span<const std::byte> file) {
  ASSIGN_OR_RETURN(const Json header, read_header(file));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  const std::span<const std::byte> data = file.subspan(sizeof length + length);
  std::vector<Entry> entries;
  for (const auto& [name, tensor] : header.items()) {
    if (name == "__metadata__") {
      continue;
    }
    Entry entry;
    entry.name = name;
    if (tensor.is_object() && tensor.contains("dtype") && tensor["dtype"].is_string()) {
      entry.dtype = tensor["dtype"].get<std::string>();
    }
    Result<void> good = read_shape(tensor, entry);
    if (good) {
      good = read_data(tensor, data, entry);
    }
    if (!good) {
      return good.error().in("tensor " + printable(name));
    }
    entries.push_back(std::move(entry));
  }
  RETURN_IF_ERROR(refuse_overlaps(entries));
  RETURN_IF_ERROR(refuse_joined_files(data, entries));
  return entries;
}

Result<std::vector<Entry>> read(const MappedFile& file) {
  Result<std::vector<Entry>> entries = read(file.bytes());
  return entries ? std::move(entries)
                 : Result<std::vector<Entry>>(error_in_file(entries.error(), file.path()));
}

Result<std::vector<float>> numbers(const Entry& entry) {
  std::vector<float> values(static_cast<size_t>(entry.count));
  if (entry.dtype == "F32") {
    std::memcpy(values.data(), entry.data.data(), values.size() * sizeof(float));
    return values;
  }
  if (entry.dtype != "F16" && entry.dtype != "BF16") {
    return Error{"expected F32, F16 or BF16, found " + entry.dtype + "."};
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = 0;
    std::memcpy(&half, entry.data.data() + i * sizeof half, sizeof half);
    const uint32_t bits = uint32_t{half} << 16U;
    values[i] = entry.dtype == "F16" ? half_to_float(half) : std::bit_cast<float>(bits);
  }
  return values;
}

}  // namespace tern::safetensors

// GGUF, versions 2 and 3. A file is: magic, version, counts; key-value pairs; an index of tensors; padding; tensor data.
// Source: the GGUF specification in ggml's docs. Nothing that a file says is used before it has been checked against the
// file's size, in arithmetic that cannot wrap.

#include <algorithm>
#include <array>
#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <limits>

#include "engine/io/foreign_types.h"
#include "engine/io/tensor_file.h"

namespace tern {
namespace {

static_assert(std::endian::native == std::endian::little, "files are read in place");

constexpr uint64_t kMaxCount = uint64_t{1} << 20U;  // tensors, keys
constexpr uint64_t kMaxString = uint64_t{64} << 20U;
constexpr uint64_t kMaxName = 1024;
constexpr int64_t kMaxAlignment = int64_t{1} << 30U;
constexpr uint32_t kI2sType = 36;

using Bytes = std::span<const std::byte>;
using Metadata = std::map<std::string, MetaValue, std::less<>>;

std::string number(uint64_t value) {
  return std::to_string(value);
}

Error cut_off(uint64_t missing) {
  return Error{"the file ends too early, at least " + number(missing) +
               " bytes are missing: it was cut off on its way; download it again."};
}

// Reads a file from front to back, never past its end.
class Cursor {
 public:
  explicit Cursor(Bytes bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

  Result<Bytes> take(uint64_t size) {
    if (size > remaining()) {
      return cut_off(size - remaining());
    }
    const Bytes taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }

  template <class T>
  Result<T> read() {
    ASSIGN_OR_RETURN(const Bytes bytes, take(sizeof(T)));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  Result<std::string_view> read_string(uint64_t limit) {
    ASSIGN_OR_RETURN(const auto length, read<uint64_t>());
    if (length > limit) {
      return Error{"expected a text of at most " + number(limit) + " bytes, found one of " +
                   number(length) + ": the file is damaged; download it again."};
    }
    ASSIGN_OR_RETURN(const Bytes bytes, take(length));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  Bytes bytes_;
  size_t position_ = 0;
};

// Value types by their number in the file.
enum Kind : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

Error unknown_kind(uint32_t kind) {
  return Error{"expected a value type from 0 to 12, found " + number(kind) +
               ": the file is damaged, or newer than this program."};
}

// The file's number types, widened to what MetaValue holds.
template <class Stored, class Wide>
Result<Wide> read_number(Cursor& cursor) {
  ASSIGN_OR_RETURN(const Stored value, cursor.read<Stored>());
  if constexpr (std::is_same_v<Stored, uint64_t>) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Error{"expected an integer below 2^63, found " + number(value) + "."};
    }
  }
  return static_cast<Wide>(value);
}

Result<bool> read_bool(Cursor& cursor) {
  ASSIGN_OR_RETURN(const auto value, cursor.read<uint8_t>());
  if (value > 1) {
    return Error{"expected a boolean (0 or 1), found " + number(value) + "."};
  }
  return value == 1;
}

Result<std::string_view> read_text(Cursor& cursor) {
  return cursor.read_string(kMaxString);
}

// Calls use(reader), where reader(cursor) reads one value of this kind: the one place that maps kinds to types.
template <class Use>
auto with_reader(uint32_t kind, Use use) -> decltype(use(read_bool)) {
  switch (kind) {
    case kUint8:
      return use(read_number<uint8_t, int64_t>);
    case kInt8:
      return use(read_number<int8_t, int64_t>);
    case kUint16:
      return use(read_number<uint16_t, int64_t>);
    case kInt16:
      return use(read_number<int16_t, int64_t>);
    case kUint32:
      return use(read_number<uint32_t, int64_t>);
    case kInt32:
      return use(read_number<int32_t, int64_t>);
    case kUint64:
      return use(read_number<uint64_t, int64_t>);
    case kInt64:
      return use(read_number<int64_t, int64_t>);
    case kFloat32:
      return use(read_number<float, double>);
    case kFloat64:
      return use(read_number<double, double>);
    case kBool:
      return use(read_bool);
    case kString:
      return use(read_text);
    default:
      return unknown_kind(kind);
  }
}

// The fewest bytes that a value takes in the file.
constexpr std::array<uint64_t, 13> kMinBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

Result<MetaArray> read_array(Cursor& cursor) {
  ASSIGN_OR_RETURN(const auto kind, cursor.read<uint32_t>());
  ASSIGN_OR_RETURN(const auto count, cursor.read<uint64_t>());
  if (kind == kArray) {
    return Error{"arrays of arrays are not supported: expected an array of plain values."};
  }
  if (kind >= kMinBytes.size()) {
    return unknown_kind(kind);
  }
  if (count > cursor.remaining() / kMinBytes[kind]) {
    return Error{"expected an array of " + number(count) + " values, found only " +
                 number(cursor.remaining()) +
                 " bytes before the end of the file: it is cut off or damaged; download it again."};
  }
  return with_reader(kind, [&](auto read) -> Result<MetaArray> {
    using Value = typename decltype(read(cursor))::value_type;
    std::vector<Value> values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(const Value value, read(cursor));
      values.push_back(value);
    }
    return MetaArray(std::move(values));
  });
}

Result<MetaValue> read_value(Cursor& cursor) {
  ASSIGN_OR_RETURN(const auto kind, cursor.read<uint32_t>());
  if (kind == kArray) {
    ASSIGN_OR_RETURN(MetaArray array, read_array(cursor));
    return MetaValue(std::move(array));
  }
  return with_reader(kind, [&](auto read) -> Result<MetaValue> {
    ASSIGN_OR_RETURN(const auto value, read(cursor));
    return MetaValue(std::in_place_type<std::remove_const_t<decltype(value)>>, value);
  });
}

// What a file of another kind is, by its first bytes.
std::string other_kind_of_file(Bytes bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min<size_t>(bytes.size(), 64));
  const auto begins = [&](std::string_view magic) { return text.substr(0, magic.size()) == magic; };
  if (text.empty()) {
    return "an empty file: download it again.";
  }
  if (begins("version https://git-lfs")) {
    return "a Git LFS pointer: fetch the file itself with \"git lfs pull\".";
  }
  if (begins("lmgg") || begins("fmgg") || begins("tjgg") || begins("algg")) {
    return "a GGML file from before GGUF: get a GGUF file of this model.";
  }
  if (begins("FUGG")) {
    return "a big-endian GGUF file: get the little-endian file of this model.";
  }
  if (begins("<!DOCTYPE") || begins("<html")) {
    return "a web page: download the file itself, not the page about it.";
  }
  if (begins("PK\x03\x04")) {
    return "a ZIP or PyTorch file: get a GGUF file of this model.";
  }
  if (text.size() > 9 && text[8] == '{') {
    return "a safetensors file, it seems: get a GGUF file of this model.";
  }
  return "something else: get a GGUF file of this model.";
}

Result<void> read_version(Cursor& cursor, Bytes bytes) {
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0) {
    return Error{"expected a GGUF file, found " + other_kind_of_file(bytes)};
  }
  RETURN_IF_ERROR(cursor.take(4));
  ASSIGN_OR_RETURN(const auto version, cursor.read<uint32_t>());
  if (version == 2 || version == 3) {
    return {};
  }
  if (version == 1) {
    return Error{
        "expected GGUF version 2 or 3, found version 1 of August 2023: get a newer file of this "
        "model."};
  }
  if ((version & 0xFFFFU) == 0) {  // the version's bytes in the other order
    return Error{
        "expected a little-endian GGUF file, found a big-endian one: get the little-endian file "
        "of this model."};
  }
  return Error{"expected GGUF version 2 or 3, found version " + number(version) +
               ": the file is damaged, or newer than this program."};
}

Result<uint64_t> read_count(Cursor& cursor, std::string_view what, uint64_t min_bytes) {
  ASSIGN_OR_RETURN(const auto count, cursor.read<uint64_t>());
  if (count > kMaxCount) {
    return Error{"expected at most " + number(kMaxCount) + " " + std::string(what) + ", found " +
                 number(count) + ": the file is damaged; download it again."};
  }
  if (count > cursor.remaining() / min_bytes) {
    return Error{"its " + number(count) + " " + std::string(what) + " need at least " +
                 number(count * min_bytes) + " bytes, found " + number(cursor.remaining()) +
                 ": the file is cut off or damaged; download it again."};
  }
  return count;
}

Result<void> read_key(Cursor& cursor, Metadata& metadata) {
  ASSIGN_OR_RETURN(const std::string_view key, cursor.read_string(65535));
  if (key.empty()) {
    return Error{"expected the name of a key, found an empty text: the file is damaged."};
  }
  auto value = read_value(cursor);
  if (!value) {
    return value.error().in("key " + printable(key));
  }
  if (!metadata.emplace(key, std::move(*value)).second) {
    return Error{"key " + printable(key) + " occurs twice: the file is damaged."};
  }
  return {};
}

// One line of a file's index of tensors.
struct IndexEntry {
  std::string name;
  std::vector<int64_t> shape;
  int64_t count = 1;
  uint32_t type = 0;
  uint64_t offset = 0;  // from the beginning of the data
  uint64_t span = 0;    // to the next tensor, or to the end of the file
};

Result<void> read_shape(Cursor& cursor, IndexEntry& entry) {
  ASSIGN_OR_RETURN(const auto dimensions, cursor.read<uint32_t>());
  if (dimensions < 1 || dimensions > 4) {
    return Error{"expected 1 to 4 dimensions, found " + number(dimensions) + "."};
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    ASSIGN_OR_RETURN(const auto size, cursor.read<uint64_t>());
    if (size == 0) {
      return Error{"dimension " + number(i) + " is 0: expected at least 1."};
    }
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
        __builtin_mul_overflow(entry.count, static_cast<int64_t>(size), &entry.count)) {
      return Error{"its dimensions multiply to more than 2^63 weights: the file is damaged."};
    }
    entry.shape.push_back(static_cast<int64_t>(size));
  }
  return {};
}

Result<IndexEntry> read_index_entry(Cursor& cursor, uint64_t alignment) {
  IndexEntry entry;
  ASSIGN_OR_RETURN(const std::string_view name, cursor.read_string(kMaxName));
  entry.name = name;
  const std::string where = "tensor " + printable(name);
  if (const auto shape = read_shape(cursor, entry); !shape) {
    return shape.error().in(where);
  }
  ASSIGN_OR_RETURN(entry.type, cursor.read<uint32_t>());
  ASSIGN_OR_RETURN(entry.offset, cursor.read<uint64_t>());
  if (entry.offset % alignment != 0) {
    return Error{where + ": offset " + number(entry.offset) + " is not a multiple of " +
                 number(alignment) + ", the alignment: the file is damaged."};
  }
  return entry;
}

// One file: all of a model, or a part of a split one.
struct Part {
  Metadata metadata;
  std::vector<IndexEntry> index;
  uint64_t alignment = 32;
  Bytes data;
};

Result<uint64_t> read_alignment(const Metadata& metadata) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) {
    return uint64_t{32};
  }
  const auto* value = std::get_if<int64_t>(&found->second);
  if (value == nullptr || *value < 8 || *value > kMaxAlignment || (*value & (*value - 1)) != 0) {
    return Error{"key general.alignment: expected a power of two from 8 to 2^30, found " +
                 (value == nullptr ? "another type of value" : std::to_string(*value)) + "."};
  }
  return static_cast<uint64_t>(*value);
}

// Where the data begins, and how far each tensor may reach.
Result<void> find_data(Part& part, Bytes file, size_t header_size) {
  if (part.index.empty()) {
    return {};
  }
  const uint64_t begin = (header_size + part.alignment - 1) / part.alignment * part.alignment;
  if (begin >= file.size()) {
    return cut_off(begin - file.size() + 1);
  }
  part.data = file.subspan(begin);
  std::vector<IndexEntry*> by_offset;
  for (IndexEntry& entry : part.index) {
    by_offset.push_back(&entry);
  }
  std::ranges::sort(by_offset, {}, &IndexEntry::offset);
  for (size_t i = 0; i < by_offset.size(); ++i) {
    const uint64_t end =
        i + 1 < by_offset.size() ? by_offset[i + 1]->offset : uint64_t{part.data.size()};
    by_offset[i]->span = end > by_offset[i]->offset ? end - by_offset[i]->offset : 0;
  }
  return {};
}

Result<Part> read_part(Bytes file) {
  Part part;
  Cursor cursor(file);
  RETURN_IF_ERROR(read_version(cursor, file));
  // An index entry takes a name's length, a count of dimensions, one dimension, type and offset; a pair takes a name's
  // length, a type and a value.
  ASSIGN_OR_RETURN(const uint64_t tensor_count, read_count(cursor, "tensors", 8 + 4 + 8 + 4 + 8));
  ASSIGN_OR_RETURN(const uint64_t key_count, read_count(cursor, "keys", 8 + 4 + 1));
  for (uint64_t i = 0; i < key_count; ++i) {
    RETURN_IF_ERROR(read_key(cursor, part.metadata));
  }
  ASSIGN_OR_RETURN(part.alignment, read_alignment(part.metadata));
  part.index.reserve(tensor_count);
  for (uint64_t i = 0; i < tensor_count; ++i) {
    ASSIGN_OR_RETURN(IndexEntry entry, read_index_entry(cursor, part.alignment));
    part.index.push_back(std::move(entry));
  }
  RETURN_IF_ERROR(find_data(part, file, cursor.position()));
  return part;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text;
}

int64_t rows_of(const IndexEntry& entry) {
  return entry.count / entry.shape[0];
}

// How far the data must reach, as far as this program can tell; says so if the file ends before.
Result<void> check_length(const Part& part, I2sLayout layout) {
  uint64_t needed = 0;
  for (const IndexEntry& entry : part.index) {
    const WeightFormat* format = find_weight_format(entry.type, layout);
    const uint64_t bytes =
        format == nullptr
            ? 1
            : std::max<uint64_t>(tensor_bytes(*format, rows_of(entry), entry.shape[0]), 1);
    uint64_t end = 0;
    if (__builtin_add_overflow(entry.offset, bytes, &end)) {
      return Error{"tensor " + printable(entry.name) + ": offset " + number(entry.offset) +
                   " is beyond any file: the file is damaged."};
    }
    needed = std::max(needed, end);
  }
  if (needed > part.data.size()) {
    return cut_off(needed - part.data.size());
  }
  return {};
}

Error shape_error(const IndexEntry& entry, const WeightFormat& format) {
  std::string expected = (format.rows_are_blocks ? "rows of a multiple of " : "a multiple of ") +
                         std::to_string(format.block_weights) + " weights";
  if (format.row_group > 1) {
    expected = "a multiple of " + std::to_string(format.row_group) + " rows";
  }
  return Error{"tensor " + printable(entry.name) + ": expected " + expected + " for " +
               std::string(format.name) + ", found " + shape_text(entry.shape) + "."};
}

// The name of another part of a split set: "model-00001-of-00003.gguf" gives the name of part `number` (from 0).
Result<std::filesystem::path> part_path(const std::filesystem::path& path, int64_t own,
                                        int64_t wanted, int64_t count) {
  const auto suffix = [&](int64_t part) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "-%05" PRId64 "-of-%05" PRId64 ".gguf", part + 1,
                  count);
    return std::string(text.data());
  };
  const std::string name = path.filename().string();
  const std::string own_suffix = suffix(own);
  if (!name.ends_with(own_suffix)) {
    return Error{path.string() + ": this is part " + std::to_string(own + 1) + " of " +
                 std::to_string(count) + " of a split model: expected a name that ends in " +
                 own_suffix + "; give the parts their original names."};
  }
  return path.parent_path() / (name.substr(0, name.size() - own_suffix.size()) + suffix(wanted));
}

struct SplitPlace {
  int64_t number = 0;
  int64_t count = 1;
};

Result<SplitPlace> split_place(const Metadata& metadata) {
  SplitPlace place;
  const auto read = [&](std::string_view key, int64_t& value) -> Result<void> {
    if (const auto found = metadata.find(key); found != metadata.end()) {
      const auto* integer = std::get_if<int64_t>(&found->second);
      if (integer == nullptr || *integer < 0 || *integer > 65535) {
        return Error{"key " + std::string(key) + ": expected an integer from 0 to 65535."};
      }
      value = *integer;
    }
    return {};
  };
  RETURN_IF_ERROR(read("split.count", place.count));
  RETURN_IF_ERROR(read("split.no", place.number));
  place.count = std::max<int64_t>(place.count, 1);
  if (place.number >= place.count) {
    return Error{"key split.no: expected a number below split.count, which is " +
                 std::to_string(place.count) + ", found " + std::to_string(place.number) + "."};
  }
  return place;
}

}  // namespace

// Opens the parts, decides what each type id means, and fills the TensorFile.
class GgufReader {
 public:
  static Result<TensorFile> open(const std::filesystem::path& path, const OpenOptions& options) {
    GgufReader reader(options);
    RETURN_IF_ERROR(reader.add_file(path));
    RETURN_IF_ERROR(reader.add_other_parts(path));
    RETURN_IF_ERROR(reader.check_types());
    RETURN_IF_ERROR(reader.add_tensors());
    reader.add_notices();
    reader.out_.metadata_ = std::move(reader.parts_.front().metadata);
    return std::move(reader.out_);
  }

 private:
  explicit GgufReader(const OpenOptions& options) : options_(options) {}

  Result<void> add_file(const std::filesystem::path& path) {
    ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
    auto part = read_part(file.bytes());
    if (!part) {
      return part.error().in(path.string());
    }
    if (const auto length = check_length(*part, options_.i2s_layout); !length) {
      return length.error().in(path.string());
    }
    parts_.push_back(std::move(*part));
    out_.files_.push_back(std::move(file));
    return {};
  }

  Result<void> add_other_parts(const std::filesystem::path& path) {
    const auto place = split_place(parts_.front().metadata);
    if (!place) {
      return place.error().in(path.string());
    }
    if (place->count == 1) {
      return {};
    }
    if (place->number != 0) {
      ASSIGN_OR_RETURN(const auto first, part_path(path, place->number, 0, place->count));
      return Error{path.string() + ": this is part " + std::to_string(place->number + 1) + " of " +
                   std::to_string(place->count) + " of a split model: open the first part, " +
                   first.string() + "."};
    }
    for (int64_t i = 1; i < place->count; ++i) {
      ASSIGN_OR_RETURN(const auto other, part_path(path, 0, i, place->count));
      RETURN_IF_ERROR(add_part(other, {i, place->count}));
    }
    return check_tensor_total(path);
  }

  Result<void> add_part(const std::filesystem::path& path, SplitPlace expected) {
    const std::string which =
        "part " + std::to_string(expected.number + 1) + " of " + std::to_string(expected.count);
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
      return Error{path.string() + ": " + which +
                   " of this model is missing: put it beside the first part."};
    }
    RETURN_IF_ERROR(add_file(path));
    const auto found = split_place(parts_.back().metadata);
    if (!found) {
      return found.error().in(path.string());
    }
    if (found->number != expected.number || found->count != expected.count) {
      return Error{path.string() + ": expected " + which + " of a split model, found part " +
                   std::to_string(found->number + 1) + " of " + std::to_string(found->count) +
                   ": give the parts their original names."};
    }
    return {};
  }

  Result<void> check_tensor_total(const std::filesystem::path& path) const {
    const auto key = parts_.front().metadata.find("split.tensors.count");
    if (key == parts_.front().metadata.end()) {
      return {};
    }
    size_t found = 0;
    for (const Part& part : parts_) {
      found += part.index.size();
    }
    const auto* expected = std::get_if<int64_t>(&key->second);
    if (expected == nullptr || *expected != static_cast<int64_t>(found)) {
      return Error{path.string() + ": expected " +
                   (expected == nullptr ? "an integer" : std::to_string(*expected)) +
                   " tensors in all parts (split.tensors.count), found " + number(found) +
                   ": the parts do not belong together; download them again."};
    }
    return {};
  }

  // Refuses the type ids that this program does not read, and an id 36 that is not I2_S.
  Result<void> check_types() const {
    std::map<uint32_t, std::vector<StoredTensor>> by_type;
    for (const Part& part : parts_) {
      for (const IndexEntry& entry : part.index) {
        if (entry.type == kI2sType || find_weight_format(entry.type) == nullptr) {
          by_type[entry.type].push_back(
              {printable(entry.name), rows_of(entry), entry.shape[0], entry.span, part.alignment});
        }
      }
    }
    for (const auto& [type, tensors] : by_type) {
      if (type != kI2sType || !std::ranges::all_of(tensors, fits_i2s)) {
        return foreign_type_error(type, tensors).in(out_.path().string());
      }
    }
    return {};
  }

  // bitnet.cpp counts the scale's 32 bytes as part of the tensor, so that spans are exact with the usual alignment of 32;
  // tools that rewrite a file with a larger alignment pad them, and the last tensor of a file may or may not be padded.
  // The three layouts have one size, so the layout plays no part here.
  static bool fits_i2s(const StoredTensor& tensor) {
    const uint64_t bytes = tensor_bytes(*find_weight_format(kI2sType), tensor.rows, tensor.cols);
    return bytes != 0 && fills_span(tensor, bytes);
  }

  Result<void> add_tensors() {
    for (size_t i = 0; i < parts_.size(); ++i) {
      for (IndexEntry& entry : parts_[i].index) {
        if (const auto added = add_tensor(entry, parts_[i], static_cast<int>(i)); !added) {
          return added.error().in(out_.files_[i].path().string());
        }
      }
    }
    return {};
  }

  Result<void> add_tensor(IndexEntry& entry, const Part& part, int file) {
    const WeightFormat* format = find_weight_format(entry.type, options_.i2s_layout);
    const uint64_t bytes = tensor_bytes(*format, rows_of(entry), entry.shape[0]);
    if (bytes == 0) {
      return shape_error(entry, *format);
    }
    if (bytes > entry.span) {
      return Error{"tensor " + printable(entry.name) + ": " + std::string(format->name) + ", " +
                   shape_text(entry.shape) + ", needs " + number(bytes) +
                   " bytes, but the next tensor begins after " + number(entry.span) +
                   ": they overlap; the file is damaged."};
    }
    if (!out_.index_.emplace(entry.name, out_.tensors_.size()).second) {
      return Error{"tensor " + printable(entry.name) + " occurs twice: the file is damaged."};
    }
    out_.tensors_.push_back({std::move(entry.name), format, std::move(entry.shape),
                             part.data.subspan(entry.offset, bytes), file});
    return {};
  }

  void add_notices() {
    const bool has_i2s = std::ranges::any_of(
        out_.tensors_, [](const Tensor& tensor) { return tensor.format->ggml_type == kI2sType; });
    if (options_.i2s_layout != I2sLayout::k128 && !has_i2s) {
      out_.notices_.push_back(out_.path().string() +
                              " has no I2_S tensors: the I2_S layout asked for has no effect.");
    }
  }

  OpenOptions options_;
  std::vector<Part> parts_;
  TensorFile out_;
};

Result<TensorFile> TensorFile::open(const std::filesystem::path& path, const OpenOptions& options) {
  return GgufReader::open(path, options);
}

}  // namespace tern

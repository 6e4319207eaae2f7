#include "engine/io/gguf_part.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "engine/io/file_kind.h"

namespace tern::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "files are read in place");

constexpr uint64_t kMaxCount = uint64_t{1} << 20U;  // tensors, keys
constexpr uint64_t kMaxString = uint64_t{64} << 20U;
constexpr uint64_t kMaxName = 1024;
constexpr int64_t kMaxAlignment = int64_t{1} << 30U;

std::string number(uint64_t value) {
  return std::to_string(value);
}

// Reads a file from front to back, never past its end.
class Cursor {
 public:
  explicit Cursor(Bytes bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  // What was read since it stood there.
  Bytes since(size_t position) const { return bytes_.subspan(position, position_ - position); }
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

Result<void> read_version(Cursor& cursor, Bytes bytes) {
  const size_t magic = std::min<size_t>(bytes.size(), 4);
  if (magic == 0 || std::memcmp(bytes.data(), "GGUF", magic) != 0) {
    return wrong_kind_of_file(bytes, "a GGUF file", "get a GGUF file of this model.");
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

Result<void> read_key(Cursor& cursor, Part& part) {
  ASSIGN_OR_RETURN(const std::string_view key, cursor.read_string(65535));
  if (key.empty()) {
    return Error{"expected the name of a key, found an empty text: the file is damaged."};
  }
  const size_t begin = cursor.position();
  auto value = read_value(cursor);
  if (!value) {
    return value.error().in("key " + printable(key));
  }
  if (!part.metadata.emplace(key, std::move(*value)).second) {
    return Error{"key " + printable(key) + " occurs twice: the file is damaged."};
  }
  part.stored_values.emplace(key, cursor.since(begin));
  return {};
}

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

}  // namespace

Error cut_off(uint64_t missing) {
  return Error{"the file ends too early, at least " + number(missing) +
               " bytes are missing: it was cut off on its way; download it again."};
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
    RETURN_IF_ERROR(read_key(cursor, part));
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

}  // namespace tern::gguf

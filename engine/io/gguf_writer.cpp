#include "engine/io/gguf_writer.h"

#include <system_error>

#include "engine/base/check.h"
#include "engine/base/memory.h"

namespace tern {
namespace {

constexpr uint32_t kVersion = 3;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put(out, uint64_t{text.size()});
  out += text;
}

}  // namespace

void GgufHead::begin_value(std::string_view key, GgufType type) {
  put_text(keys_, key);
  put(keys_, type);
  ++key_count_;
}

void GgufHead::begin_array(std::string_view key, GgufType type, size_t count) {
  begin_value(key, GgufType::kArray);
  put(keys_, type);
  put(keys_, uint64_t{count});
}

void GgufHead::set(std::string_view key, std::string_view value) {
  begin_value(key, GgufType::kString);
  put_text(keys_, value);
}

void GgufHead::set_array(std::string_view key, std::span<const std::string_view> values) {
  begin_array(key, GgufType::kString, values.size());
  for (const std::string_view value : values) {
    put_text(keys_, value);
  }
}

void GgufHead::set_bools(std::string_view key, const std::vector<bool>& values) {
  begin_array(key, GgufType::kBool, values.size());
  for (const bool value : values) {
    put_number(value);
  }
}

void GgufHead::set_stored(std::string_view key, std::span<const std::byte> type_and_value) {
  put_text(keys_, key);
  keys_.append(reinterpret_cast<const char*>(type_and_value.data()), type_and_value.size());
  ++key_count_;
}

void GgufHead::set_alignment(uint32_t alignment) {
  if (alignment != alignment_) {
    set("general.alignment", alignment);
    alignment_ = alignment;
  }
}

void GgufHead::set_array(std::string_view key, std::span<const std::string> values) {
  begin_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) {
    put_text(keys_, value);
  }
}

Result<void> GgufHead::add_tensor(std::string_view name, const WeightFormat& format,
                                  std::vector<int64_t> shape) {
  TERN_CHECK(!shape.empty() && shape.size() <= 4, "a tensor has 1 to 4 dimensions");
  int64_t rows = 1;
  for (size_t i = 1; i < shape.size(); ++i) {
    rows *= shape[i];
  }
  const uint64_t bytes = tensor_bytes(format, rows, shape[0]);
  if (bytes == 0) {
    return Error{"tensor " + std::string(name) + ": " + std::to_string(rows) + " x " +
                 std::to_string(shape[0]) + " weights do not divide into blocks of " +
                 std::string(format.name) + ", which are " + std::to_string(format.block_weights) +
                 " weights long. Choose another type."};
  }
  tensors_.push_back({std::string(name), &format, std::move(shape), bytes});
  return {};
}

uint64_t GgufHead::data_bytes() const {
  uint64_t total = 0;
  for (const Tensor& tensor : tensors_) {
    total += tensor.bytes + padding_after(tensor.bytes);
  }
  return total;
}

std::string GgufHead::bytes() const {
  std::string out = "GGUF";
  put(out, kVersion);
  put(out, uint64_t{tensors_.size()});
  put(out, key_count_);
  out += keys_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_text(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.shape.size()));
    for (const int64_t size : tensor.shape) {
      put(out, size);
    }
    put(out, tensor.format->ggml_type);
    put(out, offset);
    offset += tensor.bytes + padding_after(tensor.bytes);
  }
  out.append(padding_after(out.size()), '\0');
  return out;
}

Result<GgufWriter> GgufWriter::create(OutputFile file, GgufHead head) {
  const std::string start = head.bytes();
  if (const std::filesystem::path folder = file.folder(); !folder.empty()) {
    const Result<void> room = require_disk_space(folder, start.size() + head.data_bytes());
    if (!room) {
      return room.error().in(file.path().string());
    }
  }
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(start))));
  return GgufWriter(std::move(head), std::move(file));
}

Result<void> GgufWriter::write(std::span<const std::byte> bytes) {
  TERN_CHECK(due_ < head_.tensors().size(), "all tensors are written");
  const GgufHead::Tensor& tensor = head_.tensors()[due_];
  TERN_CHECK(bytes.size() <= tensor.bytes - written_, "more bytes than the tensor has");
  RETURN_IF_ERROR(file_.write(bytes));
  written_ += bytes.size();
  if (written_ == tensor.bytes) {
    const std::vector<std::byte> zeros(head_.padding_after(tensor.bytes));
    RETURN_IF_ERROR(file_.write(zeros));
    ++due_;
    written_ = 0;
  }
  return {};
}

Result<void> GgufWriter::finish() {
  TERN_CHECK(due_ == head_.tensors().size(), "a tensor is not complete");
  return file_.commit();
}

Result<void> require_disk_space(const std::filesystem::path& folder, uint64_t bytes) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  if (error) {
    return Error{"cannot write to " + folder.string() + ": " + error.message() + "."};
  }
  if (space.available < bytes) {
    return Error{"expected " + human_bytes(bytes) + " of room on this disk, found " +
                 human_bytes(space.available) + ". Make room, or write to another disk."};
  }
  return {};
}

}  // namespace tern

#pragma once
// Files: read by mapping, written all or nothing.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include "engine/base/result.h"

namespace tern {

// A file mapped read-only. Bytes stay valid while the object lives. Moves, never copies.
class MappedFile {
 public:
  // Errors: no such file, not a regular file, not readable, cannot be mapped; each names the path.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }

  // Tells the system that this range will not be read again soon: its pages can go. `range` must lie within bytes().
  void drop(std::span<const std::byte> range) const noexcept;

 private:
  std::filesystem::path path_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Reads a small text file whole. Errors name the path; files over `limit` bytes are refused.
Result<std::string> read_text_file(const std::filesystem::path& path,
                                   size_t limit = size_t{64} << 20);

// Writes `content` to a temporary file beside `path`, flushes it to the disk and renames it over `path`: at any moment
// `path` holds its old content or the new one, whole. Errors name the path and the system's reason.
Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace tern

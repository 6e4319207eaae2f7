#pragma once
// Files: read by mapping. input_file.h opens others, output_file.h writes them.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
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

  // Tells the system that this range will not be read again soon: its pages can go. A range outside bytes() is none of its own, and stays.
  void drop(std::span<const std::byte> range) const noexcept;
  // Tells the system that this range will be read soon, so that it begins to fetch what is not in memory.
  void will_need(std::span<const std::byte> range) const noexcept;

 private:
  // madvise of the whole pages of a range.
  void advise(std::span<const std::byte> range, int advice) const noexcept;

  std::filesystem::path path_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Reads a small text file whole. Errors name the path; files over `limit` bytes are refused.
Result<std::string> read_text_file(const std::filesystem::path& path,
                                   size_t limit = size_t{64} << 20);

// Writes a file all or nothing, in place of what is there (output_file.h).
Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace tern

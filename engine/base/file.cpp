#include "engine/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "engine/base/input_file.h"

namespace tern {

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const Descriptor file, open_regular_file(path));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    return system_error(path, "cannot read this file's size");
  }
  MappedFile mapped;
  mapped.path_ = path;
  mapped.size_ = static_cast<size_t>(status.st_size);
  if (mapped.size_ > 0) {
    void* data = ::mmap(nullptr, mapped.size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) {
      mapped.size_ = 0;
      return system_error(path, "cannot map this file");
    }
    mapped.data_ = static_cast<std::byte*>(data);
  }
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    ::munmap(data_, size_);
  }
}

void MappedFile::drop(std::span<const std::byte> range) const noexcept {
  advise(range, MADV_DONTNEED);
}

void MappedFile::will_need(std::span<const std::byte> range) const noexcept {
  advise(range, MADV_WILLNEED);
}

void MappedFile::advise(std::span<const std::byte> range, int advice) const noexcept {
  if (std::less<>()(range.data(), bytes().data()) ||
      !std::less<>()(range.data(), bytes().data() + bytes().size())) {
    return;
  }
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  // Only whole pages inside the range: its edges may share a page with a neighbour that is still needed.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(range.data()) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(range.data() + range.size()) / page * page;
  if (begin < end) {
    ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
  }
}

}  // namespace tern

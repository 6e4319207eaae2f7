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
namespace {

// Where the system shows an open file that may have no other name.
std::string link_of(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

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

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  if (const int unnamed = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
      unnamed >= 0) {
    if (::access(link_of(unnamed).c_str(), F_OK) == 0) {
      return AtomicFile(path, {}, unnamed);
    }
    ::close(unnamed);  // no /proc, no way to give the file a name
  }
  std::string temporary = path.string() + ".XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) {
    return system_error(path, "cannot write here");
  }
  return AtomicFile(path, std::move(temporary), fd);
}

AtomicFile::AtomicFile(std::filesystem::path path, std::string temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::exchange(other.fd_, -1)) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
}

Result<void> AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      return system_error(path_, "cannot write");
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> AtomicFile::commit() {
  // mkostemp makes files that only their owner may read; give this one the usual permissions.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  if (::fchmod(fd_, 0666 & ~mask) != 0 || ::fsync(fd_) != 0) {
    return system_error(path_, "cannot finish writing");
  }
  if (temporary_.empty()) {
    // A link replaces nothing: where the name is taken, the file gets another for the moment before the renaming.
    const std::string self = link_of(fd_);
    const auto link_to = [&](const std::string& name) {
      return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
    };
    if (link_to(path_.string())) {
      return {};
    }
    const std::string beside = path_.string() + "." + std::to_string(::getpid());
    for (int attempt = 0; errno == EEXIST && temporary_.empty() && attempt < 100; ++attempt) {
      const std::string name = beside + "." + std::to_string(attempt);
      temporary_ = link_to(name) ? name : std::string();
    }
    if (temporary_.empty()) {
      return system_error(path_, "cannot give this file its name");
    }
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return system_error(path_, "cannot replace");
  }
  temporary_.clear();
  return {};
}

}  // namespace tern

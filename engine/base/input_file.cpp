#include "engine/base/input_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/base/file.h"
#include "engine/base/printable.h"

namespace tern {
namespace {

constexpr const char* kStandardInput = "-";

std::string kind_of(mode_t mode) {
  return S_ISDIR(mode)    ? "a directory"
         : S_ISFIFO(mode) ? "a pipe"
         : S_ISSOCK(mode) ? "a socket"
         : S_ISREG(mode)  ? "a file"
                          : "a device";
}

// Without O_NONBLOCK a FIFO without a writer would be waited for here, before it is known to be one.
Result<Descriptor> open_to_read(const std::filesystem::path& path, struct stat& status) {
  RETURN_IF_ERROR(check_path(path));
  Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file.is_open()) {
    return system_error(path, "cannot open this file");
  }
  if (::fstat(file.get(), &status) != 0) {
    return system_error(path, "cannot read this file's size");
  }
  return file;
}

Result<std::string> read_all(int fd, const std::filesystem::path& path, size_t limit) {
  constexpr size_t kBlock = size_t{64} << 10;
  std::string text;
  while (true) {
    const size_t before = text.size();
    text.resize(before + kBlock);
    const ssize_t count = ::read(fd, text.data() + before, kBlock);
    text.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count < 0 && errno == EAGAIN) {
      pollfd waited{fd, POLLIN, 0};
      ::poll(&waited, 1, -1);
    } else if (count < 0 && errno != EINTR) {
      return system_error(path, "cannot read this file");
    }
    if (text.size() > limit) {
      return Error{path.string() + ": expected at most " + std::to_string(limit) +
                   " bytes, found more."};
    }
    if (count == 0) {
      return text;
    }
  }
}

// Until a FIFO has had a writer, reading it gives an end at once, but poll() tells that nothing has come yet.
void wait_for_writer(int fd) {
  pollfd waited{fd, POLLIN, 0};
  while (::poll(&waited, 1, -1) < 0 && errno == EINTR) {
  }
}

}  // namespace

Error system_error(const std::filesystem::path& path, const std::string& what) {
  return Error{path.string() + ": " + what + ": " + std::strerror(errno) + "."};
}

Result<void> check_path(const std::filesystem::path& path) {
  const std::string& name = path.native();
  if (std::ranges::any_of(name, [](char c) { return (c >= 0 && c < ' ') || c == '\x7F'; })) {
    return Error{printable_line(name, 200) +
                 ": expected the name of a file, found control characters in it."};
  }
  return {};
}

Result<Descriptor> open_regular_file(const std::filesystem::path& path) {
  struct stat status {};
  ASSIGN_OR_RETURN(Descriptor file, open_to_read(path, status));
  if (!S_ISREG(status.st_mode)) {
    return Error{path.string() + ": expected a file, found " + kind_of(status.st_mode) + "."};
  }
  return file;
}

Result<std::string> read_text_file(const std::filesystem::path& path, size_t limit) {
  ASSIGN_OR_RETURN(const Descriptor file, open_regular_file(path));
  return read_all(file.get(), path, limit);
}

Result<std::string> read_stream_or_file(const std::filesystem::path& path, size_t limit) {
  if (path == kStandardInput) {
    return read_all(STDIN_FILENO, "standard input", limit);
  }
  struct stat status {};
  ASSIGN_OR_RETURN(const Descriptor file, open_to_read(path, status));
  if (S_ISFIFO(status.st_mode)) {
    wait_for_writer(file.get());
  } else if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode)) {
    return Error{path.string() + ": expected a file or a pipe, found " + kind_of(status.st_mode) +
                 "."};
  }
  return read_all(file.get(), path, limit);
}

}  // namespace tern

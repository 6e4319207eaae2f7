#include "engine/base/own_file.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace tern {
namespace {

// Whether this is the group of the user's own, without another member.
bool is_private_group(gid_t group) {
  std::vector<char> memory(size_t{1} << 16);
  passwd user{};
  passwd* user_found = nullptr;
  if (::getpwuid_r(::geteuid(), &user, memory.data(), memory.size(), &user_found) != 0 ||
      user_found == nullptr || user.pw_gid != group) {
    return false;
  }
  const std::string name = user.pw_name;
  ::group entry{};
  ::group* found = nullptr;
  if (::getgrgid_r(group, &entry, memory.data(), memory.size(), &found) != 0 || found == nullptr) {
    return false;
  }
  // The password database may put other users into the group without listing them here; a group of the user's name is made
  // for that user alone.
  for (char** member = entry.gr_mem; *member != nullptr; ++member) {
    if (name != *member) {
      return false;
    }
  }
  return name == entry.gr_name;
}

Result<void> check(const std::filesystem::path& path, const struct stat& status) {
  if (!S_ISREG(status.st_mode)) {
    return Error{path.string() + ": expected a regular file, found " +
                 (S_ISDIR(status.st_mode) ? "a directory." : "something else.")};
  }
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    return Error{path.string() +
                 ": expected a file that belongs to you or to root, found another owner (user id " +
                 std::to_string(status.st_uid) +
                 "). It could send your prompts and keys to a server that you did not choose. "
                 "Remove it, or take it over with chown once you have read it."};
  }
  const bool by_group = (status.st_mode & S_IWGRP) != 0 && !is_private_group(status.st_gid);
  if (by_group || (status.st_mode & S_IWOTH) != 0) {
    return Error{path.string() +
                 ": expected a file that only you can write, found one that other users can write "
                 "too. They could send your prompts and keys to a server that you did not choose. "
                 "Read it, then: chmod go-w " +
                 path.string()};
  }
  return {};
}

Result<std::string> read_all(int fd, const std::filesystem::path& path, size_t limit) {
  std::string text;
  char block[1 << 14];
  for (;;) {
    const ssize_t count = ::read(fd, block, sizeof block);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return Error{path.string() + ": cannot read this file: " + std::strerror(errno) + "."};
    }
    if (count == 0) {
      return text;
    }
    text.append(block, static_cast<size_t>(count));
    if (text.size() > limit) {
      return Error{path.string() + ": expected at most " + std::to_string(limit) +
                   " bytes, found more."};
    }
  }
}

}  // namespace

Result<std::string> read_own_text_file(const std::filesystem::path& path, size_t limit) {
  // Without O_NONBLOCK the opening of a named pipe would wait until another process writes to it.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    return Error{path.string() + ": cannot open this file: " + std::strerror(errno) + "."};
  }
  struct stat status {};
  Result<std::string> text = std::string();
  if (::fstat(fd, &status) != 0) {
    text = Error{path.string() + ": cannot read who owns this file: " + std::strerror(errno) + "."};
  } else if (const Result<void> checked = check(path, status); !checked) {
    text = checked.error();
  } else {
    text = read_all(fd, path, limit);
  }
  ::close(fd);
  return text;
}

}  // namespace tern

#include "engine/base/output_file.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <random>
#include <utility>

#include "engine/base/file.h"
#include "engine/base/input_file.h"

namespace tern {
namespace {

constexpr int kFlags = O_WRONLY | O_NOCTTY | O_CLOEXEC;

// Where the system shows an open file that may have no other name.
std::string link_of(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool is_file_of(int fd, const struct stat& status) {
  struct stat open {};
  return ::fstat(fd, &open) == 0 && same_file(status, open);
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

// Tries names beside `path` until `take` has one or fails for another reason than that it is taken; empty then (errno).
std::string name_beside(const std::filesystem::path& path,
                        const std::function<bool(const std::string&)>& take) {
  std::random_device random;
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string name = path.string() + "." + std::to_string(random());
    if (take(name)) {
      return name;
    }
    if (errno != EEXIST) {
      break;
    }
  }
  return {};
}

// Where an open file lies, past all links; empty if the system does not tell.
std::filesystem::path place_of(int fd, const struct stat& status) {
  std::error_code error;
  const std::filesystem::path place = std::filesystem::read_symlink(link_of(fd), error);
  struct stat there {};
  const bool found = !error && ::lstat(place.c_str(), &there) == 0 && same_file(there, status);
  return found ? place : std::filesystem::path();
}

// Many systems give each user a group of the same name, and files that this group may write.
bool is_private_group(gid_t group) {
  std::array<char, 16384> memory{};
  passwd user{};
  passwd* found_user = nullptr;
  if (::getpwuid_r(::geteuid(), &user, memory.data(), memory.size(), &found_user) != 0 ||
      found_user == nullptr || user.pw_gid != group) {
    return false;
  }
  const std::string name = user.pw_name;
  ::group entry{};
  ::group* found = nullptr;
  return ::getgrgid_r(group, &entry, memory.data(), memory.size(), &found) == 0 &&
         found != nullptr && name == entry.gr_name && *entry.gr_mem == nullptr;
}

Error exists_error(const std::filesystem::path& path) {
  return Error{path.string() + ": this file exists. Give another name, or --force to replace it."};
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::filesystem::path& path, OutputOptions options) {
  RETURN_IF_ERROR(check_path(path));
  if (path.empty()) {
    return Error{"expected the name of a file to write, found an empty one."};
  }
  if (path == "-") {
    return OutputFile(path, Kind::kStdout);
  }
  struct stat status {};
  if ((options.follow_links ? ::stat : ::lstat)(path.c_str(), &status) != 0) {
    if (errno != ENOENT) {
      return system_error(path, "cannot write here");
    }
    return make_file(path, options);
  }
  if (S_ISDIR(status.st_mode)) {
    return Error{path.string() + ": expected the name of a file to write, found a directory."};
  }
  if (is_file_of(STDOUT_FILENO, status)) {
    return OutputFile(path, Kind::kStdout);
  }
  if (is_file_of(STDERR_FILENO, status)) {
    OutputFile output(path, Kind::kStream);
    output.file_ = Descriptor(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
    return output;
  }
  if (S_ISREG(status.st_mode) || (S_ISLNK(status.st_mode) && !options.follow_links)) {
    return replace_file(path, options);
  }
  if (!S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode)) {
    return Error{path.string() + ": expected a file, a pipe or a character device, found a " +
                 (S_ISSOCK(status.st_mode) ? "socket." : "disk, whose content would be lost.")};
  }
  return open_stream(path);
}

// A FIFO's reader is waited for here, as a shell's > does.
Result<OutputFile> OutputFile::open_stream(const std::filesystem::path& path) {
  OutputFile output(path, Kind::kStream);
  output.file_ = Descriptor(::open(path.c_str(), kFlags));
  struct stat status {};
  if (!output.file_.is_open() || ::fstat(output.file_.get(), &status) != 0) {
    return system_error(path, "cannot write here");
  }
  if (!S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode)) {
    return Error{path.string() + ": this was replaced by something else meanwhile. Try again."};
  }
  return output;
}

// Opened as a shell would (O_CREAT, although it exists), so that the system refuses what it refuses there: files that may not be
// written, links and files of other users in sticky folders.
Result<OutputFile> OutputFile::replace_file(const std::filesystem::path& path,
                                            OutputOptions options) {
  OutputFile output(path, Kind::kFile);
  output.replaces_ = true;
  if (!options.follow_links) {
    output.target_ = path;
    RETURN_IF_ERROR(output.open_temporary(options.is_private ? 0600 : 0666));
    return output;
  }
  const Descriptor old(::open(path.c_str(), kFlags | O_CREAT | O_NONBLOCK, 0600));
  struct stat status {};
  if (!old.is_open() || ::fstat(old.get(), &status) != 0) {
    return system_error(path, "cannot write this file");
  }
  if (!S_ISREG(status.st_mode)) {
    return Error{path.string() + ": this was replaced by something else meanwhile. Try again."};
  }
  if (status.st_size > 0 && !options.replace) {
    return exists_error(path);
  }
  output.target_ = place_of(old.get(), status);
  if (output.target_.empty()) {
    return Error{path.string() + ": cannot find where this file lies; name the file itself."};
  }
  RETURN_IF_ERROR(output.open_temporary(0600));
  output.keep_access(old.get());
  return output;
}

Result<OutputFile> OutputFile::make_file(const std::filesystem::path& path, OutputOptions options) {
  OutputFile output(path, Kind::kFile);
  const mode_t mode = options.is_private ? 0600 : 0666;
  output.target_ = path;
  output.replaces_ = options.replace;
  struct stat status {};
  if (options.follow_links && ::lstat(path.c_str(), &status) == 0) {
    // A link to a file that does not exist yet. Only opening it tells where it leads with the system's protection of links.
    const Descriptor made(::open(path.c_str(), kFlags | O_CREAT | O_NONBLOCK, mode));
    if (!made.is_open() || ::fstat(made.get(), &status) != 0) {
      return system_error(path, "cannot write here");
    }
    output.target_ = place_of(made.get(), status);
    if (output.target_.empty() || !S_ISREG(status.st_mode) || status.st_size > 0) {
      return Error{path.string() + ": this was replaced by something else meanwhile. Try again."};
    }
    output.placeholder_ = output.target_.string();
    output.replaces_ = true;
  }
  RETURN_IF_ERROR(output.open_temporary(mode));
  return output;
}

// The system applies the umask; asking for it here would change it for other threads meanwhile.
Result<void> OutputFile::open_temporary(mode_t mode) {
  file_ = Descriptor(::open(folder_of(target_).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode));
  if (file_.is_open() && ::access(link_of(file_.get()).c_str(), F_OK) == 0) {
    return {};
  }
  // The file system has no files without names, or there is no /proc to give them one.
  temporary_ = name_beside(target_, [&](const std::string& name) {
    file_ = Descriptor(::open(name.c_str(), kFlags | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
    return file_.is_open();
  });
  if (temporary_.empty()) {
    return system_error(path_, "cannot write in this folder");
  }
  return {};
}

// What cannot be kept is not: only root may give files away, and not every file system has access lists.
void OutputFile::keep_access(int old) {
  struct stat status {};
  if (::fstat(old, &status) != 0) {
    return;
  }
  const bool owned = ::fchown(file_.get(), status.st_uid, status.st_gid) == 0 ||
                     ::fchown(file_.get(), static_cast<uid_t>(-1), status.st_gid) == 0;
  // Of another group these would be rights of other people.
  const mode_t rights = status.st_mode & (owned ? 0777U : 0707U);
  ::fchmod(file_.get(), rights);
  constexpr const char* kAccessList = "system.posix_acl_access";
  std::array<std::byte, 4096> list{};
  const ssize_t size = ::fgetxattr(old, kAccessList, list.data(), list.size());
  if (size > 0 && owned) {
    ::fsetxattr(file_.get(), kAccessList, list.data(), static_cast<size_t>(size), 0);
  }
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      kind_(other.kind_),
      target_(std::move(other.target_)),
      replaces_(other.replaces_),
      placeholder_(std::exchange(other.placeholder_, {})),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
  struct stat status {};
  if (!placeholder_.empty() && ::lstat(placeholder_.c_str(), &status) == 0 &&
      S_ISREG(status.st_mode) && status.st_size == 0) {
    ::unlink(placeholder_.c_str());
  }
}

std::filesystem::path OutputFile::folder() const {
  return kind_ == Kind::kFile ? folder_of(target_) : std::filesystem::path();
}

Result<void> OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd(), bytes.data(), bytes.size());
    if (written < 0 && errno == EAGAIN) {  // standard output may be set so by who opened it
      pollfd waited{fd(), POLLOUT, 0};
      ::poll(&waited, 1, -1);
      continue;
    }
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      return system_error(is_stdout() ? "standard output" : path_, "cannot write");
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> OutputFile::commit() {
  if (kind_ != Kind::kFile) {
    return {};
  }
  if (::fsync(file_.get()) != 0) {
    return system_error(path_, "cannot finish writing");
  }
  return give_name();
}

Result<void> OutputFile::give_name() {
  const auto link_to = [&](const std::string& name) {
    return ::linkat(AT_FDCWD, link_of(file_.get()).c_str(), AT_FDCWD, name.c_str(),
                    AT_SYMLINK_FOLLOW) == 0;
  };
  if (!replaces_) {
    // A link replaces nothing, so that a file which came meanwhile is safe.
    const bool linked = temporary_.empty() ? link_to(target_.string())
                                           : ::link(temporary_.c_str(), target_.c_str()) == 0;
    if (!linked) {
      return errno == EEXIST ? exists_error(path_)
                             : system_error(path_, "cannot give this file its name");
    }
    return {};  // a temporary name goes with the destructor
  }
  if (temporary_.empty()) {
    temporary_ = name_beside(target_, link_to);
    if (temporary_.empty()) {
      return system_error(path_, "cannot give this file its name");
    }
  }
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    return system_error(path_, "cannot replace this file");
  }
  temporary_.clear();
  placeholder_.clear();
  return {};
}

Result<void> write_output(const std::filesystem::path& path, std::string_view content,
                          OutputOptions options) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::create(path, options));
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(content))));
  return file.commit();
}

Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  return write_output(path, content, {.replace = true});
}

Result<Descriptor> open_own_file(const std::filesystem::path& path) {
  RETURN_IF_ERROR(check_path(path));
  Descriptor file(::open(path.c_str(),
                         O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666));
  struct stat status {};
  if (!file.is_open() || ::fstat(file.get(), &status) != 0) {
    return system_error(path, errno == ELOOP ? "this is a link" : "cannot write here");
  }
  if (!S_ISREG(status.st_mode) || status.st_nlink != 1 || status.st_uid != ::geteuid()) {
    return Error{path.string() +
                 ": expected a file of yours with no other name, found something else."};
  }
  return file;
}

Result<void> check_own_folder(const std::filesystem::path& folder, bool follow_link) {
  struct stat status {};
  if ((follow_link ? ::stat : ::lstat)(folder.c_str(), &status) != 0) {
    return system_error(folder, "cannot look at this folder");
  }
  if (!S_ISDIR(status.st_mode)) {
    return Error{folder.string() + ": expected a folder, found " +
                 (S_ISLNK(status.st_mode) ? "a link." : "something else.")};
  }
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    return Error{folder.string() + ": expected a folder of yours, found one of another user."};
  }
  const bool sticky = (status.st_mode & S_ISVTX) != 0;
  const bool group = (status.st_mode & S_IWGRP) != 0 && !is_private_group(status.st_gid);
  if (!sticky && (group || (status.st_mode & S_IWOTH) != 0)) {
    return Error{folder.string() +
                 ": expected a folder that you alone can write to, found one "
                 "that other users can."};
  }
  return {};
}

Result<void> make_private_folders(const std::filesystem::path& folder) {
  if (folder.empty() || ::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) {
    struct stat status {};
    if (!folder.empty() && (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))) {
      return Error{folder.string() + ": expected a folder, found something else."};
    }
    return {};
  }
  if (errno != ENOENT) {
    return system_error(folder, "cannot make this folder");
  }
  RETURN_IF_ERROR(make_private_folders(folder.parent_path()));
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return system_error(folder, "cannot make this folder");
  }
  return {};
}

}  // namespace tern

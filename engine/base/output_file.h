#pragma once
// Writing files: all or nothing, and never in place of what is no file.

#include <sys/types.h>

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/descriptor.h"
#include "engine/base/result.h"

namespace tern {

struct OutputOptions {
  // Whether a file with content may be replaced; an empty one, as mktemp makes it, always may.
  bool replace = false;
  // Where the name is a link: write to what it points to, as a shell's > does, or put the file in the link's place.
  bool follow_links = true;
  // New files can be read by their owner alone.
  bool is_private = false;
};

// Where a command writes a result.
//
// A regular file appears under its name only when it is complete: it is written without a name where the file system can
// (O_TMPFILE), so that nothing is left behind even if the program is killed, else to a temporary file beside it; flushed to the
// disk and given its name by commit(). A file that it replaces lends it mode, owner and access list, and stays as it is until
// then. Without commit() nothing is left behind.
//
// "-", and any name of the file that standard output is, streams to standard output. Pipes and character devices are written as
// they are. Errors name the path and the system's reason.
class OutputFile {
 public:
  static Result<OutputFile> create(const std::filesystem::path& path, OutputOptions options = {});

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  Result<void> write(std::span<const std::byte> bytes);
  Result<void> commit();

  // Then text for people belongs to standard error.
  bool is_stdout() const noexcept { return kind_ == Kind::kStdout; }
  const std::filesystem::path& path() const noexcept { return path_; }
  // The folder whose disk the file will fill; empty for a stream.
  std::filesystem::path folder() const;

 private:
  enum class Kind { kStdout, kStream, kFile };

  OutputFile(std::filesystem::path path, Kind kind) : path_(std::move(path)), kind_(kind) {}

  // Steps of create(), by what lies at the path.
  static Result<OutputFile> open_stream(const std::filesystem::path& path);
  static Result<OutputFile> replace_file(const std::filesystem::path& path, OutputOptions options);
  static Result<OutputFile> make_file(const std::filesystem::path& path, OutputOptions options);
  Result<void> open_temporary(mode_t mode);
  void keep_access(int old);
  Result<void> give_name();

  int fd() const noexcept { return kind_ == Kind::kStdout ? 1 : file_.get(); }

  std::filesystem::path path_;  // as the user named it
  Kind kind_ = Kind::kFile;
  std::filesystem::path target_;  // where the file will lie: path_ without its last links
  bool replaces_ = false;         // the target may exist
  std::string placeholder_;       // an empty file at the target that opening a dangling link made
  std::string temporary_;         // empty while the file has no name, and once it has its own
  Descriptor file_;
};

// The same for content that is there already. write_file_atomically() in file.h replaces what is there.
Result<void> write_output(const std::filesystem::path& path, std::string_view content,
                          OutputOptions options = {});

// Opens a file that this program keeps for itself, to read and write it, and makes it if it is not there. It must be a regular file
// of this user with no other name: links are not followed, and what others put in its place is an error.
Result<Descriptor> open_own_file(const std::filesystem::path& path);

// Whether other users could change what this user puts into a folder: it must be theirs, or root's, and others may write to it only if
// it is sticky (as /tmp), where they cannot touch what is not theirs. A group that is the user's alone is no other. Errors say
// which of this is not so. The folder may be a link if `follow_link`.
Result<void> check_own_folder(const std::filesystem::path& folder, bool follow_link);

// Makes a folder and its parents where they are missing, for their owner alone (0700), as the XDG specification has it for a user's
// configuration, caches and states.
Result<void> make_private_folders(const std::filesystem::path& folder);

}  // namespace tern

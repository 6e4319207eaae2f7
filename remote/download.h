#pragma once
// One file from a server to the disk: resumed after cuts, verified, and under its name only when it is whole.

#include <filesystem>
#include <optional>

#include "engine/base/result.h"
#include "remote/transport.h"

namespace tern {

struct RemoteFile {
  std::string url;
  HttpHeaders headers;  // Authorization stays with the url's own host
  std::optional<uint64_t> size;
  // What the content must be, as lowercase hexadecimal; empty: the server did not say.
  std::string sha256;
  std::string git_blob;
  // The error for an answer that is no file; none: the status alone.
  std::function<Error(const HttpResponse&)> refusal;
};

struct DownloadOptions {
  std::function<bool()> cancelled;
  // Bytes on the disk so far.
  std::function<void(uint64_t done, std::optional<uint64_t> size)> progress;
  std::function<void(const std::string&)> notice;
  int retries = 5;  // attempts that bring nothing new, in a row
  int32_t silence_ms = 60'000;
};

// Where the beginning of `target` is kept until it is whole, and what is known of it.
std::filesystem::path part_path(const std::filesystem::path& target);
std::filesystem::path part_note_path(const std::filesystem::path& target);

// Downloads to `target`, whose folder exists, going on where an earlier attempt ended. Returns the SHA-256 of the content. After
// an error the part stays for the next time, unless it was found to be wrong.
Result<std::string> download(Transport& transport, const RemoteFile& file,
                             const std::filesystem::path& target, const DownloadOptions& options);

}  // namespace tern

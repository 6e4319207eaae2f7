#pragma once
// The hub of models, by its HTTP interface: what a repository holds, where its files are, and what they must hash to.

#include <filesystem>
#include <optional>
#include <vector>

#include "remote/download.h"

namespace tern {

struct HubOptions {
  std::string endpoint = "https://huggingface.co";  // no slash at the end
  std::string token;                                // sent to the endpoint alone; in no message
  std::function<bool()> cancelled;
  std::function<void(const std::string&)> notice;
  int32_t silence_ms = 60'000;
};

struct HubFile {
  std::string path;
  uint64_t size = 0;
  std::string sha256;    // of files in large storage
  std::string git_blob;  // of files in git itself
};

struct HubRepo {
  std::string id;      // "owner/name"
  std::string commit;  // the revision asked for, as a commit
  std::string licence;
  bool gated = false;
  std::vector<HubFile> files;
};

class Hub {
 public:
  Hub(Transport& transport, HubOptions options);

  const std::string& endpoint() const { return options_.endpoint; }
  // What `repo` holds at `revision` (a branch, tag or commit).
  Result<HubRepo> describe(const std::string& repo, const std::string& revision);
  // Where to get a file of it, with the checksum and size that the hub's own answer for this file names.
  Result<RemoteFile> locate(const HubRepo& repo, const HubFile& file);

 private:
  struct Answer {
    HttpResponse head;
    std::string body;
  };
  Result<Answer> ask(const std::string& method, const std::string& path, const std::string& repo);
  Result<void> list_files(HubRepo& repo);
  Error refusal(const HttpResponse& head, const std::string& repo) const;
  HttpHeaders credentials() const;

  Transport& transport_;
  HubOptions options_;
};

// "a b/c" as "a%20b/c".
std::string escape_path(const std::string& path);

// Whether a text can be a repository's name: OWNER/NAME, of letters, digits, dots, dashes and underscores, neither of which begins
// with a dot or a dash.
bool is_repo_id(std::string_view text);

// Whether a repository's file path stays within its folder and has no surprises: no "..", no empty part, no leading slash or
// dot, no backslash or control character.
bool is_safe_path(const std::string& path);

}  // namespace tern

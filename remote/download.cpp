#include "remote/download.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/base/number.h"
#include "engine/base/output_file.h"
#include "remote/digest.h"
#include "remote/retry_wait.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr int32_t kLongestWaitMs = 60'000;  // that a server may ask for before we give up instead

// What makes a strong promise about the content that follows; empty: nothing does.
std::string validator_of(const HttpResponse& head) {
  const std::string* etag = head.header("ETag");
  if (etag != nullptr && etag->starts_with('"')) {  // W/"..." promises only likeness
    return *etag;
  }
  return "";
}

struct ByteRange {
  uint64_t first = 0;
  std::optional<uint64_t> total;
};

// "bytes 500-999/1000", "bytes 500-999/*".
std::optional<ByteRange> content_range(const HttpResponse& head) {
  const std::string* header = head.header("Content-Range");
  if (header == nullptr || !header->starts_with("bytes ")) {
    return {};
  }
  ByteRange range;
  const std::string_view numbers = std::string_view(*header).substr(6);
  const size_t dash = numbers.find('-');
  const size_t slash = numbers.find('/');
  const auto first = unsigned_number_of(numbers.substr(0, dash));
  if (!first || dash == std::string_view::npos || slash == std::string_view::npos) {
    return {};
  }
  range.first = *first;
  range.total = unsigned_number_of(numbers.substr(slash + 1));
  return range;
}

std::optional<uint64_t> content_length(const HttpResponse& head) {
  const std::string* header = head.header("Content-Length");
  return header == nullptr ? std::nullopt : unsigned_number_of(*header);
}

class Download {
 public:
  Download(Transport& transport, const RemoteFile& file, const std::filesystem::path& target,
           const DownloadOptions& options)
      : transport_(transport), file_(file), options_(options), target_(target), size_(file.size) {
    reset_digests();
  }
  Download(const Download&) = delete;
  Download& operator=(const Download&) = delete;

  Result<std::string> run() {
    RETURN_IF_ERROR(open_part());
    int idle_attempts = 0;
    while (!complete_) {
      const uint64_t before = furthest_;
      RETURN_IF_ERROR(attempt());
      if (complete_) {
        break;
      }
      idle_attempts = furthest_ > before ? 0 : idle_attempts + 1;
      if (idle_attempts > options_.retries) {
        return Error{cut_ + " Tried " + std::to_string(idle_attempts) + " times." + kept()};
      }
      notice(cut_ + " Trying again ...");
      if (!wait_ms(std::max(asked_wait_ms_, backoff_ms(idle_attempts)), options_.cancelled)) {
        return stopped();
      }
    }
    return finish();
  }

 private:
  void notice(const std::string& text) const {
    if (options_.notice) {
      options_.notice(text);
    }
  }

  // What another run would go on with, as a sentence.
  std::string kept() const {
    return offset_ == 0 ? ""
                        : " " + human_bytes(offset_) + " are kept: the same command goes on there.";
  }
  Error stopped() const { return Error{target_.filename().string() + ": stopped." + kept()}; }
  Error disk_error(const char* what) const {
    return Error{part_path(target_).string() + ": " + what + ": " + std::strerror(errno) + "." +
                 kept()};
  }

  void reset_digests() {
    sha256_ = Digest::sha256();
    git_blob_ = Digest::git_blob(size_.value_or(0));
  }
  void digest(std::string_view bytes) {
    sha256_.add(bytes);
    git_blob_.add(bytes);
  }

  std::string identity() const { return file_.sha256.empty() ? file_.git_blob : file_.sha256; }

  // Opens the part; what is in it counts if its note says that it is of this very content.
  Result<void> open_part() {
    const std::filesystem::path part = part_path(target_);
    Result<Descriptor> opened = open_own_file(part);
    if (!opened && ::unlink(part.c_str()) == 0) {
      opened = open_own_file(part);  // what lay there was not ours, and is not written to
    }
    if (!opened) {
      return opened.error();
    }
    part_ = std::move(*opened);
    const Result<std::string> text = read_text_file(part_note_path(target_), size_t{1} << 16);
    const Json note = text ? Json::parse(*text, nullptr, false) : Json();
    if (!note.is_object() || note.value("content", Json()) != identity() ||
        !note.value("validator", Json()).is_string()) {
      return restart();
    }
    validator_ = note.at("validator").get<std::string>();
    if (identity().empty() && validator_.empty()) {
      return restart();  // nothing tells whether the server still has the same
    }
    return digest_part();
  }

  Result<void> digest_part() {
    std::string block(size_t{1} << 20, '\0');
    ssize_t count = 0;
    while ((count = ::pread(part_.get(), block.data(), block.size(), static_cast<off_t>(offset_))) >
           0) {
      digest(std::string_view(block.data(), static_cast<size_t>(count)));
      offset_ += static_cast<uint64_t>(count);
      if (options_.cancelled && options_.cancelled()) {
        return stopped();
      }
    }
    if (count < 0) {
      return disk_error("cannot read");
    }
    furthest_ = offset_;
    if (size_ && offset_ > *size_) {
      return restart();
    }
    complete_ = size_ && offset_ == *size_ && !identity().empty();
    return {};
  }

  Result<void> restart() {
    offset_ = 0;
    if (::ftruncate(part_.get(), 0) != 0) {
      return disk_error("cannot write");
    }
    validator_.clear();
    reset_digests();
    return {};
  }

  Result<void> write_note() const {
    return write_output(part_note_path(target_),
                        Json{{"content", identity()}, {"validator", validator_}}.dump() + "\n",
                        {.replace = true, .follow_links = false});
  }

  // One exchange. Errors end the download; otherwise it is complete_, or cut_ says what happened.
  Result<void> attempt() {
    HttpRequest request;
    request.method = "GET";
    request.url = file_.url;
    request.headers = file_.headers;
    request.max_redirects = 10;
    request.first_byte_timeout_ms = options_.silence_ms;
    request.idle_timeout_ms = options_.silence_ms;
    request.cancelled = options_.cancelled;
    if (offset_ > 0) {
      request.headers.emplace_back("Range", "bytes=" + std::to_string(offset_) + "-");
      if (identity()
              .empty()) {  // a known checksum is the better proof, and servers behind one hub differ in tags
        request.headers.emplace_back("If-Range", validator_);
      }
    }
    asked_wait_ms_ = 0;
    Result<void> accepted;
    bool began = false;
    const HttpOutcome outcome =
        transport_.exchange(request, [&](const HttpResponse& head, std::string_view piece) {
          if (!began) {
            began = true;
            accepted = begin(head);
          }
          if (accepted && receiving_) {
            accepted = store(piece);
          }
          return accepted && receiving_;
        });
    if (!began && outcome) {
      accepted = begin(outcome.response);
    }
    RETURN_IF_ERROR(accepted);
    return judge(outcome);
  }

  // Reads the head of an answer: whether its body is what was asked for.
  Result<void> begin(const HttpResponse& head) {
    receiving_ = head.status == 200 || head.status == 206;
    if (head.status == 200) {
      if (offset_ > 0) {
        notice("The server sends the whole file again.");
        RETURN_IF_ERROR(restart());
      }
      return announce(head, content_length(head));
    }
    if (head.status == 206) {
      const std::optional<ByteRange> range = content_range(head);
      if (!range || range->first != offset_) {
        receiving_ = false;
        cut_ = "The server sent another part than was asked for.";
        return restart();
      }
      return announce(head, range->total);
    }
    return {};
  }

  Result<void> announce(const HttpResponse& head, std::optional<uint64_t> size) {
    if (size && size_ && *size != *size_) {
      return Error{target_.filename().string() + ": expected " + std::to_string(*size_) +
                   " bytes, the server offers " + std::to_string(*size) + "."};
    }
    size_ = size ? size : size_;
    validator_ = validator_of(head);
    return write_note();
  }

  Result<void> store(std::string_view bytes) {
    if (size_ && bytes.size() > *size_ - offset_) {
      return Error{target_.filename().string() + ": expected " + std::to_string(*size_) +
                   " bytes, the server sends more."};
    }
    digest(bytes);
    while (!bytes.empty()) {
      const ssize_t count =
          ::pwrite(part_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset_));
      if (count < 0 && errno == EINTR) {
        continue;
      }
      if (count < 0) {
        return disk_error("cannot write");
      }
      bytes.remove_prefix(static_cast<size_t>(count));
      offset_ += static_cast<uint64_t>(count);
    }
    furthest_ = std::max(furthest_, offset_);
    if (options_.progress) {
      options_.progress(offset_, size_);
    }
    return {};
  }

  // After an exchange: done, to be tried again (cut_ is set), or an error.
  Result<void> judge(const HttpOutcome& outcome) {
    const int32_t status = outcome.response.status;
    if (outcome.failure == HttpFailure::kCancelled) {
      return stopped();
    }
    if (outcome.failure == HttpFailure::kRequest || outcome.failure == HttpFailure::kTls) {
      return Error{outcome.message + kept()};
    }
    if (!outcome) {
      cut_ = outcome.message;
      return {};
    }
    if (receiving_) {
      complete_ = !size_ || offset_ == *size_;
      cut_ = "The answer ended too early.";
      return {};
    }
    if (status == 206) {
      return {};
    }
    if (status == 416 && offset_ > 0) {
      cut_ = "The server has no such part of the file.";
      return restart();
    }
    if (status == 408 || status == 429 || status >= 500) {
      cut_ = "The server answered " + std::to_string(status) + ".";
      return heed_retry_after(outcome.response);
    }
    return refusal(outcome.response);
  }

  Result<void> heed_retry_after(const HttpResponse& head) {
    const std::string* header = head.header("Retry-After");
    const std::optional<double> seconds = header == nullptr ? std::nullopt : number_of(*header);
    if (!seconds) {
      return {};
    }
    if (*seconds > kLongestWaitMs / 1000) {
      return refusal(head);
    }
    asked_wait_ms_ = static_cast<int32_t>(std::max(*seconds, 0.0) * 1000);
    return {};
  }

  Error refusal(const HttpResponse& head) const {
    return file_.refusal ? file_.refusal(head)
                         : Error{target_.filename().string() + ": the server answered " +
                                 std::to_string(head.status) + "."};
  }

  bool is_part(const std::filesystem::path& path) const {
    struct stat named {};
    struct stat open {};
    return ::lstat(path.c_str(), &named) == 0 && ::fstat(part_.get(), &open) == 0 &&
           named.st_dev == open.st_dev && named.st_ino == open.st_ino;
  }

  // All bytes are there: are they the right ones?
  Result<std::string> finish() {
    const std::string found = sha256_.finish();
    const std::string blob = git_blob_.finish();
    const bool is_blob = !file_.git_blob.empty() && file_.sha256.empty();
    if ((!file_.sha256.empty() && found != file_.sha256) || (is_blob && blob != file_.git_blob)) {
      ::unlink(part_path(target_).c_str());
      ::unlink(part_note_path(target_).c_str());
      return Error{
          target_.filename().string() + ": expected the checksum " + identity() + ", found " +
          (is_blob ? blob : found) +
          ". What was downloaded is wrong and has been removed; try again, over another network or "
          "without a proxy if it stays so."};
    }
    if (::fsync(part_.get()) != 0) {
      return disk_error("cannot finish writing");
    }
    // What was hashed is what the names stand for, before and after: another process may have put something else there.
    if (!is_part(part_path(target_)) ||
        ::rename(part_path(target_).c_str(), target_.c_str()) != 0 || !is_part(target_)) {
      return Error{target_.string() + ": cannot be renamed from " + part_path(target_).string() +
                   ", or was changed meanwhile by another program. Try again."};
    }
    ::unlink(part_note_path(target_).c_str());
    return found;
  }

  Transport& transport_;
  const RemoteFile& file_;
  const DownloadOptions& options_;
  std::filesystem::path target_;
  std::optional<uint64_t> size_;
  std::string validator_;
  Digest sha256_ = Digest::sha256();
  Digest git_blob_ = Digest::git_blob(0);
  Descriptor part_;
  uint64_t offset_ = 0;    // bytes in the part
  uint64_t furthest_ = 0;  // the most it ever was: going beyond is progress
  bool receiving_ = false;
  bool complete_ = false;
  std::string cut_;
  int32_t asked_wait_ms_ = 0;
};

}  // namespace

std::filesystem::path part_path(const std::filesystem::path& target) {
  return target.string() + ".part";
}
std::filesystem::path part_note_path(const std::filesystem::path& target) {
  return target.string() + ".part.json";
}

Result<std::string> download(Transport& transport, const RemoteFile& file,
                             const std::filesystem::path& target, const DownloadOptions& options) {
  return Download(transport, file, target, options).run();
}

}  // namespace tern

#include "tools/batch_journal.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "engine/base/input_file.h"
#include "engine/base/json_text.h"
#include "engine/base/output_file.h"

namespace tern::cli {
namespace {

using Json = nlohmann::json;

// The first line of the file: what tells it from a file of somebody else's.
constexpr std::string_view kFirstLine = "{\"tern_batch\":1}\n";

bool write_all(int fd, std::string_view bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += written;
  }
  return true;
}

// `bytes` bytes from `offset`; fewer at the end of the file.
Result<std::string> read_at(int fd, const std::filesystem::path& path, size_t bytes,
                            int64_t offset) {
  std::string text(bytes, '\0');
  size_t have = 0;
  while (have < bytes) {
    const ssize_t got =
        ::pread(fd, text.data() + have, bytes - have, offset + static_cast<int64_t>(have));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return system_error(path, "cannot read this file");
    }
    if (got == 0) {
      break;
    }
    have += static_cast<size_t>(got);
  }
  text.resize(have);
  return text;
}

}  // namespace

BatchJournal::BatchJournal(std::filesystem::path path, Descriptor file,
                           std::vector<std::string> keys)
    : path_(std::move(path)), file_(std::move(file)), keys_(std::move(keys)) {}

Result<BatchJournal> BatchJournal::open(const std::filesystem::path& path,
                                        const std::vector<std::string>& keys) {
  ASSIGN_OR_RETURN(Descriptor file, open_own_file(path));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error{path.string() +
                 ": another batch is writing here. Wait for it, or give another output."};
  }
  ::fchmod(file.get(), 0600);  // prompts and answers are private
  BatchJournal journal(path, std::move(file), keys);
  RETURN_IF_ERROR(journal.read_existing());
  return journal;
}

Result<void> BatchJournal::read_existing() {
  struct stat status {};
  ::fstat(file_.get(), &status);
  const auto size = static_cast<int64_t>(status.st_size);
  ASSIGN_OR_RETURN(const std::string first, read_at(file_.get(), path_, kFirstLine.size(), 0));
  if (first != kFirstLine) {
    // A file that was cut within its first line holds nothing; anything else is not ours.
    if (!kFirstLine.starts_with(first) || size > static_cast<int64_t>(first.size())) {
      return Error{path_.string() +
                   ": expected the unfinished output of an earlier `tern batch`, found another "
                   "file. Move it away, or give another output."};
    }
    if (!write_all(file_.get(), kFirstLine, 0)) {
      return system_error(path_, "cannot write this file");
    }
    end_ = static_cast<int64_t>(kFirstLine.size());
    return {};
  }
  end_ = static_cast<int64_t>(kFirstLine.size());
  constexpr size_t kBlock = 1 << 20;
  std::string pending;
  for (int64_t at = end_; at < size;) {
    ASSIGN_OR_RETURN(const std::string block, read_at(file_.get(), path_, kBlock, at));
    if (block.empty()) {
      break;
    }
    at += static_cast<int64_t>(block.size());
    pending += block;
    size_t begin = 0;
    for (size_t stop = pending.find('\n'); stop != std::string::npos;
         stop = pending.find('\n', begin)) {
      take_line(std::string_view(pending).substr(begin, stop - begin), end_);
      end_ += static_cast<int64_t>(stop - begin + 1);
      begin = stop + 1;
    }
    pending.erase(0, begin);
  }
  // What is behind the last whole line was being written when the process died.
  if (::ftruncate(file_.get(), end_) != 0) {
    return system_error(path_, "cannot write this file");
  }
  resumed_ = places_.size();
  return {};
}

void BatchJournal::take_line(std::string_view line, int64_t offset) {
  const Json entry = parse_json(line);
  if (!entry.is_object() || !entry.contains("line") || !entry["line"].is_number_unsigned()) {
    return;
  }
  const auto index = entry["line"].get<size_t>();
  if (index >= keys_.size() || entry.value("key", "") != keys_[index] ||
      entry.value("failed", true) || !entry.contains("output")) {
    return;
  }
  places_[index] = {offset, line.size()};
}

Result<void> BatchJournal::add(size_t index, const std::string& output, bool failed) {
  const Json entry = {
      {"line", index}, {"key", keys_[index]}, {"failed", failed}, {"output", output}};
  const std::string line = entry.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (!write_all(file_.get(), line, end_) || ::fdatasync(file_.get()) != 0) {
    Error error = system_error(path_, "cannot keep an answer here");
    static_cast<void>(::ftruncate(file_.get(), end_));
    return error;
  }
  places_[index] = {end_, line.size() - 1};
  end_ += static_cast<int64_t>(line.size());
  return {};
}

Result<std::string> BatchJournal::output(size_t index) const {
  const Place& place = places_.at(index);
  ASSIGN_OR_RETURN(const std::string line, read_at(file_.get(), path_, place.bytes, place.offset));
  const Json entry = parse_json(line);
  if (!entry.is_object() || !entry.contains("output") || !entry["output"].is_string()) {
    return Error{path_.string() + ": this file was changed while it was in use."};
  }
  return entry["output"].get<std::string>();
}

void BatchJournal::remove() {
  ::unlink(path_.c_str());
}

}  // namespace tern::cli

#pragma once
// What a batch has finished, kept beside the output file until all of it is: OUT.part. A batch that
// was stopped, or killed, goes on from there, and nothing that was paid for is asked again.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/descriptor.h"
#include "engine/base/result.h"

namespace tern::cli {

class BatchJournal {
 public:
  // Opens or makes `path` for input lines with these keys: a key says what a line asks for, so that
  // a line that was changed since is asked again. Failed lines of an earlier run are asked again too.
  // Errors: another process holds the file; it is not a file of this kind.
  static Result<BatchJournal> open(const std::filesystem::path& path,
                                   const std::vector<std::string>& keys);

  // How many lines were done before this run.
  size_t resumed() const { return resumed_; }
  bool has(size_t index) const { return places_.contains(index); }

  // Stores the output line of an input line, on the disk when it returns. `failed`: to be asked
  // again by a later run. Errors: the disk is full, ...; the journal is then as it was before.
  Result<void> add(size_t index, const std::string& output, bool failed);
  // The stored output line.
  Result<std::string> output(size_t index) const;
  // Removes the file: the output is complete.
  void remove();

 private:
  struct Place {
    int64_t offset = 0;
    size_t bytes = 0;
  };

  BatchJournal(std::filesystem::path path, Descriptor file, std::vector<std::string> keys);
  Result<void> read_existing();
  void take_line(std::string_view line, int64_t offset);

  std::filesystem::path path_;
  Descriptor file_;
  std::vector<std::string> keys_;
  std::map<size_t, Place> places_;  // of whole journal lines
  int64_t end_ = 0;                 // of the last whole line
  size_t resumed_ = 0;
};

}  // namespace tern::cli

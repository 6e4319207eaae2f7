#pragma once
// The logits of a run of `tern perplexity`, kept to compare other runs with.
//
// A file is a head (below) and, for each prediction that counts, a row of `vocab` float32 logits; all little-endian. Logits stay as
// they were computed: rounded to 16 bits, as other tools keep them, their own error hides the small divergences that a KV cache or
// a repacked head causes, and a model would differ from itself.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/file.h"
#include "engine/base/output_file.h"
#include "engine/model/tokenizer.h"

namespace tern::cli {

struct LogitsHead {
  int32_t vocab = 0;
  int32_t context = 0;  // tokens in a window
  int32_t first = 0;    // the positions that count in each window: from here to the last but one
  int32_t chunks = 0;   // windows
  std::string digest;   // of their tokens: digest_of()

  int64_t rows() const { return static_cast<int64_t>(context - 1 - first) * chunks; }
};

// SHA-256 of token ids, in hexadecimal.
std::string digest_of(std::span<const TokenId> tokens);

// The head of a file that is whole: all rows that it promises are there, and nothing else.
Result<LogitsHead> read_logits_head(std::span<const std::byte> file);

class LogitsWriter {
 public:
  static Result<LogitsWriter> create(OutputFile file, const LogitsHead& head);

  Result<void> add(std::span<const float> row);
  // To be called once all rows of the head are there.
  Result<void> commit();

 private:
  LogitsWriter(OutputFile file, int64_t rows) : file_(std::move(file)), missing_(rows) {}

  OutputFile file_;
  int64_t missing_;
};

class LogitsFile {
 public:
  static Result<LogitsFile> open(const std::string& path);

  const LogitsHead& head() const { return head_; }
  // The next row; there must be one. The row before it leaves memory.
  std::span<const float> next();

 private:
  LogitsFile(MappedFile file, LogitsHead head) : file_(std::move(file)), head_(std::move(head)) {}
  std::span<const std::byte> row(int64_t index) const;

  MappedFile file_;
  LogitsHead head_;
  int64_t next_ = 0;
};

}  // namespace tern::cli

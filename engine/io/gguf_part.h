#pragma once
// GGUF, versions 2 and 3: one file. It is: magic, version, counts; key-value pairs; an index of tensors; padding; the
// tensors' data. Source: the GGUF specification in ggml's docs. Nothing that a file says is used before it has been checked
// against the file's size, in arithmetic that cannot wrap.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"

namespace tern::gguf {

using Bytes = std::span<const std::byte>;
using Metadata = std::map<std::string, MetaValue, std::less<>>;

// One line of a file's index of tensors.
struct IndexEntry {
  std::string name;
  std::vector<int64_t> shape;
  int64_t count = 1;
  uint32_t type = 0;
  uint64_t offset = 0;  // from the beginning of the data
  uint64_t span = 0;    // to the next tensor, or to the end of the file
};

// One file: all of a model, or a part of a split one.
struct Part {
  Metadata metadata;
  std::map<std::string, Bytes, std::less<>>
      stored_values;  // the same, as type and value lie in the file
  std::vector<IndexEntry> index;
  uint64_t alignment = 32;
  Bytes data;
};

// Reads a file's keys and index. Checked: all counts and lengths, that shapes have 1 to 4 dimensions whose product fits 63
// bits, that offsets are aligned. Not yet: names of tensors, types, and whether the data are all there.
Result<Part> read_part(Bytes file);

// A file that ends before what it announces.
Error cut_off(uint64_t missing);

}  // namespace tern::gguf

#pragma once
// One safetensors file: eight bytes with the length of a JSON header, the header, the tensors' bytes. Source: the format's
// description in huggingface/safetensors. Nothing that a file says is used before it has been checked against its size.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/file.h"
#include "engine/base/result.h"

namespace tern::safetensors {

struct Entry {
  std::string name;
  std::string dtype;           // as the file spells it: "BF16", "U8"
  std::vector<int64_t> shape;  // slowest first: {rows, columns}; empty for a single number
  int64_t count = 1;           // product of shape
  std::span<const std::byte> data;
};

// The tensors of a file, by name. Checked: the header's length (at most 100 MB) and that it is a JSON object; of every tensor
// a known dtype, at most 8 dimensions, a size that agrees with them, bytes within the file that no other tensor shares.
Result<std::vector<Entry>> read(std::span<const std::byte> file);

// The same of a file on a disk; errors name it.
Result<std::vector<Entry>> read(const MappedFile& file);

// The numbers of a small tensor.
Result<std::vector<float>> numbers(const Entry& entry);

}  // namespace tern::safetensors

#pragma once
// The keys of a converted file.

#include <string>

#include "engine/base/result.h"
#include "engine/io/gguf_writer.h"
#include "engine/io/tensor_file.h"
#include "tools/convert_matrix.h"

namespace tern::cli {

struct KeyOptions {
  const WeightFormat* type =
      nullptr;                  // what the layers' matrices become; null: a type of Tern's own
  bool keep_row_order = false;  // of queries, keys and values, and so the keys that tell it
};
// All keys of `in`, those of a GGUF file byte by byte, those of a Hugging Face folder with the types that GGUF files use. Left out:
// what describes the file rather than the model (split.*, general.alignment), and what the conversion changes.
void copy_keys(const TensorFile& in, const KeyOptions& options, GgufHead& out);

// What lies in another order in a folder than in a GGUF file of the same model; nothing in GGUF files.
struct ReorderedHeads {
  std::string architecture = {};
  // Heads of queries and of keys whose rows are reordered: of an architecture whose files pair neighbours in RoPE, if `in` pairs
  // halves. 0: none.
  int64_t queries = 0;
  int64_t keys = 0;
  // Of Qwen3.5's delta-net: heads of values, grouped by their key head in folders. size 0: none.
  ValueHeads values = {};
};
// Errors: a Hugging Face folder of something that GGUF files cannot say.
Result<ReorderedHeads> find_reordered_heads(const TensorFile& in);

}  // namespace tern::cli

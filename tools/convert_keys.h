#pragma once
// The keys of a converted file.

#include "engine/base/result.h"
#include "engine/io/gguf_writer.h"
#include "engine/io/tensor_file.h"

namespace tern::cli {

struct KeyOptions {
  const WeightFormat* type =
      nullptr;                  // what the layers' matrices become; null: a type of Tern's own
  bool keep_row_order = false;  // of queries and keys, and so the key that tells it
};
// All keys of `in`, those of a GGUF file byte by byte, those of a Hugging Face folder with the types that GGUF files use. Left out:
// what describes the file rather than the model (split.*, general.alignment), and what the conversion changes.
void copy_keys(const TensorFile& in, const KeyOptions& options, GgufHead& out);

// Heads whose rows must be reordered for a GGUF file: those of queries and of keys of an architecture whose files pair neighbours
// in RoPE, if `in` pairs halves. 0, 0: none.
struct ReorderedHeads {
  int64_t queries = 0;
  int64_t keys = 0;
};
// Errors: a Hugging Face folder of something that GGUF files cannot say.
Result<ReorderedHeads> find_reordered_heads(const TensorFile& in);

}  // namespace tern::cli

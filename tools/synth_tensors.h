#pragma once
// The keys and tensors of a model with random weights.

#include <string>
#include <vector>

#include "engine/io/gguf_writer.h"
#include "tools/synth_model.h"

namespace tern::cli {

// How a tensor is filled.
struct SynthFill {
  float deviation = 0;  // of weights that differ
  float constant = 0;   // where that is 0: all the same
};

// Writes the keys of the architecture, but not those of the tokenizer, and adds its tensors. Returns how each is to be filled.
// Errors: a type whose blocks do not divide the rows.
Result<std::vector<SynthFill>> add_decoder(GgufHead& head, const SynthOptions& options);

}  // namespace tern::cli

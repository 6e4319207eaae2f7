#pragma once
// The model of this machine, ready to write, and what is to be said before it does.

#include <memory>

#include "engine/session/local_completer.h"
#include "tools/cli.h"
#include "tools/speculation_options.h"

namespace tern::cli {

// Loads the model, and the one that guesses for it; prints the notices.
Result<std::unique_ptr<LocalCompleter>> open_local_model(const ModelOptions& options,
                                                         const SpeculationFlags& speculation,
                                                         int context);

// An error for a model that makes vectors and was not trained to write.
Result<void> check_writes_text(const Model& model);

// Says where a system message goes that the model has no place for.
void note_system(const Model& model, bool raw);
// Says what is done to the prompt; `verbose`: prints its tokens, one a line, on standard error.
Result<void> note_prompt(const LocalCompleter& completer, const Request& request, bool verbose);

}  // namespace tern::cli

#pragma once
// The options that say how to guess tokens ahead; shared by `tern run` and `tern chat`.

#include <CLI/CLI.hpp>
#include <string>

#include "engine/base/result.h"
#include "engine/session/speculation.h"
#include "tools/cli.h"

namespace tern::cli {

struct SpeculationFlags {
  std::string most = "auto";  // or a number
  std::string draft;          // model file; empty: guesses come from the text itself

  void declare(CLI::App& app);
  // What the draft model, if there is one, will take with a session of `context` tokens (0: the default).
  Result<uint64_t> draft_memory(const ModelOptions& options, int context) const;
  // For texts of up to `context` tokens of a model that was loaded with `options`. Errors: what the flags say makes no sense, or
  // the draft model cannot be used.
  Result<Speculation> create(const LoadedModel& target, const ModelOptions& options,
                             int32_t context) const;
};

}  // namespace tern::cli

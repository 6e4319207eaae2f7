#pragma once
// The options that say how to choose tokens and when to stop; shared by `tern run` and `tern chat`.

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/api/message.h"
#include "engine/base/result.h"

namespace tern::cli {

struct SamplingOptions {
  SamplingParams params;
  std::optional<uint64_t> seed;
  std::vector<std::string> logit_bias;  // "TOKEN+VALUE" or "TOKEN-VALUE", as in llama.cpp
  std::vector<std::string> stop;
  int max_tokens = -1;
  bool ignore_eos = false;
  bool parse_special_in_prompt = false;

  void declare(CLI::App& app);
  // Fills in the request's part. Without a seed a random one is drawn. Errors: a malformed logit bias.
  Result<void> apply(Request& request) const;
};

}  // namespace tern::cli

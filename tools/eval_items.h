#pragma once
// Items of benchmarks as what a model is asked: how likely is this continuation after this context? The prompts are those of
// EleutherAI's lm-evaluation-harness (0.4), zero-shot.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace tern::cli {

struct EvalTask {
  enum class Kind : uint8_t {
    kChoices,   // one context, several continuations
    kContexts,  // several contexts, one continuation (WinoGrande)
    kPairs,     // a good sentence and a bad one, without context (BLiMP)
    kLastWord,  // one continuation, to be said greedily (LAMBADA)
  };
  const char* name;
  Kind kind;
  bool normed;  // also judged by likelihood a character
};

std::span<const EvalTask> eval_tasks();
// Errors: no task of that name; the message lists them.
Result<EvalTask> find_eval_task(const std::string& name);

struct EvalRequest {
  std::string context;  // empty: the text begins
  std::string continuation;
};

struct EvalItem {
  std::vector<EvalRequest> requests;
  std::vector<int64_t> lengths;  // characters of each choice
  int gold = 0;                  // index of the right request
};

// One line of a file: a JSON object with the fields of the data set, or with {query, choices, gold}, {context_options, continuation,
// gold}, {context, continuation}, {sentence_good, sentence_bad}.
Result<EvalItem> read_eval_item(const EvalTask& task, std::string_view line);

}  // namespace tern::cli

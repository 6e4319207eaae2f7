#include "tools/local_engine.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "engine/base/clock.h"
#include "engine/base/json_text.h"
#include "engine/base/memory.h"
#include "engine/io/tensor_file.h"
#include "engine/model/tokenizer.h"
#include "remote/time_text.h"
#include "tools/model_store.h"
#include "tools/report.h"

namespace tern::cli {
namespace {

// A sentence that goes on after it.
std::string without_stop(std::string text) {
  if (text.ends_with('.')) {
    text.pop_back();
  }
  return text;
}

// A field of the request that an answer cannot do without, and that this machine's engine does not
// know; empty: none.
std::string only_elsewhere(const Request& request) {
  const nlohmann::json extra = parse_json(request.extra.empty() ? "{}" : request.extra);
  for (const char* field : {"tools", "response_format"}) {
    const auto found = extra.find(field);
    const bool plain =
        found != extra.end() && found->is_object() && found->value("type", "") == "text";
    if (found != extra.end() && !plain) {
      return field;
    }
  }
  return {};
}

int64_t count_tokens(const Tokenizer& tokenizer, const Request& request) {
  constexpr int64_t kTemplate = 8;  // tokens around a message
  int64_t tokens =
      request.messages.empty() ? static_cast<int64_t>(tokenizer.encode(request.prompt).size()) : 0;
  for (const Message& message : request.messages) {
    tokens += static_cast<int64_t>(tokenizer.encode(message.content).size()) + kTemplate;
  }
  return tokens;
}

}  // namespace

LocalEngine::LocalEngine(const ModelOptions& options, const ModelNames& names,
                         const SpeculationFlags& speculation, int context, const Provider* local,
                         Ledger& ledger, double offload_after)
    : options_(options),
      not_here_(names.not_here),
      speculation_(speculation),
      context_(context),
      ledger_(ledger),
      offload_after_(offload_after) {
  options_.path = names.local;
  if (const ProviderModel* model = local == nullptr ? nullptr : find_model(*local, names.local)) {
    options_.path = model->id;
  }
  if (options_.path.empty() && local != nullptr) {
    options_.path = local->default_model;
  }
}

Result<std::string> LocalEngine::path() const {
  return options_.path.empty() ? default_model_path() : resolve_model(options_.path);
}

Result<const LocalEngine::Seen*> LocalEngine::look_at_file(const std::string& file) {
  if (!seen_) {
    ASSIGN_OR_RETURN(const TensorFile tensors, TensorFile::open(file));
    ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::from_file(tensors));
    ASSIGN_OR_RETURN(const MemoryPlan plan, plan_for_file(tensors, options_, context_));
    seen_.emplace(Seen{std::move(tokenizer), plan});
  }
  return &*seen_;
}

void LocalEngine::judge_size(const Seen& seen, const Request& request, Wanted& wanted,
                             LocalSide& side) const {
  const MemoryPlan& plan = seen.plan;
  wanted.prompt_tokens = count_tokens(seen.tokenizer, request);
  side.context = plan.context;
  if (!plan.fits()) {
    side.fits = false;
    side.why_not = side.model + " needs " + human_bytes(plan.least()) + " of memory here (" +
                   parts_of(plan) + "), and " + human_bytes(plan.available) + " are free";
  }
}

// Zeros: nobody has measured it.
Speed LocalEngine::known_speed(const std::string& file) {
  const auto measured = ledger_.speed(file);
  return measured ? measured->value_or(Speed()) : Speed();
}

LocalSide LocalEngine::look(const Request& request, Wanted& wanted) {
  const std::lock_guard lock(look_mutex_);
  LocalSide side;
  const Result<std::string> file = path();
  std::error_code ignored;
  if (!file || !std::filesystem::exists(*file, ignored)) {
    side.why_not =
        (options_.path.empty() ? "the default model" : options_.path) + " is not on this machine";
    return side;
  }
  side.model = std::filesystem::path(*file).filename().string();
  if (const std::string field = only_elsewhere(request); !field.empty()) {
    side.why_not = "this machine's models take no " + field;
    return side;
  }
  const Result<const Seen*> seen = look_at_file(*file);
  if (!seen) {
    side.why_not = without_stop(seen.error().message);
    return side;
  }
  judge_size(**seen, request, wanted, side);
  side.known = true;
  if (!not_here_.empty()) {
    side.stand_in = true;
    side.why_not = not_here_ + " is not on this machine";
  }
  Speed speed = known_speed(*file);
  const auto measure_now = [&] {
    const std::lock_guard answering(answer_mutex_);
    return static_cast<bool>(load());
  };
  if (speed.prompt <= 0 && offload_after_ > 0 && side.fits && !side.stand_in && measure_now()) {
    speed = known_speed(*file);
  }
  side.prompt_speed = speed.prompt;
  side.generation_speed = speed.generation;
  return side;
}

// Reads a short prompt and some tokens more: enough to tell seconds from minutes.
void LocalEngine::measure(Session& session) {
  constexpr int kPrompt = 64;
  constexpr int kTokens = 8;
  if (session.context() < kPrompt + kTokens) {
    return;
  }
  const std::vector<TokenId> prompt(kPrompt, 1);
  session.append(prompt);  // the first pass also reads the weights from the disk
  session.rewind(0);
  const double began = steady_seconds();
  session.append(prompt);
  const double read = steady_seconds();
  for (int i = 0; i < kTokens; ++i) {
    session.append(std::span(prompt).first(1));
  }
  const double done = steady_seconds();
  session.rewind(0);
  const Result<std::string> file = path();
  const Speed speed{kPrompt / std::max(read - began, 1e-9), kTokens / std::max(done - read, 1e-9)};
  if (file && ledger_.note_speed(*file, speed) && options_.verbose) {
    print_message_f("measured: %.0f tokens/s of prompt, %.1f tokens/s of answer\n", speed.prompt,
                    speed.generation);
  }
}

Result<LocalCompleter*> LocalEngine::load() {
  if (!completer_) {
    const EndAtOnce while_loading;
    ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options_));
    ASSIGN_OR_RETURN(const uint64_t draft, speculation_.draft_memory(options_, context_));
    ASSIGN_OR_RETURN(Session session, create_session(loaded, context_, draft));
    if (offload_after_ > 0) {
      measure(session);
    }
    ASSIGN_OR_RETURN(Speculation speculation,
                     speculation_.create(loaded, options_, session.context()));
    completer_.emplace(std::move(session), std::move(speculation));
  }
  return &*completer_;
}

bool LocalEngine::continues_text() const {
  return completer_ && !completer_->session().model().chat_template().is_chat();
}

ApiOutcome LocalEngine::complete(const Request& request, const Sinks& sinks) {
  const std::lock_guard lock(answer_mutex_);
  ApiOutcome outcome;
  const auto fail = [&](const Error& error) {
    outcome.error.emplace();
    outcome.error->kind = ApiErrorClass::kLocal;
    outcome.error->message = error.message;
    return outcome;
  };
  const double began = steady_seconds();
  const bool may_hand_over = sinks.others && offload_after_ > 0;
  const Result<LocalCompleter*> completer = load();
  if (!completer) {
    return fail(completer.error());
  }
  Request own = request;
  // A model that was not made for conversation goes on with what the user wrote.
  if (continues_text() && own.messages.size() == 1) {
    own.prompt = own.messages.front().content;
    own.messages.clear();
  }
  bool begun = false;
  const auto late = [&] {
    return !begun && may_hand_over && steady_seconds() - began > offload_after_;
  };
  const auto too_late = [&] {
    fail(Error{"local: no first token within --offload-after, " +
               duration_text(static_cast<int64_t>(offload_after_ * 1e3)) + "."});
    outcome.error->kind = ApiErrorClass::kTimeout;
    return outcome;
  };
  if (late()) {  // loading took all of it
    return too_late();
  }
  const auto sink = [&](std::string_view piece) {
    begun = begun || !piece.empty();
    return !late() && !(sinks.cancelled && sinks.cancelled()) && (!sinks.text || sinks.text(piece));
  };
  Result<Completion> completion = (*completer)->complete(own, sink);
  if (!completion) {
    return fail(completion.error());
  }
  if (completion->reason == StopReason::kCancelled && late()) {
    return too_late();
  }
  const Usage& usage = completion->usage;
  // Later prompts of a conversation are mostly held already, and say nothing about reading one.
  constexpr int kPrompt = 16;
  constexpr int kTokens = 8;
  const Result<std::string> file = path();
  if (!answered_ && file && usage.prompt_tokens >= kPrompt && usage.completion_tokens >= kTokens) {
    const auto noted = ledger_.note_speed(*file, {prompt_speed(usage), generation_speed(usage)});
    if (!noted && sinks.notice) {
      sinks.notice("the speed could not be noted: " + noted.error().message);
    }
  }
  answered_ = true;
  outcome.completion = std::move(*completion);
  return outcome;
}

}  // namespace tern::cli

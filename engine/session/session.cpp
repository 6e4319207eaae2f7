#include "engine/session/session.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/memory.h"
#include "engine/base/parallel.h"

namespace tern {
namespace {

// A context shorter than this is of no use to anyone.
constexpr int32_t kSmallestContext = 256;
// Up to so many tokens a pass is bound by reading weights, like generating one.
constexpr size_t kFewTokens = 8;
// Every so many layers one runs on another number of threads while the tuner compares: generating tells often and soon,
// a prompt is read once and should not be held up.
constexpr int kTokenStride = 3;
constexpr int kPromptStride = 10;
// Of prompts that are longer than this the recurrent state before the last few tokens is kept: the next turn of a conversation
// often changes what a template puts at the end, and then goes on from there.
constexpr int32_t kLongPrompt = 64;
constexpr int32_t kTail = 8;

int32_t batch_for(const SessionOptions& options, int32_t context) {
  return std::clamp(options.batch, 1, std::max(context, 1));
}

// More threads than the system runs at once would only take turns, and wait for one another.
int useful(int threads) {
  return std::clamp(threads, 1, usable_cpu_count());
}

int prompt_threads(const SessionOptions& options) {
  return useful(options.batch_threads > 0 ? options.batch_threads : options.threads);
}

int most_threads(const SessionOptions& options) {
  return std::max(useful(options.threads), prompt_threads(options));
}

uint64_t session_bytes(const ModelConfig& config, const SessionOptions& options, int32_t context) {
  const KvLayout layout{options.kv_type, config.head_dim};
  return KvCache::bytes(config, context, options.kv_type) + RecurrentState::bytes(config) +
         Workspace::bytes(config, layout, batch_for(options, context), context,
                          most_threads(options));
}

}  // namespace

MemoryPlan plan_memory(const ModelConfig& config, const SessionOptions& options,
                       uint64_t available) {
  const int32_t wanted =
      options.context > 0 ? options.context : std::min(config.context, kDefaultContext);
  MemoryPlan plan;
  plan.available = available;
  plan.context = wanted;
  // A tenth of the memory is left to everything else on the machine.
  const uint64_t budget = available / 10 * 9;
  while (available > 0 && plan.context > kSmallestContext &&
         session_bytes(config, options, plan.context) > budget) {
    plan.context = std::max(plan.context / 2, kSmallestContext);
  }
  plan.kv_cache = KvCache::bytes(config, plan.context, options.kv_type);
  plan.recurrent_state = RecurrentState::bytes(config);
  plan.workspace =
      session_bytes(config, options, plan.context) - plan.kv_cache - plan.recurrent_state;
  if (plan.context < wanted) {
    plan.notice = "The context is " + std::to_string(plan.context) + " tokens instead of " +
                  std::to_string(wanted) + ", for which the " + human_bytes(available) +
                  " of memory available do not suffice.";
  } else if (options.context > config.context) {
    plan.notice = "The context of " + std::to_string(wanted) + " tokens is longer than the " +
                  std::to_string(config.context) +
                  " that the model was trained for; expect worse text beyond them.";
  }
  return plan;
}

Result<Session> Session::create(std::shared_ptr<const Model> model, const SessionOptions& options) {
  const ModelConfig& config = model->config();
  Session session;
  session.plan_ = plan_memory(config, options, available_memory());
  const MemoryPlan& plan = session.plan_;
  if (plan.available > 0 && plan.total() > plan.available) {
    return Error{"A context of " + std::to_string(plan.context) + " tokens needs " +
                 human_bytes(plan.total()) + ", found " + human_bytes(plan.available) +
                 " of memory available. Close other programs or use a smaller model."};
  }
  session.compute_ = Compute{&model->kernels(), most_threads(options)};
  session.compute_.profile = options.profile;
  session.prompt_threads_ =
      ThreadTuner(prompt_threads(options), options.tune_threads ? kPromptStride : 0);
  session.token_threads_ =
      ThreadTuner(useful(options.threads), options.tune_threads ? kTokenStride : 0);
  session.cache_ = KvCache(config, plan.context, options.kv_type);
  session.workspace_ = Workspace(config, model->decoder(), session.compute_, session.cache_,
                                 batch_for(options, plan.context));
  session.held_.reserve(static_cast<size_t>(plan.context));
  session.model_ = std::move(model);
  return session;
}

Session::KeepGoing Session::always() {
  static constexpr auto kYes = [] { return true; };
  return kYes;
}

// One pass over the positions [begin, end) of held_.
bool Session::forward(int32_t begin, int32_t end, KeepGoing keep_going) {
  const auto tokens =
      std::span(held_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  Compute compute = compute_;
  compute.tuner = tokens.size() <= kFewTokens ? &token_threads_ : &prompt_threads_;
  return decoder_forward(model_->config(), model_->decoder(), compute, cache_, workspace_, tokens,
                         begin, keep_going);
}

// How many positions need no computing any more: fewer than length_ where a recurrent state went back further than was asked.
int32_t Session::computed() {
  return cache_.recurrent().exists() ? cache_.recurrent().position() : length_;
}

bool Session::read(std::span<const TokenId> tokens, KeepGoing keep_going, AfterPass after_pass) {
  const int32_t before = length_;
  held_.resize(static_cast<size_t>(before));
  held_.insert(held_.end(), tokens.begin(), tokens.end());
  const auto end = static_cast<int32_t>(held_.size());
  const bool keeps = cache_.recurrent().exists() && end - before > kLongPrompt;
  for (int32_t at = computed(); at < end;) {
    const int32_t begin = at;
    const int32_t border = keeps && at < end - kTail ? end - kTail : end;
    at = std::min(at + workspace_.batch, border);
    if (!forward(begin, at, keep_going)) {
      length_ = std::max(length_, before);
      rewind(before);
      return false;
    }
    length_ = std::max(at, before);
    if (keeps && at == end - kTail) {
      cache_.recurrent().keep();
    }
    if (at > before) {
      const int32_t first = std::max(begin, before) - begin;
      after_pass(first, at - begin - first);
    }
  }
  return true;
}

std::span<const float> Session::logits(int32_t first, int32_t count, const LogitsWanted& wanted) {
  Compute compute = compute_;
  compute.threads = token_threads_.threads();
  return decoder_logits(model_->config(), model_->decoder(), compute, workspace_, first, count,
                        wanted);
}

std::span<const float> Session::append(std::span<const TokenId> tokens, KeepGoing keep_going,
                                       const LogitsWanted& wanted) {
  TERN_CHECK(!tokens.empty() && tokens.size() <= static_cast<size_t>(room()),
             "append() takes 1 to room() tokens");
  int32_t last = 0;
  const bool finished =
      read(tokens, keep_going, [&](int32_t first, int32_t count) { last = first + count - 1; });
  return finished ? logits(last, 1, wanted) : std::span<const float>();
}

bool Session::append_each(std::span<const TokenId> tokens, LogitsSink sink, KeepGoing keep_going,
                          const LogitsWanted& wanted_logits) {
  TERN_CHECK(tokens.size() <= static_cast<size_t>(room()),
             "append_each() takes at most room() tokens");
  const auto vocab = static_cast<size_t>(model_->config().vocab);
  bool wanted = true;
  return read(tokens, keep_going, [&](int32_t begin, int32_t count) {
    for (int32_t first = 0; wanted && first < count; first += kLogitsBatch) {
      const int32_t some = std::min(kLogitsBatch, count - first);
      const std::span<const float> rows = logits(begin + first, some, wanted_logits);
      for (size_t i = 0; wanted && i < static_cast<size_t>(some); ++i) {
        wanted = sink(rows.subspan(i * vocab, vocab));
      }
    }
  });
}

void Session::append_states(std::span<const TokenId> tokens,
                            FunctionRef<void(std::span<const float> states)> sink) {
  TERN_CHECK(tokens.size() <= static_cast<size_t>(room()),
             "append_states() takes at most room() tokens");
  read(tokens, always(), [&](int32_t first, int32_t count) {
    sink(decoder_states(model_->config(), model_->decoder(), compute_, workspace_, first, count));
  });
}

void Session::rewind(int32_t length) {
  TERN_CHECK(length >= 0 && length <= length_, "rewind() goes back, not forward");
  length_ = length;
  if (cache_.recurrent().exists()) {
    cache_.recurrent().rewind(length);
  }
}

}  // namespace tern

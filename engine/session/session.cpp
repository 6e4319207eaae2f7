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

MemoryPlan plan_of(const ModelShape& model, const SessionOptions& options, int32_t context) {
  const ModelConfig& config = model.config;
  const KvLayout layout{options.kv_type, config.head_dim};
  MemoryPlan plan;
  plan.context = context;
  plan.weights = model.memory;
  plan.kv_cache = KvCache::bytes(config, context, options.kv_type);
  plan.recurrent_state = RecurrentState::bytes(config);
  plan.workspace =
      Workspace::bytes(config, model.weights, Compute{&model.kernels, most_threads(options)},
                       layout, batch_for(options, context), context);
  plan.reserved = options.reserved;
  return plan;
}

std::string notice_of(const MemoryPlan& plan, const MemoryPlan& wanted, const ModelConfig& config,
                      const SessionOptions& options) {
  std::string text;
  if (plan.context < wanted.context) {
    text = "The context is " + std::to_string(plan.context) + " tokens instead of " +
           std::to_string(wanted.context) + ", which would take " + human_bytes(wanted.total()) +
           " of memory (" + parts_of(wanted) + "); " + human_bytes(plan.available) +
           " are available." +
           (options.kv_type == KvType::kF16 ? " --kv-type q8_0 halves the KV cache." : "");
  } else if (options.context > config.context) {
    text = "The context of " + std::to_string(plan.context) + " tokens is longer than the " +
           std::to_string(config.context) +
           " that the model was trained for; expect worse text beyond them.";
  }
  if (plan.available > 0 && plan.total() > plan.available) {
    text += (text.empty() ? "" : " ") + std::string("The model takes ") +
            human_bytes(plan.total()) + " of memory when all of it is in use (" + parts_of(plan) +
            "), and " + human_bytes(plan.available) + " are available: " +
            (plan.weights.experts > 0
                 ? "as more experts are used the system may end the program. Use a smaller model."
                 : "parts of the file will be read from the disk again and again, which is slow.");
  }
  return text;
}

// What there is for a model that is loaded, its own memory included.
uint64_t available_for(const WeightMemory& weights) {
  uint64_t memory = available_memory();
  if (const std::optional<uint64_t> space = available_address_space()) {
    // What lies in the file, or is reserved for experts, has its addresses.
    memory = std::min(memory, *space + weights.mapped + weights.experts);
  }
  return memory == 0 ? 0 : memory + weights.computed;
}

}  // namespace

std::string parts_of(const MemoryPlan& plan) {
  std::string text = "weights " + human_bytes(plan.weights.computed + plan.weights.mapped);
  const auto add = [&](const char* name, uint64_t bytes) {
    text += bytes > 0 ? ", " + std::string(name) + " " + human_bytes(bytes) : "";
  };
  add("experts up to", plan.weights.experts);
  add("KV cache", plan.kv_cache);
  add("recurrent state", plan.recurrent_state);
  add("work space", plan.workspace);
  add("the draft model", plan.reserved);
  return text;
}

MemoryPlan plan_memory(const ModelShape& model, const SessionOptions& options, uint64_t available) {
  const ModelConfig& config = model.config;
  const MemoryPlan wanted =
      plan_of(model, options,
              options.context > 0 ? options.context : std::min(config.context, kDefaultContext));
  // A tenth of the memory is left to everything else on the machine.
  const uint64_t budget = available / 10 * 9;
  // A file that does not fit is read again from the disk; the context need not suffer for it.
  const bool all = plan_of(model, options, kSmallestContext).total() <= budget;
  const auto too_large = [&](const MemoryPlan& plan) {
    return (all ? plan.total() : plan.least()) > budget;
  };
  MemoryPlan plan = wanted;
  while (available > 0 && plan.context > kSmallestContext && too_large(plan)) {
    plan = plan_of(model, options, std::max(plan.context / 2, kSmallestContext));
  }
  plan.available = available;
  plan.notice = notice_of(plan, wanted, config, options);
  return plan;
}

Result<Session> Session::create(std::shared_ptr<const Model> model, const SessionOptions& options) {
  const ModelConfig& config = model->config();
  Session session;
  const ModelShape shape = model->shape();
  session.plan_ = plan_memory(shape, options, available_for(shape.memory));
  const MemoryPlan& plan = session.plan_;
  if (!plan.fits()) {
    return Error{"A context of " + std::to_string(plan.context) + " tokens needs " +
                 human_bytes(plan.least()) + " of memory (" + parts_of(plan) + "), found " +
                 human_bytes(plan.available) +
                 " available. Close other programs or use a smaller model."};
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

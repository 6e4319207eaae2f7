#pragma once
// One conversation's state over a shared model: the KV cache and the memory of a forward pass.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/arch/model.h"
#include "engine/base/result.h"
#include "engine/run/decoder.h"

namespace tern {

struct SessionOptions {
  int32_t context = 0;  // positions; 0 = the model's own, at most kDefaultContext
  int32_t batch = 512;  // prompt tokens in one forward pass
  KvType kv_type = KvType::kF16;
  int threads = 1;        // for generating
  int batch_threads = 0;  // for prompts; 0: as for generating
  bool tune_threads =
      false;  // take the numbers above as the most, and find by measurement how many serve best
  uint64_t reserved = 0;  // bytes to leave to others, as to a model that guesses for this one
  PassProfile* profile = nullptr;  // if set, learns where the time goes; must outlive the session
};

// Longest context taken when the user does not ask for one: models declare up to 262144, whose cache would fill the machine.
inline constexpr int32_t kDefaultContext = 8192;

// What a model and a session on it will need, in bytes.
struct MemoryPlan {
  int32_t context = 0;
  WeightMemory weights;
  uint64_t kv_cache = 0;
  uint64_t recurrent_state = 0;  // of layers that keep one; independent of the context
  uint64_t workspace = 0;
  uint64_t reserved = 0;   // for others
  uint64_t available = 0;  // for all of it; 0 = unknown
  std::string notice;      // set if the context is less than was asked for, or the model too large

  uint64_t session() const { return kv_cache + recurrent_state + workspace; }
  uint64_t total() const { return weights.total() + session() + reserved; }
  // What cannot be read again from the file.
  uint64_t least() const { return weights.computed + session() + reserved; }
  bool fits() const { return available == 0 || least() <= available; }
};

// "weights 1.2 GB, KV cache 168 MB, work space 40 MB"
std::string parts_of(const MemoryPlan& plan);

// Decides on the context: what was asked for, at most what `available` allows, which is what there was before the model was loaded.
// This is the one place that says what a model takes.
MemoryPlan plan_memory(const ModelShape& model, const SessionOptions& options, uint64_t available);

// Used by one thread at a time. After create() no call allocates memory.
class Session {
 public:
  using KeepGoing = FunctionRef<bool()>;
  // Called with the logits of each position, in order; false: those of later positions are not wanted.
  using LogitsSink = FunctionRef<bool(std::span<const float> logits)>;

  // Errors: not even a small context fits the memory.
  static Result<Session> create(std::shared_ptr<const Model> model, const SessionOptions& options);

  // Appends tokens (ids within the vocabulary; at most room() of them). Returns the logits of the last, valid until the next
  // call; empty if `keep_going`, asked between layers, said no: then the session is as before the call.
  // Logits that are not wanted may be minus infinity.
  std::span<const float> append(std::span<const TokenId> tokens, KeepGoing keep_going = always(),
                                const LogitsWanted& wanted = {});
  // The same with the logits of every one of them; false if `keep_going` said no. All tokens are appended, also if the sink
  // wants no more logits. How tokens are cut into calls changes no bit of any logits.
  bool append_each(std::span<const TokenId> tokens, LogitsSink sink,
                   KeepGoing keep_going = always(), const LogitsWanted& wanted_logits = {});
  // The same with the last layer's output of each token, through the output norm, instead of logits: `sink` is called with rows of
  // model().config().width, those of one pass at a time.
  void append_states(std::span<const TokenId> tokens,
                     FunctionRef<void(std::span<const float> states)> sink);
  // Forgets all positions from `length` on. Recurrent layers cannot be cut anywhere: the next call then computes anew what lies
  // between the latest state that was kept and `length`. States are kept of before the last pass and of near the end of the
  // last long prompt.
  void rewind(int32_t length);

  int32_t length() const { return length_; }
  int32_t context() const { return cache_.capacity(); }
  int32_t room() const { return context() - length_; }
  const Model& model() const { return *model_; }
  const MemoryPlan& plan() const { return plan_; }
  const HeadStats& head_stats() const { return workspace_.head.stats(); }

 private:
  static KeepGoing always();
  bool forward(int32_t begin, int32_t end, KeepGoing keep_going);
  int32_t computed();
  // Called after each pass: rows of the workspace that belong to tokens of this call.
  using AfterPass = FunctionRef<void(int32_t first, int32_t count)>;
  bool read(std::span<const TokenId> tokens, KeepGoing keep_going, AfterPass after_pass);
  std::span<const float> logits(int32_t first, int32_t count, const LogitsWanted& wanted);

  std::shared_ptr<const Model> model_;
  Compute compute_;  // on as many threads as any pass may use
  ThreadTuner prompt_threads_;
  ThreadTuner token_threads_;
  MemoryPlan plan_;
  KvCache cache_;
  Workspace workspace_;
  std::vector<TokenId> held_;  // the tokens of all positions
  int32_t length_ = 0;
};

}  // namespace tern

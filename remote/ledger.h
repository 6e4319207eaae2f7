#pragma once
// What was asked of whom and what it cost, and what was learnt on the way: breakers, exhausted quotas, speeds of this
// machine. One SQLite file, used by any number of processes and threads at once; a process that is killed leaves it whole. No text of any
// prompt or answer is in it.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "remote/breaker.h"
#include "remote/budget.h"

namespace tern {

// A call that is about to be made.
struct PlannedCall {
  std::string provider;
  std::string model;
  std::string reason;                // why it goes there
  int64_t at = 0;                    // Unix time in ms
  std::optional<NanoDollars> worst;  // none: nobody knows
  // The call can be made for less, down to this, by asking for a shorter answer; none: only for its worst cost.
  std::optional<NanoDollars> least = {};
  // What it comes to if nothing more is heard of it: its prompt, and their price.
  int64_t likely_prompt_tokens = 0;
  std::optional<NanoDollars> likely = {};
};

struct Reservation {
  int64_t id = 0;
  std::string refused;      // not empty: a cap would not hold; a sentence
  NanoDollars granted = 0;  // what it may cost: the worst, or less where `least` allows that
};

// How it ended.
struct SettledCall {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  bool estimated = false;           // the counts are a guess
  std::optional<NanoDollars> cost;  // none: the price is not known
  int64_t latency_ms = 0;
  int64_t first_token_ms = 0;
  std::string request_id;
  std::string error;          // the class of the error; empty: none
  int64_t cached_tokens = 0;  // of the prompt
  bool cost_is_upper_bound = false;
};

struct LedgerSum {
  std::string group;
  int64_t calls = 0;
  int64_t failed = 0;
  int64_t unsettled = 0;  // not ended yet: counted at their worst cost
  int64_t unpriced = 0;
  int64_t estimated = 0;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  NanoDollars cost = 0;
  int64_t mean_first_token_ms = 0;
  int64_t cached_tokens = 0;
  int64_t upper_bounds = 0;  // calls that cost this much at most
};

enum class LedgerGroup : uint8_t { kAll, kProvider, kModel, kDay };

struct BreakerRow {
  std::string address;  // of the server
  std::string model;
  BreakerState state;
};

struct Speed {
  double prompt = 0;      // tokens/s
  double generation = 0;  // likewise
};

class Ledger {
 public:
  // Makes file and folder if need be. Nobody but the user may read the file, whoever could before. Errors name the file
  // and say what to do.
  static Result<Ledger> open(const std::filesystem::path& path);
  // One that fails for this reason, whatever it is asked.
  static Ledger unusable(const Error& why);

  Ledger(Ledger&&) noexcept;
  Ledger& operator=(Ledger&&) noexcept;
  ~Ledger();

  // Enters the call at its worst cost, unless a cap forbids it: what is spent plus this would exceed it. No two processes can pass with
  // what is left for one.
  Result<Reservation> reserve(const PlannedCall& call, const BudgetCaps& caps);
  // What has come of the answer so far, in case nothing more is heard of the call.
  Result<void> note_progress(int64_t id, int64_t completion_tokens,
                             std::optional<NanoDollars> likely);
  // Of a call that was settled already the first settlement stays.
  Result<void> settle(int64_t id, const SettledCall& call);
  // Books the calls whose process is gone by what they likely cost, and returns how many there were. Where it cannot be known
  // whether the process is gone, a day must have passed since the call began, or `unknown_too` be set. reserve() does the same.
  Result<int64_t> settle_abandoned(int64_t now, bool unknown_too);
  // Calls from `since` (Unix time in ms) on.
  Result<std::vector<LedgerSum>> sums(int64_t since, LedgerGroup group);

  // Why a cap would forbid the call now; empty: none would.
  Result<std::string> refusal(const PlannedCall& call, const BudgetCaps& caps);

  // What is learnt of servers is kept by their addresses: one whose address was wrong is asked at
  // once when it is right.

  // Reads, changes and writes a breaker's state; no other process comes between.
  Result<void> change_breaker(const std::string& address, const std::string& model,
                              const std::function<void(BreakerState&)>& change);
  Result<BreakerState> breaker(const std::string& address, const std::string& model);
  Result<std::vector<BreakerRow>> breakers();

  // Until when (Unix time in ms) nothing is left there; 0: as far as is known at `now` there is.
  Result<int64_t> exhausted_until(const std::string& address, int64_t now);
  Result<void> set_exhausted(const std::string& address, int64_t until, int64_t now);

  // Fields of requests that the server has refused in the last days.
  Result<std::vector<std::string>> refused_fields(const std::string& address, int64_t now);
  Result<void> note_refused_field(const std::string& address, const std::string& field,
                                  int64_t now);

  // Forgets breakers, quotas and refused fields of a server; empty: of all.
  Result<void> forget(const std::string& address);

  // How fast this machine was with a model lately.
  Result<std::optional<Speed>> speed(const std::string& model);
  Result<void> note_speed(const std::string& model, const Speed& measured);

 private:
  class Database;
  // What caps of days and months say; within a transaction of the caller.
  Result<std::string> refusal_by_sums(const PlannedCall& call, const BudgetCaps& caps,
                                      NanoDollars& granted);
  explicit Ledger(std::unique_ptr<Database> database);
  Result<int64_t> book_abandoned(int64_t now, bool unknown_too);

  std::unique_ptr<Database> database_;
};

}  // namespace tern

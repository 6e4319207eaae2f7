#pragma once
// A Completer over several: chooses who is asked (route.h), asks the next one when that fails, and keeps the books.
// It repeats no call to the same provider; that is what RemoteCompleter does (DESIGN.md has the policy of each class of error).

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "engine/api/completer.h"
#include "remote/ledger.h"
#include "remote/remote_completer.h"
#include "remote/route.h"

namespace tern {

// What the class of an error means for whoever chooses among providers.
struct ClassPolicy {
  bool fail_over = false;  // the next provider is asked, if nothing was delivered yet
  bool counts = false;     // the breaker counts it against the provider
};
ClassPolicy policy_of(ApiErrorClass kind);

struct RouterSetup {
  // Asks one provider; for "local" this machine, loading the model when first asked.
  using Backend = std::function<ApiOutcome(const Request& request, const std::string& model,
                                           const Sinks& sinks, int64_t deadline_ms)>;

  ProviderSet providers;
  RoutePolicy policy;
  BudgetCaps caps;
  // After an answer broke off: another provider answers from the beginning, behind a line in the text that says so.
  bool restart_on_stream_error = false;
  std::map<std::string, Backend> backends;      // by the provider's name
  std::map<std::string, std::string> unusable;  // likewise: a sentence on why it cannot be asked
  // This machine, for a request. May count the prompt's tokens better than the estimate that `wanted` holds.
  std::function<LocalSide(const Request& request, Wanted& wanted)> local;
  std::string kept_here;     // as Wanted has it
  bool local_named = false;  // likewise
  // Told of each route before anybody is asked; may be empty.
  std::function<void(const Route& route)> planned;
};

// May be used by several threads at once if its backends may.
class Router final : public Completer {
 public:
  // `ledger` and `clock` outlive this.
  Router(RouterSetup setup, Ledger& ledger, Clock& clock);

  // Who would be asked, and why. Sends nothing.
  Result<Route> plan(const Request& request) const;

  // The same with what breakers, quotas and budgets say of each step now. Sends nothing and changes
  // nothing.
  Result<Route> outlook(const Request& request) const;

  // Until `deadline_ms` (Clock::monotonic_ms; 0: none). An error after text was delivered is returned with the partial text; nothing
  // is ever delivered twice, unless restart_on_stream_error is set.
  ApiOutcome route(const Request& request, const Sinks& sinks, int64_t deadline_ms = 0);

  Result<Completion> complete(const Request& request, const Sink& sink) override;

 private:
  class Walk;
  ApiErrorClass class_of_refusal(const Request& request) const;
  // Why a step would be passed over now; empty: it would be asked.
  Result<std::string> obstacle(const RouteStep& step, const Request& request) const;
  // The address of a step's server, by which the ledger keeps what is learnt of it.
  std::string address_of(const RouteStep& step) const;
  // Whether this was not said before.
  bool first_time(const std::string& text);

  RouterSetup setup_;
  Ledger& ledger_;
  Clock& clock_;
  std::mutex mutex_;
  std::set<std::string> announced_;
};

}  // namespace tern

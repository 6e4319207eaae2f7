#include "remote/router.h"

#include <algorithm>
#include <utility>

#include "remote/api_error.h"
#include "remote/time_text.h"

namespace tern {
namespace {

constexpr int64_t kMostWait = 120'000;  // for a breaker, where there is no deadline
constexpr int64_t kQuotaPause =
    10 * 60'000;  // where a server does not say when its quota is renewed

ApiError own(ApiErrorClass kind, std::string message) {
  ApiError error;
  error.kind = kind;
  error.message = std::move(message);
  return error;
}

std::string called(const RouteStep& step) {
  return step.provider + " (" + step.model + ")";
}

// An answer without anything in it that was not meant to be so.
bool is_empty(const Completion& completion) {
  return completion.text.empty() && completion.reasoning.empty() && completion.tool_calls.empty() &&
         completion.reason == StopReason::kEndOfText;
}

}  // namespace

ClassPolicy policy_of(ApiErrorClass kind) {
  switch (kind) {
    case ApiErrorClass::kAuth:
    case ApiErrorClass::kPermission:
    case ApiErrorClass::kQuota:
    case ApiErrorClass::kContextLength:
    case ApiErrorClass::kModelNotFound:
      return {.fail_over = true, .counts = false};
    case ApiErrorClass::kRateLimit:
    case ApiErrorClass::kTimeout:
    case ApiErrorClass::kServer:
    case ApiErrorClass::kNetwork:
    case ApiErrorClass::kProtocol:
      return {.fail_over = true, .counts = true};
    case ApiErrorClass::kBadRequest:
    case ApiErrorClass::kContentPolicy:
    case ApiErrorClass::kCancelled:
      return {};
  }
  return {};
}

// One request on its way along its route.
class Router::Walk {
 public:
  Walk(Router& router, const Request& request, const Sinks& sinks, int64_t deadline_ms, Route route)
      : router_(router),
        request_(request),
        sinks_(sinks),
        deadline_ms_(deadline_ms),
        route_(std::move(route)) {
    // Where this machine is asked first nobody misses the others.
    for (const std::string& each : route_.left_out) {
      if (!route_.steps.front().local && router_.first_time(each)) {
        notice("not asked: " + each);
      }
    }
  }

  ApiOutcome run() {
    for (;;) {
      soonest_ = 0;
      bool asked = false;
      for (size_t i = 0; i < route_.steps.size(); ++i) {
        const RouteStep& step = route_.steps[i];
        const Result<Reservation> admitted = admit(step);
        if (!admitted) {
          return failed(own(ApiErrorClass::kServer, admitted.error().message));
        }
        if (!admitted->refused.empty()) {
          passed_over_.push_back(step.provider + ": " + admitted->refused);
          continue;
        }
        asked = true;
        ApiOutcome outcome = ask(step, admitted->id);
        if (is_final(outcome, i + 1 < route_.steps.size())) {
          return finished(step, std::move(outcome));
        }
      }
      if (asked || !wait_for_breaker()) {
        return nobody();
      }
    }
  }

 private:
  void notice(const std::string& text) const {
    if (sinks_.notice) {
      sinks_.notice(text);
    }
  }

  int64_t now() const { return router_.clock_.unix_ms(); }

  const ProviderModel* listed(const RouteStep& step) const {
    const Provider* provider = router_.setup_.providers.find(step.provider);
    return provider == nullptr ? nullptr : find_model(*provider, step.model);
  }

  // Whether a step may be taken now; if so, the call is entered into the ledger.
  Result<Reservation> admit(const RouteStep& step) {
    Reservation reservation;
    if (least_context_ > 0 && step.context <= least_context_) {
      reservation.refused = "its context is not known to be larger than " +
                            std::to_string(least_context_) + " tokens";
    }
    if (step.local || !reservation.refused.empty()) {
      return reservation;
    }
    ASSIGN_OR_RETURN(const int64_t exhausted, router_.ledger_.exhausted_until(step.provider));
    if (exhausted > now()) {
      reservation.refused = "its quota is exhausted until " + utc_text(exhausted);
      return reservation;
    }
    BreakerAnswer answer;
    RETURN_IF_ERROR(change(step, [&](BreakerState& state) { answer = may_ask(state, now()); }));
    if (!answer.ask) {
      soonest_ = soonest_ == 0 ? answer.again_at : std::min(soonest_, answer.again_at);
      reservation.refused = "it failed too often lately, and is asked again in " +
                            duration_text(answer.again_at - now());
      return reservation;
    }
    const PlannedCall call{step.provider, step.model, route_.reason, now(),
                           worst_cost(listed(step), request_)};
    Result<Reservation> reserved = router_.ledger_.reserve(call, router_.setup_.caps);
    if (!reserved || !reserved->refused.empty()) {
      // The call is not made: if it was to be the probe, another may be.
      RETURN_IF_ERROR(change(step, note_neither));
    }
    return reserved;
  }

  Result<void> change(const RouteStep& step, const std::function<void(BreakerState&)>& how) {
    return router_.ledger_.change_breaker(step.provider, step.model, how);
  }

  ApiOutcome ask(const RouteStep& step, int64_t id) {
    announce(step);
    const int64_t began = router_.clock_.monotonic_ms();
    int64_t first_token_ms = 0;
    delivered_ = 0;
    const auto counting = [&](const Completer::Sink& sink) {
      return [&, sink](std::string_view piece) {
        if (first_token_ms == 0 && !piece.empty()) {
          first_token_ms = std::max<int64_t>(1, router_.clock_.monotonic_ms() - began);
        }
        delivered_ += piece.size();
        return !sink || sink(piece);
      };
    };
    Sinks sinks = sinks_;
    sinks.text = counting(sinks_.text);
    sinks.reasoning = counting(sinks_.reasoning);
    ApiOutcome outcome =
        router_.setup_.backends.at(step.provider)(request_, step.model, sinks, deadline_ms_);
    if (outcome.error) {
      outcome.error->provider = step.provider;
    }
    if (!step.local) {
      const int64_t latency = router_.clock_.monotonic_ms() - began;
      const Result<void> booked = book(step, id, latency, first_token_ms, outcome);
      if (!booked) {
        notice("the ledger could not be written: " + booked.error().message);
      }
    } else if (!outcome.error) {
      outcome.completion.served.cost_known = true;
    }
    return outcome;
  }

  void announce(const RouteStep& step) {
    if (step.stand_in) {
      notice(step.provider + " does not list " + request_.model + ": it is asked for " +
             step.model + " instead.");
    }
    const Provider* provider = router_.setup_.providers.find(step.provider);
    if (!step.local && provider != nullptr && router_.first_time(step.provider)) {
      notice("prompts go to " + host_of(provider->base_url) + " (" + step.provider + ").");
    }
    if (restarted_) {
      const std::string line =
          "\n[" + broke_off_ + " broke off; " + called(step) + " answers from the beginning]\n";
      if (sinks_.text) {
        sinks_.text(line);
      }
    }
  }

  // What the call cost, and what it says about the provider.
  Result<void> book(const RouteStep& step, int64_t id, int64_t latency, int64_t first_token_ms,
                    ApiOutcome& outcome) {
    SettledCall call;
    call.latency_ms = latency;
    call.first_token_ms = first_token_ms;
    if (outcome.error) {
      const ApiError& error = *outcome.error;
      call.error = name_of(error.kind);
      call.request_id = error.request_id;
      call.estimated = delivered_ > 0;
      // A server that refused, or was never reached, charges nothing; what broke off is charged, as a rule.
      if (delivered_ > 0) {
        call.prompt_tokens = likely_prompt_tokens(request_);
        call.completion_tokens = estimated_tokens(delivered_);
      }
    } else {
      const Completion& completion = outcome.completion;
      call.request_id = completion.served.request_id;
      call.prompt_tokens = completion.usage.prompt_tokens;
      call.completion_tokens = completion.usage.completion_tokens;
      call.estimated = completion.usage.estimated;
    }
    const ProviderModel* model = listed(step);
    if (call.prompt_tokens + call.completion_tokens == 0) {
      call.cost = 0;
    } else if (model != nullptr) {
      call.cost = cost_of(*model, call.prompt_tokens, call.completion_tokens);
    }
    if (outcome.error) {  // what it comes to so far, for a caller who broke it off
      Usage& usage = outcome.completion.usage;
      usage.prompt_tokens = static_cast<int32_t>(call.prompt_tokens);
      usage.completion_tokens = static_cast<int32_t>(call.completion_tokens);
      usage.estimated = true;
      usage.first_token_seconds = static_cast<double>(first_token_ms) * 1e-3;
    }
    outcome.completion.served.cost_known = call.cost.has_value();
    outcome.completion.served.cost_usd = dollars(call.cost.value_or(0));
    RETURN_IF_ERROR(router_.ledger_.settle(id, call));
    if (outcome.error && outcome.error->kind == ApiErrorClass::kQuota) {
      const int64_t pause = outcome.error->retry_after_ms.value_or(kQuotaPause);
      RETURN_IF_ERROR(router_.ledger_.set_exhausted(
          step.provider, outcome.error->resets_at.value_or(now() + pause)));
    }
    return change(step, [&](BreakerState& state) { judge(state, outcome); });
  }

  void judge(BreakerState& state, const ApiOutcome& outcome) const {
    if (!outcome.error) {
      note_success(state, now());
    } else if (policy_of(outcome.error->kind).counts) {
      note_failure(state, now(), outcome.error->retry_after_ms,
                   outcome.error->kind == ApiErrorClass::kRateLimit);
    } else {
      note_neither(state);
    }
  }

  // Whether this is what the caller gets; else the next one is asked.
  bool is_final(const ApiOutcome& outcome, bool more) {
    if (!outcome.error) {
      if (!is_empty(outcome.completion) || !more) {
        return true;
      }
      notice("an empty answer came; the next one is asked.");
      return false;
    }
    const ApiError& error = *outcome.error;
    if (!policy_of(error.kind).fail_over || (delivered_ > 0 && !may_restart(error))) {
      return true;
    }
    errors_.push_back(error);
    if (error.kind == ApiErrorClass::kAuth && more) {
      notice("WARNING: " + error.message +
             " Until that is mended every answer comes from elsewhere.");
    } else if (more) {
      notice(error.message + " The next one is asked.");
    }
    if (error.kind == ApiErrorClass::kContextLength) {
      const RouteStep& step = step_of(error.provider);
      least_context_ = std::max({least_context_, step.context, likely_prompt_tokens(request_)});
    }
    if (delivered_ > 0) {
      restarted_ = true;
      broke_off_ = error.provider;
    }
    return false;
  }

  bool may_restart(const ApiError& error) const {
    return router_.setup_.restart_on_stream_error && error.provider != route_.steps.back().provider;
  }

  const RouteStep& step_of(const std::string& provider) const {
    return *std::ranges::find(route_.steps, provider, &RouteStep::provider);
  }

  ApiOutcome finished(const RouteStep& step, ApiOutcome outcome) const {
    Served& served = outcome.completion.served;
    served.provider = step.provider;
    served.model = served.model.empty() ? step.model : served.model;
    served.route_reason = route_.reason;
    if (!outcome.error) {
      if (!errors_.empty() || !passed_over_.empty()) {
        notice(called(step) + " answered.");
        served.route_reason += "; " + told();
      }
    }
    return outcome;
  }

  // What went before, in one line.
  std::string told() const {
    std::string text;
    for (const ApiError& error : errors_) {
      text += (text.empty() ? "" : "; ") + error.provider + " failed (" + name_of(error.kind) + ")";
    }
    for (const std::string& each : passed_over_) {
      text += (text.empty() ? "" : "; ") + each;
    }
    return text;
  }

  bool wait_for_breaker() {
    if (soonest_ == 0) {
      return false;
    }
    const int64_t wait = std::max<int64_t>(1, soonest_ - now());
    const int64_t limit =
        deadline_ms_ == 0 ? kMostWait : deadline_ms_ - router_.clock_.monotonic_ms();
    if (wait > limit) {
      return false;
    }
    passed_over_.clear();
    notice("all have failed too often lately; waiting " + duration_text(wait) +
           " for the first to be asked again.");
    return router_.clock_.wait_ms(wait, sinks_.cancelled);
  }

  // The error of a request that nobody answered.
  ApiOutcome nobody() const {
    if (sinks_.cancelled && sinks_.cancelled()) {
      return failed(own(ApiErrorClass::kCancelled, "cancelled."));
    }
    if (errors_.empty()) {
      std::string all;
      for (const std::string& each : passed_over_) {
        all += (all.empty() ? "" : "; ") + each;
      }
      return failed(own(ApiErrorClass::kQuota, "Nobody was asked: " + all + "."));
    }
    ApiError last = errors_.back();
    if (errors_.size() + passed_over_.size() > 1) {
      last.message = "Nobody answered (" + told() + "). The last error: " + last.message;
    }
    return failed(std::move(last));
  }

  static ApiOutcome failed(ApiError error) {
    ApiOutcome outcome;
    outcome.error = std::move(error);
    return outcome;
  }

  Router& router_;
  const Request& request_;
  const Sinks& sinks_;
  int64_t deadline_ms_;
  Route route_;
  std::vector<ApiError> errors_;
  std::vector<std::string> passed_over_;  // who was not asked, and why
  size_t delivered_ = 0;                  // bytes of the latest answer
  int64_t least_context_ = 0;             // a window of so many tokens was too small
  int64_t soonest_ = 0;  // Unix time in ms at which a breaker lets somebody be asked; 0: none
  bool restarted_ = false;
  std::string broke_off_;
};

Router::Router(RouterSetup setup, Ledger& ledger, Clock& clock)
    : setup_(std::move(setup)), ledger_(ledger), clock_(clock) {}

Result<Route> Router::plan(const Request& request) const {
  Wanted wanted{request.model, likely_prompt_tokens(request), request.max_tokens,
                request.local_only};
  std::vector<RemoteSide> remotes;
  bool named = setup_.policy.mode != RouteMode::kRemote;
  for (const std::string& name : setup_.policy.chain) {
    const Provider* provider = setup_.providers.find(name);
    if (name == kLocalName) {
      named = true;
    } else if (provider != nullptr) {
      const auto why = setup_.unusable.find(name);
      remotes.push_back({provider, why == setup_.unusable.end() ? "" : why->second});
    }
  }
  LocalSide local;
  local.why_not = "this machine is not in the chain";
  // Looking at this machine takes opening a model's file; it is left alone where it has no part in this.
  const bool last_resort = !setup_.policy.exact && !request.model.empty();
  if (setup_.local && (named || last_resort || request.local_only)) {
    local = setup_.local(request, wanted);
  }
  return decide_route(setup_.policy, wanted, local, remotes);
}

ApiOutcome Router::route(const Request& request, const Sinks& sinks, int64_t deadline_ms) {
  Result<Route> planned = plan(request);
  if (!planned) {
    ApiOutcome outcome;
    outcome.error = own(ApiErrorClass::kBadRequest, planned.error().message);
    return outcome;
  }
  if (setup_.planned) {
    setup_.planned(*planned);
  }
  return Walk(*this, request, sinks, deadline_ms, std::move(*planned)).run();
}

Result<Completion> Router::complete(const Request& request, const Sink& sink) {
  Sinks sinks;
  sinks.text = sink;
  ApiOutcome outcome = route(request, sinks);
  if (outcome.error) {
    return Error{outcome.error->message};
  }
  return std::move(outcome.completion);
}

bool Router::first_time(const std::string& text) {
  const std::lock_guard guard(mutex_);
  return announced_.insert(text).second;
}

}  // namespace tern

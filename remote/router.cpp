#include "remote/router.h"

#include <algorithm>
#include <utility>

#include "remote/api_error.h"
#include "remote/booking.h"
#include "remote/dialect_openai.h"
#include "remote/time_text.h"

namespace tern {
namespace {

constexpr int64_t kMostWait = 120'000;  // for a breaker, where there is no deadline
// So long a server's wish to wait is granted where another one can answer meanwhile.
constexpr int64_t kHandOverWait = 2'000;
constexpr int64_t kQuotaPause =
    10 * 60'000;  // where a server does not say when its quota is renewed

constexpr int64_t kLongestQuota = 31 * int64_t{86'400'000};  // a month

ApiError own(ApiErrorClass kind, std::string message) {
  ApiError error;
  error.kind = kind;
  error.message = std::move(message);
  return error;
}

std::string called(const RouteStep& step) {
  return step.provider + " (" + step.model + ")";
}

// An answer without anything in it that was not meant to be so. A model may also spend all tokens that it is allowed on
// reasoning that its server does not show.
bool is_empty(const Completion& completion, const Request& request) {
  const bool ended = completion.reason == StopReason::kEndOfText ||
                     (completion.reason == StopReason::kLength && request.max_tokens != 0);
  return completion.text.empty() && completion.reasoning.empty() && completion.tool_calls.empty() &&
         ended;
}

// A call that may be made: its entry in the ledger, and what it may cost.
struct Admission {
  PlannedCall call;
  Reservation reservation;
};
// Until when a provider whose quota is used up is not asked: as it says, unless no quota is renewed
// so late, as with a date of 2099.
int64_t quota_until(const ApiError& error, int64_t now) {
  const auto said = error.resets_at        ? error.resets_at
                    : error.retry_after_ms ? std::optional(now + *error.retry_after_ms)
                                           : std::nullopt;
  const bool believed = said && *said > now && *said <= now + kLongestQuota;
  return believed ? *said : now + kQuotaPause;
}

}  // namespace

ClassPolicy policy_of(ApiErrorClass kind) {
  switch (kind) {
    case ApiErrorClass::kAuth:
    case ApiErrorClass::kPermission:
    case ApiErrorClass::kQuota:
    case ApiErrorClass::kContextLength:
    case ApiErrorClass::kModelNotFound:
    case ApiErrorClass::kLocal:
    case ApiErrorClass::kBadRequest:
      return {.fail_over = true, .counts = false};
    case ApiErrorClass::kRateLimit:
    case ApiErrorClass::kTimeout:
    case ApiErrorClass::kServer:
    case ApiErrorClass::kNetwork:
    case ApiErrorClass::kProtocol:
      return {.fail_over = true, .counts = true};
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
    const bool wanted_local = router_.setup_.policy.mode == RouteMode::kAuto;
    for (const std::string& each : route_.left_out) {
      const bool missed = !wanted_local || !route_.steps.front().local;
      if (missed && router_.first_time(each)) {
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
        if (only_ && *only_ != i) {
          continue;
        }
        const Result<Admission> admitted = admit(step);
        if (!admitted) {
          // What is not written down cannot be kept within a budget either.
          no_ledger_ = true;
          passed_over_.push_back(step.provider + ": it is not asked without a ledger. " +
                                 admitted.error().message);
          continue;
        }
        if (!admitted->reservation.refused.empty()) {
          passed_over_.push_back(step.provider + ": " + admitted->reservation.refused);
          continue;
        }
        asked = true;
        const bool others = !only_ && another_can(i);
        ApiOutcome outcome = ask(step, *admitted, others);
        if (is_final(step, outcome, i + 1 < route_.steps.size() && !only_)) {
          return finished(step, std::move(outcome));
        }
        defer(i, outcome);
      }
      if (asked ? !wait_for_deferred() : !wait_for_breaker()) {
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

  // One whose context nobody knows may be larger.
  bool is_too_small(const RouteStep& step) const {
    return least_context_ > 0 && step.context > 0 && step.context <= least_context_;
  }

  // Whether somebody behind step `i` can be asked at once.
  bool another_can(size_t i) const {
    return std::any_of(route_.steps.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                       route_.steps.end(), [&](const RouteStep& step) {
                         if (is_too_small(step)) {
                           return false;
                         }
                         const Result<std::string> obstacle = router_.obstacle(step, request_);
                         return obstacle && obstacle->empty();
                       });
  }

  // Remembers who would have been waited for if there had been nobody else.
  void defer(size_t i, const ApiOutcome& outcome) {
    if (outcome.error && outcome.error->worth_waiting_ms && !only_ && delivered_ == 0) {
      deferred_.push_back({i, router_.clock_.monotonic_ms() + *outcome.error->worth_waiting_ms});
    }
  }

  // Nobody else could answer either: the soonest of those that asked for some time is waited for
  // after all.
  bool wait_for_deferred() {
    if (deferred_.empty()) {
      return false;
    }
    const auto soonest = std::ranges::min_element(deferred_, {}, &Deferred::at_ms);
    const Deferred next = *soonest;
    deferred_.erase(soonest);
    const int64_t wait = std::max<int64_t>(0, next.at_ms - router_.clock_.monotonic_ms());
    if (deadline_ms_ != 0 && router_.clock_.monotonic_ms() + wait >= deadline_ms_) {
      return false;
    }
    only_ = next.step;
    notice("nobody else answered; waiting " + duration_text(wait) + " as " +
           route_.steps[next.step].provider + " asks.");
    return wait == 0 || router_.clock_.wait_ms(wait, sinks_.cancelled);
  }

  // Whether a step may be taken now; if so, the call is entered into the ledger.
  Result<Admission> admit(const RouteStep& step) {
    Admission admission;
    Reservation& reservation = admission.reservation;
    if (is_too_small(step)) {
      reservation.refused =
          "its context is no larger than " + std::to_string(least_context_) + " tokens";
    }
    if (step.local || !reservation.refused.empty()) {
      return admission;
    }
    ASSIGN_OR_RETURN(const int64_t exhausted,
                     router_.ledger_.exhausted_until(router_.address_of(step), now()));
    if (exhausted > now()) {
      reservation.refused = "its quota is exhausted until " + utc_text(exhausted);
      return admission;
    }
    BreakerAnswer answer;
    RETURN_IF_ERROR(change(step, [&](BreakerState& state) { answer = may_ask(state, now()); }));
    if (!answer.ask) {
      soonest_ = soonest_ == 0 ? answer.again_at : std::min(soonest_, answer.again_at);
      reservation.refused = "it failed too often lately, and is asked again in " +
                            duration_text(answer.again_at - now());
      return admission;
    }
    admission.call = planned_call(step, listed(step), request_, router_.setup_.caps);
    admission.call.reason = route_.reason;
    admission.call.at = now();
    const Result<Reservation> reserved =
        router_.ledger_.reserve(admission.call, router_.setup_.caps);
    if (!reserved || !reserved->refused.empty()) {
      // The call is not made: if it was to be the probe, another may be.
      RETURN_IF_ERROR(change(step, note_neither));
    }
    ASSIGN_OR_RETURN(reservation, reserved);
    return admission;
  }

  Result<void> change(const RouteStep& step, const std::function<void(BreakerState&)>& how) {
    return router_.ledger_.change_breaker(router_.address_of(step), step.model, how);
  }

  // The request as this step gets it: a budget may limit the answer.
  Request request_for(const RouteStep& step, const Admission& admission) const {
    Request request = request_;
    const int32_t most =
        affordable_tokens(listed(step), request_, admission.call, admission.reservation.granted);
    if (most >= 0) {
      request.max_tokens = most;
      notice("there is a budget and no -n: " + step.provider + " may write " +
             std::to_string(most) + " tokens at most.");
    }
    return request;
  }

  // What has come is noted from time to time, for whoever settles the call if this process is killed.
  void note_progress(const RouteStep& step, int64_t id) {
    constexpr int64_t kEveryMs = 2'000;
    const int64_t now_ms = router_.clock_.monotonic_ms();
    if (step.local || (noted_ms_ != 0 && now_ms - noted_ms_ < kEveryMs)) {
      return;
    }
    noted_ms_ = now_ms;
    // A failure will show when the call is settled.
    static_cast<void>(router_.ledger_.note_progress(
        id, estimated_tokens(delivered_), likely_cost(listed(step), request_, delivered_)));
  }

  ApiOutcome ask(const RouteStep& step, const Admission& admission, bool others) {
    announce(step);
    const Request request = request_for(step, admission);
    const int64_t id = admission.reservation.id;
    noted_ms_ = 0;
    const int64_t began = router_.clock_.monotonic_ms();
    int64_t first_token_ms = 0;
    delivered_ = 0;
    const auto counting = [&](const Completer::Sink& sink) {
      return [&, sink](std::string_view piece) {
        if (first_token_ms == 0 && !piece.empty()) {
          first_token_ms = std::max<int64_t>(1, router_.clock_.monotonic_ms() - began);
        }
        delivered_ += piece.size();
        note_progress(step, id);
        return !sink || sink(piece);
      };
    };
    Sinks sinks = sinks_;
    sinks.others = others;
    sinks.most_asked_wait_ms = others ? kHandOverWait : kMostAskedWaitMs;
    sinks.text = counting(sinks_.text);
    sinks.reasoning = counting(sinks_.reasoning);
    ApiOutcome outcome =
        router_.setup_.backends.at(step.provider)(request, step.model, sinks, deadline_ms_);
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
      notice(why_another_model(step));
    }
    const Provider* provider = router_.setup_.providers.find(step.provider);
    if (!step.local && provider != nullptr && router_.first_time(step.provider)) {
      notice("prompts go to " + destination_of(*provider) + ".");
    }
    if (restarted_) {
      const std::string line =
          "\n[" + broke_off_ + " broke off; " + called(step) + " answers from the beginning]\n";
      if (sinks_.text) {
        sinks_.text(line);
      }
    }
  }

  std::string why_another_model(const RouteStep& step) const {
    if (step.local) {
      return (request_.model.empty() ? "the model that was named" : request_.model) +
             " is not on this machine: " + step.model + " answers in its place.";
    }
    if (request_.model.empty()) {
      return router_.setup_.kept_here +
             " is a model of this machine, and its name is not sent: " + step.provider +
             " is asked for " + step.model + " instead (--remote-model names another).";
    }
    return step.provider + " does not list " + request_.model + ": it is asked for " + step.model +
           " instead.";
  }

  // What the call cost, and what it says about the provider.
  Result<void> book(const RouteStep& step, int64_t id, int64_t latency, int64_t first_token_ms,
                    ApiOutcome& outcome) {
    SettledCall call = settled_call(listed(step), request_, outcome, delivered_);
    call.latency_ms = latency;
    call.first_token_ms = first_token_ms;
    if (outcome.error) {  // what it comes to so far, for a caller who broke it off
      Usage& usage = outcome.completion.usage;
      usage.prompt_tokens = static_cast<int32_t>(call.prompt_tokens);
      usage.completion_tokens = static_cast<int32_t>(call.completion_tokens);
      usage.estimated = call.estimated;
      usage.first_token_seconds = static_cast<double>(first_token_ms) * 1e-3;
    }
    outcome.completion.served.cost_known = call.cost.has_value();
    outcome.cost_is_upper_bound = call.cost_is_upper_bound;
    outcome.completion.served.cost_usd = dollars(call.cost.value_or(0));
    RETURN_IF_ERROR(router_.ledger_.settle(id, call));
    if (outcome.error && outcome.error->kind == ApiErrorClass::kQuota) {
      RETURN_IF_ERROR(router_.ledger_.set_exhausted(router_.address_of(step),
                                                    quota_until(*outcome.error, now()), now()));
    }
    return change(step, [&](BreakerState& state) { judge(state, outcome); });
  }

  void judge(BreakerState& state, const ApiOutcome& outcome) const {
    if (!outcome.error) {
      note_success(state, now());
    } else if (policy_of(outcome.error->kind).counts && !outcome.error->settings) {
      note_failure(state, now(), outcome.error->retry_after_ms,
                   outcome.error->kind == ApiErrorClass::kRateLimit);
    } else {
      note_neither(state);
    }
  }

  // Whether this is what the caller gets; else the next one is asked.
  bool is_final(const RouteStep& step, ApiOutcome& outcome, bool more) {
    if (!outcome.error) {
      // A model of this machine that ends at once has said what it has to say.
      if (!is_empty(outcome.completion, request_) || (step.local && !more)) {
        return true;
      }
      outcome.error = empty_answer(step, outcome.completion);
    }
    const ApiError& error = *outcome.error;
    if (!policy_of(error.kind).fail_over || error.ours || (delivered_ > 0 && !may_restart(error))) {
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
      // What it did not take is longer than its window; where that is unknown, than what the prompt
      // has at least.
      least_context_ = std::max({least_context_, step.context, least_prompt_tokens(request_)});
    }
    if (delivered_ > 0) {
      restarted_ = true;
      broke_off_ = error.provider;
    }
    return false;
  }

  static ApiError empty_answer(const RouteStep& step, const Completion& completion) {
    ApiError error = own(ApiErrorClass::kServer,
                         step.provider + ": the answer is empty" +
                             (completion.reason == StopReason::kLength
                                  ? ": all tokens that it may have went to hidden reasoning. "
                                    "Allow more with -n, or ask another provider."
                                  : ". Ask again, or ask another provider."));
    error.provider = step.provider;
    error.status = 200;
    error.request_id = completion.served.request_id;
    return error;
  }

  bool may_restart(const ApiError& error) const {
    return router_.setup_.restart_on_stream_error && error.provider != route_.steps.back().provider;
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
      const ApiErrorClass kind = no_ledger_      ? ApiErrorClass::kLocal
                                 : soonest_ != 0 ? ApiErrorClass::kServer
                                                 : ApiErrorClass::kQuota;
      return failed(own(kind, "Nobody was asked: " + all + (all.ends_with('.') ? "" : ".")));
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
  struct Deferred {
    size_t step;
    int64_t at_ms;  // of the monotonic clock
  };
  std::vector<Deferred> deferred_;  // who asked for more time than was granted
  std::optional<size_t> only_;      // the step that is asked once more
  int64_t soonest_ = 0;   // Unix time in ms at which a breaker lets somebody be asked; 0: none
  int64_t noted_ms_ = 0;  // when the ledger was told of what had come (monotonic); 0: it was not
  bool no_ledger_ = false;
  bool restarted_ = false;
  std::string broke_off_;
};

Router::Router(RouterSetup setup, Ledger& ledger, Clock& clock)
    : setup_(std::move(setup)), ledger_(ledger), clock_(clock) {}

Result<Route> Router::plan(const Request& request) const {
  Wanted wanted{request.model, likely_prompt_tokens(request), request.max_tokens,
                request.local_only};
  wanted.least_prompt_tokens = least_prompt_tokens(request);
  wanted.local_named = setup_.local_named;
  wanted.kept_here = setup_.kept_here;
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
  const bool last_resort = !setup_.policy.exact && (!request.model.empty() || setup_.local_named);
  const bool offline = !setup_.policy.offline.empty();
  if (setup_.local && (named || last_resort || request.local_only || offline)) {
    local = setup_.local(request, wanted);
  }
  return decide_route(setup_.policy, wanted, local, remotes);
}

// Why nobody can be asked: no key, a prompt that fits nowhere, or what else the request or the settings say.
ApiErrorClass Router::class_of_refusal(const Request& request) const {
  bool keys = false;
  bool windows = false;
  for (const std::string& name : setup_.policy.chain) {
    const Provider* provider = setup_.providers.find(name);
    if (provider == nullptr || name == kLocalName || !setup_.policy.allow_remote) {
      continue;
    }
    keys = keys || setup_.unusable.contains(name);
    const ProviderModel* model =
        find_model(*provider, request.model.empty() ? provider->default_model : request.model);
    windows = windows ||
              (model != nullptr && model->context > 0 &&
               likely_prompt_tokens(request) + std::max(0, request.max_tokens) > model->context);
  }
  return keys      ? ApiErrorClass::kAuth
         : windows ? ApiErrorClass::kContextLength
                   : ApiErrorClass::kBadRequest;
}

std::string Router::address_of(const RouteStep& step) const {
  const Provider* provider = setup_.providers.find(step.provider);
  return provider == nullptr ? step.provider : provider->base_url;
}

Result<std::string> Router::obstacle(const RouteStep& step, const Request& request) const {
  if (step.local) {
    return std::string();
  }
  const int64_t now = clock_.unix_ms();
  ASSIGN_OR_RETURN(const int64_t exhausted, ledger_.exhausted_until(address_of(step), now));
  if (exhausted > now) {
    return "its quota is exhausted until " + utc_text(exhausted);
  }
  ASSIGN_OR_RETURN(BreakerState state, ledger_.breaker(address_of(step), step.model));
  if (const BreakerAnswer answer = may_ask(state, now); !answer.ask) {
    return "it failed too often lately, and is asked again in " +
           duration_text(answer.again_at - now);
  }
  const Provider* provider = setup_.providers.find(step.provider);
  const ProviderModel* model = provider == nullptr ? nullptr : find_model(*provider, step.model);
  PlannedCall call = planned_call(step, model, request, setup_.caps);
  call.at = now;
  return ledger_.refusal(call, setup_.caps);
}

Result<Route> Router::outlook(const Request& request) const {
  ASSIGN_OR_RETURN(Route route, plan(request));
  for (RouteStep& step : route.steps) {
    ASSIGN_OR_RETURN(step.passed_over, obstacle(step, request));
  }
  return route;
}

ApiOutcome Router::route(const Request& request, const Sinks& sinks, int64_t deadline_ms) {
  Result<Route> planned = plan(request);
  if (!planned) {
    ApiOutcome outcome;
    outcome.error = own(class_of_refusal(request), planned.error().message);
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

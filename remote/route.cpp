#include "remote/route.h"

#include <algorithm>
#include <cmath>

#include "remote/time_text.h"

namespace tern {
namespace {

std::string tokens_text(const Wanted& wanted) {
  std::string text = std::to_string(wanted.prompt_tokens) + " tokens of prompt";
  if (wanted.max_tokens >= 0) {
    text += " and " + std::to_string(wanted.max_tokens) + " of answer";
  }
  return text;
}

// What prompt and answer need at least.
int64_t needed_context(const Wanted& wanted) {
  return wanted.prompt_tokens + std::max<int64_t>(wanted.max_tokens, 1);
}

// The same as another tokenizer counts it.
Wanted elsewhere(const Wanted& wanted) {
  Wanted there = wanted;
  if (wanted.least_prompt_tokens > 0) {
    there.prompt_tokens = wanted.least_prompt_tokens;
  }
  return there;
}

std::string trimmed(const std::string& text) {
  constexpr char kBlanks[] = " \t\r\n";
  const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

std::string seconds_text(double seconds) {
  return duration_text(static_cast<int64_t>(std::min(seconds, 1e9) * 1e3));
}

// Why an answer would take too long here; empty: it would not, or nobody knows.
std::string too_slow(const RoutePolicy& policy, const Wanted& wanted, const LocalSide& local) {
  if (policy.offload_after <= 0 || local.prompt_speed <= 0 || local.generation_speed <= 0) {
    return {};
  }
  const double first = static_cast<double>(wanted.prompt_tokens) / local.prompt_speed;
  const int64_t answer = wanted.max_tokens >= 0 ? wanted.max_tokens : kUsualAnswer;
  const double end = first + static_cast<double>(answer) / local.generation_speed;
  const std::string limit = ", above --offload-after " + seconds_text(policy.offload_after);
  if (first > policy.offload_after) {
    return "its first token is estimated after " + seconds_text(first) + " here" + limit;
  }
  if (end > policy.offload_after) {
    return "its end is estimated after " + seconds_text(end) + " here (" + std::to_string(answer) +
           " tokens)" + limit;
  }
  return {};
}

// Why this machine is not the one to answer first; empty: it is.
std::string reason_to_offload(const RoutePolicy& policy, const Wanted& wanted,
                              const LocalSide& local) {
  if (!local.known || !local.fits || local.stand_in) {
    return local.why_not;
  }
  if (local.context > 0 && needed_context(wanted) > local.context) {
    return tokens_text(wanted) + " exceed the context of " + std::to_string(local.context) +
           " that " + local.model + " has here";
  }
  return too_slow(policy, wanted, local);
}

bool local_can(const Wanted& wanted, const LocalSide& local) {
  return local.known && local.fits && (local.context == 0 || wanted.prompt_tokens < local.context);
}

RouteStep local_step(const LocalSide& local) {
  return {kLocalName, local.model, true, local.stand_in, local.context};
}

class Planner {
 public:
  Planner(const RoutePolicy& policy, const Wanted& wanted, const LocalSide& local,
          const std::vector<RemoteSide>& remotes)
      : policy_(policy), wanted_(wanted), local_(local), remotes_(remotes) {}

  Result<Route> local_only(const std::string& reason) {
    if (!local_can(wanted_, local_) || !local_is_meant()) {
      return Error{cannot_here() + " Nothing else is asked: " + reason + "."};
    }
    route_.steps = {local_step(local_)};
    route_.reason = reason;
    return std::move(route_);
  }

  Result<Route> automatic() {
    const std::string offload = reason_to_offload(policy_, wanted_, local_);
    add_remotes();
    if (offload.empty()) {
      route_.steps.insert(route_.steps.begin(), local_step(local_));
      route_.reason = local_.model + " is on this machine, and " + tokens_text(wanted_) +
                      " are within what it can do";
    } else if (!route_.steps.empty()) {
      route_.reason = offload;
      add_local_last();
    } else if (local_can(wanted_, local_) && local_is_meant()) {
      route_.steps = {local_step(local_)};
      route_.reason = "nobody else can be asked (" + all_left_out() + "), although " + offload;
    }
    return finished(offload);
  }

  Result<Route> chain() {
    if (!policy_.allow_remote && !remotes_.empty()) {
      return Error{not_allowed()};
    }
    add_remotes();
    if (std::ranges::find(policy_.chain, kLocalName) != policy_.chain.end()) {
      add_local_in_place();
    } else if (!policy_.exact) {
      add_local_last();
    }
    route_.reason = policy_.exact ? "the chain that was asked for" : "--route remote asks for it";
    return finished("");
  }

 private:
  // It is the model that was named, or one that may stand in because it was named too.
  bool local_is_meant() const { return !local_.stand_in || wanted_.local_named; }

  std::string cannot_here() const {
    if (!local_.known || !local_.fits || local_can(wanted_, local_)) {
      return local_.why_not + ".";
    }
    return tokens_text(wanted_) + " exceed the context of " + std::to_string(local_.context) +
           " that " + local_.model + " has here.";
  }

  std::string not_allowed() const {
    std::string hosts;
    for (const RemoteSide& side : remotes_) {
      hosts += (hosts.empty() ? "" : ", ") + destination_of(*side.provider);
    }
    return "This would send your prompts to " + hosts +
           ". If you agree, say so with --allow-remote, or once for all with \"allow_remote\": "
           "true in ~/.config/tern/config.json.";
  }

  // Those that list the model come before those that would stand in with another one.
  void add_remotes() {
    if (!policy_.allow_remote) {
      if (!remotes_.empty()) {
        route_.left_out.push_back("others: --allow-remote was not given");
      }
      return;
    }
    const bool listed = std::ranges::any_of(remotes_, [&](const RemoteSide& side) {
      return find_model(*side.provider, wanted_.model) != nullptr;
    });
    std::vector<RouteStep> stand_ins;
    for (const RemoteSide& side : remotes_) {
      RouteStep step{side.provider->name, wanted_.model, false, false, 0};
      const bool lists = find_model(*side.provider, wanted_.model) != nullptr;
      if (wanted_.model.empty()) {
        step.model = side.provider->default_model;
        step.stand_in = !wanted_.kept_here.empty();
      } else if (listed && !lists) {
        step.model = side.provider->default_model;
        step.stand_in = true;
      }
      if (const ProviderModel* model = find_model(*side.provider, step.model)) {
        step.model = model->id;
        step.context = model->context;
      }
      if (const std::string why = why_left_out(side, step); !why.empty()) {
        route_.left_out.push_back(step.provider + ": " + why);
      } else if (step.stand_in) {
        stand_ins.push_back(step);
      } else {
        route_.steps.push_back(step);
      }
    }
    route_.steps.insert(route_.steps.end(), stand_ins.begin(), stand_ins.end());
  }

  std::string why_left_out(const RemoteSide& side, const RouteStep& step) const {
    if (!side.unusable.empty()) {
      return side.unusable;
    }
    if (step.model.empty()) {
      return "it has no " + (wanted_.model.empty() ? "usual model" : wanted_.model) +
             ", nor a default_model that could stand in";
    }
    const Wanted there = elsewhere(wanted_);
    if (step.context > 0 && needed_context(there) > step.context) {
      const std::string counted = wanted_.least_prompt_tokens > 0 ? "at least " : "";
      return counted + tokens_text(there) + " exceed the context of " +
             std::to_string(step.context) + " that " + step.model + " has there" +
             (counted.empty() ? "" : " (its own tokenizer is not here: estimated from the length)");
    }
    return {};
  }

  // Where the chain has it; in place of another model it comes last, as all that stand in.
  void add_local_in_place() {
    if (!local_can(wanted_, local_)) {
      route_.left_out.push_back("local: " + cannot_here());
      return;
    }
    if (local_.stand_in) {
      // Alone it is no stand-in for anybody: the model that was named is asked for, and is not
      // here.
      if (policy_.chain.size() == 1 && !wanted_.local_named) {
        route_.left_out.push_back("local: " + local_.why_not + ".");
      } else {
        route_.steps.push_back(local_step(local_));
      }
      return;
    }
    const auto place_of = [&](const std::string& name) {
      return std::ranges::find(policy_.chain, name) - policy_.chain.begin();
    };
    const auto after = std::ranges::find_if(route_.steps, [&](const RouteStep& step) {
      const bool for_another = step.stand_in && wanted_.kept_here.empty();
      return for_another || place_of(step.provider) > place_of(kLocalName);
    });
    route_.steps.insert(after, local_step(local_));
  }

  void add_local_last() {
    const bool named = wanted_.local_named || !wanted_.model.empty();
    if (local_can(wanted_, local_) && named && local_is_meant()) {
      route_.steps.push_back(local_step(local_));
    }
  }

  std::string all_left_out() const {
    std::string text;
    for (const std::string& each : route_.left_out) {
      text += (text.empty() ? "" : "; ") + each.substr(0, each.find_last_not_of('.') + 1);
    }
    return text.empty() ? "no provider is configured" : text;
  }

  Result<Route> finished(const std::string& offload) {
    if (!route_.steps.empty()) {
      return std::move(route_);
    }
    std::string text =
        offload.empty() ? "Nobody can be asked: " : offload + ", and nobody else can be asked: ";
    text += all_left_out() + ".";
    if (!policy_.allow_remote && !remotes_.empty()) {
      text += " " + not_allowed();
    }
    return Error{text};
  }

  const RoutePolicy& policy_;
  const Wanted& wanted_;
  const LocalSide& local_;
  const std::vector<RemoteSide>& remotes_;
  Route route_;
};

}  // namespace

Result<RoutePolicy> parse_route(const std::string& given, const ProviderSet& set) {
  RoutePolicy policy;
  const std::string text = trimmed(given);
  if (text == "local") {
    policy.chain = {kLocalName};
    return policy;
  }
  if (text == "auto" || text == "remote") {
    policy.mode = text == "auto" ? RouteMode::kAuto : RouteMode::kRemote;
    policy.chain = set.chain;
    return policy;
  }
  policy.mode = RouteMode::kRemote;
  policy.exact = true;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string name = trimmed(text.substr(begin, end - begin));
    if (set.find(name) == nullptr) {
      return Error{"--route: expected local, auto, remote or names of providers (" + set.names() +
                   ") with commas between them, found \"" + name + "\"."};
    }
    if (std::ranges::find(policy.chain, name) != policy.chain.end()) {
      return Error{"--route: " + name + " is named twice."};
    }
    policy.chain.push_back(name);
    begin = end + 1;
  }
  return policy;
}

Result<Route> decide_route(const RoutePolicy& policy, const Wanted& wanted, const LocalSide& local,
                           const std::vector<RemoteSide>& remotes) {
  Planner planner(policy, wanted, local, remotes);
  if (!policy.offline.empty()) {
    return planner.local_only(policy.offline + " is set: nothing leaves this machine");
  }
  if (wanted.local_only) {
    return planner.local_only("the request may not leave this machine");
  }
  switch (policy.mode) {
    case RouteMode::kLocal:
      return planner.local_only("--route local, the default: nothing leaves this machine");
    case RouteMode::kAuto:
      return planner.automatic();
    case RouteMode::kRemote:
      return planner.chain();
  }
  return Error{"an unknown route"};
}

}  // namespace tern

#pragma once
// Where a request goes, and why: a pure function of what is known before anything is sent.

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "remote/provider_file.h"

namespace tern {

enum class RouteMode : uint8_t {
  kLocal,   // nothing leaves this machine
  kAuto,    // this machine first; others for what it cannot do
  kRemote,  // the chain
};

struct RoutePolicy {
  RouteMode mode = RouteMode::kLocal;
  std::vector<std::string> chain;  // who is asked in turn; may hold "local"
  bool exact = false;  // the user named this chain: nobody else is asked, not even this machine
  bool allow_remote = false;  // the user has agreed that prompts leave this machine
  double offload_after = 0;   // seconds that an answer may take here; 0: any time
  std::string offline;        // the environment variable that forbids all connections; empty: none
};

// "local", "auto", "remote", or a chain of names as holysheep,openai,local. Errors name what there is.
Result<RoutePolicy> parse_route(const std::string& text, const ProviderSet& set);

// What is wanted, as far as it matters here.
struct Wanted {
  std::string model;          // by the name that providers are asked for; empty: their usual one
  int64_t prompt_tokens = 0;  // as this machine's model counts them, or an estimate
  int64_t max_tokens = -1;    // -1: not limited
  bool local_only = false;
  // At least so many tokens in any other tokenizer, which nobody here has: only what surely does
  // not fit is left out. 0: as `prompt_tokens`.
  int64_t least_prompt_tokens = 0;
  bool local_named = false;  // the user named a model of this machine
  // That model, where others are asked for their usual one because its name is not sent; empty: no
  // such case.
  std::string kept_here = {};
};

// This machine.
struct LocalSide {
  bool known = false;           // has the model that is wanted
  std::string model;            // as it is called here
  std::string why_not;          // where it has not, or where it cannot run it: a sentence
  int64_t context = 0;          // tokens that model and memory allow; 0: unknown
  bool fits = true;             // into the memory
  double prompt_speed = 0;      // tokens/s as measured here; 0: unknown
  double generation_speed = 0;  // likewise
  bool stand_in = false;        // not the model that was named, which `why_not` says
};

// Another one, in the order of the chain.
struct RemoteSide {
  const Provider* provider = nullptr;
  std::string unusable;  // a sentence on why it cannot be asked (no key); empty: it can
};

struct RouteStep {
  std::string provider;
  std::string model;  // by the provider's own name
  bool local = false;
  bool stand_in = false;         // not the model that was named, but the provider's usual one
  int64_t context = 0;           // tokens; 0: unknown
  std::string passed_over = {};  // why it would not be asked now (Router::outlook); empty: it would
};

struct Route {
  std::vector<RouteStep> steps;       // to be tried in this order; at least one
  std::string reason;                 // why the first is the first: a sentence
  std::vector<std::string> left_out;  // who is not asked, and why
};

// What is assumed of an answer's length where no limit was given.
inline constexpr int64_t kUsualAnswer = 256;

// Errors: nobody may or can be asked. `remotes` holds those of policy.chain that are not this machine.
Result<Route> decide_route(const RoutePolicy& policy, const Wanted& wanted, const LocalSide& local,
                           const std::vector<RemoteSide>& remotes);

}  // namespace tern

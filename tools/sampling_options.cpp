#include "tools/sampling_options.h"

#include <cstdint>
#include <limits>
#include <random>

#include "tools/cli.h"

namespace tern::cli {
namespace {

Result<std::pair<int32_t, float>> parse_bias(const std::string& text) {
  constexpr float kMostBias = 1e6F;
  const size_t sign = text.find_first_of("+-", 1);
  if (sign == std::string::npos) {
    return Error{"--logit-bias: expected TOKEN+VALUE or TOKEN-VALUE (such as 15043-100), found " +
                 text + "."};
  }
  const auto token = parse_number(text.substr(0, sign), 0, std::numeric_limits<int32_t>::max());
  if (!token) {
    return token.error().in("--logit-bias " + text + ": the token");
  }
  const auto bias = parse_number(text.substr(sign), -kMostBias, kMostBias);
  if (!bias) {
    return bias.error().in("--logit-bias " + text + ": the value");
  }
  return std::pair(*token, *bias);
}

}  // namespace

void SamplingOptions::declare(CLI::App& app) {
  const CLI::Validator positive = in_range(0.0, 1e9);
  const CLI::Validator share = in_range(0.0, 1.0);
  const CLI::Validator addend = in_range(-1e3, 1e3);
  app.add_option("-n,--predict,--n-predict", max_tokens,
                 "Tokens to generate at most; -1 or -2: until the text or the context ends")
      ->check(in_range(-2, 1 << 30))
      ->type_name("N");
  app.add_option("--temp,--temperature", params.temperature,
                 "Temperature; 0: always the likeliest token")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--top-k", params.top_k, "Choose among the K likeliest tokens; 0: all")
      ->check(in_range(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--top-p", params.top_p,
                 "Choose among the likeliest tokens of this total probability")
      ->check(share)
      ->capture_default_str();
  app.add_option("--min-p", params.min_p,
                 "Drop tokens less likely than this share of the likeliest")
      ->check(share)
      ->capture_default_str();
  app.add_option("--repeat-penalty", params.repeat_penalty,
                 "Divide logits of recent tokens; 1: off")
      ->check(in_range(1e-3, 1e3))
      ->capture_default_str();
  app.add_option("--presence-penalty", params.presence_penalty,
                 "Subtract from logits of recent tokens")
      ->check(addend);
  app.add_option("--frequency-penalty", params.frequency_penalty,
                 "Subtract once per recent occurrence")
      ->check(addend);
  app.add_option("--repeat-last-n", params.repeat_last_n, "How many tokens are recent; -1: all")
      ->check(in_range(-1, 1 << 20))
      ->capture_default_str();
  app.add_option("-s,--seed", seed, "Seed of the random choice; default: a new one each time")
      ->check(in_range(uint64_t{0}, std::numeric_limits<uint64_t>::max()));
  app.add_option("--stop", stop, "Stop before this text (may be given several times)")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_option("--logit-bias", logit_bias, "Add to a token's logit: TOKEN+VALUE or TOKEN-VALUE")
      ->type_name("BIAS")
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", ignore_eos, "Go on after the tokens that end a text");
  app.add_flag("--parse-special-in-prompt", parse_special_in_prompt,
               "Read control tokens that a message spells (<|im_end|>) as such, not as text");
}

Result<void> SamplingOptions::apply(Request& request) const {
  request.sampling = params;
  request.sampling.seed_given = seed.has_value();
  request.sampling.seed = seed ? *seed : std::random_device()();
  for (const std::string& text : logit_bias) {
    ASSIGN_OR_RETURN(const auto bias, parse_bias(text));
    request.sampling.logit_bias.push_back(bias);
  }
  request.max_tokens = max_tokens;
  request.stop = stop;
  request.ignore_eos = ignore_eos;
  request.parse_special_in_messages = parse_special_in_prompt;
  return {};
}

}  // namespace tern::cli

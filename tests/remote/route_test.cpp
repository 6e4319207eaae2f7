// Providers as data, the choice among them, breakers and money: pure functions against tables worked out by hand.

#include "remote/route.h"

#include <gtest/gtest.h>

#include "engine/base/file.h"
#include "remote/breaker.h"
#include "remote/budget.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

ProviderSet shipped() {
  ProviderSet set;
  const auto text = read_text_file(testing::source_path("remote/providers.json"));
  const auto added = add_providers(set, "providers.json", text.value());
  EXPECT_TRUE(added) << (added ? "" : added.error().message);
  return set;
}

std::string complaint(const std::string& json) {
  ProviderSet set = shipped();
  const auto added = add_providers(set, "p.json", json);
  return added ? "" : added.error().message;
}

TEST(Providers, ShippedOnesAreWhatTheReadmeSays) {
  const ProviderSet set = shipped();
  EXPECT_EQ(set.names(), "holysheep, openai, local");
  EXPECT_EQ(set.chain, (std::vector<std::string>{"holysheep", "openai"}));
  const Provider& sheep = *set.find("holysheep");
  EXPECT_EQ(sheep.base_url, "https://api.holysheep.ai/v1");
  EXPECT_EQ(sheep.timeouts.first_byte_ms, 30'000);
  EXPECT_EQ(sheep.timeouts.connect_ms, 5'000);
  EXPECT_EQ(sheep.key_variable, "HOLYSHEEP_API_KEY");
  EXPECT_EQ(find_model(sheep, "DeepSeek")->id, "deepseek-v3.2");
  EXPECT_EQ(find_model(sheep, "nothing"), nullptr);
  EXPECT_EQ(set.find("openai")->timeouts.first_byte_ms, 60'000);
  EXPECT_EQ(set.find("local")->kind, ProviderKind::kLocal);
  for (const Provider& provider : set.providers) {
    for (const ProviderModel& model : provider.models) {
      EXPECT_FALSE(model.price_in && (model.priced_on.empty() || model.price_source.empty()));
    }
  }
}

TEST(Providers, AUsersFileChangesMembersAndAddsOthers) {
  ProviderSet set = shipped();
  ASSERT_TRUE(add_providers(set, "p.json", R"({"chain": ["desk", "local"], "providers": [
    {"name": "holysheep", "timeouts": {"idle": 0.5}, "models": [{"id": "gpt-4.1", "context": 7}]},
    {"name": "desk", "base_url": "http://127.0.0.1:8080/v1/", "quirks": {"more_sampling": true}}]})"));
  const Provider& sheep = *set.find("holysheep");
  EXPECT_EQ(sheep.timeouts.idle_ms, 500);
  EXPECT_EQ(sheep.timeouts.first_byte_ms, 30'000);
  EXPECT_EQ(find_model(sheep, "gpt-4.1")->context, 7);
  EXPECT_FALSE(find_model(sheep, "gpt-4.1")->price_in);
  EXPECT_TRUE(find_model(sheep, "deepseek-v3.2")->price_in);
  EXPECT_EQ(set.find("desk")->base_url, "http://127.0.0.1:8080/v1");
  EXPECT_TRUE(set.find("desk")->quirks.more_sampling);
  EXPECT_EQ(set.chain.front(), "desk");
}

TEST(Providers, ErrorsNameTheirPlace) {
  const std::pair<const char*, const char*> table[] = {
      {"{", "this is no JSON"},
      {"[]", "$: expected an object"},
      {R"({"providers": {}})", "$.providers: expected an array"},
      {R"({"provider": []})", "no member \"provider\"; known are"},
      {R"({"chain": ["nobody"]})", "$.chain: there is no provider \"nobody\""},
      {R"({"providers": [{"name": "a b"}]})", "$.providers[0].name: expected letters"},
      {R"({"providers": [{"name": "auto"}]})", "$.providers[0].name"},
      {R"({"providers": [{"name": "x"}]})", "$.providers[0].base_url: expected the server's"},
      {R"({"providers": [{"name": "x", "base_url": "ftp://h"}]})", "$.providers[0].base_url"},
      {R"({"providers": [{"name": "x", "base_url": "https://me:pw@h/v1"}]})", "without user name"},
      {R"({"providers": [{"name": "x", "base_url": "https://h", "api_key": "sk-1"}]})",
       "keys do not belong in this file"},
      {R"({"providers": [{"name": "openai", "retries": -1}]})",
       "$.providers[0].retries: expected a whole number from 0 to 10, found -1."},
      {R"({"providers": [{"name": "openai", "timeouts": {"first_byte": "30"}}]})",
       "$.providers[0].timeouts.first_byte: expected a number"},
      {R"({"providers": [{"name": "openai", "models": [{"id": "m", "price": {"in": 1, "out": 2, "date": "May", "source": "s"}}]}]})",
       "$.providers[0].models[0].price.date: expected the day of the price as YYYY-MM-DD"},
      {R"({"providers": [{"name": "openai", "models": [{"id": "m", "price": {"in": 1}}]}]})",
       "$.providers[0].models[0].price: expected both in and out"},
      {R"({"providers": [{"name": "openai", "models": [{"aliases": ["m"]}]}]})",
       "$.providers[0].models[0].id"},
      {R"({"providers": [{"name": "here", "kind": "local"}]})", "$.providers[0].kind"},
  };
  for (const auto& [json, words] : table) {
    const std::string said = complaint(json);
    EXPECT_NE(said.find(words), std::string::npos) << json << "\n" << said;
    EXPECT_EQ(said.rfind("p.json: ", 0), 0U) << said;
  }
}

TEST(Providers, DeepNestingIsAnErrorLikeAnyOther) {
  constexpr size_t kDeep = 400'000;
  const std::string text = "{\"chain\": " + std::string(kDeep, '[') + std::string(kDeep, ']') + "}";
  ProviderSet set = shipped();
  const auto added = add_providers(set, "p.json", text);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().message, "p.json: this is no JSON: it is nested too deeply.");
}

TEST(Providers, TheEnvironmentNamesOtherServers) {
  ProviderSet set = shipped();
  const auto variable = [](const std::string& name) {
    return name == "HOLYSHEEP_BASE_URL" ? "http://127.0.0.1:9/v1/" : "";
  };
  ASSERT_TRUE(apply_environment(set, variable));
  EXPECT_EQ(set.find("holysheep")->base_url, "http://127.0.0.1:9/v1");
  EXPECT_EQ(set.find("holysheep")->balance_url, "");  // or the key would go to a host nobody named
  EXPECT_EQ(set.find("openai")->base_url, "https://api.openai.com/v1");
  EXPECT_FALSE(apply_environment(set, [](const std::string&) { return "holysheep.ai"; }));
  // Another server has other prices.
  EXPECT_FALSE(find_model(*set.find("holysheep"), "deepseek-v3.2")->price_in);
  EXPECT_EQ(find_model(*set.find("openai"), "gpt-4.1")->price_in, 2);
}

TEST(ProviderFile, APriceHoldsForTheHostThatItWasEnteredFor) {
  const auto priced_after = [](const char* file, const std::string& variable) {
    ProviderSet set;
    EXPECT_TRUE(add_providers(set, "shipped.json", R"({"providers": [
        {"name": "p", "base_url": "https://api.test/v1", "base_url_variable": "URL", "models": [
          {"id": "m", "price": {"in": 1, "out": 2, "cached_input": 0.5, "date": "2026-01-01", "source": "s"}}]}]})"));
    const auto added = add_providers(set, "own.json", file);
    EXPECT_TRUE(added) << added.error().message;
    EXPECT_TRUE(apply_environment(set, [&](const std::string&) { return variable; }));
    const ProviderModel& model = set.providers[0].models[0];
    EXPECT_EQ(model.price_in.has_value(), model.price_cached.has_value());
    return model.price_in.value_or(0);
  };
  EXPECT_EQ(priced_after("{}", ""), 1);
  EXPECT_EQ(priced_after("{}", "https://api.test/v2/"), 1);
  EXPECT_EQ(priced_after("{}", "https://proxy.test/v1"), 0);
  EXPECT_EQ(priced_after("{}", "http://api.test:8080/v1"), 0);
  EXPECT_EQ(
      priced_after(R"({"providers": [{"name": "p", "base_url": "http://127.0.0.1:1/v1"}]})", ""),
      0);
  constexpr char kOwn[] =
      R"({"providers": [{"name": "p", "base_url": "https://proxy.test/v1", "models": [
      {"id": "m", "price": {"in": 7, "out": 2, "cached_input": 0, "date": "2026-01-01", "source": "s"}}]}]})";
  EXPECT_EQ(priced_after(kOwn, ""), 7);
  EXPECT_EQ(priced_after(kOwn, "https://proxy.test/v1"), 7);
  EXPECT_EQ(priced_after(kOwn, "https://another.test/v1"), 0);
}

TEST(ProviderFile, AKeyOfAnotherServerDoesNotGoToTheBalanceOfTheFirst) {
  ProviderSet set;
  ASSERT_TRUE(add_providers(set, "shipped.json", R"({"providers": [
      {"name": "p", "base_url": "https://api.test/v1", "balance_url": "https://test/balance"}]})"));
  ASSERT_TRUE(add_providers(set, "own.json", R"({"providers": [{"name": "p", "retries": 1}]})"));
  EXPECT_EQ(set.providers[0].balance_url, "https://test/balance");
  ASSERT_TRUE(add_providers(
      set, "own.json", R"({"providers": [{"name": "p", "base_url": "https://proxy.test/v1"}]})"));
  EXPECT_EQ(set.providers[0].balance_url, "");
}

TEST(ProviderFile, SaysWherePromptsGoAndHow) {
  Provider provider;
  provider.name = "p";
  provider.base_url = "https://api.test/v1";
  EXPECT_EQ(destination_of(provider), "api.test (p)");
  provider.base_url = "http://127.0.0.1:8080/v1";
  EXPECT_EQ(destination_of(provider), "127.0.0.1:8080 (p)");
  provider.base_url = "http://192.168.0.7:8080/v1";
  EXPECT_NE(destination_of(provider).find("192.168.0.7:8080 (p) over plain http, unencrypted"),
            std::string::npos);
}

// One row: what is asked, and who is to be asked in which order.
struct Row {
  const char* about;
  const char* route;
  Wanted wanted;
  LocalSide local;
  bool allow = true;
  double offload_after = 0;
  const char* steps = "";   // "provider/model" in their order; empty: an error
  const char* reason = "";  // a part of it, or of the error
};

const LocalSide kHere{true, "tiny", "", 4096, true, 100, 10};
const LocalSide kNotHere{false, "", "deepseek-v3.2 is not on this machine", 0, true, 0, 0};
const LocalSide kTooLarge{true, "big", "big needs 90 GB of memory, and 8 GB are free", 0, false,
                          0,    0};

const Row kRows[] = {
    {"the default", "local", {"tiny", 10, 10}, kHere, false, 0, "local/tiny", "nothing leaves"},
    {"the default, also where others are allowed",
     "local",
     {"tiny", 10, 10},
     kHere,
     true,
     0,
     "local/tiny",
     "nothing leaves"},
    {"the default, and the model is not here",
     "local",
     {"deepseek-v3.2", 10, 10},
     kNotHere,
     true,
     0,
     "",
     "not on this machine. Nothing else is asked"},
    {"a request that may not leave, before everything",
     "holysheep",
     {"tiny", 10, 10, true},
     kHere,
     true,
     0,
     "local/tiny",
     "may not leave"},
    {"a request that may not leave and cannot be answered",
     "auto",
     {"deepseek-v3.2", 10, 10, true},
     kNotHere,
     true,
     0,
     "",
     "may not leave"},
    {"auto, all is well here",
     "auto",
     {"tiny", 10, 10},
     kHere,
     true,
     0,
     "local/tiny holysheep/tiny openai/tiny",
     "tiny is on this machine"},
    {"auto, nobody else allowed",
     "auto",
     {"tiny", 10, 10},
     kHere,
     false,
     0,
     "local/tiny",
     "is on this machine"},
    {"auto, not here",
     "auto",
     {"deepseek-v3.2", 10, 10},
     kNotHere,
     true,
     0,
     "holysheep/deepseek-v3.2 openai/gpt-4.1",
     "not on this machine"},
    {"auto, not here, nobody else allowed",
     "auto",
     {"deepseek-v3.2", 10, 10},
     kNotHere,
     false,
     0,
     "",
     "--allow-remote"},
    {"auto, too long a prompt",
     "auto",
     {"tiny", 4090, 7},
     kHere,
     true,
     0,
     "holysheep/tiny openai/tiny local/tiny",
     "exceed the context of 4096"},
    {"auto, just fits",
     "auto",
     {"tiny", 4090, 6},
     kHere,
     true,
     0,
     "local/tiny holysheep/tiny openai/tiny",
     "is on this machine"},
    {"auto, without a limit the prompt alone counts",
     "auto",
     {"tiny", 4095, -1},
     kHere,
     true,
     0,
     "local/tiny holysheep/tiny openai/tiny",
     "is on this machine"},
    {"auto, too large for the memory",
     "auto",
     {"big", 10, 10},
     kTooLarge,
     true,
     0,
     "holysheep/big openai/big",
     "90 GB"},
    // 1000 tokens at 100 tokens/s: 10 s; 20 more at 10 tokens/s: 12 s.
    {"auto, first token too late",
     "auto",
     {"tiny", 1000, 20},
     kHere,
     true,
     9.9,
     "holysheep/tiny openai/tiny local/tiny",
     "its first token is estimated after 10 s"},
    {"auto, end too late",
     "auto",
     {"tiny", 1000, 20},
     kHere,
     true,
     11.9,
     "holysheep/tiny openai/tiny local/tiny",
     "its end is estimated after 12 s"},
    {"auto, in time",
     "auto",
     {"tiny", 1000, 20},
     kHere,
     true,
     12.1,
     "local/tiny holysheep/tiny openai/tiny",
     "is on this machine"},
    {"auto, too slow, but nobody else is allowed",
     "auto",
     {"tiny", 1000, 20},
     kHere,
     false,
     1,
     "local/tiny",
     "nobody else can be asked"},
    {"auto, speed unknown",
     "auto",
     {"tiny", 1000, 20},
     {true, "tiny", "", 4096, true, 0, 0},
     true,
     0.1,
     "local/tiny holysheep/tiny openai/tiny",
     "is on this machine"},
    {"remote",
     "remote",
     {"deepseek", 10, 10},
     kNotHere,
     true,
     0,
     "holysheep/deepseek-v3.2 openai/gpt-4.1",
     "--route remote"},
    {"remote, and the model is here too",
     "remote",
     {"tiny", 10, 10},
     kHere,
     true,
     0,
     "holysheep/tiny openai/tiny local/tiny",
     "--route remote"},
    {"remote, no model named",
     "remote",
     {"", 10, 10},
     kHere,
     true,
     0,
     "holysheep/deepseek-v3.2 openai/gpt-4.1",
     "--route remote"},
    {"remote, not allowed",
     "remote",
     {"deepseek", 10, 10},
     kNotHere,
     false,
     0,
     "",
     "send your prompts to api.holysheep.ai (holysheep), api.openai.com (openai)"},
    {"a chain",
     "openai,holysheep",
     {"gpt-4.1", 10, 10},
     kHere,
     true,
     0,
     "openai/gpt-4.1 holysheep/gpt-4.1",
     "the chain"},
    {"a chain: who lists the model is asked before stand-ins",
     "openai,holysheep",
     {"deepseek-v3.2", 10, 10},
     kNotHere,
     true,
     0,
     "holysheep/deepseek-v3.2 openai/gpt-4.1",
     "chain"},
    {"a chain that ends here",
     "holysheep,openai,local",
     {"tiny", 10, 10},
     kHere,
     true,
     0,
     "holysheep/tiny openai/tiny local/tiny",
     "the chain"},
    {"a chain that begins here",
     "local,holysheep",
     {"tiny", 10, 10},
     kHere,
     true,
     0,
     "local/tiny holysheep/tiny",
     "the chain"},
    {"a chain without this machine",
     "holysheep",
     {"tiny", 10, 10},
     kHere,
     true,
     0,
     "holysheep/tiny",
     "the chain"},
    {"a model that only one lists",
     "holysheep,openai",
     {"gpt-4o", 10, 10},
     kNotHere,
     true,
     0,
     "openai/gpt-4o holysheep/deepseek-v3.2",
     "the chain"},
    {"a window that is too small is left out",
     "openai",
     {"gpt-4", 8000, 500},
     kNotHere,
     true,
     0,
     "",
     "exceed the context of 8192"},
};

TEST(Route, Table) {
  const ProviderSet set = shipped();
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.about);
    auto policy = parse_route(row.route, set);
    ASSERT_TRUE(policy);
    policy->allow_remote = row.allow;
    policy->offload_after = row.offload_after;
    std::vector<RemoteSide> remotes;
    for (const std::string& name : policy->chain) {
      if (name != "local") {
        remotes.push_back({set.find(name), ""});
      }
    }
    const auto route = decide_route(*policy, row.wanted, row.local, remotes);
    std::string steps;
    if (route) {
      for (const RouteStep& step : route->steps) {
        steps += (steps.empty() ? "" : " ") + step.provider + "/" + step.model;
        EXPECT_EQ(step.local, step.provider == "local");
      }
    }
    EXPECT_EQ(steps, row.steps);
    const std::string reason = route ? route->reason : route.error().message;
    EXPECT_NE(reason.find(row.reason), std::string::npos) << reason;
  }
}

TEST(Route, WhoCannotBeAskedIsNamed) {
  const ProviderSet set = shipped();
  auto policy = parse_route("remote", set);
  policy->allow_remote = true;
  const auto route = decide_route(*policy, {"gpt-4.1", 10, 10}, kNotHere,
                                  {{set.find("holysheep"), "no key"}, {set.find("openai"), ""}});
  ASSERT_TRUE(route);
  EXPECT_EQ(route->steps.size(), 1U);
  EXPECT_EQ(route->left_out, std::vector<std::string>{"holysheep: no key"});
}

TEST(Route, NamesAreChecked) {
  const ProviderSet set = shipped();
  for (const char* text : {"", "nobody", "holysheep,", "holysheep,holysheep", "auto,openai"}) {
    EXPECT_FALSE(parse_route(text, set)) << text;
  }
  EXPECT_TRUE(parse_route("local", set)->mode == RouteMode::kLocal);
}

TEST(Breaker, OpensAfterFiveInARowAndOneProbeDecides) {
  BreakerState state;
  for (int i = 0; i < 4; ++i) {
    note_failure(state, 1000 + i, {}, false);
    EXPECT_TRUE(may_ask(state, 1000 + i).ask);
  }
  note_failure(state, 2000, {}, false);
  EXPECT_FALSE(may_ask(state, 2000).ask);
  EXPECT_EQ(may_ask(state, 31'999).again_at, 32'000);
  EXPECT_TRUE(may_ask(state, 32'000).ask);   // the probe
  EXPECT_FALSE(may_ask(state, 32'001).ask);  // and no other
  note_failure(state, 33'000, {}, false);
  EXPECT_EQ(may_ask(state, 33'001).again_at, 63'000);
  EXPECT_TRUE(may_ask(state, 63'000).ask);
  note_success(state, 64'000);
  EXPECT_TRUE(may_ask(state, 64'000).ask);
  EXPECT_TRUE(may_ask(state, 64'000).ask);
  note_failure(state, 64'001, {}, false);  // one failure afterwards is one
  EXPECT_TRUE(may_ask(state, 64'002).ask);
}

TEST(Breaker, OpensWhenMostOfAMinuteFailed) {
  BreakerState state;
  note_success(state, 0);
  note_failure(state, 1, {}, false);
  note_failure(state, 2, {}, false);
  note_success(state, 3);
  EXPECT_TRUE(may_ask(state, 4).ask);
  note_failure(state, 5, {}, false);  // three of five
  EXPECT_FALSE(may_ask(state, 6).ask);

  BreakerState
      slow;  // the same, but the first two are over a minute old: two of three, too few to judge
  note_success(slow, 0);
  note_failure(slow, 1, {}, false);
  note_failure(slow, 60'002, {}, false);
  note_success(slow, 60'003);
  note_failure(slow, 60'005, {}, false);
  EXPECT_TRUE(may_ask(slow, 60'006).ask);
}

TEST(Breaker, ObeysRetryAfterAndOutlivesAProbeThatNeverEnds) {
  BreakerState state;
  note_failure(state, 0, 90'000, true);  // a rate limit with Retry-After: at once
  EXPECT_EQ(may_ask(state, 1).again_at, 90'000);
  note_failure(state, 10, {}, false);  // a call that was on its way does not shorten it
  EXPECT_EQ(may_ask(state, 11).again_at, 90'000);
  note_success(state, 12);  // nor does a late success open it
  EXPECT_FALSE(may_ask(state, 13).ask);
  EXPECT_TRUE(may_ask(state, 90'000).ask);
  EXPECT_FALSE(may_ask(state, 149'999).ask);
  EXPECT_TRUE(may_ask(state, 150'000).ask);  // the probe's process may have been killed
  note_neither(state);                       // it ended without a verdict
  EXPECT_TRUE(may_ask(state, 150'001).ask);
  BreakerState one;
  note_failure(one, 0, 90'000, false);  // any other failure: only once there are enough
  EXPECT_TRUE(may_ask(one, 1).ask);
}

TEST(Budget, MoneyIsExact) {
  ProviderModel model;
  EXPECT_FALSE(cost_of(model, {1, 0, 1}));  // unknown is not free
  model.price_in = 2;
  model.price_out = 8;
  EXPECT_EQ(cost_of(model, {1000, 0, 500})->amount, 6'000'000);  // $0.002 + $0.004
  EXPECT_FALSE(cost_of(model, {1000, 0, 500})->is_upper_bound);
  EXPECT_TRUE(cost_of(model, {1000, 600, 500})->is_upper_bound);
  EXPECT_EQ(cost_of(model, {1000, 600, 500})->amount, 6'000'000);
  model.price_cached = 0.5;
  EXPECT_EQ(cost_of(model, {1000, 600, 500})->amount, 5'100'000);  // 0.0008 + 0.0003 + 0.004
  EXPECT_EQ(cost_of(model, {1000, 5000, 0})->amount, 500'000);     // no more than there are
  EXPECT_EQ(dollars_text(6'000'000), "$0.006000");
  EXPECT_EQ(dollars_text(4'200'000'000), "$4.20");
  EXPECT_EQ(nano_dollars(0.42), 420'000'000);

  Request request;
  request.messages = {{"user", std::string(100, 'x'), ""}};
  request.max_tokens = 10;
  const int64_t prompt = most_prompt_tokens(request);
  EXPECT_GE(prompt, 100);  // a token a byte at most
  EXPECT_EQ(worst_cost(&model, request), prompt * 2000 + 10 * 8000);
  request.max_tokens = -1;
  EXPECT_FALSE(worst_cost(&model, request));  // no limit and no known context
  model.context = 1000;
  EXPECT_EQ(worst_cost(&model, request), prompt * 2000 + 1000 * 8000);
}

TEST(Budget, DaysAndMonthsAreThoseOfUtc) {
  constexpr int64_t kNoon = 1'772'366'400'000;  // 2026-03-01 12:00 UTC, by `date -u -d`
  EXPECT_EQ(day_start(kNoon), kNoon - 12 * 3'600'000);
  EXPECT_EQ(month_start(kNoon), kNoon - 12 * 3'600'000);
  EXPECT_EQ(month_start(day_start(kNoon) - 1), kNoon - 12 * 3'600'000 - 28 * 86'400'000LL);
}

}  // namespace
}  // namespace tern

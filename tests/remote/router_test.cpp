// Failover, breakers, budgets and the marks of a restart, with providers that are functions and a clock that is set.

#include "remote/router.h"

#include <gtest/gtest.h>

#include <deque>

#include "tests/support/fake_clock.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

using Kind = ApiErrorClass;

// What a provider does when it is asked: some text, then perhaps an error.
struct Play {
  std::string text;
  std::optional<Kind> error;
  std::optional<int64_t> retry_after_ms;
  std::optional<int64_t> resets_at;
  std::string reasoning = {};
  int32_t unanswered = 0;
  std::optional<int64_t> worth_waiting_ms = {};
};

Play says(const std::string& text) {
  return {text, {}, {}, {}};
}
Play fails(Kind kind, const std::string& text = "") {
  return {text, kind, {}, {}};
}

class RouterTest : public ::testing::Test {
 protected:
  RouterTest() : ledger_(std::move(*Ledger::open(folder_ / "remote.db"))) {
    setup_.providers = ProviderSet();
    EXPECT_TRUE(add_providers(setup_.providers, "p.json", R"({"providers": [
      {"name": "sheep", "base_url": "https://sheep.test/v1", "default_model": "small", "models": [
        {"id": "small", "context": 1000, "price": {"in": 1, "out": 2, "date": "2026-01-01", "source": "test"}}]},
      {"name": "open", "base_url": "https://open.test/v1", "default_model": "large", "models": [
        {"id": "large", "aliases": ["small"], "context": 9000, "price": {"in": 10, "out": 20, "date": "2026-01-01", "source": "test"}}]},
      {"name": "desk", "base_url": "http://127.0.0.1:1/v1", "default_model": "any"},
      {"name": "local", "kind": "local"}], "chain": ["sheep", "open"]})"));
    for (const char* name : {"sheep", "open", "desk", "local"}) {
      setup_.backends[name] = [this, name](const Request& request, const std::string& model,
                                           const Sinks& sinks,
                                           int64_t) { return play(name, request, model, sinks); };
    }
    setup_.local = [](const Request&, Wanted&) {
      return LocalSide{true, "here", "", 500, true, 0, 0};
    };
    request_.messages = {{"user", "hello", ""}};
    request_.model = "small";
    request_.max_tokens = 10;
  }

  ApiOutcome play(const std::string& name, const Request& request, const std::string& model,
                  const Sinks& sinks) {
    asked_ += name + "/" + model + " ";
    max_tokens_ = request.max_tokens;
    granted_.push_back(sinks.most_asked_wait_ms);
    clock_.now_ms += 10;
    ApiOutcome outcome;
    std::deque<Play>& plays = plays_[name];
    const Play next = plays.empty() ? says("from " + name) : plays.front();
    if (!plays.empty()) {
      plays.pop_front();
    }
    outcome.unanswered = next.unanswered;
    if (!next.reasoning.empty() && sinks.reasoning) {
      sinks.reasoning(next.reasoning);
    }
    if (!next.text.empty() && sinks.text) {
      sinks.text(next.text);
    }
    if (next.error) {
      outcome.error.emplace();
      outcome.error->kind = *next.error;
      outcome.error->message = name + " said no.";
      outcome.error->partial_text = next.text;
      outcome.error->retry_after_ms = next.retry_after_ms;
      outcome.error->resets_at = next.resets_at;
      // As the client does it: what it may not wait for it names.
      if (next.retry_after_ms && *next.retry_after_ms > sinks.most_asked_wait_ms) {
        outcome.error->worth_waiting_ms = next.retry_after_ms;
      }
      return outcome;
    }
    outcome.completion.text = next.text;
    outcome.completion.usage.prompt_tokens = 100;
    outcome.completion.usage.completion_tokens = 10;
    return outcome;
  }

  ApiOutcome ask(const std::string& route) {
    RouterSetup setup = setup_;
    setup.policy = parse_route(route, setup.providers).value();
    setup.policy.allow_remote = allow_;
    Router router(std::move(setup), ledger_, clock_);
    asked_.clear();
    granted_.clear();
    shown_.clear();
    notices_.clear();
    Sinks sinks;
    sinks.text = [this](std::string_view piece) {
      shown_ += piece;
      return true;
    };
    sinks.notice = [this](const std::string& text) { notices_ += text + "\n"; };
    return router.route(request_, sinks, deadline_);
  }

  // How an answer's text, or an error's message, and the list of those asked come out.
  void expect(const std::string& route, const std::string& asked, const std::string& text) {
    const ApiOutcome outcome = ask(route);
    EXPECT_EQ(asked_, asked);
    const std::string got = outcome ? outcome.completion.text : outcome.error->message;
    EXPECT_NE(got.find(text), std::string::npos) << got;
    EXPECT_EQ(!outcome, text.find("from ") != 0) << got;
  }

  LedgerSum books() { return ledger_.sums(0, LedgerGroup::kAll)->front(); }

  testing::TempFolder folder_;
  Ledger ledger_;
  testing::FakeClock clock_;
  RouterSetup setup_;
  Request request_;
  std::map<std::string, std::deque<Play>> plays_;
  std::string asked_;
  std::vector<int64_t> granted_;  // how long each that was asked might wait
  std::string shown_;
  std::string notices_;
  int32_t max_tokens_ = 0;  // as the latest provider was asked
  int64_t deadline_ = 0;
  bool allow_ = true;
};

TEST_F(RouterTest, TheFirstAnswersAndIsPaid) {
  const ApiOutcome outcome = ask("remote");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(asked_, "sheep/small ");
  EXPECT_EQ(outcome.completion.served.provider, "sheep");
  EXPECT_NE(outcome.completion.served.route_reason.find("--route remote"), std::string::npos);
  EXPECT_TRUE(outcome.completion.served.cost_known);
  EXPECT_DOUBLE_EQ(outcome.completion.served.cost_usd, (100 * 1 + 10 * 2) * 1e-6);
  EXPECT_EQ(books().cost, 120'000);
  EXPECT_NE(notices_.find("prompts go to sheep.test"), std::string::npos);
}

TEST_F(RouterTest, FailsOverByClass) {
  const std::pair<Kind, bool> table[] = {
      {Kind::kAuth, true},           {Kind::kPermission, true},    {Kind::kQuota, true},
      {Kind::kRateLimit, true},      {Kind::kModelNotFound, true}, {Kind::kTimeout, true},
      {Kind::kServer, true},         {Kind::kNetwork, true},       {Kind::kProtocol, true},
      {Kind::kContextLength, true},  // the second has the larger window
      {Kind::kBadRequest, true},     // another server may take what this one refuses
      {Kind::kContentPolicy, false}, {Kind::kCancelled, false},
  };
  for (const auto& [kind, over] : table) {
    SCOPED_TRACE(static_cast<int>(kind));
    plays_["sheep"] = {fails(kind)};
    expect("sheep,open", over ? "sheep/small open/large " : "sheep/small ",
           over ? "from open" : "sheep said no");
    if (over) {
      EXPECT_NE(notices_.find("open (large) answered"), std::string::npos) << notices_;
    }
    EXPECT_EQ(notices_.find("WARNING") != std::string::npos, kind == Kind::kAuth);
    ASSERT_TRUE(ledger_.forget("https://sheep.test/v1"));
  }
  EXPECT_EQ(books().cost, 11 * (100 * 10'000 + 10 * 20'000));  // refusals cost nothing
}

TEST_F(RouterTest, ALongPromptGoesOnlyToALargerWindow) {
  plays_["open"] = {fails(Kind::kContextLength)};
  expect("open,sheep", "open/large ", "open said no");
  plays_["open"] = {fails(Kind::kContextLength)};
  expect("open,desk", "open/large desk/any ", "from desk");  // what is not known may be larger
}

TEST_F(RouterTest, AnExhaustedQuotaIsRememberedUntilItsReset) {
  plays_["sheep"] = {{"", Kind::kQuota, {}, clock_.unix_ms() + 60'000}};
  expect("remote", "sheep/small open/large ", "from open");
  expect("remote", "open/large ", "from open");
  clock_.now_ms += 60'000;
  expect("remote", "sheep/small ", "from sheep");
}

TEST_F(RouterTest, NothingIsDeliveredTwice) {
  plays_["sheep"] = {fails(Kind::kNetwork, "half an ans")};
  const ApiOutcome outcome = ask("remote");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(asked_, "sheep/small ");
  EXPECT_EQ(shown_, "half an ans");
  EXPECT_EQ(outcome.error->partial_text, "half an ans");
  EXPECT_EQ(books().estimated, 1);
  EXPECT_GT(books().cost, 0);
}

// "hello" of "user": 9 bytes, so 3 tokens, and 4 for the template. An answer of 11 bytes: 3 tokens.
TEST_F(RouterTest, AnAnswerThatBreaksOffIsBookedByAnEstimate) {
  plays_["sheep"] = {fails(Kind::kNetwork, "half an ans")};
  const ApiOutcome outcome = ask("remote");
  EXPECT_EQ(books().prompt_tokens, 7);
  EXPECT_EQ(books().completion_tokens, 3);
  EXPECT_EQ(books().cost, 7 * 1000 + 3 * 2000);
  EXPECT_EQ(books().unsettled, 0);
  EXPECT_EQ(books().mean_first_token_ms, 10);  // the clock's step
  EXPECT_EQ(outcome.completion.usage.prompt_tokens, 7);
}

TEST_F(RouterTest, ReasoningAloneIsAnAnswerThatBrokeOff) {
  plays_["sheep"] = {fails(Kind::kNetwork)};
  plays_["sheep"].front().reasoning = "let me think";  // 12 bytes: 3 tokens
  ask("remote");
  EXPECT_EQ(asked_, "sheep/small ");
  EXPECT_EQ(books().cost, 7 * 1000 + 3 * 2000);
}

TEST_F(RouterTest, EachAttemptThatNoErrorAnsweredCountsItsPrompt) {
  plays_["sheep"] = {fails(Kind::kTimeout)};
  plays_["sheep"].front().unanswered = 3;
  expect("sheep", "sheep/small ", "sheep said no");
  EXPECT_EQ(books().prompt_tokens, 21);
  EXPECT_EQ(books().cost, 21 * 1000);
  EXPECT_EQ(books().estimated, 1);
  plays_["sheep"] = {says("from sheep")};
  plays_["sheep"].front().unanswered = 1;  // one was lost before the answer, of 100 and 10 tokens
  expect("sheep", "sheep/small ", "from sheep");
  EXPECT_EQ(books().cost, 21 * 1000 + (7 + 100) * 1000 + 10 * 2000);
  EXPECT_EQ(books().estimated, 2);
}

TEST_F(RouterTest, TheFirstTokenIsTimed) {
  ask("remote");
  EXPECT_EQ(books().mean_first_token_ms, 10);
}

TEST_F(RouterTest, AQuotaWithoutATimeRestsForTenMinutes) {
  plays_["sheep"] = {fails(Kind::kQuota)};
  expect("remote", "sheep/small open/large ", "from open");
  clock_.now_ms += 10 * 60'000 - 100;
  expect("remote", "open/large ", "from open");
  clock_.now_ms += 100;
  expect("remote", "sheep/small ", "from sheep");
}

TEST_F(RouterTest, ARefusedReservationGivesTheProbeBack) {
  for (int i = 0; i < 5; ++i) {
    plays_["sheep"] = {fails(Kind::kServer)};
    expect("sheep", "sheep/small ", "sheep said no");
  }
  clock_.now_ms += kBreakerPause;
  setup_.caps.call = 1;
  expect("sheep", "", "the budget of");
  setup_.caps.call = {};
  clock_.waits.clear();
  expect("sheep", "sheep/small ", "from sheep");
  EXPECT_TRUE(clock_.waits.empty());
}

TEST_F(RouterTest, ABudgetWithoutALimitSendsWhatItAllows) {
  request_.max_tokens = -1;
  // The prompt takes at most 25 tokens, 25 micro-dollars; two of each further one make a token.
  setup_.caps.call = nano_dollars(225e-6);
  expect("sheep", "sheep/small ", "from sheep");
  EXPECT_EQ(max_tokens_, 100);
  EXPECT_NE(notices_.find("sheep may write 100 tokens at most"), std::string::npos) << notices_;
  // What was spent is missing then: 100 + 10 tokens were, $0.00012.
  setup_.caps.call = {};
  setup_.caps.day = nano_dollars((120 + 225) * 1e-6);
  expect("sheep", "sheep/small ", "from sheep");
  EXPECT_EQ(max_tokens_, 100);
  // No more than the context, or than what every model can write.
  setup_.caps.day = nano_dollars(100);
  expect("sheep", "sheep/small ", "from sheep");
  EXPECT_EQ(max_tokens_, 1000);
  expect("open", "open/large ", "from open");
  EXPECT_EQ(max_tokens_, 4096);
  // Fewer than 16 are of no use: 25 + 32 micro-dollars.
  setup_.caps = {};
  setup_.caps.call = nano_dollars(56e-6);
  expect("sheep", "", "even a short answer can cost $0.000057");
  setup_.caps.call = nano_dollars(57e-6);
  expect("sheep", "sheep/small ", "from sheep");
  EXPECT_EQ(max_tokens_, 16);
  setup_.caps = {};
  expect("sheep", "sheep/small ", "from sheep");
  EXPECT_EQ(max_tokens_, -1);
}

TEST_F(RouterTest, ACallIsReservedAtWhatItMayCost) {
  request_.max_tokens = -1;
  setup_.caps.call = nano_dollars(225e-6);
  setup_.backends["sheep"] = [this](const Request&, const std::string&, const Sinks&, int64_t) {
    EXPECT_EQ(books().unsettled, 1);
    EXPECT_EQ(books().cost, 225'000);
    ApiOutcome outcome;
    outcome.completion.text = "from sheep";
    return outcome;
  };
  ask("sheep");
}

TEST_F(RouterTest, CachedTokensHaveTheirPrice) {
  ProviderModel& model = setup_.providers.providers[0].models[0];
  setup_.backends["sheep"] = [](const Request&, const std::string&, const Sinks&, int64_t) {
    ApiOutcome outcome;
    outcome.completion.text = "from sheep";
    outcome.completion.usage.prompt_tokens = 9520;
    outcome.cached_tokens = 9519;
    outcome.completion.usage.completion_tokens = 10;
    return outcome;
  };
  const ApiOutcome full = ask("sheep");
  EXPECT_TRUE(full.cost_is_upper_bound);
  EXPECT_EQ(books().cost, 9520 * 1000 + 10 * 2000);
  EXPECT_EQ(books().upper_bounds, 1);
  model.price_cached = 0.1;
  const ApiOutcome less = ask("sheep");
  EXPECT_FALSE(less.cost_is_upper_bound);
  EXPECT_EQ(books().cost, 9520 * 1000 + 10 * 2000 + 1000 + 9519 * 100 + 10 * 2000);
  EXPECT_EQ(books().upper_bounds, 1);
  EXPECT_EQ(books().cached_tokens, 2 * 9519);
}

TEST_F(RouterTest, WithoutALedgerThisMachineAloneIsAsked) {
  ledger_ = Ledger::unusable(Error{"remote.db: damaged."});
  expect("auto", "local/here ", "from local");
  expect("sheep,local", "local/here ", "from local");
  EXPECT_NE(notices_.find("local (here) answered"), std::string::npos);
  const ApiOutcome outcome = ask("sheep");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(asked_, "");
  EXPECT_EQ(outcome.error->kind, Kind::kLocal);
  EXPECT_NE(outcome.error->message.find("remote.db: damaged."), std::string::npos);
}

TEST_F(RouterTest, AnEmptyAnswerOfTheOnlyOneIsAnError) {
  plays_["sheep"] = {says("")};
  const ApiOutcome outcome = ask("sheep");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error->kind, Kind::kServer);
  EXPECT_NE(outcome.error->message.find("sheep: the answer is empty"), std::string::npos);
  EXPECT_EQ(books().cost, 120'000);  // and was paid
}

TEST_F(RouterTest, ARestartIsMarked) {
  setup_.restart_on_stream_error = true;
  plays_["sheep"] = {fails(Kind::kNetwork, "half an ans")};
  const ApiOutcome outcome = ask("remote");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome.completion.text, "from open");
  EXPECT_EQ(shown_,
            "half an ans\n[sheep broke off; open (large) answers from the beginning]\nfrom open");
}

TEST_F(RouterTest, AnEmptyAnswerIsNone) {
  plays_["sheep"] = {says("")};
  expect("remote", "sheep/small open/large ", "from open");
}

TEST_F(RouterTest, TheLocalEngineAnswersWhenAllElseFails) {
  plays_["sheep"] = {fails(Kind::kServer)};
  plays_["open"] = {fails(Kind::kNetwork)};
  const ApiOutcome outcome = ask("remote");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(asked_, "sheep/small open/large local/here ");
  EXPECT_EQ(outcome.completion.served.provider, "local");
  EXPECT_NE(notices_.find("local (here) answered"), std::string::npos);
  // And the other way round: what fails here goes elsewhere.
  plays_["local"] = {fails(Kind::kServer)};
  expect("auto", "local/here sheep/small ", "from sheep");
}

TEST_F(RouterTest, NothingLeavesByDefault) {
  plays_["local"] = {fails(Kind::kServer)};
  expect("local", "local/here ", "local said no");
  request_.local_only = true;
  for (const char* route : {"auto", "remote", "sheep", "sheep,open,local"}) {
    expect(route, "local/here ", "from local");
  }
  request_.local_only = false;
  allow_ = false;
  expect("remote", "", "--allow-remote");
  expect("auto", "local/here ", "from local");
  EXPECT_TRUE(ledger_.sums(0, LedgerGroup::kAll)->empty());
}

TEST_F(RouterTest, ABreakerIsOpenedAndWaitedFor) {
  for (int i = 0; i < 5; ++i) {
    plays_["sheep"] = {fails(Kind::kServer)};
    expect("sheep", "sheep/small ", "sheep said no");
  }
  expect("sheep,open", "open/large ", "from open");  // not asked
  deadline_ = clock_.now_ms + 1000;
  expect("sheep", "", "failed too often lately");  // the deadline comes before
  deadline_ = 0;
  clock_.waits.clear();
  expect("sheep", "sheep/small ", "from sheep");
  ASSERT_EQ(clock_.waits.size(), 1U);
  EXPECT_LE(clock_.waits[0], kBreakerPause);
  EXPECT_GT(clock_.waits[0], kBreakerPause - 1000);
  expect("sheep", "sheep/small ", "from sheep");  // closed again
}

TEST_F(RouterTest, TheSoonestIsWaitedFor) {
  plays_["sheep"] = {{"", Kind::kRateLimit, 50'000, {}}};
  plays_["open"] = {{"", Kind::kRateLimit, 20'000, {}}};
  deadline_ = clock_.now_ms + 1000;  // neither can be waited for
  expect("sheep,open", "sheep/small open/large ", "Nobody answered");
  deadline_ = 0;
  expect("sheep,open", "open/large ", "from open");
  EXPECT_EQ(clock_.waits.size(), 1U);
  EXPECT_LE(clock_.waits[0], 20'000);
}

// A server asks for half a minute: a healthy one behind it answers at once, and without one it is
// waited for as it asks.
TEST_F(RouterTest, ALongWaitIsLeftToWhoHasNobodyElse) {
  plays_["sheep"] = {{"", Kind::kRateLimit, 30'000, {}}};
  expect("sheep,open", "sheep/small open/large ", "from open");
  EXPECT_EQ(granted_, (std::vector<int64_t>{2'000, kMostAskedWaitMs}));
  EXPECT_TRUE(clock_.waits.empty());
  ASSERT_TRUE(ledger_.forget(""));

  plays_["sheep"] = {{"", Kind::kRateLimit, 30'000, {}}};
  expect("sheep", "sheep/small ", "sheep said no");  // the client itself had all the time it wanted
  EXPECT_EQ(granted_, (std::vector<int64_t>{kMostAskedWaitMs}));
  ASSERT_TRUE(ledger_.forget(""));

  plays_["sheep"] = {{"", Kind::kRateLimit, 30'000, {}}};
  plays_["open"] = {fails(Kind::kServer)};
  expect("sheep,open", "sheep/small open/large sheep/small ", "from sheep");
  ASSERT_EQ(clock_.waits.size(), 1U);
  EXPECT_LE(clock_.waits[0], 30'000);
  EXPECT_GT(clock_.waits[0], 29'000);
  ASSERT_TRUE(ledger_.forget(""));

  // Who is behind it, but rests, cannot answer meanwhile.
  ASSERT_TRUE(ledger_.set_exhausted("https://open.test/v1", clock_.unix_ms() + 1'000'000,
                                    clock_.unix_ms()));
  expect("sheep,open", "sheep/small ", "from sheep");
  EXPECT_EQ(granted_, (std::vector<int64_t>{kMostAskedWaitMs}));
}

TEST_F(RouterTest, WhatIsWrongWithTheRequestItselfEndsTheChain) {
  for (const bool ours : {true, false}) {
    setup_.backends["sheep"] = [ours](const Request&, const std::string&, const Sinks&, int64_t) {
      ApiOutcome outcome;
      outcome.error.emplace();
      outcome.error->kind = Kind::kBadRequest;
      outcome.error->message = "a wrong request";
      outcome.error->ours = ours;
      return outcome;
    };
    expect("sheep,open", ours ? "" : "open/large ", ours ? "a wrong request" : "from open");
  }
}

// Dates of 2099 and clocks that ran ahead: nobody is left alone for years.
TEST_F(RouterTest, NoServerRestsForEver) {
  constexpr int64_t kHour = 3'600'000;
  constexpr int64_t kYear = 8'760 * kHour;
  plays_["sheep"] = {{"", Kind::kQuota, {}, clock_.unix_ms() + 73 * kYear}};
  expect("sheep,open", "sheep/small open/large ", "from open");
  const int64_t until = ledger_.exhausted_until("https://sheep.test/v1", clock_.unix_ms()).value();
  EXPECT_LE(until - clock_.unix_ms(), 10 * 60'000);
  ASSERT_TRUE(ledger_.forget(""));
  plays_["sheep"] = {{"", Kind::kRateLimit, 73 * kYear, {}}};
  expect("sheep,open", "sheep/small open/large ", "from open");
  clock_.now_ms += kBreakerPause + 1;
  expect("sheep,open", "sheep/small ", "from sheep");

  // A year ahead, five failures and a spent quota; then the clock is put right.
  clock_.now_ms += kYear;
  plays_["open"] = {{"", Kind::kQuota, {}, clock_.unix_ms() + kHour}};
  for (int i = 0; i < 5; ++i) {
    plays_["sheep"] = {fails(Kind::kServer)};
    ask("sheep,open");
  }
  deadline_ = clock_.now_ms + 1000;
  expect("sheep,open", "", "failed too often lately");
  deadline_ = 0;
  clock_.now_ms -= kYear;
  expect("sheep", "sheep/small ", "from sheep");
  expect("open", "open/large ", "from open");
}

TEST_F(RouterTest, WhatIsLearntGoesWithTheAddress) {
  for (int i = 0; i < 5; ++i) {
    plays_["sheep"] = {fails(Kind::kServer)};
    ask("sheep");
  }
  expect("sheep,open", "open/large ", "from open");
  ASSERT_TRUE(
      add_providers(setup_.providers, "p.json",
                    R"({"providers": [{"name": "sheep", "base_url": "https://right.test/v1"}]})"));
  expect("sheep,open", "sheep/small ", "from sheep");
}

TEST_F(RouterTest, AWrongAddressOrCertificateOpensNoBreaker) {
  for (int i = 0; i < 8; ++i) {
    setup_.backends["sheep"] = [](const Request&, const std::string&, const Sinks&, int64_t) {
      ApiOutcome outcome;
      outcome.error.emplace();
      outcome.error->kind = Kind::kNetwork;
      outcome.error->message = "no trusted connection";
      outcome.error->settings = true;
      return outcome;
    };
    ask("sheep,open");
  }
  EXPECT_EQ(ledger_.breaker("https://sheep.test/v1", "small")->failures, 0);
  EXPECT_NE(notices_.find("no trusted connection"), std::string::npos);
}

TEST_F(RouterTest, TheOutlookSaysWhoWouldBePassedOver) {
  ASSERT_TRUE(
      ledger_.set_exhausted("https://sheep.test/v1", clock_.unix_ms() + 60'000, clock_.unix_ms()));
  RouterSetup setup = setup_;
  setup.policy = parse_route("sheep, open ,desk", setup.providers).value();
  setup.policy.allow_remote = true;
  setup.caps.call = nano_dollars(1e-6);
  const Router router(std::move(setup), ledger_, clock_);
  const Route route = router.outlook(request_).value();
  ASSERT_EQ(route.steps.size(), 3U);
  EXPECT_NE(route.steps[0].passed_over.find("quota is exhausted"), std::string::npos);
  EXPECT_NE(route.steps[1].passed_over.find("the budget of"), std::string::npos);
  EXPECT_NE(route.steps[2].passed_over.find("not known"), std::string::npos);
  EXPECT_TRUE(ledger_.breakers()->empty());  // looking changes nothing
}

// The name of a file is not sent: everybody is asked for a model of their own, and says so.
TEST_F(RouterTest, AModelOfThisMachineIsNotNamedElsewhere) {
  request_.model = "";
  setup_.kept_here = "/home/me/secret.gguf";
  setup_.local_named = true;
  expect("open,local", "open/large ", "from open");
  EXPECT_NE(notices_.find("its name is not sent: open is asked for large"), std::string::npos)
      << notices_;
  plays_["open"] = {fails(Kind::kServer)};
  expect("open,local", "open/large local/here ", "from local");
  plays_["sheep"] = plays_["open"] = {fails(Kind::kServer)};
  expect("remote", "sheep/small open/large local/here ", "from local");
}

// The other way round: a provider's model was named, and another one of this machine stands in.
TEST_F(RouterTest, ThisMachineStandsInWhereItIsNamed) {
  setup_.local = [](const Request&, Wanted&) {
    LocalSide side{true, "here", "small is not on this machine", 500, true, 0, 0};
    side.stand_in = true;
    return side;
  };
  plays_["sheep"] = {fails(Kind::kServer)};
  expect("sheep,local", "sheep/small local/here ", "from local");
  EXPECT_NE(notices_.find("small is not on this machine: here answers in its place"),
            std::string::npos);
  expect("local,sheep", "sheep/small ", "from sheep");  // who has the model comes first
  plays_["sheep"] = plays_["open"] = {fails(Kind::kServer)};
  expect("remote", "sheep/small open/large ", "Nobody answered");  // nobody named this machine
  expect("auto", "sheep/small ", "from sheep");
  expect("local", "", "small is not on this machine");
  setup_.local_named = true;
  plays_["sheep"] = plays_["open"] = {fails(Kind::kServer)};
  expect("remote", "sheep/small open/large local/here ", "from local");
}

TEST_F(RouterTest, AnEmptyAnswerOfTheLastOneIsAnError) {
  plays_["sheep"] = {says("")};
  const ApiOutcome outcome = ask("sheep");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error->provider, "sheep");
  EXPECT_NE(outcome.error->message.find("the answer is empty"), std::string::npos);
}

TEST_F(RouterTest, ABudgetSendsNothingThatMayExceedIt) {
  // At most 5 + 4 + 16 tokens of prompt and 10 of answer: 45 micro-dollars of sheep's, 450 of open's.
  setup_.caps.call = nano_dollars(45e-6);
  expect("open,sheep", "sheep/small ", "from sheep");  // the cheaper one is within it
  setup_.caps.call = nano_dollars(44e-6);
  expect("open,sheep", "", "the budget of");
  expect("desk", "", "not known");
  setup_.caps.allow_unknown_prices = true;
  expect("desk", "desk/small ", "from desk");
}

TEST_F(RouterTest, WhoHasNoKeyIsNotAsked) {
  setup_.unusable["sheep"] = "SHEEP_KEY is not set.";
  expect("remote", "open/large ", "from open");
  EXPECT_NE(notices_.find("not asked: sheep: SHEEP_KEY is not set."), std::string::npos)
      << notices_;
  expect("sheep", "", "SHEEP_KEY is not set");
  EXPECT_EQ(ask("sheep").error->kind, Kind::kAuth);
}

}  // namespace
}  // namespace tern

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
      setup_.backends[name] = [this, name](const Request&, const std::string& model,
                                           const Sinks& sinks,
                                           int64_t) { return play(name, model, sinks); };
    }
    setup_.local = [](const Request&, Wanted&) {
      return LocalSide{true, "here", "", 500, true, 0, 0};
    };
    request_.messages = {{"user", "hello", ""}};
    request_.model = "small";
    request_.max_tokens = 10;
  }

  ApiOutcome play(const std::string& name, const std::string& model, const Sinks& sinks) {
    asked_ += name + "/" + model + " ";
    clock_.now_ms += 10;
    ApiOutcome outcome;
    std::deque<Play>& plays = plays_[name];
    const Play next = plays.empty() ? says("from " + name) : plays.front();
    if (!plays.empty()) {
      plays.pop_front();
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
  std::string shown_;
  std::string notices_;
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
      {Kind::kAuth, true},          {Kind::kPermission, true},     {Kind::kQuota, true},
      {Kind::kRateLimit, true},     {Kind::kModelNotFound, true},  {Kind::kTimeout, true},
      {Kind::kServer, true},        {Kind::kNetwork, true},        {Kind::kProtocol, true},
      {Kind::kContextLength, true},  // the second has the larger window
      {Kind::kBadRequest, false},   {Kind::kContentPolicy, false}, {Kind::kCancelled, false},
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
    ASSERT_TRUE(ledger_.set_exhausted("sheep", 0));
    ASSERT_TRUE(ledger_.change_breaker("sheep", "small", [](BreakerState& state) { state = {}; }));
  }
  EXPECT_EQ(books().cost, 10 * (100 * 10'000 + 10 * 20'000));  // refusals cost nothing
}

TEST_F(RouterTest, ALongPromptGoesOnlyToALargerWindow) {
  plays_["open"] = {fails(Kind::kContextLength)};
  expect("open,sheep", "open/large ", "open said no");
  plays_["open"] = {fails(Kind::kContextLength)};
  expect("open,desk", "open/large ", "open said no");  // unknown is not larger
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
  expect("sheep,open", "sheep/small open/large ", "Nobody answered");
  expect("sheep,open", "open/large ", "from open");
  EXPECT_EQ(clock_.waits.size(), 1U);
  EXPECT_LE(clock_.waits[0], 20'000);
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
}

}  // namespace
}  // namespace tern

// Speculation changes no token: texts with it equal those of a plain loop over Session and Sampler, whatever is guessed.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "engine/session/draft_model.h"
#include "engine/session/local_completer.h"
#include "engine/session/prompt_lookup.h"
#include "kernels/select.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

constexpr char kTiny[] = "models/tern-tiny.gguf";
constexpr char kBitnet[] = "tests/golden/models/bitnet-b1.58-i2_s.gguf";
constexpr char kHybrid[] = "tests/golden/hybrid/qwen35-f16.gguf";  // recurrent layers
constexpr int32_t kContext = 96;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD, for what is no character

std::shared_ptr<const Model> load(const std::filesystem::path& file) {
  LoadOptions options;
  options.compute = Compute{&testing::tested_table(), 1};
  return Model::load(testing::source_path(file), options).value();
}

Session start(const std::shared_ptr<const Model>& model, int threads = 1) {
  SessionOptions options;
  options.context = kContext;
  options.threads = threads;
  return std::move(Session::create(model, options)).value();
}

const Completer::Sink kTakeAll = [](std::string_view) { return true; };

// What plain decoding writes: one token a pass, in the order in which conditions end a text.
struct Plain {
  std::vector<TokenId> tokens;
  std::string text;
  StopReason reason = StopReason::kLength;
};

Plain plain(Session& session, const Request& request) {
  const Model& model = session.model();
  const std::vector<TokenId> prompt = model.tokenizer().encode(request.prompt);
  Sampler sampler(request.sampling, model.config().vocab);
  for (const TokenId token : prompt) {
    sampler.accept(token);
  }
  Plain out;
  StreamDecoder decoder;
  session.rewind(0);
  std::span<const float> logits = session.append(prompt);
  while (static_cast<int32_t>(out.tokens.size()) != request.max_tokens) {
    const TokenId token = sampler.sample(logits);
    sampler.accept(token);
    out.tokens.push_back(token);
    const std::vector<TokenId>& stops = model.stop_tokens();
    if (!request.ignore_eos && std::find(stops.begin(), stops.end(), token) != stops.end()) {
      out.reason = StopReason::kEndOfText;
      break;
    }
    out.text += decoder.push(model.tokenizer().bytes_of(token));
    size_t stop_at = std::string::npos;
    for (const std::string& stop : request.stop) {
      stop_at = std::min(stop_at, out.text.find(stop));
    }
    if (stop_at != std::string::npos) {
      out.text.resize(stop_at);
      out.reason = StopReason::kStopString;
      return out;
    }
    if (static_cast<int32_t>(out.tokens.size()) == request.max_tokens) {
      break;
    }
    if (session.room() == 0) {
      out.reason = StopReason::kContextFull;
      break;
    }
    logits = session.append({&token, 1});
  }
  out.text += decoder.finish();
  return out;
}

// Guesses that a test decides on.
class Scripted final : public Proposer {
 public:
  enum class Honesty : uint8_t { kNever, kAlways, kSometimes };

  Scripted(Honesty honesty, int32_t vocab) : honesty_(honesty), vocab_(vocab) {}

  // What the text will be after its prompt.
  void know(std::vector<TokenId> answer) { answer_ = std::move(answer); }

  bool begin(std::span<const TokenId> text, KeepGoing) override {
    prompt_ = text.size();
    return true;
  }
  int look(std::span<const TokenId>) override { return 3; }
  size_t propose(std::span<const TokenId> text, std::span<TokenId> out) override {
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t at = text.size() - prompt_ + i;
      const TokenId truth = at < answer_.size() ? answer_[at] : 0;
      const bool honest =
          honesty_ == Honesty::kAlways || (honesty_ == Honesty::kSometimes && random_() % 4 != 0);
      out[i] = honest ? truth : (truth + 1) % vocab_;
    }
    // Sometimes fewer than were asked for.
    return honesty_ == Honesty::kSometimes && random_() % 8 == 0 ? out.size() / 2 : out.size();
  }
  bool costs_time() const override { return false; }

 private:
  Honesty honesty_;
  int32_t vocab_;
  std::mt19937 random_{3};
  std::vector<TokenId> answer_;
  size_t prompt_ = 0;
};

std::string make_prompt(std::mt19937& random) {
  constexpr const char* kWords[] = {"Once",  "upon", "a",    "time", "there",  "was", "little",
                                    "girl",  "who",  "had",  "red",  "ball",   "and", "she",
                                    "loved", "to",   "play", "with", "friend", "Max", "the"};
  std::string prompt;
  const size_t words = 1 + random() % 16;
  for (size_t i = 0; i < words; ++i) {
    prompt += (i == 0 ? "" : " ") + std::string(kWords[random() % std::size(kWords)]);
  }
  // Half of the prompts repeat themselves.
  return random() % 2 == 0 ? prompt : prompt + ". " + prompt.substr(0, 20);
}

Request make_request(std::mt19937& random) {
  Request request;
  request.prompt = make_prompt(random);
  request.max_tokens = random() % 5 == 0 ? -1 : static_cast<int32_t>(1 + random() % 40);
  request.ignore_eos = random() % 2 == 0;
  if (random() % 3 == 0) {
    request.stop = {random() % 2 == 0 ? "." : "e t", "\n\n"};
  }
  SamplingParams& sampling = request.sampling;
  sampling.seed = random();
  switch (random() % 5) {
    case 0:  // llama.cpp's defaults
      break;
    case 1:
      sampling.temperature = 0.3F;
      sampling.repeat_penalty = 1.2F;
      sampling.presence_penalty = 0.3F;
      sampling.frequency_penalty = 0.2F;
      sampling.repeat_last_n = 12;
      break;
    case 2:
      sampling.temperature = 0;
      sampling.repeat_penalty = 1.1F;
      sampling.logit_bias = {{5, 2.0F}, {7, -3.0F}};
      break;
    default:
      sampling.temperature = 0;
  }
  return request;
}

struct Counts {
  int64_t proposed = 0;
  int64_t accepted = 0;
};

// One completer takes all requests, so that each also starts from what the one before it left.
Counts expect_equal(const std::shared_ptr<const Model>& model, Speculation speculation, int prompts,
                    uint32_t seed, Scripted* scripted = nullptr, int threads = 1) {
  LocalCompleter completer(start(model, threads), std::move(speculation));
  Session session = start(model);
  std::mt19937 random(seed);
  Counts counts;
  for (int i = 0; i < prompts; ++i) {
    const Request request = make_request(random);
    const Plain expected = plain(session, request);
    if (scripted != nullptr) {
      scripted->know(expected.tokens);
    }
    const Result<Completion> done = completer.complete(request, kTakeAll);
    EXPECT_TRUE(done.has_value()) << request.prompt;
    EXPECT_EQ(done->text, expected.text) << request.prompt;
    EXPECT_EQ(done->reason, expected.reason) << request.prompt;
    EXPECT_EQ(done->usage.completion_tokens, static_cast<int32_t>(expected.tokens.size()));
    // The session holds all but the last token, as after plain decoding.
    EXPECT_EQ(completer.session().length(), session.length());
    counts.proposed += done->usage.proposed_tokens;
    counts.accepted += done->usage.accepted_tokens;
    if (::testing::Test::HasFailure()) {
      break;  // one difference is enough to read
    }
  }
  return counts;
}

Speculation lookup(SpeculationOptions options) {
  return {options, std::make_unique<PromptLookup>(kContext)};
}

Speculation draft(SpeculationOptions options, const std::shared_ptr<const Model>& target,
                  const std::shared_ptr<const Model>& small) {
  return {options, DraftModel::create(start(small), *target).value()};
}

// 1,000 prompts in all.

TEST(SpeculationEquality, PromptLookupOnTheDefaultModel) {
  const auto model = load(kTiny);
  int64_t accepted = 0;
  accepted += expect_equal(model, lookup({1, false}), 25, 1).accepted;
  accepted += expect_equal(model, lookup({4, false}), 50, 2).accepted;
  accepted += expect_equal(model, lookup({20, false}), 25, 3).accepted;
  EXPECT_GT(accepted, 100);
  expect_equal(model, lookup(kAutoSpeculation), 50, 4);
}

TEST(SpeculationEquality, PromptLookupOnGoldenModels) {
  for (const char* name : {"models/bitnet-b1.58-i2_s-q6_k", "models/bitnet-25-i2_s",
                           "models/llama-k-quants", "models/qwen3-tied-f16", "hybrid/qwen35-f16"}) {
    const auto model = load(std::string("tests/golden/") + name + ".gguf");
    EXPECT_GT(expect_equal(model, lookup({5, false}), 75, 5).proposed, 100) << name;
    expect_equal(model, lookup(kAutoSpeculation), 25, 6);
  }
}

TEST(SpeculationEquality, DraftModels) {
  const auto bitnet = load(kBitnet);
  const auto other = load("tests/golden/models/bitnet-b1.58-i2_s-q6_k.gguf");
  const auto stranger = load("tests/golden/models/bitnet-i2_s.gguf");
  // A model drafts for itself: greedy guesses all come true.
  const Counts same = expect_equal(bitnet, draft({4, false}, bitnet, bitnet), 50, 7);
  EXPECT_GT(same.accepted, same.proposed / 3);
  expect_equal(bitnet, draft({7, false}, bitnet, other), 75, 8);
  expect_equal(bitnet, draft({3, false}, bitnet, stranger), 50, 9);
  expect_equal(bitnet, draft(kAutoSpeculation, bitnet, other), 25, 10);
}

TEST(SpeculationEquality, ProposersThatLieOrKnow) {
  const auto model = load(kBitnet);
  for (const auto honesty :
       {Scripted::Honesty::kNever, Scripted::Honesty::kAlways, Scripted::Honesty::kSometimes}) {
    for (const int32_t most : {1, 3, 12, kMostGuesses}) {
      auto proposer = std::make_unique<Scripted>(honesty, model->config().vocab);
      Scripted& scripted = *proposer;
      const Counts counts = expect_equal(model, Speculation({most, false}, std::move(proposer)), 20,
                                         11, &scripted, most == 3 ? 2 : 1);
      EXPECT_GT(counts.proposed, 0);
      if (honesty == Scripted::Honesty::kNever) {
        EXPECT_EQ(counts.accepted, 0);
      }
      if (honesty == Scripted::Honesty::kAlways) {
        EXPECT_GE(counts.accepted, counts.proposed * 3 / 4);  // what ends a text cuts guesses off
      }
    }
  }
  auto proposer = std::make_unique<Scripted>(Scripted::Honesty::kSometimes, model->config().vocab);
  Scripted& scripted = *proposer;
  expect_equal(model, Speculation(kAutoSpeculation, std::move(proposer)), 60, 12, &scripted);
}

// A text that fills the context is the same to its last token, whatever room guesses would need.
TEST(Speculation, FillsTheContextToItsEnd) {
  const auto model = load(kBitnet);
  Session session = start(model);
  Request request;
  request.ignore_eos = true;
  request.sampling.temperature = 0;
  for (size_t length = 1; length < 12; ++length) {
    request.prompt = std::string(length, 'a');
    const Plain expected = plain(session, request);
    ASSERT_EQ(expected.reason, StopReason::kContextFull);
    auto proposer = std::make_unique<Scripted>(Scripted::Honesty::kAlways, model->config().vocab);
    proposer->know(expected.tokens);
    LocalCompleter completer(start(model), Speculation({7, false}, std::move(proposer)));
    const Completion done = completer.complete(request, kTakeAll).value();
    EXPECT_EQ(done.text, expected.text);
    EXPECT_EQ(done.reason, StopReason::kContextFull);
    EXPECT_EQ(done.usage.completion_tokens, static_cast<int32_t>(expected.tokens.size()));
    EXPECT_EQ(completer.session().length(), kContext);
  }
}

class SpeculationOf : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, SpeculationOf, ::testing::Values(kBitnet, kHybrid),
                         [](const auto& test) { return test.index == 0 ? "plain" : "recurrent"; });

// A sink that says no after any number of calls: what was shown is the beginning of the plain text, and the next request is
// answered as if nothing had happened.
TEST_P(SpeculationOf, CanBeCancelledAnywhere) {
  const auto model = load(GetParam());
  Session session = start(model);
  Request request;
  request.prompt = "Once upon a time";
  request.ignore_eos = true;
  request.max_tokens = 24;
  request.sampling.temperature = 0;
  const Plain expected = plain(session, request);
  for (const bool small : {false, true}) {
    std::unique_ptr<Proposer> proposer;
    if (small) {
      proposer = DraftModel::create(start(model), *model).value();
    } else {
      auto scripted =
          std::make_unique<Scripted>(Scripted::Honesty::kSometimes, model->config().vocab);
      scripted->know(expected.tokens);
      proposer = std::move(scripted);
    }
    LocalCompleter completer(start(model), Speculation({5, false}, std::move(proposer)));
    bool cancelled = true;
    for (int patience = 0; cancelled; ++patience) {
      int calls = 0;
      std::string shown;
      const Completion done = completer
                                  .complete(request,
                                            [&](std::string_view piece) {
                                              shown += piece;
                                              return calls++ < patience;
                                            })
                                  .value();
      cancelled = done.reason == StopReason::kCancelled;
      EXPECT_EQ(done.text, shown);
      if (cancelled && shown.ends_with(kReplacement) && !expected.text.starts_with(shown)) {
        shown.resize(shown.size() - kReplacement.size());  // cut within a character
      }
      ASSERT_TRUE(expected.text.starts_with(shown)) << patience;
      ASSERT_LT(patience, 10000);
      if (patience % 7 == 0) {
        EXPECT_EQ(completer.complete(request, kTakeAll)->text, expected.text) << patience;
      }
    }
  }
}

// A conversation: each request begins with the text so far, which is not read again.
TEST_P(SpeculationOf, ConversationsGoOn) {
  const auto model = load(GetParam() == kBitnet ? kTiny : kHybrid);
  LocalCompleter completer(start(model), lookup({6, false}));
  Session session = start(model);
  Request request;
  request.prompt = "Once upon a time";
  request.max_tokens = GetParam() == kBitnet ? 12 : 4;  // a byte a token: it must fit the context
  for (uint64_t turn = 0; turn < 5; ++turn) {
    request.sampling.seed = turn;
    const Plain expected = plain(session, request);
    const Completion done = completer.complete(request, kTakeAll).value();
    ASSERT_EQ(done.text, expected.text);
    request.prompt += done.text + " The";
  }
}

TEST(DraftModel, MustHaveTheSameVocabulary) {
  const auto target = load(kTiny);
  const auto smaller = load(kBitnet);
  const auto refused = DraftModel::create(start(smaller), *target);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("4096 tokens, found 272"), std::string::npos)
      << refused.error().message;

  // One token spelled differently.
  std::ifstream in(testing::source_path(kTiny), std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  const TokenId token = target->tokenizer().find("\xC4\xA0little");
  ASSERT_GE(token, 0);
  const size_t at = bytes.find("\xC4\xA0little");
  ASSERT_NE(at, std::string::npos);
  bytes[at + 2] = 'L';
  const testing::TempFolder folder;
  const std::filesystem::path changed = folder / "changed.gguf";
  std::ofstream(changed, std::ios::binary) << bytes;
  const auto differs = DraftModel::create(start(load(changed)), *target);
  ASSERT_FALSE(differs.has_value());
  EXPECT_NE(differs.error().message.find("token " + std::to_string(token)), std::string::npos)
      << differs.error().message;
}

}  // namespace
}  // namespace tern

// The parts of speculation: the index of n-grams against a search through the text, and the pace against what is best by
// arithmetic.

#include "engine/session/speculation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/session/prompt_lookup.h"

namespace tern {
namespace {

constexpr auto kAlways = [] { return true; };

std::vector<TokenId> random_text(std::mt19937& random, size_t length, uint32_t vocabulary) {
  std::vector<TokenId> text;
  for (size_t i = 0; i < length; ++i) {
    text.push_back(static_cast<TokenId>(random() % vocabulary));
  }
  return text;
}

// The definition: the longest n-gram at the end of the text that occurs earlier, and where it does so last.
NgramIndex::Match search(std::span<const TokenId> text) {
  const auto size = static_cast<int32_t>(text.size());
  for (int32_t length = std::min(NgramIndex::kLongest, size - 1); length > 0; --length) {
    for (int32_t next = size - 1; next >= length; --next) {
      if (std::equal(text.end() - length, text.end(), text.begin() + next - length)) {
        return {length, next};
      }
    }
  }
  return {};
}

TEST(NgramIndex, FindsWhatASearchFinds) {
  std::mt19937 random(1);
  for (const uint32_t vocabulary : {1U, 2U, 3U, 10U, 50U, 100000U}) {
    const std::vector<TokenId> text = random_text(random, 300, vocabulary);
    NgramIndex index(300);
    for (int round = 0; round < 2; ++round) {  // after clear() as at first
      index.clear();
      for (size_t length = 0; length <= text.size(); length += 1 + random() % 3) {
        const std::span<const TokenId> so_far = std::span(text).first(length);
        index.extend(so_far);
        const NgramIndex::Match expected = search(so_far);
        const NgramIndex::Match found = index.find(so_far);
        ASSERT_EQ(found.length, expected.length) << length << " tokens of " << vocabulary;
        ASSERT_EQ(found.next, expected.next) << length << " tokens of " << vocabulary;
      }
    }
  }
}

TEST(PromptLookup, ProposesWhatFollowedTheLastTime) {
  PromptLookup lookup(100);
  std::vector<TokenId> text = {1, 2, 3, 4, 5, 9, 2, 3, 4, 6, 7, 8, 2, 3};
  std::vector<TokenId> out(3);
  lookup.begin(text, kAlways);
  EXPECT_EQ(lookup.look(text), 1);  // "2 3" occurred, "8 2 3" did not
  EXPECT_EQ(lookup.propose(text, out), 3U);
  EXPECT_EQ(out, (std::vector<TokenId>{4, 6, 7}));  // the later of the two places
  text.push_back(4);
  EXPECT_EQ(lookup.look(text), 2);
  lookup.propose(text, out);
  EXPECT_EQ(out, (std::vector<TokenId>{6, 7, 8}));
  text.push_back(99);
  EXPECT_EQ(lookup.look(text), Proposer::kNoEvidence);
}

TEST(PromptLookup, GoesOnInALoop) {
  PromptLookup lookup(100);
  const std::vector<TokenId> text = {5, 1, 2, 3, 1, 2, 3, 1, 2};
  std::vector<TokenId> out(7);
  lookup.begin(text, kAlways);
  lookup.look(text);
  lookup.propose(text, out);
  EXPECT_EQ(out, (std::vector<TokenId>{3, 1, 2, 3, 1, 2, 3}));
}

// The longer the text repeats itself, the stronger the evidence.
TEST(PromptLookup, RanksEvidenceByTheLengthOfTheMatch) {
  for (const auto& [length, kind] :
       {std::pair{1, 0}, {2, 1}, {3, 2}, {4, 3}, {7, 3}, {8, 4}, {15, 4}, {16, 5}, {40, 5}}) {
    std::vector<TokenId> text;
    for (int i = 0; i < length; ++i) {
      text.push_back(i);
    }
    text.push_back(1000);
    text.push_back(
        2000);  // what stood before the first occurrence is not what stands before the second
    text.insert(text.end(), text.begin(), text.begin() + length);
    PromptLookup lookup(100);
    lookup.begin(text, kAlways);
    EXPECT_EQ(lookup.look(text), kind) << length;
  }
}

// A machine on which a pass over n tokens takes `seconds(n)`, and a text in which a guess comes true with probability
// `acceptance`.
template <class Seconds>
struct World {
  Seconds seconds;
  double acceptance;
  std::mt19937 random{7};

  // Tokens that a pass with so many guesses brings, on average.
  double tokens(int guesses) const {
    double sum = 1;
    for (int i = 1; i <= guesses; ++i) {
      sum += std::pow(acceptance, i);
    }
    return sum;
  }
  // Tokens a second with so many guesses, over those without.
  double gain(int guesses) const { return tokens(guesses) * seconds(1) / seconds(guesses + 1); }

  struct Outcome {
    double guesses = 0;  // in a pass
    double gain = 0;     // tokens a second, over those of plain decoding
  };
  // Runs passes as Speculation does, and averages over their last half.
  Outcome run(Pace& pace, int passes, int kind = 2) {
    double guesses = 0;
    double came = 0;
    double spent = 0;
    for (int i = 0; i < passes; ++i) {
      const int32_t count = pace.choose(kind, 100);
      // A guess that is not verified is compared all the same.
      const int32_t made = std::max(count, 1);
      int32_t right = 0;
      while (right < made && std::uniform_real_distribution<>(0, 1)(random) < acceptance) {
        ++right;
      }
      pace.note_outcome(kind, right, right < made);
      pace.note_pass(count + 1, seconds(count + 1));
      if (i >= passes / 2) {
        guesses += count;
        came += tokens(count);
        spent += seconds(count + 1);
      }
    }
    return {guesses / (passes / 2.0), came / spent * seconds(1)};
  }
};

TEST(Pace, GuessesAsMuchAsPays) {
  const auto check = [](const auto& seconds, double acceptance) {
    World<std::decay_t<decltype(seconds)>> world{seconds, acceptance};
    double best = 1;
    for (int guesses = 1; guesses <= 7; ++guesses) {
      best = std::max(best, world.gain(guesses));
    }
    Pace pace(kAutoSpeculation);
    const double gain = world.run(pace, 4000).gain;
    EXPECT_GT(gain, 0.92 * best) << acceptance << " of the guesses come true";
    EXPECT_GT(gain, 0.98) << acceptance << " of the guesses come true";
  };
  for (const double acceptance : {0.02, 0.2, 0.5, 0.8, 0.97}) {
    check([](int n) { return 1 + 0.02 * n; }, acceptance);   // bound by memory
    check([](int n) { return 0.5 + 0.5 * n; }, acceptance);  // every token costs
    check([](int n) { return n <= 4 ? 1.0 : 2.0; }, acceptance);
    check([](int n) { return 1.0 * n; }, acceptance);  // nothing to gain
  }
}

TEST(Pace, StopsWhereNothingIsGained) {
  const auto proportional = [](int n) { return 1.0 * n; };
  World<decltype(proportional)> compute_bound{proportional, 0.7};
  Pace pace(kAutoSpeculation);
  EXPECT_LT(compute_bound.run(pace, 4000).guesses, 0.05);

  const auto cheap = [](int n) { return 1 + 0.05 * n; };
  World<decltype(cheap)> unpredictable{cheap, 0.0};
  Pace other(kAutoSpeculation);
  EXPECT_LT(unpredictable.run(other, 4000).guesses, 0.05);
}

TEST(Pace, TriesAgainAfterAWhile) {
  const auto slow = [](int n) { return 1.0 * n; };
  World<decltype(slow)> before{slow, 0.9};
  Pace pace(kAutoSpeculation);
  before.run(pace, 500);
  const auto fast = [](int n) { return 1 + 0.02 * n; };
  World<decltype(fast)> after{fast, 0.9};
  EXPECT_GT(after.run(pace, 3000).guesses, 6);
}

TEST(Pace, OneDisturbedPassChangesLittle) {
  const auto flat = [](int n) { return 1 + 0.02 * n; };
  World<decltype(flat)> world{flat, 0.9};
  Pace pace(kAutoSpeculation);
  world.run(pace, 200);
  pace.note_pass(8, 1000);
  EXPECT_LT(pace.pass_seconds(8), 1.3 * flat(8));
}

TEST(Pace, ObeysTheLimitAndFixedNumbers) {
  Pace fixed({5, false});
  EXPECT_EQ(fixed.choose(0, 5), 0) << "the first pass measures plain decoding";
  fixed.note_pass(1, 1);
  EXPECT_EQ(fixed.choose(0, 100), 5);
  EXPECT_EQ(fixed.choose(0, 3), 3);
  EXPECT_EQ(fixed.choose(0, 0), 0);
  EXPECT_EQ(fixed.choose(0, -1), 0);
  Pace off({0, false});
  off.note_pass(1, 1);
  EXPECT_EQ(off.choose(5, 100), 0);
}

// Guesses that take time must earn it.
TEST(Pace, CountsTheTimeOfGuessing) {
  Pace pace(kAutoSpeculation);
  for (int i = 0; i < 50; ++i) {
    for (const int tokens : {1, 2, 4, 8}) {
      pace.note_pass(tokens, 1);
    }
    pace.note_outcome(3, 4, true);  // four of five
  }
  EXPECT_EQ(pace.choose(3, 100), 7);
  pace.note_guessing(7, 7 * 0.3);
  const int32_t cheap = pace.choose(3, 100);
  EXPECT_GT(cheap, 0);
  EXPECT_LT(cheap, 7);
  for (int i = 0; i < 50; ++i) {
    pace.note_guessing(1, 0.9);
  }
  EXPECT_EQ(pace.choose(3, 100), 0);
}

// The gain is the time that plain decoding would have taken over the time taken.
TEST(Speculation, SumsUpWhatWasGained) {
  Speculation speculation({3, false}, std::make_unique<PromptLookup>(100));
  std::vector<TokenId> text = {1, 2, 3, 4, 5, 1};
  speculation.begin(text, kAlways);
  const auto pass = [&](std::vector<TokenId> came, double seconds) {
    const size_t guesses = speculation.propose(text, 10).size();
    text.insert(text.end(), came.begin(), came.end());
    speculation.learn(came, seconds);
    return guesses;
  };
  EXPECT_EQ(pass({2}, 1.0), 0U);           // plain, to compare with
  EXPECT_EQ(pass({3, 4, 5, 9}, 1.5), 3U);  // all three guesses come true
  EXPECT_EQ(pass({9}, 3.0), 0U);           // nothing like it before, and a disturbance
  EXPECT_EQ(pass({8}, 1.5), 3U);           // all wrong
  const Speculation::Summary summary = speculation.summary();
  EXPECT_EQ(summary.proposed, 6);
  EXPECT_EQ(summary.accepted, 3);
  EXPECT_DOUBLE_EQ(summary.gain, 7 * 2.0 / 7.0);
  speculation.begin(text, kAlways);
  EXPECT_EQ(speculation.summary().proposed, 0);
}

}  // namespace
}  // namespace tern

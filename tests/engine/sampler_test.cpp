#include "engine/run/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>

namespace tern {
namespace {

SamplingParams all_off() {
  SamplingParams params;
  params.temperature = 1.0F;
  params.top_k = 0;
  params.top_p = 1.0F;
  params.min_p = 0.0F;
  return params;
}

// Logits whose softmax is 0.5, 0.25, 0.125, 0.125, in the order of tokens 2, 0, 3, 1.
const std::vector<float> kLogits = {std::log(0.25F), std::log(0.125F), std::log(0.5F),
                                    std::log(0.125F)};

std::map<int32_t, double> frequencies(const SamplingParams& params, int draws = 40000) {
  Sampler sampler(params, 4);
  std::map<int32_t, double> shares;
  for (int i = 0; i < draws; ++i) {
    shares[sampler.sample(kLogits)] += 1.0 / draws;
  }
  return shares;
}

// Four standard deviations of a share p over 40000 draws is at most 4 * sqrt(0.25 / 40000) = 0.01.
constexpr double kTolerance = 0.01;

TEST(Sampler, DrawsInProportionToTheSoftmax) {
  auto shares = frequencies(all_off());
  EXPECT_NEAR(shares[2], 0.5, kTolerance);
  EXPECT_NEAR(shares[0], 0.25, kTolerance);
  EXPECT_NEAR(shares[1], 0.125, kTolerance);
  EXPECT_NEAR(shares[3], 0.125, kTolerance);
}

TEST(Sampler, TemperatureSharpens) {
  SamplingParams params = all_off();
  params.temperature = 0.5F;  // squares the probabilities: 16 : 4 : 1 : 1 of 22
  auto shares = frequencies(params);
  EXPECT_NEAR(shares[2], 16.0 / 22, kTolerance);
  EXPECT_NEAR(shares[0], 4.0 / 22, kTolerance);
}

TEST(Sampler, ZeroTemperatureTakesTheLargest) {
  SamplingParams params = all_off();
  params.temperature = 0;
  EXPECT_EQ(frequencies(params, 10).size(), 1U);
  EXPECT_EQ(frequencies(params, 10).begin()->first, 2);
}

TEST(Sampler, TopKKeepsTheLargestAndBreaksTiesByToken) {
  SamplingParams params = all_off();
  params.top_k = 3;
  auto shares = frequencies(params);
  EXPECT_EQ(shares.count(3), 0U);  // as likely as token 1, which comes first
  EXPECT_NEAR(shares[2], 0.5 / 0.875, kTolerance);
  EXPECT_NEAR(shares[1], 0.125 / 0.875, kTolerance);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  SamplingParams params = all_off();
  params.top_p = 0.7F;  // 0.5 is not enough, 0.5 + 0.25 is
  auto shares = frequencies(params);
  EXPECT_EQ(shares.size(), 2U);
  EXPECT_NEAR(shares[2], 2.0 / 3, kTolerance);
}

TEST(Sampler, MinPDropsWhatIsFarBelowTheLargest) {
  SamplingParams params = all_off();
  params.min_p = 0.4F;  // at least 0.2
  EXPECT_EQ(frequencies(params).size(), 2U);
}

TEST(Sampler, SameSeedSameTokens) {
  SamplingParams params = all_off();
  params.seed = 7;
  Sampler first(params, 4);
  Sampler second(params, 4);
  params.seed = 8;
  Sampler other(params, 4);
  int differences = 0;
  for (int i = 0; i < 100; ++i) {
    const int32_t token = first.sample(kLogits);
    EXPECT_EQ(token, second.sample(kLogits));
    differences += token != other.sample(kLogits) ? 1 : 0;
  }
  EXPECT_GT(differences, 0);
}

int32_t greedy_after(SamplingParams params, const std::vector<int32_t>& seen,
                     const std::vector<float>& logits) {
  params.temperature = 0;
  Sampler sampler(params, static_cast<int32_t>(logits.size()));
  for (const int32_t token : seen) {
    sampler.accept(token);
  }
  return sampler.sample(logits);
}

TEST(Sampler, RepeatPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplingParams params = all_off();
  params.repeat_penalty = 2.0F;
  EXPECT_EQ(greedy_after(params, {0}, {3.0F, 2.0F}), 1);    // 3 / 2 < 2
  EXPECT_EQ(greedy_after(params, {0}, {-1.0F, -1.5F}), 1);  // -1 * 2 < -1.5
  EXPECT_EQ(greedy_after(params, {0}, {5.0F, 2.0F}), 0);    // 5 / 2 > 2
}

TEST(Sampler, PresenceCountsOnceAndFrequencyEachTime) {
  SamplingParams params = all_off();
  params.presence_penalty = 1.0F;
  EXPECT_EQ(greedy_after(params, {0, 0, 0}, {3.0F, 1.5F}), 0);  // 3 - 1 > 1.5
  params.presence_penalty = 0.0F;
  params.frequency_penalty = 1.0F;
  EXPECT_EQ(greedy_after(params, {0}, {3.0F, 1.5F}), 0);     // 3 - 1 > 1.5
  EXPECT_EQ(greedy_after(params, {0, 0}, {3.0F, 1.5F}), 1);  // 3 - 2 < 1.5
}

TEST(Sampler, PenaltiesForgetWhatIsOlderThanRepeatLastN) {
  SamplingParams params = all_off();
  params.presence_penalty = 10.0F;
  params.repeat_last_n = 2;
  EXPECT_EQ(greedy_after(params, {0, 1, 1}, {3.0F, 5.0F, 1.0F}), 0);
  EXPECT_EQ(greedy_after(params, {1, 0, 1}, {3.0F, 5.0F, 1.0F}), 2);
  params.repeat_last_n = 0;
  EXPECT_EQ(greedy_after(params, {0, 1, 1}, {3.0F, 5.0F, 1.0F}), 1);
}

TEST(Sampler, LogitBiasIsAdded) {
  SamplingParams params = all_off();
  params.logit_bias = {{1, 3.0F}, {99, 1.0F}};
  EXPECT_EQ(greedy_after(params, {}, {3.0F, 1.0F}), 1);
}

// What is not wanted is not looked at: with minus infinity there, the same tokens come.
TEST(Sampler, UnwantedLogitsDoNotMatter) {
  constexpr int32_t kVocab = 1000;
  SamplingParams greedy;
  greedy.temperature = 0;
  SamplingParams penalised = greedy;
  penalised.repeat_penalty = 2.0F;
  penalised.frequency_penalty = 0.5F;
  SamplingParams biased;
  biased.logit_bias = {{3, -20.0F}, {999, 4.0F}, {5000, 1.0F}};
  biased.presence_penalty = 1.0F;
  for (const SamplingParams& params : {greedy, penalised, SamplingParams{}, biased}) {
    Sampler with_all(params, kVocab);
    Sampler with_wanted(params, kVocab);
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (int step = 0; step < 300; ++step) {
      // As in verifying guesses: what is wanted is asked once for three tokens, of which the first two are known to be likely.
      const std::vector<int32_t> guesses = {1, 2};
      const LogitsWanted wanted = with_wanted.wanted(guesses);
      ASSERT_GT(wanted.largest, 0);
      for (int position = 0; position < 3; ++position) {
        std::vector<float> logits(kVocab);
        std::generate(logits.begin(), logits.end(), [&] { return 2 * normal(random); });
        std::vector<float> sorted = logits;
        std::sort(sorted.begin(), sorted.end(), std::greater<>());
        std::vector<float> some = logits;
        for (size_t i = 0; i < some.size(); ++i) {
          const bool among = some[i] >= sorted[static_cast<size_t>(wanted.largest) - 1];
          const bool named = std::count(wanted.tokens.begin(), wanted.tokens.end(), i) > 0;
          some[i] = among || named ? some[i] : -std::numeric_limits<float>::infinity();
        }
        const int32_t token = with_all.sample(logits);
        ASSERT_EQ(with_wanted.sample(some), token);
        const int32_t accepted = position < 2 ? guesses[static_cast<size_t>(position)] : token;
        with_all.accept(accepted);
        with_wanted.accept(accepted);
      }
    }
  }
}

TEST(Sampler, WantsAllLogitsWhereEveryTokenCanBeDrawn) {
  EXPECT_EQ(Sampler(all_off(), 100).wanted().largest, 0);
  SamplingParams long_memory;
  long_memory.repeat_last_n = -1;
  long_memory.repeat_penalty = 1.1F;
  Sampler sampler(long_memory, 1000);
  for (int32_t i = 0; i < 300; ++i) {
    sampler.accept(i);
  }
  EXPECT_EQ(sampler.wanted().largest, 0);
}

}  // namespace
}  // namespace tern

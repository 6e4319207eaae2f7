#include "engine/session/speculation.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/clock.h"

namespace tern {
namespace {

// Measurements older than this many passes are forgotten, and what they spoke against is tried again.
constexpr int64_t kMemory = 512;
// A gain below this is lost in the noise of measurement.
constexpr double kLeastGain = 1.02;
// What one more token adds to a pass, as a share of a pass for one, until it is measured.
constexpr double kAssumedSlope = 0.1;
// How often guesses come true before any was seen, and how many observations that belief is worth.
constexpr double kAssumedAcceptance[Proposer::kKinds] = {0.2, 0.3, 0.5, 0.7, 0.8, 0.9};
constexpr double kAssumptionWeight = 2;
// Weight of what was known when something new is learned: about the last 30 guesses, the last 5 passes.
constexpr double kRecordFade = 0.97;
constexpr double kCostFade = 0.8;

// A moving average that a single disturbance (another program took the core) moves little.
double updated(double average, double sample) {
  return kCostFade * average + (1 - kCostFade) * std::min(sample, 2 * average);
}

}  // namespace

bool Pace::known(const Cost& cost) const {
  return cost.measured_at >= 0 && passes_ - cost.measured_at <= kMemory;
}

double Pace::pass_seconds(int32_t tokens) const {
  const auto size = static_cast<size_t>(tokens);
  if (known(pass_[size])) {
    return pass_[size].seconds;
  }
  size_t below = size;
  while (below > 0 && !known(pass_[below])) {
    --below;
  }
  size_t above = size;
  while (above < pass_.size() && !known(pass_[above])) {
    ++above;
  }
  if (below == 0) {
    return above < pass_.size() ? pass_[above].seconds : 0;
  }
  const double distance = static_cast<double>(size - below);
  if (above == pass_.size()) {
    return pass_[below].seconds + distance * kAssumedSlope * pass_seconds(1);
  }
  const double slope =
      (pass_[above].seconds - pass_[below].seconds) / static_cast<double>(above - below);
  return pass_[below].seconds + distance * slope;
}

double Pace::acceptance(int kind) const {
  const Record& record = records_[static_cast<size_t>(kind)];
  const double assumed = kAssumedAcceptance[kind];
  if (passes_ - record.noted_at > kMemory) {
    return assumed;
  }
  return (record.right + kAssumptionWeight * assumed) / (record.total + kAssumptionWeight);
}

// Tokens a second with so many guesses, over those without. A pass brings one token, and one more for each guess in the run
// that comes true: 1 + a + a^2 + ... + a^guesses.
double Pace::gain(int kind, int32_t guesses) const {
  const double a = acceptance(kind);
  double tokens = 1;
  double all_right = 1;
  for (int32_t i = 0; i < guesses; ++i) {
    all_right *= a;
    tokens += all_right;
  }
  const double guessing = known(guess_) ? guesses * guess_.seconds : 0;
  return tokens * pass_seconds(1) / (pass_seconds(guesses + 1) + guessing);
}

int32_t Pace::choose(int kind, int32_t limit) const {
  const int32_t most = std::min(limit, options_.most);
  if (most <= 0 || !known(pass_[1])) {
    return 0;  // first measure what to compare with
  }
  if (!options_.adapt) {
    return most;
  }
  int32_t best = 0;
  double best_gain = kLeastGain;
  for (int32_t guesses = 1; guesses <= most; ++guesses) {
    const double expected = gain(kind, guesses);
    if (expected > best_gain) {
      best = guesses;
      best_gain = expected;
    }
  }
  return best;
}

void Pace::note_pass(int32_t tokens, double seconds) {
  ++passes_;
  Cost& cost = pass_[static_cast<size_t>(tokens)];
  cost.seconds = known(cost) ? updated(cost.seconds, seconds) : seconds;
  cost.measured_at = passes_;
}

void Pace::note_guessing(int32_t count, double seconds) {
  const double each = seconds / count;
  guess_.seconds = known(guess_) ? updated(guess_.seconds, each) : each;
  guess_.measured_at = passes_;
}

void Pace::note_outcome(int kind, int32_t right, bool missed) {
  Record& record = records_[static_cast<size_t>(kind)];
  if (passes_ - record.noted_at > kMemory) {
    record = {};
  }
  for (int32_t i = 0; i < right + (missed ? 1 : 0); ++i) {
    record.right = record.right * kRecordFade + (i < right ? 1 : 0);
    record.total = record.total * kRecordFade + 1;
  }
  record.noted_at = passes_;
}

Speculation::Speculation(const SpeculationOptions& options, std::unique_ptr<Proposer> proposer)
    : options_(options),
      proposer_(std::move(proposer)),
      pace_(options),
      guesses_(static_cast<size_t>(kMostGuesses)) {
  TERN_CHECK(options.most >= 0 && options.most <= kMostGuesses, "so many guesses do not fit");
}

bool Speculation::begin(std::span<const TokenId> text, Proposer::KeepGoing keep_going) {
  proposed_ = accepted_ = came_ = plain_passes_ = 0;
  spent_ = spent_plain_ = 0;
  return proposer_ == nullptr || options_.most == 0 || proposer_->begin(text, keep_going);
}

std::span<const TokenId> Speculation::propose(std::span<const TokenId> text, int32_t limit) {
  made_ = verified_ = 0;
  if (proposer_ == nullptr || options_.most == 0 || limit <= 0) {
    return {};
  }
  kind_ = proposer_->look(text);
  if (kind_ == Proposer::kNoEvidence) {
    return {};
  }
  verified_ = static_cast<size_t>(pace_.choose(kind_, limit));
  // A guess that costs nothing is compared with what comes even if it is not worth a place in the pass.
  const size_t wanted = std::max<size_t>(verified_, proposer_->costs_time() ? 0 : 1);
  if (wanted == 0) {
    return {};
  }
  const double started = steady_seconds();
  made_ = proposer_->propose(text, std::span(guesses_).first(wanted));
  verified_ = std::min(verified_, made_);
  if (proposer_->costs_time()) {
    const double seconds = steady_seconds() - started;
    spent_ += seconds;
    pace_.note_guessing(static_cast<int32_t>(made_), seconds);
  }
  return std::span(guesses_).first(verified_);
}

void Speculation::learn(std::span<const TokenId> came, double seconds) {
  const std::span<const TokenId> guesses = std::span(guesses_).first(made_);
  const auto right = static_cast<size_t>(
      std::mismatch(guesses.begin(), guesses.end(), came.begin(), came.end()).first -
      guesses.begin());
  if (made_ > 0) {
    pace_.note_outcome(kind_, static_cast<int32_t>(right), right < made_ && right < came.size());
  }
  pace_.note_pass(static_cast<int32_t>(verified_) + 1, seconds);
  proposed_ += static_cast<int64_t>(verified_);
  accepted_ += static_cast<int64_t>(std::min(right, verified_));
  came_ += static_cast<int64_t>(came.size());
  spent_ += seconds;
  if (verified_ == 0) {
    spent_plain_ += seconds;
    ++plain_passes_;
  }
}

Speculation::Summary Speculation::summary() const {
  Summary summary{proposed_, accepted_, 0};
  if (proposed_ > 0 && spent_ > 0) {
    // Sums against sums: the moving average of Pace leaves disturbances out, which all passes have had.
    const double plain = plain_passes_ > 0 ? spent_plain_ / static_cast<double>(plain_passes_)
                                           : pace_.pass_seconds(1);
    summary.gain = static_cast<double>(came_) * plain / spent_;
  }
  return summary;
}

}  // namespace tern

#pragma once
// Speculation without loss: guesses of the next tokens are verified together in one pass, which costs little more than a pass
// for one token, and those up to the first wrong one are kept. The text is that of plain decoding, token by token: what is
// sampled decides, a guess only saves the pass. Here is decided how many guesses to verify; LocalCompleter verifies.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/session/proposer.h"

namespace tern {

struct SpeculationOptions {
  int32_t most = 0;  // guesses in a pass; 0 = no speculation
  bool adapt =
      false;  // verify as many guesses as pay by measurement, and none where none pays; else always `most`
};

// Most guesses that can be asked for.
inline constexpr int32_t kMostGuesses = 64;
// What is sensible to adapt within: with the token before them eight logits, which are computed together.
inline constexpr SpeculationOptions kAutoSpeculation{7, true};

// Decides how many guesses a pass should verify, from what passes cost and how often guesses come true. Knows no clock: it is
// told what was measured.
class Pace {
 public:
  explicit Pace(const SpeculationOptions& options) : options_(options) {}

  // How many guesses of this kind to verify now, at most `limit`.
  int32_t choose(int kind, int32_t limit) const;

  // A pass over `tokens` tokens took `seconds`.
  void note_pass(int32_t tokens, double seconds);
  // Making `count` guesses took `seconds`.
  void note_guessing(int32_t count, double seconds);
  // `right` guesses of this kind came true; after them one that did not, if `missed`.
  void note_outcome(int kind, int32_t right, bool missed);

  // Seconds of a pass over `tokens` tokens: measured, or judged from those of other sizes. 0 before any was measured.
  double pass_seconds(int32_t tokens) const;
  // How likely the next guess of this kind comes true.
  double acceptance(int kind) const;

 private:
  struct Cost {
    double seconds = 0;
    int64_t measured_at = -1;  // passes_ then; -1 = never
  };
  struct Record {
    double right = 0;  // both counts fade, so that they tell of the recent past
    double total = 0;
    int64_t noted_at = 0;
  };

  bool known(const Cost& cost) const;
  double gain(int kind, int32_t guesses) const;

  SpeculationOptions options_;
  int64_t passes_ = 0;
  std::array<Cost, kMostGuesses + 2> pass_;  // by the number of tokens
  Cost guess_;                               // of one guess
  std::array<Record, Proposer::kKinds> records_;
};

// A proposer and its pace over the texts of one session. Allocates only in its constructor.
class Speculation {
 public:
  struct Summary {
    int64_t proposed = 0;
    int64_t accepted = 0;
    double gain = 0;  // time that plain decoding would have taken over the time taken; 0 = unknown
  };

  Speculation() : Speculation({}, nullptr) {}
  Speculation(const SpeculationOptions& options, std::unique_ptr<Proposer> proposer);

  // A text begins with these tokens; the summary starts anew. False if `keep_going` said no.
  bool begin(std::span<const TokenId> text, Proposer::KeepGoing keep_going);
  // Guesses at how `text` goes on that are worth verifying, at most `limit`; valid until the next call.
  std::span<const TokenId> propose(std::span<const TokenId> text, int32_t limit);
  // The pass with the last guesses took `seconds` and brought the tokens `came`.
  void learn(std::span<const TokenId> came, double seconds);

  Summary summary() const;

 private:
  SpeculationOptions options_;
  std::unique_ptr<Proposer> proposer_;
  Pace pace_;
  std::vector<TokenId> guesses_;
  int kind_ = Proposer::kNoEvidence;
  size_t made_ = 0;      // guesses of the last propose()
  size_t verified_ = 0;  // of them those that went into the pass
  int64_t proposed_ = 0;
  int64_t accepted_ = 0;
  int64_t came_ = 0;
  double spent_ = 0;
  double spent_plain_ = 0;  // of that, in passes without guesses
  int64_t plain_passes_ = 0;
};

}  // namespace tern

#pragma once
// Cutting text into words before byte-pair merging: the part of a BPE tokenizer that the vocabulary
// does not hold.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace tern {

// A compiled regular expression (PCRE2, Unicode). Safe to share between threads.
class Expression {
 public:
  // `pattern` is one of ours: a mistake in it is a programmer's error.
  explicit Expression(const char* pattern);

  // Cuts `text`, which is valid UTF-8, into its matches and what lies between them, in order.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

class PreTokenizer {
 public:
  // By the name in tokenizer.ggml.pre. An unknown name is an error that lists the known ones.
  static Result<PreTokenizer> named(std::string_view name);

  // Cuts `text` into words; together they are exactly `text`, whatever its bytes. Linear in its
  // length.
  std::vector<std::string_view> split(std::string_view text) const;

  std::string_view family() const { return family_; }  // the name that its synonyms stand for
  bool whole_words_first() const {
    return whole_words_first_;
  }                                            // a word that is a token is not merged
  bool adds_bos() const { return adds_bos_; }  // unless the file says otherwise
  bool folds_to_nfc() const { return folds_to_nfc_; }
  void set_folds_to_nfc(bool folds) { folds_to_nfc_ = folds; }

 private:
  std::string_view family_;
  bool whole_words_first_ = false, adds_bos_ = false, folds_to_nfc_ = false;
  std::vector<Expression> steps_;  // each cuts the pieces that the one before it left
};

}  // namespace tern

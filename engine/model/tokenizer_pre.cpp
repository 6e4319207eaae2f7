#include "engine/model/tokenizer_pre.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/model/utf8.h"

// The characters of Unicode's White_Space. Not PCRE2's \s, which takes in U+180E too: the
// tokenizers' own engines do not.
#define SPACES                                                                       \
  "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
  "\\x{202f}\\x{205f}\\x{3000}"
#define SPACE "[" SPACES "]"
#define OTHER "[^" SPACES "\\p{L}\\p{N}]"
// Spaces up to, but not with, the last one before a word; then any that are left.
#define SPACE_RUNS SPACE "+(?![^" SPACES "])|" SPACE "+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?" OTHER "+|" SPACE_RUNS
#define LLAMA3(digits)                                                                   \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits "| ?" OTHER \
  "+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE_RUNS
// Marks belong to the letters before them.
#define QWEN35                                                                            \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" SPACES \
  "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE_RUNS
#define CHINESE_JAPANESE "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define DEEPSEEK3                                                                    \
  "[!\"#$%&'()*+,\\-./"                                                              \
  ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| " \
  "?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE_RUNS
#define PUNCTUATION "[\\p{P}$+<=>^~|`]+"

namespace tern {
namespace {

struct Family {
  const char* name;
  bool whole_words_first, adds_bos;
  // The models' own tokenizers fold to NFC and were trained so; the expected ids of decomposed text
  // come out only with it.
  bool folds_to_nfc;
  std::vector<const char*> synonyms;
  std::vector<const char*> steps;
};

// Each family's expressions are those of the models' published tokenizer files.
const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      {"llama-bpe",
       true,
       true,
       false,
       {"llama3", "llama-v3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       {LLAMA3("{1,3}")}},
      // Their own tokenizers put nothing in front; the BOS that such files name is often a default of a configuration.
      {"falcon3", true, false, false, {"falcon_e", "falcon-e"}, {LLAMA3("{1,3}")}},
      {"dbrx", false, false, false, {"smaug-bpe"}, {LLAMA3("{1,3}")}},
      {"qwen2", false, false, true, {"deepseek-r1-qwen", "megrez"}, {LLAMA3("")}},
      {"qwen35", false, false, true, {}, {QWEN35}},
      {"gpt-2", false, false, false, {"gpt2", "phi-2", "jina-es", "jina-de"}, {GPT2}},
      {"mpt", false, false, true, {"gpt-neox", "neox", "olmo"}, {GPT2}},
      {"falcon", false, false, false, {}, {PUNCTUATION, GPT2, "[0-9][0-9][0-9]"}},
      {"starcoder", false, false, false, {"refact", "smollm", "codeshell"}, {"\\p{N}", GPT2}},
      {"command-r", false, false, true, {}, {"\\p{N}", GPT2}},
      {"hunyuan-dense",
       false,
       false,
       false,
       {"deepseek-v3"},
       {"\\p{N}{1,3}", CHINESE_JAPANESE, DEEPSEEK3}},
      {"default", false, false, false, {}, {PUNCTUATION, GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
  };
  return list;
}

bool answers_to(const Family& family, std::string_view name) {
  return name == family.name ||
         std::ranges::any_of(family.synonyms, [&](const char* other) { return name == other; });
}

// The same text for the expressions' eyes: every byte that is not UTF-8 as U+0001, which no
// expression singles out, so that offsets stay the same. Empty if the text is all UTF-8.
std::string masked(std::string_view text) {
  std::string mask;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = first_utf8(text.substr(i));
    if (c.kind != Utf8Kind::kValid) {
      if (mask.empty()) {
        mask = text;
      }
      std::fill_n(mask.begin() + static_cast<std::ptrdiff_t>(i), c.length, '\x01');
    }
    i += c.length;
  }
  return mask;
}

}  // namespace

struct Expression::Compiled {
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code{nullptr, pcre2_code_free};
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context{
      nullptr, pcre2_match_context_free};
};

Expression::Expression(const char* pattern) {
  auto compiled = std::make_shared<Compiled>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
  TERN_CHECK(compiled->code != nullptr, "a pre-tokenizer's expression does not compile");
  // Without a just-in-time compiler the interpreter does the same, slower: nothing to report.
  static_cast<void>(pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE));
  compiled->context.reset(pcre2_match_context_create(nullptr));
  TERN_CHECK(compiled->context != nullptr, "no memory for an expression");
  // The default limit stops at ten million steps, fewer than a long run of spaces takes. Ours
  // backtrack over one run at most, so that the time stays linear.
  pcre2_set_match_limit(compiled->context.get(), std::numeric_limits<uint32_t>::max());
  compiled_ = std::move(compiled);
}

void Expression::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  TERN_CHECK(match != nullptr, "no memory for a match");
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(match.get());
  size_t done = 0;
  while (done < text.size()) {
    const int count = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), done, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY,
                                  match.get(), compiled_->context.get());
    if (count < 0) {
      break;  // no match; or out of memory, where one long piece is still the right text
    }
    if (found[0] > done) {
      pieces.push_back(text.substr(done, found[0] - done));
    }
    pieces.push_back(text.substr(found[0], found[1] - found[0]));
    done = found[1];
  }
  if (done < text.size()) {
    pieces.push_back(text.substr(done));
  }
}

Result<PreTokenizer> PreTokenizer::named(std::string_view name) {
  std::string known;
  for (const Family& family : families()) {
    if (answers_to(family, name)) {
      PreTokenizer made;
      made.family_ = family.name;
      made.whole_words_first_ = family.whole_words_first;
      made.adds_bos_ = family.adds_bos;
      made.folds_to_nfc_ = family.folds_to_nfc;
      for (const char* step : family.steps) {
        made.steps_.emplace_back(step);
      }
      return made;
    }
    known += (known.empty() ? "" : ", ") + std::string(family.name);
    for (const char* other : family.synonyms) {
      known += ", " + std::string(other);
    }
  }
  return Error{"tokenizer.ggml.pre: expected one of " + known + "; found \"" + std::string(name) +
               "\". With a wrong one the model would read garbled words. If the model's tokenizer "
               "cuts words like one of "
               "these, write that name into the file (gguf_new_metadata.py --pre-tokenizer NAME)"};
}

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
  const std::string mask = masked(text);
  const std::string_view seen = mask.empty() ? text : std::string_view(mask);
  std::vector<std::string_view> pieces = {seen};
  for (const Expression& step : steps_) {
    std::vector<std::string_view> finer;
    finer.reserve(pieces.size() + seen.size() / 4);
    for (const std::string_view piece : pieces) {
      step.split(piece, finer);
    }
    pieces = std::move(finer);
  }
  size_t start = 0;
  for (std::string_view& piece : pieces) {  // back from the mask to the text itself
    piece = text.substr(start, piece.size());
    start += piece.size();
  }
  return pieces;
}

}  // namespace tern

#include "engine/model/tokenizer.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/model/tokenizer_bpe.h"
#include "engine/model/tokenizer_data.h"
#include "engine/model/tokenizer_special.h"
#include "engine/model/tokenizer_spm.h"
#include "engine/model/tokenizer_vocab.h"

namespace tern {
namespace {

constexpr size_t kLlama3Tokens = 128256;

// Which pre-tokenizer a file means that names none; BitNet-b1.58-2B-4T's is such a file. Told by
// what only one family has.
std::string_view guess_pre(const TokenizerData& data) {
  const auto has = [&](size_t id, std::string_view spelling) {
    return id < data.tokens.size() && data.tokens[id] == spelling;
  };
  if (data.tokens.size() == kLlama3Tokens || has(128000, "<|begin_of_text|>")) {
    return "llama-bpe";
  }
  if (has(0, "<|endoftext|>") && has(1, "<|padding|>")) {
    return "mpt";
  }
  if (has(151643, "<|endoftext|>") && has(151644, "<|im_start|>")) {
    return "qwen2";
  }
  if (has(50256, "<|endoftext|>")) {
    return "gpt-2";
  }
  return "default";
}

Result<void> check_lengths(const TokenizerData& data) {
  const std::string tokens = std::to_string(data.tokens.size());
  if (data.tokens.empty()) {
    return Error{"tokenizer.ggml.tokens: expected at least one token, found none"};
  }
  if (data.tokens.size() > (size_t{1} << 24)) {
    return Error{"tokenizer.ggml.tokens: expected at most 16777216 tokens, found " + tokens};
  }
  if (!data.types.empty() && data.types.size() != data.tokens.size()) {
    return Error{"tokenizer.ggml.token_type: expected one per token (" + tokens + "), found " +
                 std::to_string(data.types.size())};
  }
  if (data.model == "llama" && data.scores.size() != data.tokens.size()) {
    return Error{"tokenizer.ggml.scores: expected one per token (" + tokens + "), found " +
                 std::to_string(data.scores.size())};
  }
  if (data.merges.size() > (size_t{1} << 24)) {
    return Error{"tokenizer.ggml.merges: expected at most 16777216, found " +
                 std::to_string(data.merges.size())};
  }
  return {};
}

}  // namespace

struct Tokenizer::Impl {
  Vocabulary vocabulary;
  std::optional<SpecialMatcher> specials;
  std::optional<BpeModel> bpe;  // one of the two
  std::optional<SpmModel> spm;
  std::string family;
  std::vector<std::string> notices;
  TokenId bos = -1, eos = -1, unknown = -1;
  bool add_bos = false, add_eos = false;
  SpacePrefix space_prefix = SpacePrefix::kNever;
  std::vector<bool> strips_left, strips_right, single_words;  // by token; empty: none does
  size_t longest = 0;

  TokenId special_id(const char* key, std::optional<int64_t> id);
  void read_specials(const TokenizerData& data);
  // A line for each thing that the file declares and that cannot be done.
  void note_what_is_missing();
  Result<void> make_bpe(const TokenizerData& data);
  void make_spm(const TokenizerData& data);
  Result<void> make_spm_of_merges(const TokenizerData& data);
  bool wants_space(std::string_view part, size_t start) const;
  void encode_plain(std::string_view text, size_t begin, size_t end,
                    std::vector<TokenId>& out) const;
};

TokenId Tokenizer::Impl::special_id(const char* key, std::optional<int64_t> id) {
  constexpr int64_t kNoneAsUint32 = 0xFFFFFFFF;
  const int64_t value = id.value_or(-1);
  if (value == -1 || value == kNoneAsUint32) {
    return -1;
  }
  if (value < 0 || value >= vocabulary.size()) {
    notices.push_back("tokenizer.ggml." + std::string(key) + " is " + std::to_string(value) +
                      ", outside the vocabulary of " + std::to_string(vocabulary.size()) +
                      " tokens: ignored");
    return -1;
  }
  return static_cast<TokenId>(value);
}

void Tokenizer::Impl::read_specials(const TokenizerData& data) {
  bos = special_id("bos_token_id", data.bos);
  eos = special_id("eos_token_id", data.eos);
  unknown = special_id("unknown_token_id", data.unknown);
  for (const TokenId id : {bos, eos}) {
    // Some files leave these two typed as ordinary text, and would print them.
    if (id >= 0 && vocabulary.type(id) == TokenType::kNormal) {
      vocabulary.types[static_cast<size_t>(id)] = TokenType::kControl;
      vocabulary.bytes[static_cast<size_t>(id)] = vocabulary.spellings[static_cast<size_t>(id)];
    }
  }
  specials.emplace(vocabulary, family == "spm");
  const auto flags = [&](std::span<const int64_t> ids, std::vector<bool>& out) {
    out.assign(ids.empty() ? 0 : vocabulary.spellings.size(), false);
    for (const int64_t id : ids) {
      if (id >= 0 && id < vocabulary.size()) {
        out[static_cast<size_t>(id)] = true;
      }
    }
  };
  flags(data.strips_left, strips_left);
  flags(data.strips_right, strips_right);
  flags(data.single_words, single_words);
  for (const std::string_view bytes : vocabulary.bytes) {
    longest = std::max(longest, bytes.size());
  }
}

void Tokenizer::Impl::note_what_is_missing() {
  if (add_bos && bos < 0) {
    notices.emplace_back(
        "tokenizer.ggml.add_bos_token is true, but no token begins a text "
        "(tokenizer.ggml.bos_token_id): none is put in front");
  }
  if (add_eos && eos < 0) {
    notices.emplace_back(
        "tokenizer.ggml.add_eos_token is true, but no token ends a text "
        "(tokenizer.ggml.eos_token_id): none is put behind");
  }
  if (const bool bytes = spm ? spm->has_all_bytes() : bpe->has_all_bytes(); !bytes && unknown < 0) {
    notices.emplace_back(
        "the vocabulary has neither a token for every byte nor one for what is unknown "
        "(tokenizer.ggml.unknown_token_id): characters that it lacks are left out");
  }
}

Result<void> Tokenizer::Impl::make_bpe(const TokenizerData& data) {
  const std::string_view name = data.pre.empty() ? guess_pre(data) : data.pre;
  ASSIGN_OR_RETURN(PreTokenizer pre, PreTokenizer::named(name));
  family = "bpe (" + std::string(pre.family()) + ")";
  if (data.pre.empty()) {
    notices.push_back("the file names no pre-tokenizer (tokenizer.ggml.pre): " + std::string(name) +
                      "'s is used");
  }
  fill_vocabulary(
      data,
      [](std::string_view spelling, TokenType type) {
        return type == TokenType::kUserDefined ? std::string(spelling)
                                               : byte_level_decode(spelling);
      },
      vocabulary);
  read_specials(data);
  if (data.nfc) {
    pre.set_folds_to_nfc(*data.nfc);
  }
  space_prefix = data.space_prefix.value_or(SpacePrefix::kNever);
  add_bos = data.add_bos.value_or(pre.adds_bos());
  ASSIGN_OR_RETURN(BpeModel model,
                   BpeModel::create(vocabulary, data.merges, std::move(pre), unknown));
  bpe.emplace(std::move(model));
  return {};
}

void Tokenizer::Impl::make_spm(const TokenizerData& data) {
  family = "spm";
  fill_vocabulary(data, sentencepiece_decode, vocabulary);
  TokenizerData with_defaults = data;  // SentencePiece's own ids, where the file says nothing
  with_defaults.unknown = data.unknown.value_or(0);
  with_defaults.bos = data.bos.value_or(1);
  with_defaults.eos = data.eos.value_or(2);
  read_specials(with_defaults);
  add_bos = data.add_bos.value_or(true);
  space_prefix = data.space_prefix.value_or(
      data.add_space_prefix.value_or(true) ? SpacePrefix::kEverywhere : SpacePrefix::kNever);
  spm.emplace(vocabulary, data.scores, unknown, data.split_at_spaces.value_or(false));
}

namespace {

// Byte-level vocabularies hold the character that stands for a space, SentencePiece's hold its own.
bool writes_spaces_as_sentencepiece(const TokenizerData& data) {
  const auto has = [&](std::string_view spelling) {
    return std::ranges::find(data.tokens, spelling) != data.tokens.end();
  };
  return has("\u2581") && !has("\u0120");
}

bool is_byte_spelling(std::string_view spelling) {
  return spelling.size() == 6 && spelling.starts_with("<0x") && spelling.ends_with('>');
}

}  // namespace

// A vocabulary of SentencePiece's kind (Gemma's) with merges in the place of scores: a piece that an earlier merge makes has the better one.
Result<void> Tokenizer::Impl::make_spm_of_merges(const TokenizerData& data) {
  std::unordered_map<std::string_view, size_t> ids;
  std::vector<int64_t> types(data.types.begin(), data.types.end());
  types.resize(data.tokens.size(), static_cast<int64_t>(TokenType::kNormal));
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    ids.emplace(data.tokens[id], id);
    if (is_byte_spelling(data.tokens[id]) &&
        types[id] == static_cast<int64_t>(TokenType::kNormal)) {
      types[id] = static_cast<int64_t>(TokenType::kByte);
    }
  }
  std::vector<double> scores(data.tokens.size(), 0.0);
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    std::string piece(data.merges[rank]);
    const size_t space = piece.find(' ', 1);
    if (space == std::string::npos) {
      return Error{"tokenizer.ggml.merges[" + std::to_string(rank) +
                   "]: expected two parts with a space between, found \"" + piece + "\""};
    }
    piece.erase(space, 1);
    const auto found = ids.find(piece);
    if (found != ids.end() && scores[found->second] == 0.0) {
      scores[found->second] = -static_cast<double>(rank) - 1;
    }
  }
  TokenizerData as_spm = data;
  as_spm.scores = scores;
  as_spm.types = types;
  as_spm.add_space_prefix = data.add_space_prefix.value_or(false);  // as Gemma
  make_spm(as_spm);
  notices.push_back(
      "the file says gpt2 (tokenizer.ggml.model), but its vocabulary writes spaces as "
      "SentencePiece "
      "does: its merges are used as SentencePiece's scores");
  return {};
}

namespace {

// Finding special tokens takes time in the product of a text's length and the longest of them, whose names have some
// dozens of bytes.
Result<void> check_special_lengths(const Vocabulary& vocabulary) {
  constexpr size_t kLongest = 256;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view spelling = vocabulary.spellings[static_cast<size_t>(id)];
    const bool special =
        vocabulary.is_control(id) || vocabulary.type(id) == TokenType::kUserDefined;
    if (special && spelling.size() > kLongest) {
      return Error{"tokenizer.ggml.tokens[" + std::to_string(id) +
                   "]: expected a special token of at most " + std::to_string(kLongest) +
                   " bytes, found one of " + std::to_string(spelling.size()) + " (" +
                   printable(spelling, 40) + ")"};
    }
  }
  return {};
}

}  // namespace

Result<Tokenizer> Tokenizer::from_data(const TokenizerData& data) {
  RETURN_IF_ERROR(check_lengths(data));
  auto impl = std::make_unique<Impl>();
  if (data.model == "gpt2" && writes_spaces_as_sentencepiece(data)) {
    RETURN_IF_ERROR(impl->make_spm_of_merges(data));
  } else if (data.model == "gpt2") {
    RETURN_IF_ERROR(impl->make_bpe(data));
  } else if (data.model == "llama") {
    impl->make_spm(data);
  } else {
    return Error{
        "tokenizer.ggml.model: expected gpt2 (byte-level BPE) or llama (SentencePiece), found \"" +
        std::string(data.model) + "\". Tern has no other tokenizers yet"};
  }
  RETURN_IF_ERROR(check_special_lengths(impl->vocabulary));
  impl->notices.insert(impl->notices.end(), data.undone.begin(), data.undone.end());
  impl->add_eos = data.add_eos.value_or(false);
  impl->note_what_is_missing();
  return Tokenizer(std::move(impl));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

bool Tokenizer::Impl::wants_space(std::string_view part, size_t start) const {
  switch (space_prefix) {
    case SpacePrefix::kNever:
      return false;
    case SpacePrefix::kEverywhere:
      return true;
    case SpacePrefix::kUnlessSpace:
      return !part.starts_with(' ');
    case SpacePrefix::kFirst:
      return start == 0 && !part.starts_with(' ');
  }
  return false;
}

// The tokens of text[begin, end), which holds no special ones.
void Tokenizer::Impl::encode_plain(std::string_view text, size_t begin, size_t end,
                                   std::vector<TokenId>& out) const {
  std::string_view part = text.substr(begin, end - begin);
  if (part.empty()) {
    return;
  }
  const bool space = wants_space(part, begin);
  const std::string spaced = space ? " " + std::string(part) : std::string();
  part = space ? spaced : part;
  if (bpe) {
    bpe->encode(part, out);
  } else {
    spm->encode(part, out);
  }
}

namespace {

// As U+2581 is a space itself in SentencePiece: the text with spaces, and the spans that are left.
void unescape(std::string_view text, std::vector<TextSpan>& spans, std::string& out) {
  constexpr std::string_view kSign = "\u2581";
  constexpr size_t kShorter = kSign.size() - 1;
  size_t done = 0;
  size_t lost = 0;
  size_t begins = 0;  // spans whose beginnings and ends have moved
  size_t ends = 0;
  const auto move = [&](size_t until) {
    for (; begins < spans.size() && spans[begins].begin <= until; ++begins) {
      spans[begins].begin -= lost;
    }
    for (; ends < spans.size() && spans[ends].end <= until; ++ends) {
      spans[ends].end -= lost;
    }
  };
  for (size_t at = text.find(kSign); at != text.npos; at = text.find(kSign, done)) {
    move(at);
    out.append(text.substr(done, at - done)).push_back(' ');
    done = at + kSign.size();
    lost += kShorter;
  }
  move(text.size());
  out.append(text.substr(done));
}

bool is_word_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         (static_cast<unsigned char>(c) & 0x80U) != 0;
}

bool is_space_byte(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool has(const std::vector<bool>& flags, TokenId id) {
  return !flags.empty() && flags[static_cast<size_t>(id)];
}

}  // namespace

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> out;
  if (options.add_special && impl_->add_bos && impl_->bos >= 0) {
    out.push_back(impl_->bos);
  }
  std::string unescaped;
  std::vector<TextSpan> untrusted = options.untrusted;
  if (impl_->spm && text.find("\u2581") != text.npos) {
    unescape(text, untrusted, unescaped);
    text = unescaped;
  }
  const SpecialClass allowed =
      options.parse_special ? SpecialClass::kAll : SpecialClass::kUserDefined;
  size_t done = 0;
  for (const auto& found : impl_->specials->find_all(text, allowed, untrusted)) {
    size_t begin = found.start;
    size_t end = found.start + found.length;
    if (begin < done ||
        (has(impl_->single_words, found.id) && ((begin > 0 && is_word_byte(text[begin - 1])) ||
                                                (end < text.size() && is_word_byte(text[end]))))) {
      continue;
    }
    while (has(impl_->strips_left, found.id) && begin > done && is_space_byte(text[begin - 1])) {
      --begin;
    }
    while (has(impl_->strips_right, found.id) && end < text.size() && is_space_byte(text[end])) {
      ++end;
    }
    impl_->encode_plain(text, done, begin, out);
    out.push_back(found.id);
    done = end;
  }
  impl_->encode_plain(text, done, text.size(), out);
  if (options.add_special && impl_->add_eos && impl_->eos >= 0) {
    out.push_back(impl_->eos);
  }
  return out;
}

std::vector<std::string> Tokenizer::control_tokens_in(std::string_view text) const {
  std::vector<std::string> out;
  for (const auto& found : impl_->specials->find_all(text, SpecialClass::kAll, {})) {
    const std::string name(spelling(found.id));
    if ((is_control(found.id) || looks_like_control(name)) &&
        std::ranges::find(out, name) == out.end()) {
      out.push_back(name);
    }
  }
  return out;
}

std::string_view Tokenizer::bytes_of(TokenId id, bool special) const {
  TERN_CHECK(id >= 0 && id < size(), "a token outside the vocabulary");
  return is_control(id) && !special ? std::string_view()
                                    : impl_->vocabulary.bytes[static_cast<size_t>(id)];
}

std::string_view Tokenizer::spelling(TokenId id) const {
  TERN_CHECK(id >= 0 && id < size(), "a token outside the vocabulary");
  return impl_->vocabulary.spellings[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool special) const {
  std::string out;
  bool after_special = true;  // where encode put a space that the text does not have
  for (const TokenId id : ids) {
    std::string_view bytes = bytes_of(id, special);
    const bool ordinary = !is_control(id) && impl_->vocabulary.type(id) != TokenType::kUserDefined;
    if (impl_->space_prefix != SpacePrefix::kNever && ordinary && after_special &&
        bytes.starts_with(' ')) {
      bytes.remove_prefix(1);
    }
    after_special = !ordinary && impl_->space_prefix != SpacePrefix::kFirst;
    out.append(bytes);
  }
  return out;
}

int32_t Tokenizer::size() const {
  return impl_->vocabulary.size();
}
size_t Tokenizer::longest() const {
  return impl_->longest;
}
TokenId Tokenizer::bos() const {
  return impl_->bos;
}
TokenId Tokenizer::eos() const {
  return impl_->eos;
}

bool Tokenizer::is_control(TokenId id) const {
  TERN_CHECK(id >= 0 && id < size(), "a token outside the vocabulary");
  return impl_->vocabulary.is_control(id);
}

TokenId Tokenizer::find(std::string_view spelling) const {
  const auto found = impl_->vocabulary.by_spelling.find(spelling);
  return found == impl_->vocabulary.by_spelling.end() ? -1 : found->second;
}

std::string_view Tokenizer::family() const {
  return impl_->family;
}
const std::vector<std::string>& Tokenizer::notices() const {
  return impl_->notices;
}

}  // namespace tern

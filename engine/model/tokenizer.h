#pragma once
// Text to token ids and back.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "engine/model/marked_text.h"

namespace tern {

using TokenId = int32_t;

struct TokenizerData;  // tokenizer_data.h

struct EncodeOptions {
  bool add_special = true;  // add BOS (and EOS) as the model's file says
  // "<|eot_id|>" in the text becomes that token; false: it is plain text. User-defined tokens are
  // found in either case.
  bool parse_special = true;
  // Where it is plain text all the same, and user-defined tokens that look like control tokens too:
  // what a message says cannot end its turn. The rest of the tokens does not depend on it.
  std::vector<TextSpan> untrusted = {};
};

// Immutable after creation; safe to share between threads.
class Tokenizer {
 public:
  // Reads tokenizer.ggml.*: byte-level BPE ("gpt2") and SentencePiece ("llama"). Errors name the
  // key.
  static Result<Tokenizer> from_file(const TensorFile& file);
  // The same from plain data: what from_file read, or a test's own.
  static Result<Tokenizer> from_data(const TokenizerData& data);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Any bytes will do, and decode() gives them back. Two exceptions, both so that the ids are those
  // the model was trained with: qwen2 and mpt (GPT-NeoX) fold text to Unicode's NFC first, and
  // SentencePiece takes U+2581 for a space.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // The exact bytes that a token stands for; control tokens give their name ("<|eot_id|>") only if
  // `special`, else nothing.
  std::string_view bytes_of(TokenId id, bool special = false) const;
  // For display: the vocabulary's own spelling ("Ġonce", "▁once", "<0x0A>").
  std::string_view spelling(TokenId id) const;
  // The text that encode() was given; for SentencePiece without the space that it puts in front.
  std::string decode(const std::vector<TokenId>& ids, bool special = false) const;

  // The control tokens that a text spells, in order, each once: what untrusted text loses.
  std::vector<std::string> control_tokens_in(std::string_view text) const;

  int32_t size() const;    // tokens in the vocabulary
  size_t longest() const;  // bytes of the longest token
  TokenId bos() const;     // -1 if there is none
  TokenId eos() const;     // -1 if there is none
  bool is_control(TokenId id) const;
  TokenId find(std::string_view spelling) const;  // -1 if there is none
  std::string_view family() const;                // "bpe (llama-bpe)", "spm": for people
  const std::vector<std::string>& notices()
      const;  // e.g. "no pre-tokenizer named: llama3's is used"

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Puts bytes together until they are whole UTF-8 characters: tokens may end in the middle of one.
class StreamDecoder {
 public:
  // Bytes that are complete now: valid UTF-8 sequences pass, invalid bytes come out as U+FFFD, an
  // unfinished sequence at the end waits.
  std::string push(std::string_view bytes);
  // What is left at the end of the text: an unfinished sequence becomes U+FFFD.
  std::string finish();

 private:
  std::string pending_;  // at most 3 bytes
};

}  // namespace tern

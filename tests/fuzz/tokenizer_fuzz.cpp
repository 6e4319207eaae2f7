// Any bytes as text: encoded under every family and decoded to the same bytes. And any bytes as a
// tokenizer's data: refused with a message, or usable.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include "engine/model/tokenizer.h"
#include "engine/model/tokenizer_pre.h"
#include "tests/support/tokenizer_files.h"

namespace tern {
namespace {

using testing::byte_spelling;
using testing::OwnedTokenizerData;

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

constexpr std::string_view kWords[] = {"  ",  "    ", "th",   "the", " the", "12",
                                       "123", "!!",   "\n\n", "aa",  "aaaa", "'s"};

OwnedTokenizerData small_bpe(std::string_view pre) {
  OwnedTokenizerData data;
  data.model = "gpt2";
  data.pre = pre;
  for (unsigned byte = 0; byte < 256; ++byte) {
    data.set_token(byte, byte_spelling(byte), TokenType::kNormal);
  }
  const auto spell = [](std::string_view bytes) {
    std::string out;
    for (const char c : bytes) {
      out += byte_spelling(static_cast<unsigned char>(c));
    }
    return out;
  };
  for (const std::string_view word : kWords) {
    data.set_token(data.tokens.size(), spell(word), TokenType::kNormal);
    for (size_t cut = 1; cut < word.size();
         ++cut) {  // some of them through parts that are no tokens
      data.add_merge(spell(word.substr(0, cut)) + " " + spell(word.substr(cut)));
    }
  }
  data.set_token(data.tokens.size(), "<|eot|>", TokenType::kControl);
  data.set_token(data.tokens.size(), "<tool>", TokenType::kUserDefined);
  return data;
}

OwnedTokenizerData small_spm(bool space_prefix) {
  OwnedTokenizerData data;
  data.model = "llama";
  data.rest.add_space_prefix = space_prefix;
  data.set_token(0, "<unk>", TokenType::kUnknown);
  data.set_token(1, "<s>", TokenType::kControl);
  data.set_token(2, "</s>", TokenType::kControl);
  for (unsigned byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    data.set_token(3 + byte, std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">",
                   TokenType::kByte);
  }
  double score = 0;
  for (const char* piece :
       {"▁", "▁▁", "t", "h", "e", "th", "the", "▁the", "a", "aa", "aaaa", "é", "▁é"}) {
    data.set_token(data.tokens.size(), piece, TokenType::kNormal, score -= 1);
  }
  data.set_token(data.tokens.size(), "<tool>", TokenType::kUserDefined);
  return data;
}

struct Subject {
  Tokenizer tokenizer;
  bool exact;  // gives back the very bytes: not the families that fold to NFC
};

const std::deque<Subject>& subjects() {
  static const std::deque<Subject> all = [] {
    std::deque<Subject> list;
    for (const char* pre : {"llama-bpe", "qwen2", "gpt-2", "mpt", "falcon", "starcoder",
                            "hunyuan-dense", "default"}) {
      auto made = Tokenizer::from_data(small_bpe(pre).view());
      require(made.has_value());
      list.push_back({std::move(*made), !PreTokenizer::named(pre)->folds_to_nfc()});
    }
    for (const bool prefix : {true, false}) {
      auto made = Tokenizer::from_data(small_spm(prefix).view());
      require(made.has_value());
      list.push_back({std::move(*made), true});
    }
    return list;
  }();
  return all;
}

void encode_everywhere(const std::string& text) {
  // SentencePiece spells a space so, and takes the sign for one: the bytes do not come back.
  const bool has_space_sign = text.find("\xE2\x96\x81") != std::string::npos;
  for (const Subject& subject : subjects()) {
    const Tokenizer& tokenizer = subject.tokenizer;
    for (const bool parse : {true, false}) {
      const auto ids = tokenizer.encode(text, {.add_special = false, .parse_special = parse});
      require(
          std::ranges::all_of(ids, [&](TokenId id) { return id >= 0 && id < tokenizer.size(); }));
      const std::string decoded = tokenizer.decode(ids, true);
      if (subject.exact && !(has_space_sign && tokenizer.family() == "spm")) {
        require(decoded == text);
      }
      StreamDecoder stream;
      std::string streamed;
      for (const TokenId id : ids) {
        streamed += stream.push(tokenizer.bytes_of(id, true));
      }
      streamed += stream.finish();
      StreamDecoder whole;
      std::string raw;
      for (const TokenId id : ids) {
        raw += tokenizer.bytes_of(id, true);
      }
      std::string at_once = whole.push(raw);
      at_once += whole.finish();
      require(streamed == at_once);
    }
  }
}

// Lines as tokens and merges, whatever they are; types from their first byte.
void make_from(const std::string& bytes) {
  OwnedTokenizerData data;
  const char* const pres[] = {"llama-bpe", "qwen2", "default", ""};
  data.model = bytes.size() % 2 == 0 ? "gpt2" : "llama";
  data.pre = pres[bytes.size() % 4];
  for (size_t start = 0; start < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', start), bytes.size());
    const std::string line = bytes.substr(start, end - start);
    if (line.find(' ', 1) != std::string::npos) {
      data.add_merge(line);
    } else {
      const auto type = line.empty() ? 1 : static_cast<unsigned char>(line[0]) % 8;
      data.set_token(data.tokens.size(), line, static_cast<TokenType>(type),
                     static_cast<double>(line.size()));
    }
    start = end + 1;
  }
  data.rest.bos = static_cast<int64_t>(bytes.size()) - 5;
  data.rest.unknown = static_cast<int64_t>(data.tokens.size()) - 1;
  const auto made = Tokenizer::from_data(data.view());
  if (!made) {
    require(made.error().message.starts_with("tokenizer.ggml."));
    return;
  }
  for (const TokenId id : made->encode(bytes)) {
    require(id >= 0 && id < made->size());
  }
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  tern::encode_everywhere(text);
  tern::make_from(text);
  return 0;
}

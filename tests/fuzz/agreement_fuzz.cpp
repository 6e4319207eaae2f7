// Any bytes as text, where two ways must agree: the tokens of a Hugging Face folder and of the GGUF
// file that llama.cpp's converter made of it; streamed text and text decoded at once; text with
// marks of what is untrusted and without, where it spells no special token.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/model/tokenizer.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

Tokenizer open(const char* path) {
  const auto file = TensorFile::open(testing::source_path("tests/golden") / path);
  require(file.has_value());
  auto tokenizer = Tokenizer::from_file(*file);
  require(tokenizer.has_value());
  return std::move(*tokenizer);
}

struct Pair {
  Tokenizer folder, gguf;
};

const std::vector<Pair>& pairs() {
  static const std::vector<Pair> all = [] {
    std::vector<Pair> list;
    list.push_back({open("hf/llama-bf16"), open("llama_cpp/llama-bf16.gguf")});
    list.push_back({open("hf/qwen3-f32"), open("llama_cpp/qwen3-f32.gguf")});
    list.push_back({open("families/minicpm"), open("llama_cpp/minicpm.gguf")});
    list.push_back({open("families/gemma3"), open("llama_cpp/gemma3.gguf")});
    return list;
  }();
  return all;
}

void compare_streams(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  StreamDecoder stream;
  std::string streamed;
  std::string raw;
  for (const TokenId id : ids) {
    streamed += stream.push(tokenizer.bytes_of(id, true));
    raw += tokenizer.bytes_of(id, true);
  }
  streamed += stream.finish();
  StreamDecoder whole;
  std::string at_once = whole.push(raw);
  at_once += whole.finish();
  require(streamed == at_once);
}

// The first byte says where the untrusted part begins and how long it is.
void compare_marks(const Tokenizer& tokenizer, const std::string& text) {
  if (text.empty()) {
    return;
  }
  const size_t first = static_cast<unsigned char>(text[0]);
  const size_t begin = std::min(first / 16, text.size());
  const size_t end = std::min(begin + 1 + first % 16 * 4, text.size());
  if (begin == end) {
    return;
  }
  const EncodeOptions plain{.add_special = false, .parse_special = true, .untrusted = {}};
  EncodeOptions marked = plain;
  marked.untrusted = {{begin, end}};
  const auto ids = tokenizer.encode(text, marked);
  if (tokenizer.control_tokens_in(text).empty()) {
    require(ids == tokenizer.encode(text, plain));
  }
  const auto outside = tokenizer.encode(text.substr(0, begin), plain);
  const auto behind = tokenizer.encode(text.substr(end), plain);
  const auto controls = [&](const std::vector<TokenId>& tokens) {
    return std::count_if(tokens.begin(), tokens.end(),
                         [&](TokenId id) { return tokenizer.is_control(id); });
  };
  require(controls(ids) <= controls(outside) + controls(behind));
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const auto& pair : tern::pairs()) {
    for (const bool special : {true, false}) {
      const auto ids = pair.folder.encode(text, {.add_special = special, .untrusted = {}});
      tern::require(ids == pair.gguf.encode(text, {.add_special = special, .untrusted = {}}));
      tern::require(pair.folder.decode(ids, true) == pair.gguf.decode(ids, true));
      tern::compare_streams(pair.folder, ids);
    }
    tern::compare_marks(pair.folder, text);
  }
  return 0;
}

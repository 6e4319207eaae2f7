#include "engine/model/tokenizer.h"
#include "engine/model/utf8.h"

namespace tern {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

std::string StreamDecoder::push(std::string_view bytes) {
  pending_.append(bytes);
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Char c = first_utf8(rest);
    if (c.kind == Utf8Kind::kCut) {
      break;
    }
    out.append(c.kind == Utf8Kind::kValid ? rest.substr(0, c.length) : kReplacement);
    rest.remove_prefix(c.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string StreamDecoder::finish() {
  const bool unfinished = !pending_.empty();
  pending_.clear();
  return std::string(unfinished ? kReplacement : std::string_view());
}

}  // namespace tern

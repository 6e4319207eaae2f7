#include "engine/base/json_text.h"

#include "engine/base/json_limits.h"

namespace tern {
namespace {

constexpr int kDeepest = 64;

// The library keeps a container in about 90 bytes and a text in about 50, however short it is written. The largest
// vocabularies (Gemma's: 262,144 tokens and 514,906 merges of two texts each) have half of these numbers of values;
// with them no text takes more than about 300 MB beside its own characters.
constexpr size_t kMostContainers = 1'000'000;
constexpr size_t kMostValues = 4'000'000;

}  // namespace

// Walks the text once, without building anything.
bool exceeds_json_limits(std::string_view text) {
  int depth = 0;
  size_t containers = 0;
  size_t values = 0;  // of scalars and names: each but the last of a container has a sign behind it
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '[' || c == '{')) {
      ++containers;
      if (++depth > kDeepest || containers > kMostContainers) {
        return true;
      }
    } else if (!in_string && (c == ']' || c == '}')) {
      --depth;
    } else if (!in_string && (c == ',' || c == ':') && ++values > kMostValues) {
      return true;
    }
  }
  return false;
}

nlohmann::json parse_json(std::string_view text) {
  if (exceeds_json_limits(text)) {
    return nlohmann::json(nlohmann::json::value_t::discarded);
  }
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace tern

// Keys are masked in every spelling in which a server may echo them.

#include <algorithm>
#include <optional>

#include "engine/base/ascii.h"
#include "remote/api_key.h"

namespace tern {
namespace {

constexpr std::string_view kKnownPrefixes[] = {"hs_", "cr_", "sk-"};
constexpr size_t kShortKey = 8;     // a shorter one is masked only where it stands as it is
constexpr size_t kTellingRun = 12;  // this many characters of a key in a row are masked
constexpr size_t kTellingEnd = 8;   // at the end of a text, which may have been cut there

bool is_key_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         c == '-';
}

bool is_base64(char c) {
  return is_key_char(c) || c == '+' || c == '/' || c == '=';
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char low = static_cast<char>(c | 0x20);
  return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

// A character and how many characters of a text spell it.
struct Spelled {
  char character = 0;
  size_t length = 0;
};

// `count` digits of that base from `at` on, after `before` characters and before `after` more.
std::optional<Spelled> number_at(std::string_view text, size_t at, size_t count, int base) {
  int value = 0;
  if (at + count > text.size() || count == 0) {
    return {};
  }
  for (size_t i = at; i < at + count; ++i) {
    const int digit = digit_of(text[i]);
    if (digit < 0 || digit >= base || value > 0xfff) {
      return {};
    }
    value = value * base + digit;
  }
  return value < 128 ? std::optional(Spelled{static_cast<char>(value), count}) : std::nullopt;
}

// "&#99;" or "&#x63;".
std::optional<Spelled> entity_at(std::string_view text, size_t at) {
  const size_t end = text.find(';', at);
  if (!text.substr(at).starts_with("&#") || end == std::string_view::npos || end - at > 10) {
    return {};
  }
  const bool hex = text[at + 2] == 'x' || text[at + 2] == 'X';
  const size_t first = at + (hex ? 3 : 2);
  auto number = number_at(text, first, end - std::min(first, end), hex ? 16 : 10);
  if (number) {
    number->length = end + 1 - at;
  }
  return number;
}

// What an escape at `at` stands for; none: there is no escape.
std::optional<Spelled> escape_at(std::string_view text, size_t at) {
  const char next = at + 1 < text.size() ? text[at + 1] : '\0';
  std::optional<Spelled> found;
  size_t before = 0;
  if (text[at] == '%') {
    found = number_at(text, at + 1, 2, 16);
    before = 1;
  } else if (text[at] == '\\' && (next == 'u' || next == 'x')) {
    found = number_at(text, at + 2, next == 'u' ? 4 : 2, 16);
    before = 2;
  } else if (text[at] == '\\' && next > ' ' && !is_key_char(next)) {
    return Spelled{next, 2};
  } else if (text[at] == '&') {
    return entity_at(text, at);
  }
  if (found) {
    found->length += before;
  }
  return found;
}

struct Match {
  size_t characters = 0;  // of what was looked for
  size_t length = 0;      // of the text
};

// How far `text` from `at` on spells `wanted`.
template <class Same>
Match match_at(std::string_view text, size_t at, std::string_view wanted, Same same) {
  Match match;
  while (match.characters < wanted.size() && at + match.length < text.size()) {
    const char expected = wanted[match.characters];
    Spelled found{text[at + match.length], 1};
    if (!same(found.character, expected)) {
      found = escape_at(text, at + match.length).value_or(found);
    }
    if (!same(found.character, expected)) {
      break;
    }
    match.length += found.length;
    ++match.characters;
  }
  return match;
}

bool same_letter(char a, char b) {
  return lower(a) == lower(b);
}

// Base64 has two alphabets.
bool same_digit(char a, char b) {
  const auto common = [](char c) { return c == '-' ? '+' : c == '_' ? '/' : c; };
  return common(a) == common(b);
}

// The characters of base64 that depend on `key` alone where `before` bytes (0 to 2) precede it in a group of three.
std::string base64_core(std::string_view key, size_t before) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string core;
  const size_t bits = 8 * (before + key.size());
  const size_t first = before == 0 ? 0 : before + 1;
  for (size_t digit = first; 6 * (digit + 1) <= bits; ++digit) {
    unsigned value = 0;
    for (size_t bit = 6 * digit; bit < 6 * digit + 6; ++bit) {
      const auto byte = static_cast<unsigned char>(key[bit / 8 - before]);
      value = value << 1 | (byte >> (7 - bit % 8) & 1U);
    }
    core += kDigits[value];
  }
  return core;
}

std::string hex_of(std::string_view key) {
  std::string hex;
  for (const char c : key) {
    hex += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    hex += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

// Finds one key in texts.
class KeyFinder {
 public:
  explicit KeyFinder(std::string_view key) : key_(key), hex_(hex_of(key)) {
    for (size_t before = 0; before < 3; ++before) {
      cores_.push_back(base64_core(key, before));
    }
  }

  struct Found {
    size_t length = 0;  // of the text that is the key, or enough of it to be of use; 0: none
    bool base64 = false;
  };

  Found at(std::string_view text, size_t at) const {
    const Match whole = match_at(text, at, key_, same_letter);
    if (whole.characters == key_.size()) {
      return {whole.length, false};
    }
    const Match hex = match_at(text, at, hex_, same_letter);
    Found found{hex.characters == hex_.size() ? hex.length : 0, false};
    constexpr size_t kMostStarts = 512;  // bounds the work; no key of a provider is longer
    for (size_t from = 0; from + kTellingEnd <= key_.size() && from < kMostStarts; ++from) {
      const Match part = match_at(text, at, std::string_view(key_).substr(from), same_letter);
      const bool at_end = from == 0 && is_end(text.substr(at + part.length));
      if (part.characters >= (at_end ? kTellingEnd : kTellingRun)) {
        found.length = std::max(found.length, part.length);
      }
    }
    for (const std::string& core : cores_) {
      const Match part = match_at(text, at, core, same_digit);
      const bool enough = part.characters == core.size() || part.characters >= 2 * kTellingEnd;
      if (enough && part.length > found.length) {
        found = {part.length, true};
      }
    }
    return found;
  }

  // Whether what was found is the whole key, so that its mask can show which one it was.
  bool is_whole(std::string_view found) const {
    return match_at(found, 0, key_, same_letter).characters == key_.size();
  }

 private:
  // Nothing follows but what says that something was cut off.
  static bool is_end(std::string_view rest) {
    return rest.find_first_not_of(".\xe2\x80\xa6\"' ") == std::string_view::npos;
  }

  std::string key_;
  std::string hex_;
  std::vector<std::string> cores_;
};

std::string without_key(const std::string& text, std::string_view key) {
  const KeyFinder finder(key);
  std::string masked;
  for (size_t at = 0; at < text.size();) {
    const KeyFinder::Found found = finder.at(text, at);
    if (found.length == 0) {
      masked += text[at++];
      continue;
    }
    const bool whole = finder.is_whole(std::string_view(text).substr(at, found.length));
    // A digit of base64 at each end belongs to the key and its neighbour.
    if (found.base64 && !masked.empty() && is_base64(masked.back())) {
      masked.pop_back();
    }
    at += found.length;
    if (found.base64 && at < text.size() && is_base64(text[at])) {
      ++at;
    }
    masked += whole ? mask_key(key) : "...";
  }
  return masked;
}

void mask_each(std::string& text, std::string_view key) {
  const std::string masked = mask_key(key);
  for (size_t at = 0; (at = text.find(key, at)) != std::string::npos; at += masked.size()) {
    text.replace(at, key.size(), masked);
  }
}

// Whatever looks like a key of some provider.
void mask_likely_keys(std::string& text) {
  for (const std::string_view prefix : kKnownPrefixes) {
    for (size_t at = 0; (at = text.find(prefix, at)) != std::string::npos;) {
      const auto begin = text.begin() + static_cast<std::ptrdiff_t>(at);
      const auto end = std::find_if_not(begin, text.end(), is_key_char);
      const bool within_word = at > 0 && is_key_char(text[at - 1]);
      const std::string found(begin, end);
      // Masked already, or too short to be a key: "sk-learn".
      if (within_word || found.size() < 16) {
        at += prefix.size();
        continue;
      }
      const std::string masked = mask_key(found);
      text.replace(at, found.size(), masked);
      at += masked.size();
    }
  }
}

}  // namespace

std::string mask_key(std::string_view key) {
  if (key.size() <= 16) {
    return "...";
  }
  return std::string(key.substr(0, 4)) + "..." + std::string(key.substr(key.size() - 4));
}

std::string redact_keys(std::string text, std::string_view key) {
  if (key.size() >= kShortKey) {
    text = without_key(text, key);
  } else if (!key.empty()) {
    mask_each(text, key);
  }
  mask_likely_keys(text);
  return text;
}

}  // namespace tern

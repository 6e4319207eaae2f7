#include "engine/model/jinja_unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <functional>

namespace tern::jinja {
namespace {

struct Decoded {
  uint32_t code;
  size_t size;
  bool valid;
};

Decoded decode(std::string_view text, size_t at) {
  if (static_cast<signed char>(text[at]) >= 0) {
    return {static_cast<uint32_t>(text[at]), 1, true};
  }
  utf8proc_int32_t code = 0;
  const auto left = static_cast<utf8proc_ssize_t>(text.size() - at);
  const utf8proc_ssize_t size =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at, left, &code);
  if (size <= 0 || code < 0) {
    return {0xFFFD, 1, false};
  }
  return {static_cast<uint32_t>(code), static_cast<size_t>(size), true};
}

// The byte at which the character before `end` begins.
size_t previous(std::string_view text, size_t end) {
  for (size_t back = 1; back <= 4 && back <= end; ++back) {
    const Decoded one = decode(text.substr(0, end), end - back);
    if (one.valid && one.size == back) {
      return end - back;
    }
  }
  return end - 1;
}

bool contains(std::string_view chars, std::string_view one) {
  for (size_t at = 0; at < chars.size(); at += char_size(chars, at)) {
    if (chars.substr(at, char_size(chars, at)) == one) {
      return true;
    }
  }
  return false;
}

utf8proc_category_t category(uint32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

// Each character through `map`; invalid bytes stay.
std::string mapped(std::string_view text, const std::function<uint32_t(uint32_t)>& map) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Decoded one = decode(text, at);
    if (one.valid) {
      append_utf8(out, map(one.code));
    } else {
      out += text[at];
    }
    at += one.size;
  }
  return out;
}

uint32_t upper(uint32_t code) {
  return static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code)));
}
uint32_t lower(uint32_t code) {
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}
uint32_t title(uint32_t code) {
  return static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code)));
}

}  // namespace

size_t char_size(std::string_view text, size_t at) {
  return decode(text, at).size;
}

uint32_t code_point(std::string_view text, size_t at) {
  return decode(text, at).code;
}

size_t char_count(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += char_size(text, at)) {
    ++count;
  }
  return count;
}

size_t byte_offset(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) {
    at += char_size(text, at);
  }
  return at;
}

void append_utf8(std::string& out, uint32_t code) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

bool is_white_space(uint32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

size_t trimmed_left(std::string_view text) {
  size_t at = 0;
  while (at < text.size() && is_white_space(code_point(text, at))) {
    at += char_size(text, at);
  }
  return at;
}

size_t trimmed_right(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && is_white_space(code_point(text, previous(text, end)))) {
    end = previous(text, end);
  }
  return end;
}

size_t trimmed_left(std::string_view text, std::string_view chars) {
  size_t at = 0;
  while (at < text.size() && contains(chars, text.substr(at, char_size(text, at)))) {
    at += char_size(text, at);
  }
  return at;
}

size_t trimmed_right(std::string_view text, std::string_view chars) {
  size_t end = text.size();
  while (end > 0 && contains(chars, text.substr(previous(text, end), end - previous(text, end)))) {
    end = previous(text, end);
  }
  return end;
}

void split_lines(std::string_view text, bool keep_ends,
                 const std::function<void(size_t begin, size_t end)>& line) {
  const auto breaks = [](uint32_t code) {
    return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
  };
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t size = char_size(text, at);
    if (!breaks(code_point(text, at))) {
      at += size;
      continue;
    }
    const size_t end = at;
    at += text.substr(at).starts_with("\r\n") ? 2 : size;
    line(begin, keep_ends ? at : end);
    begin = at;
  }
  if (begin < text.size()) {
    line(begin, text.size());
  }
}

// The one letter in common use whose capital form is two letters, as Python has it.
constexpr std::string_view kSharpS = "\u00DF";

std::string to_upper(std::string_view text) {
  std::string out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(kSharpS, at), text.size());
    out += mapped(text.substr(at, end - at), upper);
    out += end < text.size() ? "SS" : "";
    at = end + kSharpS.size();
  }
  return out;
}
std::string to_lower(std::string_view text) {
  return mapped(text, lower);
}

std::string capitalized(std::string_view text) {
  bool first = true;
  return mapped(text, [&first](uint32_t code) {
    const uint32_t out = first ? title(code) : lower(code);
    first = false;
    return out;
  });
}

std::string to_title(std::string_view text) {
  bool inside = false;
  return mapped(text, [&inside](uint32_t code) {
    const uint32_t out = inside ? lower(code) : title(code);
    const utf8proc_category_t kind = category(code);
    inside = kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL ||
             kind == UTF8PROC_CATEGORY_LT;
    return out;
  });
}

bool is_alpha(uint32_t code) {
  const utf8proc_category_t kind = category(code);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_digit(uint32_t code) {
  return category(code) == UTF8PROC_CATEGORY_ND;
}

bool is_printable(uint32_t code) {
  switch (category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return code == ' ';
    default:
      return true;
  }
}

}  // namespace tern::jinja

#pragma once
// A text that remembers which of its bytes came from outside: what a user wrote, or a page that was
// pasted, must not be read as the control tokens that a chat template writes between messages.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tern {

struct TextSpan {  // bytes begin to end - 1
  size_t begin, end;
  bool operator==(const TextSpan&) const = default;
};

struct MarkedText {
  std::string bytes;
  std::vector<TextSpan> untrusted;  // in order, not empty, not touching each other

  size_t size() const { return bytes.size(); }
  bool is_untrusted(size_t at) const;
  bool all_untrusted() const;

  void append(std::string_view text, bool is_untrusted = false);
  void append(const MarkedText& from, size_t begin, size_t size);
  MarkedText part(size_t begin, size_t size) const;
};

// The first of `spans` that ends behind `at`; spans.size() if none does.
size_t first_span_behind(const std::vector<TextSpan>& spans, size_t at);

}  // namespace tern

#include "engine/model/marked_text.h"

#include <algorithm>

namespace tern {

size_t first_span_behind(const std::vector<TextSpan>& spans, size_t at) {
  const auto found = std::partition_point(spans.begin(), spans.end(),
                                          [&](const TextSpan& span) { return span.end <= at; });
  return static_cast<size_t>(found - spans.begin());
}

bool MarkedText::is_untrusted(size_t at) const {
  const size_t i = first_span_behind(untrusted, at);
  return i < untrusted.size() && untrusted[i].begin <= at;
}

bool MarkedText::all_untrusted() const {
  return untrusted.size() == 1 && untrusted[0] == TextSpan{0, bytes.size()};
}

namespace {
void add_span(std::vector<TextSpan>& spans, TextSpan span) {
  if (span.begin == span.end) {
    return;
  }
  if (!spans.empty() && spans.back().end == span.begin) {
    spans.back().end = span.end;
  } else {
    spans.push_back(span);
  }
}
}  // namespace

void MarkedText::append(std::string_view text, bool is_untrusted) {
  const size_t begin = bytes.size();
  bytes.append(text);
  if (is_untrusted) {
    add_span(untrusted, {begin, bytes.size()});
  }
}

void MarkedText::append(const MarkedText& from, size_t begin, size_t size) {
  const size_t at = bytes.size();
  bytes.append(from.bytes, begin, size);
  const size_t end = begin + (bytes.size() - at);
  for (size_t i = first_span_behind(from.untrusted, begin);
       i < from.untrusted.size() && from.untrusted[i].begin < end; ++i) {
    const TextSpan& span = from.untrusted[i];
    add_span(untrusted,
             {at + std::max(span.begin, begin) - begin, at + std::min(span.end, end) - begin});
  }
}

MarkedText MarkedText::part(size_t begin, size_t size) const {
  MarkedText out;
  out.append(*this, begin, size);
  return out;
}

}  // namespace tern

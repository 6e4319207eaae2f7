#include "engine/model/jinja_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

constexpr char kHex[] = "0123456789abcdef";

std::string hex(uint32_t code, int digits) {
  std::string out;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += kHex[(code >> shift) & 15U];
  }
  return out;
}

void append_quoted(const MarkedText& marked, TextBuilder& out) {
  const std::string& text = marked.bytes;
  const bool doubled = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = doubled ? '"' : '\'';
  out.append(quote);
  for (size_t at = 0; at < text.size();) {
    const size_t size = char_size(text, at);
    const uint32_t code = code_point(text, at);
    const bool untrusted = marked.is_untrusted(at);
    if (code == '\\' || code == static_cast<uint32_t>(quote)) {
      out.append('\\', untrusted);
      out.append(text[at], untrusted);
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out.append(code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t", untrusted);
    } else if (is_printable(code)) {
      out.append(marked, at, size);
    } else {
      out.append(code < 0x100 ? "\\x" : code < 0x10000 ? "\\u" : "\\U", untrusted);
      out.append(hex(code, code < 0x100 ? 2 : code < 0x10000 ? 4 : 8), untrusted);
    }
    at += size;
  }
  out.append(quote);
}

// Prints one level of nested values; the depth guards against a namespace that holds itself.
class Printer {
 public:
  Printer(TextBuilder& out, Budget& budget) : out_(out), budget_(budget) {}

  void repr(const Value& value) {
    budget_.charge_steps(1);
    if (++depth_ > 2 * budget_.limits().value_depth) {
      throw TemplateError{"a value that contains itself cannot be printed"};
    }
    repr_kind(value);
    --depth_;
  }

 private:
  void repr_kind(const Value& value) {
    switch (value.kind()) {
      case Value::Kind::kUndefined:
        out_.append("Undefined");
        break;
      case Value::Kind::kNone:
        out_.append("None");
        break;
      case Value::Kind::kBool:
        out_.append(value.as_bool() ? "True" : "False");
        break;
      case Value::Kind::kInt:
        out_.append(std::to_string(value.as_int()));
        break;
      case Value::Kind::kFloat:
        out_.append(real_to_text(value.as_real()));
        break;
      case Value::Kind::kString:
        append_quoted(value.as_text(), out_);
        break;
      case Value::Kind::kSequence:
        repr_sequence(value.as_sequence());
        break;
      case Value::Kind::kDict:
        repr_dict(value.as_dict());
        break;
      case Value::Kind::kNamespace:
        out_.append("<Namespace ");
        repr_dict(value.as_namespace().attributes);
        out_.append('>');
        break;
      case Value::Kind::kMacro:
        out_.append("<Macro '" + value.as_macro()->node->name + "'>");
        break;
      default:
        out_.append('<');
        out_.append(value.type_name());
        out_.append('>');
    }
  }

  void repr_sequence(const Sequence& sequence) {
    if (sequence.kind == SequenceKind::kGenerator) {
      out_.append("<generator>");
      return;
    }
    const bool tuple = sequence.kind == SequenceKind::kTuple;
    out_.append(tuple ? '(' : '[');
    for (size_t i = 0; i < sequence.items.size(); ++i) {
      out_.append(i > 0 ? ", " : "");
      repr(sequence.items[i]);
    }
    out_.append(tuple && sequence.items.size() == 1 ? ",)" : tuple ? ")" : "]");
  }

  void repr_dict(const Dict& dict) {
    out_.append('{');
    for (size_t i = 0; i < dict.size(); ++i) {
      out_.append(i > 0 ? ", " : "");
      repr(dict.entries()[i].first);
      out_.append(": ");
      repr(dict.entries()[i].second);
    }
    out_.append('}');
  }

  TextBuilder& out_;
  Budget& budget_;
  int depth_ = 0;
};

class JsonPrinter {
 public:
  JsonPrinter(const JsonStyle& style, TextBuilder& out, Budget& budget)
      : style_(style), out_(out), budget_(budget) {}

  void print(const Value& value) {
    budget_.charge_steps(1);
    switch (value.kind()) {
      case Value::Kind::kNone:
        out_.append("null");
        break;
      case Value::Kind::kBool:
        out_.append(value.as_bool() ? "true" : "false");
        break;
      case Value::Kind::kInt:
        out_.append(std::to_string(value.as_int()));
        break;
      case Value::Kind::kFloat:
        out_.append(real(value.as_real()));
        break;
      case Value::Kind::kString:
        quote(value.as_text());
        break;
      case Value::Kind::kDict:
        print_dict(value.as_dict());
        return;
      case Value::Kind::kSequence:
        if (value.is_list()) {
          print_list(value.items());
          return;
        }
        [[fallthrough]];
      default:
        throw TemplateError{value.is_undefined()
                                ? value.undefined_message() + " and cannot be written as JSON"
                                : "a " + std::string(value.type_name()) +
                                      " cannot be written as JSON"};
    }
  }

 private:
  static std::string real(double value) {
    return std::isnan(value)   ? "NaN"
           : std::isinf(value) ? (value < 0 ? "-Infinity" : "Infinity")
                               : real_to_text(value);
  }

  void quote(const MarkedText& marked) {
    constexpr std::string_view kFrom = "\"\\\n\r\t\b\f";
    constexpr std::string_view kTo = "\"\\nrtbf";
    const std::string& text = marked.bytes;
    out_.append('"');
    for (size_t at = 0; at < text.size();) {
      const size_t size = char_size(text, at);
      const uint32_t code = code_point(text, at);
      if (const size_t known = kFrom.find(text[at]); known != std::string_view::npos) {
        out_.append('\\', marked.is_untrusted(at));
        out_.append(kTo[known], marked.is_untrusted(at));
      } else if (code < 0x20 || (style_.ensure_ascii && code > 0x7E)) {
        escape(code, marked.is_untrusted(at));
      } else {
        out_.append(marked, at, size);
      }
      at += size;
    }
    out_.append('"');
  }

  void escape(uint32_t code, bool untrusted) {
    if (code >= 0x10000) {  // as a pair of surrogates
      escape(0xD800 + ((code - 0x10000) >> 10U), untrusted);
      escape(0xDC00 + ((code - 0x10000) & 0x3FFU), untrusted);
      return;
    }
    out_.append("\\u" + hex(code, 4), untrusted);
  }

  void break_line() {
    if (style_.indent) {
      out_.append('\n');
      for (int i = 0; i < depth_; ++i) {
        out_.append(*style_.indent);
      }
    }
  }

  void print_list(const List& items) {
    if (items.empty()) {
      out_.append("[]");
      return;
    }
    out_.append('[');
    ++depth_;
    for (size_t i = 0; i < items.size(); ++i) {
      out_.append(i > 0 ? std::string_view(style_.item_separator) : std::string_view());
      break_line();
      print(items[i]);
    }
    --depth_;
    break_line();
    out_.append(']');
  }

  void print_key(const Value& key) {
    if (key.is_string()) {
      quote(key.as_text());
    } else {
      out_.append('"');
      print(key);
      out_.append('"');
    }
  }

  void print_dict(const Dict& dict) {
    if (dict.empty()) {
      out_.append("{}");
      return;
    }
    budget_.charge_bytes(dict.size(), 4 * sizeof(void*));
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) {
      entries.push_back(&entry);
    }
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const Dict::Entry* a, const Dict::Entry* b) {
                         return less(a->first, b->first, budget_);
                       });
    }
    out_.append('{');
    ++depth_;
    for (size_t i = 0; i < entries.size(); ++i) {
      out_.append(i > 0 ? std::string_view(style_.item_separator) : std::string_view());
      break_line();
      print_key(entries[i]->first);
      out_.append(style_.key_separator);
      print(entries[i]->second);
    }
    --depth_;
    break_line();
    out_.append('}');
  }

  const JsonStyle& style_;
  TextBuilder& out_;
  Budget& budget_;
  int depth_ = 0;
};

}  // namespace

std::string real_to_text(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value < 0 ? "-inf" : "inf";
  }
  char buffer[400];
  const double size = std::fabs(value);
  const bool plain = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific)
                       .ptr;
  std::string text(buffer, end);
  return plain && text.find('.') == std::string::npos ? text + ".0" : text;
}

void append_str(const Value& value, TextBuilder& out, Budget& budget) {
  if (value.is_string()) {
    out.append(value.as_text());
  } else if (!value.is_undefined()) {
    append_repr(value, out, budget);
  }
}

void append_repr(const Value& value, TextBuilder& out, Budget& budget) {
  Printer(out, budget).repr(value);
}

void append_json(const Value& value, const JsonStyle& style, TextBuilder& out, Budget& budget) {
  JsonPrinter(style, out, budget).print(value);
}

size_t find_text(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) {
    return std::string_view::npos;
  }
  if (what.empty()) {
    return from;
  }
  // std::string::find may compare all of `what` at each place.
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

LastFinder::LastFinder(std::string_view what, Budget& budget) : what_(what) {
  budget.charge_bytes(what.size(), sizeof(uint32_t));
  budget.charge_text(what.size());
  borders_.resize(what.size());
  uint32_t border = 0;
  const auto reversed = [&](size_t i) { return what_[what_.size() - 1 - i]; };
  for (size_t i = 1; i < what.size(); ++i) {
    while (border > 0 && reversed(i) != reversed(border)) {
      border = borders_[border - 1];
    }
    border += reversed(i) == reversed(border) ? 1U : 0U;
    borders_[i] = border;
  }
}

size_t LastFinder::find(std::string_view text) const {
  if (what_.empty()) {
    return text.size();
  }
  size_t same = 0;  // characters at the end of `what` that the place read so far begins with
  for (size_t at = text.size(); at-- > 0;) {
    while (same > 0 && text[at] != what_[what_.size() - 1 - same]) {
      same = borders_[same - 1];
    }
    same += text[at] == what_[what_.size() - 1 - same] ? 1U : 0U;
    if (same == what_.size()) {
      return at;
    }
  }
  return std::string_view::npos;
}

}  // namespace tern::jinja

#include "engine/model/jinja_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

constexpr char kHex[] = "0123456789abcdef";

void append_hex(std::string& out, uint32_t code, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += kHex[(code >> shift) & 15U];
  }
}

void append_quoted(const std::string& text, std::string& out) {
  const bool doubled = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = doubled ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const size_t size = char_size(text, at);
    const uint32_t code = code_point(text, at);
    if (code == '\\' || code == static_cast<uint32_t>(quote)) {
      out += '\\';
      out += text[at];
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (is_printable(code)) {
      out.append(text, at, size);
    } else {
      out += code < 0x100 ? "\\x" : code < 0x10000 ? "\\u" : "\\U";
      append_hex(out, code, code < 0x100 ? 2 : code < 0x10000 ? 4 : 8);
    }
    at += size;
  }
  out += quote;
}

// Prints one level of nested values; the depth guards against a namespace that holds itself.
class Printer {
 public:
  Printer(std::string& out, Budget& budget) : out_(out), budget_(budget) {}

  void repr(const Value& value) {
    budget_.charge_steps(1);
    if (++depth_ > 2 * budget_.limits().value_depth) {
      throw TemplateError{"a value that contains itself cannot be printed"};
    }
    const size_t before = out_.size();
    repr_kind(value);
    if (!value.is_sequence() && !value.is_dict() && !value.is(Value::Kind::kNamespace)) {
      budget_.charge_bytes(out_.size() - before);  // of nested values, the leaves pay
    }
    --depth_;
  }

 private:
  void repr_kind(const Value& value) {
    switch (value.kind()) {
      case Value::Kind::kUndefined:
        out_ += "Undefined";
        break;
      case Value::Kind::kNone:
        out_ += "None";
        break;
      case Value::Kind::kBool:
        out_ += value.as_bool() ? "True" : "False";
        break;
      case Value::Kind::kInt:
        out_ += std::to_string(value.as_int());
        break;
      case Value::Kind::kFloat:
        out_ += real_to_text(value.as_real());
        break;
      case Value::Kind::kString:
        append_quoted(value.as_string(), out_);
        break;
      case Value::Kind::kSequence:
        repr_sequence(value.as_sequence());
        break;
      case Value::Kind::kDict:
        repr_dict(value.as_dict());
        break;
      case Value::Kind::kNamespace:
        out_ += "<Namespace ";
        repr_dict(value.as_namespace().attributes);
        out_ += '>';
        break;
      case Value::Kind::kMacro:
        out_ += "<Macro '" + value.as_macro()->node->name + "'>";
        break;
      default:
        out_ += '<';
        out_ += value.type_name();
        out_ += '>';
    }
  }

  void repr_sequence(const Sequence& sequence) {
    if (sequence.kind == SequenceKind::kGenerator) {
      out_ += "<generator>";
      return;
    }
    const bool tuple = sequence.kind == SequenceKind::kTuple;
    out_ += tuple ? '(' : '[';
    for (size_t i = 0; i < sequence.items.size(); ++i) {
      out_ += i > 0 ? ", " : "";
      repr(sequence.items[i]);
    }
    out_ += tuple && sequence.items.size() == 1 ? ",)" : tuple ? ")" : "]";
  }

  void repr_dict(const Dict& dict) {
    out_ += '{';
    for (size_t i = 0; i < dict.size(); ++i) {
      out_ += i > 0 ? ", " : "";
      repr(dict.entries()[i].first);
      out_ += ": ";
      repr(dict.entries()[i].second);
    }
    out_ += '}';
  }

  std::string& out_;
  Budget& budget_;
  int depth_ = 0;
};

class JsonPrinter {
 public:
  JsonPrinter(const JsonStyle& style, std::string& out, Budget& budget)
      : style_(style), out_(out), budget_(budget) {}

  void print(const Value& value) {
    budget_.charge_steps(1);
    const size_t before = out_.size();
    switch (value.kind()) {
      case Value::Kind::kNone:
        out_ += "null";
        break;
      case Value::Kind::kBool:
        out_ += value.as_bool() ? "true" : "false";
        break;
      case Value::Kind::kInt:
        out_ += std::to_string(value.as_int());
        break;
      case Value::Kind::kFloat:
        out_ += real(value.as_real());
        break;
      case Value::Kind::kString:
        quote(value.as_string());
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
    budget_.charge_bytes(out_.size() - before);
  }

 private:
  static std::string real(double value) {
    return std::isnan(value)   ? "NaN"
           : std::isinf(value) ? (value < 0 ? "-Infinity" : "Infinity")
                               : real_to_text(value);
  }

  void quote(const std::string& text) {
    constexpr std::string_view kFrom = "\"\\\n\r\t\b\f";
    constexpr std::string_view kTo = "\"\\nrtbf";
    out_ += '"';
    for (size_t at = 0; at < text.size();) {
      const size_t size = char_size(text, at);
      const uint32_t code = code_point(text, at);
      if (const size_t known = kFrom.find(text[at]); known != std::string_view::npos) {
        out_ += '\\';
        out_ += kTo[known];
      } else if (code < 0x20 || (style_.ensure_ascii && code > 0x7E)) {
        escape(code);
      } else {
        out_.append(text, at, size);
      }
      at += size;
    }
    out_ += '"';
  }

  void escape(uint32_t code) {
    if (code >= 0x10000) {  // as a pair of surrogates
      escape(0xD800 + ((code - 0x10000) >> 10U));
      escape(0xDC00 + ((code - 0x10000) & 0x3FFU));
      return;
    }
    out_ += "\\u";
    append_hex(out_, code, 4);
  }

  void break_line() {
    if (style_.indent) {
      budget_.charge_bytes(static_cast<size_t>(depth_), style_.indent->size());
      out_ += '\n';
      for (int i = 0; i < depth_; ++i) {
        out_ += *style_.indent;
      }
    }
  }

  void print_list(const List& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    ++depth_;
    for (size_t i = 0; i < items.size(); ++i) {
      out_ += i > 0 ? style_.item_separator : "";
      break_line();
      print(items[i]);
    }
    --depth_;
    break_line();
    out_ += ']';
  }

  void print_key(const Value& key) {
    const size_t before = out_.size();
    if (key.is_string()) {
      quote(key.as_string());
    } else {
      out_ += '"';
      print(key);
      out_ += '"';
    }
    budget_.charge_bytes(out_.size() - before);
  }

  void print_dict(const Dict& dict) {
    if (dict.empty()) {
      out_ += "{}";
      return;
    }
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
    out_ += '{';
    ++depth_;
    for (size_t i = 0; i < entries.size(); ++i) {
      out_ += i > 0 ? style_.item_separator : "";
      break_line();
      print_key(entries[i]->first);
      out_ += style_.key_separator;
      print(entries[i]->second);
    }
    --depth_;
    break_line();
    out_ += '}';
  }

  const JsonStyle& style_;
  std::string& out_;
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

void append_str(const Value& value, std::string& out, Budget& budget) {
  if (value.is_string()) {
    budget.charge_bytes(value.as_string().size());
    out += value.as_string();
  } else if (!value.is_undefined()) {
    append_repr(value, out, budget);
  }
}

void append_repr(const Value& value, std::string& out, Budget& budget) {
  Printer(out, budget).repr(value);
}

void append_json(const Value& value, const JsonStyle& style, std::string& out, Budget& budget) {
  JsonPrinter(style, out, budget).print(value);
}

}  // namespace tern::jinja

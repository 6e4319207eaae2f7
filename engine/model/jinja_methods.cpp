// The methods of strings, dicts, lists and of `loop`. Those that change a list or dict are left
// out, as Hugging Face's sandbox refuses them.
#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_text.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

using Call = const BuiltinCall&;

const std::string& self(Call call) {
  return call.self.as_string();
}

Value text(Call call, std::string_view out) {
  return call.budget().string(std::string(out));
}

// Where to strip: characters given, or white space.
Value strip(Call call, bool left, bool right) {
  std::string_view out = self(call);
  const bool chars = call.has(0) && !call.arg(0).is_none();
  if (chars) {
    call.budget().charge_steps((1 + out.size() / 16) * (1 + call.text(0).size() / 16));
  }
  if (right) {
    out = out.substr(0, chars ? trimmed_right(out, call.text(0)) : trimmed_right(out));
  }
  if (left) {
    out.remove_prefix(chars ? trimmed_left(out, call.text(0)) : trimmed_left(out));
  }
  return text(call, out);
}

Value to_list(Call call, const std::vector<std::string_view>& parts) {
  List items;
  call.budget().charge_bytes(parts.size(), 2 * sizeof(Value));
  for (const std::string_view part : parts) {
    items.push_back(text(call, part));
  }
  return call.budget().list(std::move(items));
}

// "a  b" to a, b: at runs of white space, none at the ends.
std::vector<std::string_view> split_at_space(std::string_view rest, int64_t most, bool from_right) {
  std::vector<std::string_view> parts;
  while (true) {
    rest = from_right ? rest.substr(0, trimmed_right(rest)) : rest.substr(trimmed_left(rest));
    if (rest.empty()) {
      break;
    }
    if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) {
      parts.push_back(rest);
      break;
    }
    // The word at the end at hand.
    if (from_right) {
      size_t begin = 0;
      for (size_t at = 0; at < rest.size(); at += char_size(rest, at)) {
        begin = is_white_space(code_point(rest, at)) ? at + char_size(rest, at) : begin;
      }
      parts.push_back(rest.substr(begin));
      rest = rest.substr(0, begin);
    } else {
      size_t end = 0;
      while (end < rest.size() && !is_white_space(code_point(rest, end))) {
        end += char_size(rest, end);
      }
      parts.push_back(rest.substr(0, end));
      rest = rest.substr(end);
    }
  }
  if (from_right) {
    std::reverse(parts.begin(), parts.end());
  }
  return parts;
}

std::vector<std::string_view> split_at(std::string_view rest, std::string_view separator,
                                       int64_t most, bool from_right) {
  std::vector<std::string_view> parts;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t found = from_right ? rest.rfind(separator) : rest.find(separator);
    if (found == std::string_view::npos) {
      break;
    }
    if (from_right) {
      parts.push_back(rest.substr(found + separator.size()));
      rest = rest.substr(0, found);
    } else {
      parts.push_back(rest.substr(0, found));
      rest = rest.substr(found + separator.size());
    }
  }
  parts.push_back(rest);
  if (from_right) {
    std::reverse(parts.begin(), parts.end());
  }
  return parts;
}

Value split(Call call, bool from_right) {
  const int64_t most = call.integer(1, -1);
  if (!call.has(0) || call.arg(0).is_none()) {
    if (from_right && most < 0) {  // the same, without its square cost
      return to_list(call, split_at_space(self(call), -1, false));
    }
    call.budget().charge_steps(from_right ? static_cast<size_t>(std::min<int64_t>(most, 1000)) *
                                                self(call).size() / 64
                                          : 0);
    return to_list(
        call,
        split_at_space(self(call), from_right ? std::min<int64_t>(most, 1000) : most, from_right));
  }
  if (call.text(0).empty()) {
    throw TemplateError{"split() needs a separator that is not empty"};
  }
  return to_list(call, split_at(self(call), call.text(0), most, from_right));
}

Value splitlines(Call call) {
  return to_list(call, split_lines(self(call), call.truth(0, false)));
}

Value partition(Call call, bool from_right) {
  const std::string& separator = call.text(0);
  if (separator.empty()) {
    throw TemplateError{"partition() needs a separator that is not empty"};
  }
  const size_t found = from_right ? self(call).rfind(separator) : self(call).find(separator);
  List parts(3, Value::string(""));
  if (found == std::string::npos) {
    parts[from_right ? 2 : 0] = call.self;
  } else {
    parts = {text(call, self(call).substr(0, found)), call.arg(0),
             text(call, self(call).substr(found + separator.size()))};
  }
  return call.budget().list(std::move(parts), SequenceKind::kTuple);
}

// startswith, endswith: one string or a tuple of them.
Value has_end(Call call, bool (*test)(std::string_view, std::string_view)) {
  if (call.arg(0).is_string()) {
    return Value::boolean(test(self(call), call.text(0)));
  }
  if (!call.arg(0).is_list()) {
    throw TemplateError{
        "startswith() and endswith() need a string or a tuple of strings, found a " +
        std::string(call.arg(0).type_name())};
  }
  const List& ends = call.arg(0).items();
  return Value::boolean(std::any_of(ends.begin(), ends.end(), [&](const Value& end) {
    return end.is_string() && test(self(call), end.as_string());
  }));
}
bool starts(std::string_view text, std::string_view with) {
  return text.starts_with(with);
}
bool ends(std::string_view text, std::string_view with) {
  return text.ends_with(with);
}

Value find(Call call, bool from_right, bool must) {
  std::string_view where = self(call);
  size_t from = 0;
  if (call.has(1) || call.has(2)) {
    const auto size = static_cast<int64_t>(char_count(where));
    const auto bound = [&](size_t i, int64_t missing) {
      const int64_t at = call.has(i) && !call.arg(i).is_none() ? call.integer(i) : missing;
      return static_cast<size_t>(std::clamp(at < 0 ? at + size : at, int64_t{0}, size));
    };
    const size_t end = bound(2, size);
    from = bound(1, 0);
    where = where.substr(0, byte_offset(where, end));
    if (from > end) {
      return Value::integer(-1);
    }
  }
  const size_t skipped = byte_offset(where, from);
  const size_t found = from_right ? where.substr(skipped).rfind(call.text(0))
                                  : where.substr(skipped).find(call.text(0));
  if (found == std::string_view::npos) {
    if (must) {
      throw TemplateError{"index(): the string is not found"};
    }
    return Value::integer(-1);
  }
  return Value::integer(static_cast<int64_t>(char_count(where.substr(0, skipped + found))));
}

Value count(Call call) {
  const std::string& what = call.text(0);
  int64_t number = what.empty() ? static_cast<int64_t>(char_count(self(call))) + 1 : 0;
  for (size_t at = what.empty() ? std::string::npos : self(call).find(what);
       at != std::string::npos; at = self(call).find(what, at + what.size())) {
    ++number;
  }
  return Value::integer(number);
}

Value replace(Call call) {
  const std::string& from = call.text(0);
  const std::string& to = call.text(1);
  int64_t left = call.integer(2, -1);
  std::string out;
  size_t at = 0;
  const std::string& in = self(call);
  while (left != 0 && at <= in.size()) {
    // An empty `from` stands before each character and at the end.
    const size_t found = in.find(from, at);
    if (found == std::string::npos) {
      break;
    }
    out.append(in, at, found - at);
    call.budget().charge_bytes(to.size());
    out += to;
    --left;
    at = found + from.size();
    if (from.empty()) {
      if (at == in.size()) {
        return call.budget().string(std::move(out));
      }
      const size_t size = char_size(in, at);
      out.append(in, at, size);
      at += size;
    }
  }
  out.append(in, std::min(at, in.size()));
  return call.budget().string(std::move(out));
}

Value join(Call call) {
  const Value items = call.interpreter.sequence_of(call.arg(0));
  std::string out;
  for (size_t i = 0; i < items.items().size(); ++i) {
    const Value& item = items.items()[i];
    if (!item.is_string()) {
      throw TemplateError{"join() needs strings, found a " + std::string(item.type_name())};
    }
    call.budget().charge_bytes(self(call).size() + item.as_string().size());
    out += i > 0 ? self(call) : "";
    out += item.as_string();
  }
  return call.budget().string(std::move(out));
}

Value format(Call call) {
  Dict named;
  for (const auto& [name, value] : call.rest.keywords) {
    named.set(name, value);
  }
  return call.budget().string(
      format_braces(self(call), call.rest.positional, named, call.budget()));
}

// Pads to a width: `left` of the missing characters go before the text (-1: half of them).
Value pad(Call call, int left) {
  const int64_t missing = call.integer(0) - static_cast<int64_t>(char_count(self(call)));
  if (missing <= 0) {
    return call.self;
  }
  const std::string fill = call.args.size() > 1 && call.has(1) ? call.text(1) : " ";
  call.budget().charge_bytes(static_cast<size_t>(missing), fill.size());
  const int64_t half = missing / 2 + (missing & call.integer(0) & 1);  // Python's way of rounding
  const int64_t before = left < 0 ? half : left > 0 ? missing : 0;
  std::string out;
  for (int64_t i = 0; i < missing; ++i) {
    if (i == before) {
      out += self(call);
    }
    out += fill;
  }
  return call.budget().string(before == missing ? out + self(call) : out);
}

Value all_chars(Call call, bool (*test)(uint32_t)) {
  const std::string& in = self(call);
  for (size_t at = 0; at < in.size(); at += char_size(in, at)) {
    if (!test(code_point(in, at))) {
      return Value::boolean(false);
    }
  }
  return Value::boolean(!in.empty());
}

Value is_cased(Call call, std::string (*same)(std::string_view),
               std::string (*other)(std::string_view)) {
  return Value::boolean(same(self(call)) == self(call) && other(self(call)) != self(call));
}

const Builtin kStringMethods[] = {
    {"strip", "chars?", [](Call call) { return strip(call, true, true); }},
    {"lstrip", "chars?", [](Call call) { return strip(call, true, false); }},
    {"rstrip", "chars?", [](Call call) { return strip(call, false, true); }},
    {"split", "sep? maxsplit?", [](Call call) { return split(call, false); }},
    {"rsplit", "sep? maxsplit?", [](Call call) { return split(call, true); }},
    {"splitlines", "keepends?", splitlines},
    {"partition", "sep", [](Call call) { return partition(call, false); }},
    {"rpartition", "sep", [](Call call) { return partition(call, true); }},
    {"startswith", "prefix", [](Call call) { return has_end(call, starts); }},
    {"endswith", "suffix", [](Call call) { return has_end(call, ends); }},
    {"removeprefix", "prefix",
     [](Call call) {
       return text(call,
                   self(call).substr(starts(self(call), call.text(0)) ? call.text(0).size() : 0));
     }},
    {"removesuffix", "suffix",
     [](Call call) {
       const size_t size = self(call).size();
       return text(call,
                   self(call).substr(
                       0, ends(self(call), call.text(0)) ? size - call.text(0).size() : size));
     }},
    {"find", "sub start? end?", [](Call call) { return find(call, false, false); }},
    {"rfind", "sub start? end?", [](Call call) { return find(call, true, false); }},
    {"index", "sub start? end?", [](Call call) { return find(call, false, true); }},
    {"count", "sub", count},
    {"replace", "old new count?", replace},
    {"join", "iterable", join},
    {"format", "...", format},
    {"upper", "", [](Call call) { return text(call, to_upper(self(call))); }},
    {"lower", "", [](Call call) { return text(call, to_lower(self(call))); }},
    {"casefold", "", [](Call call) { return text(call, to_lower(self(call))); }},
    {"title", "", [](Call call) { return text(call, to_title(self(call))); }},
    {"capitalize", "", [](Call call) { return text(call, capitalized(self(call))); }},
    {"ljust", "width fillchar?", [](Call call) { return pad(call, 0); }},
    {"rjust", "width fillchar?", [](Call call) { return pad(call, 1); }},
    {"center", "width fillchar?", [](Call call) { return pad(call, -1); }},
    {"isalpha", "", [](Call call) { return all_chars(call, is_alpha); }},
    {"isdigit", "", [](Call call) { return all_chars(call, is_digit); }},
    {"isnumeric", "", [](Call call) { return all_chars(call, is_digit); }},
    {"isdecimal", "", [](Call call) { return all_chars(call, is_digit); }},
    {"isalnum", "",
     [](Call call) {
       return all_chars(call, [](uint32_t c) { return is_alpha(c) || is_digit(c); });
     }},
    {"isspace", "", [](Call call) { return all_chars(call, is_white_space); }},
    {"isupper", "", [](Call call) { return is_cased(call, to_upper, to_lower); }},
    {"islower", "", [](Call call) { return is_cased(call, to_lower, to_upper); }},
};

List entries(Call call, bool keys, bool values) {
  List out;
  for (const auto& [key, value] : call.self.as_dict().entries()) {
    out.push_back(keys && values ? call.budget().list({key, value}, SequenceKind::kTuple)
                  : keys         ? key
                                 : value);
  }
  return out;
}

const Builtin kDictMethods[] = {
    {"items", "", [](Call call) { return call.budget().list(entries(call, true, true)); }},
    {"keys", "", [](Call call) { return call.budget().list(entries(call, true, false)); }},
    {"values", "", [](Call call) { return call.budget().list(entries(call, false, true)); }},
    {"get", "key default?",
     [](Call call) {
       call.budget().charge_steps(call.self.as_dict().size() / 16);
       const Value* found = call.self.as_dict().find(call.arg(0));
       return found != nullptr ? *found : call.has(1) ? call.arg(1) : Value::none();
     }},
    {"copy", "", [](Call call) { return call.self; }},
};

const Builtin kListMethods[] = {
    {"count", "value",
     [](Call call) {
       const List& items = call.self.items();
       return Value::integer(std::count_if(items.begin(), items.end(), [&](const Value& item) {
         return equal(item, call.arg(0), call.budget());
       }));
     }},
    {"index", "value",
     [](Call call) {
       const List& items = call.self.items();
       const auto found = std::find_if(items.begin(), items.end(), [&](const Value& item) {
         return equal(item, call.arg(0), call.budget());
       });
       if (found == items.end()) {
         throw TemplateError{"index(): the value is not in the list"};
       }
       return Value::integer(found - items.begin());
     }},
    {"copy", "", [](Call call) { return call.self; }},
};

const Builtin kLoopMethods[] = {
    {"cycle", "...",
     [](Call call) {
       if (call.rest.positional.empty()) {
         throw TemplateError{"loop.cycle() needs values"};
       }
       return call.rest.positional[call.self.as_loop().index % call.rest.positional.size()];
     }},
};

template <size_t kCount>
const Builtin* find_in(const Builtin (&table)[kCount], std::string_view name) {
  const auto* found = std::find_if(std::begin(table), std::end(table),
                                   [&](const Builtin& one) { return one.name == name; });
  return found != std::end(table) ? found : nullptr;
}

}  // namespace

const Builtin* find_method(const Value& value, std::string_view name) {
  switch (value.kind()) {
    case Value::Kind::kString:
      return find_in(kStringMethods, name);
    case Value::Kind::kDict:
      return find_in(kDictMethods, name);
    case Value::Kind::kSequence:
      return value.is_list() ? find_in(kListMethods, name) : nullptr;
    case Value::Kind::kLoop:
      return find_in(kLoopMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace tern::jinja

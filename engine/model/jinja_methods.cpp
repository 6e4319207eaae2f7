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

// A part of the string itself.
Value part(Call call, size_t begin, size_t size) {
  return call.budget().part(call.self.as_text(), begin, size);
}

// The string as `change` makes it. What is marked stays marked; a string of which only parts are is
// marked as a whole, since the change may depend on what stands before a character.
Value changed(Call call, std::string (*change)(std::string_view)) {
  // Changing the case makes a text at most half as long again (three bytes of two).
  call.budget().charge_bytes(self(call).size(), 2);
  MarkedText out;
  out.append(change(self(call)), !call.self.as_text().untrusted.empty());
  return call.budget().text(std::move(out));
}

// The same where the change looks at single characters only.
Value changed_by_character(Call call, std::string (*change)(std::string_view)) {
  const MarkedText& text = call.self.as_text();
  TextBuilder out(call.budget());
  size_t at = 0;
  const auto append = [&](size_t end, bool untrusted) {
    call.budget().charge_bytes(end - at);
    out.append(change(std::string_view(text.bytes).substr(at, end - at)), untrusted);
    at = end;
  };
  for (const TextSpan& span : text.untrusted) {
    append(span.begin, false);
    append(span.end, true);
  }
  append(text.size(), false);
  return out.value();
}

// Where to strip: characters given, or white space.
Value strip(Call call, bool left, bool right) {
  std::string_view rest = self(call);
  const bool chars = call.has(0) && !call.arg(0).is_none();
  if (chars) {
    call.budget().charge_steps((1 + rest.size() / 16) * (1 + call.text(0).size() / 16));
  }
  if (right) {
    rest = rest.substr(0, chars ? trimmed_right(rest, call.text(0)) : trimmed_right(rest));
  }
  size_t begin = 0;
  if (left) {
    begin = chars ? trimmed_left(rest, call.text(0)) : trimmed_left(rest);
  }
  if (begin == 0 && rest.size() == self(call).size()) {
    return call.self;
  }
  return part(call, begin, rest.size() - begin);
}

// "a  b" to a, b: at runs of white space, none at the ends. What is left after `most` words is one
// part, with the white space in it.
Value split_at_space(Call call, int64_t most) {
  const std::string_view text = self(call);
  ListBuilder out(call.budget());
  for (size_t at = trimmed_left(text); at < text.size();) {
    if (most >= 0 && static_cast<int64_t>(out.size()) >= most) {
      out.push(part(call, at, text.size() - at));
      break;
    }
    size_t end = at;
    while (end < text.size() && !is_white_space(code_point(text, end))) {
      end += char_size(text, end);
    }
    out.push(part(call, at, end - at));
    at = end + trimmed_left(text.substr(end));
  }
  return out.value();
}

// The same from the right: the last `most` words, and before them what is left.
Value rsplit_at_space(Call call, int64_t most) {
  const Value words = split_at_space(call, -1);
  const size_t count = words.items().size();
  if (most < 0 || count <= static_cast<size_t>(most)) {
    return words;
  }
  const std::string_view text = self(call);
  const size_t left = count - static_cast<size_t>(most);
  size_t end = 0;
  for (size_t i = 0; i < left; ++i) {
    end += trimmed_left(text.substr(end));
    end += words.items()[i].as_string().size();
  }
  ListBuilder out(call.budget());
  out.push(part(call, 0, end));
  for (size_t i = left; i < count; ++i) {
    out.push(words.items()[i]);
  }
  return out.value();
}

Value split_at(Call call, const std::string& separator, int64_t most) {
  ListBuilder out(call.budget());
  size_t at = 0;
  while (most < 0 || static_cast<int64_t>(out.size()) < most) {
    const size_t found = find_text(self(call), separator, at);
    if (found == std::string::npos) {
      break;
    }
    out.push(part(call, at, found - at));
    at = found + separator.size();
  }
  out.push(part(call, at, self(call).size() - at));
  return out.value();
}

Value rsplit_at(Call call, const std::string& separator, int64_t most) {
  const LastFinder finder(separator, call.budget());
  std::string_view rest = self(call);
  ListBuilder parts(call.budget());
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t found = finder.find(rest);
    if (found == std::string_view::npos) {
      break;
    }
    parts.push(part(call, found + separator.size(), rest.size() - found - separator.size()));
    rest = rest.substr(0, found);
  }
  parts.push(part(call, 0, rest.size()));
  const Value reversed = parts.value();
  call.budget().charge_bytes(reversed.items().size(), sizeof(Value));
  return call.budget().list(List(reversed.items().rbegin(), reversed.items().rend()));
}

Value split(Call call, bool from_right) {
  const int64_t most = call.integer(1, -1);
  if (!call.has(0) || call.arg(0).is_none()) {
    return from_right ? rsplit_at_space(call, most) : split_at_space(call, most);
  }
  const std::string& separator = call.text(0);
  if (separator.empty()) {
    throw TemplateError{"split() needs a separator that is not empty"};
  }
  return from_right ? rsplit_at(call, separator, most) : split_at(call, separator, most);
}

Value splitlines(Call call) {
  ListBuilder out(call.budget());
  split_lines(self(call), call.truth(0, false),
              [&](size_t begin, size_t end) { out.push(part(call, begin, end - begin)); });
  return out.value();
}

Value partition(Call call, bool from_right) {
  const std::string& separator = call.text(0);
  if (separator.empty()) {
    throw TemplateError{"partition() needs a separator that is not empty"};
  }
  const size_t found = from_right ? LastFinder(separator, call.budget()).find(self(call))
                                  : find_text(self(call), separator);
  List parts(3, Value::string(""));
  if (found == std::string::npos) {
    parts[from_right ? 2 : 0] = call.self;
  } else {
    const size_t end = found + separator.size();
    parts = {part(call, 0, found), part(call, found, separator.size()),
             part(call, end, self(call).size() - end)};
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
    call.budget().charge_text(end.is_string() ? end.as_string().size() : 0);
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
  const std::string_view rest = where.substr(skipped);
  const size_t found = from_right ? LastFinder(call.text(0), call.budget()).find(rest)
                                  : find_text(rest, call.text(0));
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
  for (size_t at = what.empty() ? std::string::npos : find_text(self(call), what);
       at != std::string::npos; at = find_text(self(call), what, at + what.size())) {
    ++number;
  }
  return Value::integer(number);
}

Value replace(Call call) {
  const std::string& from = call.text(0);
  call.text(1);  // must be one
  const MarkedText& to = call.arg(1).as_text();
  const MarkedText& in = call.self.as_text();
  int64_t left = call.integer(2, -1);
  TextBuilder out(call.budget());
  size_t at = 0;
  while (left != 0) {
    // An empty `from` stands before each character and at the end.
    const size_t found = find_text(in.bytes, from, at);
    if (found == std::string::npos) {
      break;
    }
    out.append(in, at, found - at);
    out.append(to);
    --left;
    at = found + from.size();
    if (from.empty()) {
      if (at == in.size()) {
        return out.value();
      }
      const size_t size = char_size(in.bytes, at);
      out.append(in, at, size);
      at += size;
    }
  }
  out.append(in, at, in.size() - at);
  return out.value();
}

Value join(Call call) {
  const Value items = call.interpreter.sequence_of(call.arg(0));
  TextBuilder out(call.budget());
  for (size_t i = 0; i < items.items().size(); ++i) {
    const Value& item = items.items()[i];
    if (!item.is_string()) {
      throw TemplateError{"join() needs strings, found a " + std::string(item.type_name())};
    }
    call.budget().charge_steps(1);
    if (i > 0) {
      out.append(call.self.as_text());
    }
    out.append(item.as_text());
  }
  return out.value();
}

Value format(Call call) {
  Dict named;
  for (const auto& [name, value] : call.rest.keywords) {
    call.budget().charge_bytes(4 * sizeof(Value) + sizeof(MarkedText) + name.size());
    call.budget().charge_steps(1);
    named.set(name, value);
  }
  return format_braces(call.self.as_text(), call.rest.positional, named, call.budget());
}

// The missing characters of a width, so many of them before the text.
Value padded(Call call, const MarkedText& fill, size_t before, size_t after) {
  if (char_count(fill.bytes) != 1) {
    throw TemplateError{"the fill character must be exactly one character long"};
  }
  TextBuilder out(call.budget());
  out.repeat(fill, before);
  out.append(call.self.as_text());
  out.repeat(fill, after);
  return out.value();
}

enum class Side { kLeft, kRight, kCenter };

// Pads to a width; `side` is where the text stays.
Value pad(Call call, Side side) {
  const MarkedText fill =
      call.args.size() > 1 && call.has(1) ? MarkedText{call.text(1), {}} : MarkedText{" ", {}};
  const int64_t size = static_cast<int64_t>(char_count(self(call)));
  if (call.integer(0) <= size) {
    return call.self;
  }
  const int64_t missing = call.integer(0) - size;
  const int64_t half = missing / 2 + (missing & call.integer(0) & 1);  // Python's way of rounding
  const int64_t before = side == Side::kCenter ? half : side == Side::kRight ? missing : 0;
  return padded(call, fill, static_cast<size_t>(before), static_cast<size_t>(missing - before));
}

// Zeros between a sign and what follows it.
Value zfill(Call call) {
  const int64_t size = static_cast<int64_t>(char_count(self(call)));
  if (call.integer(0) <= size) {
    return call.self;
  }
  const bool sign = self(call).starts_with('+') || self(call).starts_with('-');
  TextBuilder out(call.budget());
  out.append(call.self.as_text(), 0, sign ? 1 : 0);
  out.repeat(MarkedText{"0", {}}, static_cast<size_t>(call.integer(0) - size));
  out.append(call.self.as_text(), sign ? 1 : 0, self(call).size() - (sign ? 1 : 0));
  return out.value();
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
  call.budget().charge_bytes(self(call).size(), 4);
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
       const size_t cut = starts(self(call), call.text(0)) ? call.text(0).size() : 0;
       return part(call, cut, self(call).size() - cut);
     }},
    {"removesuffix", "suffix",
     [](Call call) {
       const size_t cut = ends(self(call), call.text(0)) ? call.text(0).size() : 0;
       return part(call, 0, self(call).size() - cut);
     }},
    {"find", "sub start? end?", [](Call call) { return find(call, false, false); }},
    {"rfind", "sub start? end?", [](Call call) { return find(call, true, false); }},
    {"index", "sub start? end?", [](Call call) { return find(call, false, true); }},
    {"rindex", "sub start? end?", [](Call call) { return find(call, true, true); }},
    {"count", "sub", count},
    {"replace", "old new count?", replace},
    {"join", "iterable", join},
    {"format", "...", format},
    {"upper", "", [](Call call) { return changed_by_character(call, to_upper); }},
    {"lower", "", [](Call call) { return changed_by_character(call, to_lower); }},
    {"casefold", "", [](Call call) { return changed_by_character(call, to_lower); }},
    {"title", "", [](Call call) { return changed(call, to_title); }},
    {"capitalize", "", [](Call call) { return changed(call, capitalized); }},
    {"ljust", "width fillchar?", [](Call call) { return pad(call, Side::kLeft); }},
    {"rjust", "width fillchar?", [](Call call) { return pad(call, Side::kRight); }},
    {"center", "width fillchar?", [](Call call) { return pad(call, Side::kCenter); }},
    {"zfill", "width", zfill},
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

Value entries(Call call, bool keys, bool values) {
  ListBuilder out(call.budget());
  for (const auto& [key, value] : call.self.as_dict().entries()) {
    call.budget().charge_steps(1);
    out.push(keys && values ? call.budget().list({key, value}, SequenceKind::kTuple)
             : keys         ? key
                            : value);
  }
  return out.value();
}

const Builtin kDictMethods[] = {
    {"items", "", [](Call call) { return entries(call, true, true); }},
    {"keys", "", [](Call call) { return entries(call, true, false); }},
    {"values", "", [](Call call) { return entries(call, false, true); }},
    {"get", "key default?",
     [](Call call) {
       call.budget().charge_text(call.arg(0).is_string() ? call.text(0).size() : 0);
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
       return call.rest.positional[call.self.as_loop()->index % call.rest.positional.size()];
     }},
    {"changed", "...",
     [](Call call) {
       const Value values = call.budget().list(call.rest.positional, SequenceKind::kTuple);
       return Value::boolean(call.interpreter.loop_changed(call.self.as_loop(), values));
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

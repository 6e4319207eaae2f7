// The filters of Jinja, with tojson as Hugging Face replaces it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_text.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

using Call = const BuiltinCall&;

// The input as text: most text filters take any value.
std::string input(Call call) {
  return call.interpreter.text(call.self);
}

Value text(Call call, std::string out) {
  return call.budget().string(std::move(out));
}

// The method of strings of the same name, upon the input as text.
Value by_method(Call call, std::string_view name) {
  Arguments given;
  for (const auto& argument : call.args) {
    if (argument) {
      given.positional.push_back(*argument);
    }
  }
  const Value self = text(call, input(call));
  return call.interpreter.call(Value::method(find_method(self, name), self), std::move(given));
}

Value items_of(Call call) {
  return call.interpreter.sequence_of(call.self);
}

// map and select take anything false for an empty list: "tools | selectattr(...)" where tools is none.
Value items_or_nothing(Call call) {
  return call.self.truthy() ? items_of(call) : call.budget().list({});
}

Value length(Call call) {
  const Value& self = call.self;
  if (self.is_string()) {
    return Value::integer(static_cast<int64_t>(char_count(self.as_string())));
  }
  if (!self.is_list() && !self.is_dict() && !self.is_undefined()) {
    throw TemplateError{"a " + std::string(self.type_name()) + " has no length"};
  }
  return Value::integer(
      static_cast<int64_t>(self.is_dict() ? self.as_dict().size() : items_of(call).items().size()));
}

Value tojson(Call call) {
  JsonStyle style;
  style.ensure_ascii = call.truth(0, false);
  style.sort_keys = call.truth(3, false);
  if (call.has(1) && !call.arg(1).is_none()) {
    constexpr int64_t kMaxIndent = 100;
    style.indent =
        call.arg(1).is_string()
            ? call.text(1)
            : std::string(static_cast<size_t>(std::clamp(call.integer(1), int64_t{0}, kMaxIndent)),
                          ' ');
    style.item_separator = ",";
  }
  if (call.has(2) && !call.arg(2).is_none()) {
    const Value pair = call.interpreter.sequence_of(call.arg(2));
    if (pair.items().size() != 2 || !pair.items()[0].is_string() || !pair.items()[1].is_string()) {
      throw TemplateError{"tojson: separators must be two strings"};
    }
    style.item_separator = pair.items()[0].as_string();
    style.key_separator = pair.items()[1].as_string();
  }
  std::string out;
  append_json(call.self, style, out, call.budget());
  return text(call, std::move(out));
}

Value fallback(Call call) {
  const bool missing = call.self.is_undefined() || (call.truth(1, false) && !call.self.truthy());
  return !missing ? call.self : call.has(0) ? call.arg(0) : Value::string("");
}

// An attribute by name, number or path: "function.name".
Value attribute_of(Interpreter& interpreter, const Value& item, const Value& path) {
  if (!path.is_string()) {
    return interpreter.item(item, path);
  }
  Value value = item;
  std::string_view rest = path.as_string();
  while (true) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string part(rest.substr(0, dot));
    int64_t index = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number =
        !part.empty() && parsed.ec == std::errc() && parsed.ptr == part.data() + part.size();
    value = interpreter.item(value, number ? Value::integer(index) : Value::string(part));
    if (dot == rest.size()) {
      return value;
    }
    rest.remove_prefix(dot + 1);
  }
}

Value join(Call call) {
  const std::string separator = call.has(0) ? call.interpreter.text(call.arg(0)) : "";
  std::string out;
  bool first = true;
  const Value items = items_of(call);
  for (const Value& item : items.items()) {
    call.budget().charge_bytes(separator.size());
    out += first ? "" : separator;
    first = false;
    append_str(call.has(1) ? attribute_of(call.interpreter, item, call.arg(1)) : item, out,
               call.budget());
  }
  return text(call, std::move(out));
}

Value end_item(Call call, bool first) {
  const Value items = items_of(call);
  if (items.items().empty()) {
    return Value::undefined(first ? "first of nothing" : "last of nothing");
  }
  return first ? items.items().front() : items.items().back();
}

// The arguments behind the filter's or test's own name.
Arguments rest_of(Call call, size_t skipped) {
  Arguments out = call.rest;
  out.positional.erase(out.positional.begin(),
                       out.positional.begin() + static_cast<std::ptrdiff_t>(skipped));
  return out;
}

Value map(Call call) {
  const auto& keywords = call.rest.keywords;
  const auto keyword = [&](std::string_view name) -> const Value* {
    const auto found = std::find_if(keywords.begin(), keywords.end(),
                                    [&](const auto& one) { return one.first == name; });
    return found != keywords.end() ? &found->second : nullptr;
  };
  const Value* path = call.rest.positional.empty() ? keyword("attribute") : nullptr;
  if (path == nullptr && (call.rest.positional.empty() || !call.rest.positional[0].is_string())) {
    throw TemplateError{"map needs a filter's name or attribute="};
  }
  List out;
  const Value items = items_or_nothing(call);
  for (const Value& item : items.items()) {
    call.budget().charge_iteration();
    if (path == nullptr) {
      out.push_back(
          call.interpreter.filter(call.rest.positional[0].as_string(), item, rest_of(call, 1)));
      continue;
    }
    Value value = attribute_of(call.interpreter, item, *path);
    const Value* missing = keyword("default");
    out.push_back(value.is_undefined() && missing != nullptr ? *missing : std::move(value));
  }
  return call.budget().list(std::move(out), SequenceKind::kGenerator);
}

// select, reject, selectattr, rejectattr: the items of which a test holds; without one, those that are true.
Value select(Call call, bool by_attribute, bool wanted) {
  const size_t skipped = by_attribute ? 1 : 0;
  const auto& given = call.rest.positional;
  if (given.size() < skipped || (given.size() > skipped && !given[skipped].is_string())) {
    throw TemplateError{"select and reject need the name of an attribute or a test"};
  }
  List out;
  const Value items = items_or_nothing(call);
  for (const Value& item : items.items()) {
    call.budget().charge_iteration();
    const Value value = by_attribute ? attribute_of(call.interpreter, item, given[0]) : item;
    const bool holds =
        given.size() > skipped
            ? call.interpreter.test(given[skipped].as_string(), value, rest_of(call, skipped + 1))
            : value.truthy();
    if (holds == wanted) {
      out.push_back(item);
    }
  }
  return call.budget().list(std::move(out), SequenceKind::kGenerator);
}

// Strings compare without regard to case unless told otherwise.
Value sort_key(Call call, const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? text(call, to_lower(value.as_string())) : value;
}

void sort_by_keys(Call call, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first, call.budget()) : less(a.first, b.first, call.budget());
  });
}

Value sort(Call call) {
  std::vector<std::pair<Value, Value>> keyed;
  const Value items = items_of(call);
  for (const Value& item : items.items()) {
    const Value key = call.has(2) && !call.arg(2).is_none()
                          ? attribute_of(call.interpreter, item, call.arg(2))
                          : item;
    keyed.emplace_back(sort_key(call, key, call.truth(1, false)), item);
  }
  sort_by_keys(call, keyed, call.truth(0, false));
  List out;
  for (auto& one : keyed) {
    out.push_back(std::move(one.second));
  }
  return call.budget().list(std::move(out));
}

const Dict& dict_of(Call call) {
  if (!call.self.is_dict()) {
    throw TemplateError{call.self.is_undefined() ? call.self.undefined_message()
                                                 : "the filter needs a dict, found a " +
                                                       std::string(call.self.type_name())};
  }
  return call.self.as_dict();
}

Value pair_of(Call call, const Value& a, const Value& b) {
  return call.budget().list({a, b}, SequenceKind::kTuple);
}

Value items(Call call) {
  List out;
  if (!call.self.is_undefined()) {
    for (const auto& [key, value] : dict_of(call).entries()) {
      out.push_back(pair_of(call, key, value));
    }
  }
  return call.budget().list(std::move(out), SequenceKind::kGenerator);
}

Value dictsort(Call call) {
  const bool by_value = call.has(1) && call.text(1) == "value";
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : dict_of(call).entries()) {
    keyed.emplace_back(sort_key(call, by_value ? value : key, call.truth(0, false)),
                       pair_of(call, key, value));
  }
  sort_by_keys(call, keyed, call.truth(2, false));
  List out;
  for (auto& one : keyed) {
    out.push_back(std::move(one.second));
  }
  return call.budget().list(std::move(out));
}

Value unique(Call call) {
  List seen;
  List out;
  const Value items = items_of(call);
  for (const Value& item : items.items()) {
    const Value plain = call.has(1) && !call.arg(1).is_none()
                            ? attribute_of(call.interpreter, item, call.arg(1))
                            : item;
    const Value key = sort_key(call, plain, call.truth(0, false));
    if (std::none_of(seen.begin(), seen.end(),
                     [&](const Value& old) { return equal(old, key, call.budget()); })) {
      seen.push_back(key);
      out.push_back(item);
    }
  }
  return call.budget().list(std::move(out), SequenceKind::kGenerator);
}

Value extreme(Call call, bool largest) {
  const Value items = items_of(call);
  Value best = Value::undefined("min or max of nothing");
  Value best_key;
  for (const Value& item : items.items()) {
    const Value plain = call.has(1) && !call.arg(1).is_none()
                            ? attribute_of(call.interpreter, item, call.arg(1))
                            : item;
    const Value key = sort_key(call, plain, call.truth(0, false));
    if (&item == &items.items().front() ||
        (largest ? less(best_key, key, call.budget()) : less(key, best_key, call.budget()))) {
      best = item;
      best_key = key;
    }
  }
  return best;
}

Value sum(Call call) {
  Value total = call.has(1) ? call.arg(1) : Value::integer(0);
  const Value items = items_of(call);
  for (const Value& item : items.items()) {
    const bool by_attribute = call.has(0) && !call.arg(0).is_none();
    total = arithmetic("+", total,
                       by_attribute ? attribute_of(call.interpreter, item, call.arg(0)) : item,
                       call.budget());
  }
  return total;
}

Value reverse(Call call) {
  const Value items = items_of(call);
  List out(items.items().rbegin(), items.items().rend());
  if (!call.self.is_string()) {
    return call.budget().list(std::move(out), SequenceKind::kGenerator);
  }
  std::string reversed;
  for (const Value& one : out) {
    reversed += one.as_string();
  }
  return text(call, std::move(reversed));
}

// Lists of `size` items, the last filled up if a value for that is given.
Value batch(Call call) {
  const int64_t size = call.integer(0);
  if (size < 1) {
    throw TemplateError{"batch needs a size of at least 1"};
  }
  List out;
  List one;
  const Value items = items_of(call);
  for (const Value& item : items.items()) {
    one.push_back(item);
    if (static_cast<int64_t>(one.size()) == size) {
      out.push_back(call.budget().list(std::exchange(one, {})));
    }
  }
  if (!one.empty()) {
    if (call.has(1) && !call.arg(1).is_none()) {
      call.budget().charge_bytes(static_cast<size_t>(size), sizeof(Value));
      one.resize(static_cast<size_t>(size), call.arg(1));
    }
    out.push_back(call.budget().list(std::move(one)));
  }
  return call.budget().list(std::move(out), SequenceKind::kGenerator);
}

Value groupby(Call call) {
  std::vector<std::pair<Value, Value>> keyed;
  const Value items = items_of(call);
  for (const Value& item : items.items()) {
    Value key = attribute_of(call.interpreter, item, call.arg(0));
    keyed.emplace_back(key.is_undefined() && call.has(1) ? call.arg(1) : key, item);
  }
  sort_by_keys(call, keyed, false);
  List out;
  for (size_t i = 0; i < keyed.size();) {
    const Value key = keyed[i].first;
    List group;
    for (; i < keyed.size() && equal(keyed[i].first, key, call.budget()); ++i) {
      group.push_back(keyed[i].second);
    }
    out.push_back(pair_of(call, key, call.budget().list(std::move(group))));
  }
  return call.budget().list(std::move(out));
}

// Each line after the first is put `width` blanks (or by the text `width`) to the right.
Value indent(Call call) {
  constexpr int64_t kMaxWidth = 1000;
  const std::string lead =
      call.has(0) && call.arg(0).is_string()
          ? call.text(0)
          : std::string(static_cast<size_t>(std::clamp(call.integer(0, 4), int64_t{0}, kMaxWidth)),
                        ' ');
  const std::string in = input(call);
  std::string out = call.truth(1, false) ? lead : "";
  for (size_t at = 0; at < in.size();) {
    const size_t end = std::min(in.find('\n', at), in.size());
    out.append(in, at, end - at);
    at = std::min(end + 1, in.size());
    if (end < in.size()) {
      out += '\n';
      const bool blank = at == in.size() || in[at] == '\n';
      if (!blank || call.truth(2, false)) {
        call.budget().charge_bytes(lead.size());
        out += lead;
      }
    }
  }
  return text(call, std::move(out));
}

Value to_int(Call call) {
  const Value missing = call.has(0) ? call.arg(0) : Value::integer(0);
  if (call.self.is_integral()) {
    return Value::integer(call.self.as_int());
  }
  std::string digits;
  double real = 0;
  if (call.self.is_string()) {
    digits = call.self.as_string().substr(trimmed_left(call.self.as_string()));
    digits.resize(trimmed_right(digits));
    const char* begin = digits.data() + (digits.starts_with('+') ? 1 : 0);
    const char* end = digits.data() + digits.size();
    int64_t value = 0;
    const auto parsed =
        std::from_chars(begin, end, value, static_cast<int>(call.integer(1, 10)) == 16 ? 16 : 10);
    if (parsed.ec == std::errc() && parsed.ptr == end) {
      return Value::integer(value);
    }
    const auto real_parsed = std::from_chars(begin, end, real);
    if (real_parsed.ec != std::errc() || real_parsed.ptr != end) {
      return missing;
    }
  } else if (call.self.is(Value::Kind::kFloat)) {
    real = call.self.as_real();
  } else {
    return missing;
  }
  return std::abs(real) < 9e18 ? Value::integer(static_cast<int64_t>(real)) : missing;
}

Value to_float(Call call) {
  if (call.self.is_number()) {
    return Value::real(call.self.as_real());
  }
  if (call.self.is_string()) {
    std::string digits = call.self.as_string().substr(trimmed_left(call.self.as_string()));
    digits.resize(trimmed_right(digits));
    const char* begin = digits.data() + (digits.starts_with('+') ? 1 : 0);
    double value = 0;
    const auto parsed = std::from_chars(begin, digits.data() + digits.size(), value);
    if (parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size()) {
      return Value::real(value);
    }
  }
  return call.has(0) ? call.arg(0) : Value::real(0);
}

Value absolute(Call call) {
  if (call.self.is_integral()) {
    return call.self.as_int() < 0 ? arithmetic("-", Value::integer(0), call.self, call.budget())
                                  : Value::integer(call.self.as_int());
  }
  if (!call.self.is_number()) {
    throw TemplateError{call.self.is_undefined() ? call.self.undefined_message()
                                                 : "abs needs a number"};
  }
  return Value::real(std::abs(call.self.as_real()));
}

Value round(Call call) {
  if (!call.self.is_number()) {
    throw TemplateError{call.self.is_undefined() ? call.self.undefined_message()
                                                 : "round needs a number"};
  }
  const int64_t digits = std::clamp(call.integer(0, 0), int64_t{-300}, int64_t{300});
  const std::string how = call.has(1) ? call.text(1) : "common";
  const double value = call.self.as_real();
  const double power = std::pow(10.0, static_cast<double>(digits));
  if (how == "ceil" || how == "floor") {
    return Value::real((how == "ceil" ? std::ceil(value * power) : std::floor(value * power)) /
                       power);
  }
  if (how != "common") {
    throw TemplateError{"round: the method must be common, ceil or floor"};
  }
  if (call.self.is_integral() && digits >= 0) {
    return Value::integer(call.self.as_int());
  }
  if (digits < 0) {
    return Value::real(std::nearbyint(value * power) / power);
  }
  return Value::real(std::strtod(format_percent("%." + std::to_string(digits) + "f",
                                                {Value::real(value)}, nullptr, call.budget())
                                     .c_str(),
                                 nullptr));
}

Value escape(Call call) {
  std::string out;
  for (const char c : input(call)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return text(call, std::move(out));
}

// Words begin behind white space, brackets and hyphens: unlike str.title(), "it's" keeps its small s.
Value title(Call call) {
  const std::string in = input(call);
  std::string out;
  size_t word = 0;
  for (size_t at = 0; at <= in.size(); ++at) {
    if (at == in.size() ||
        std::string_view(" \t\n\r\v\f-([{<").find(in[at]) != std::string_view::npos) {
      out += capitalized(std::string_view(in).substr(word, at - word));
      out += at < in.size() ? std::string(1, in[at]) : "";
      word = at + 1;
    }
  }
  return text(call, std::move(out));
}

Value format(Call call) {
  Dict named;
  for (const auto& [name, value] : call.rest.keywords) {
    named.set(name, value);
  }
  return text(call, format_percent(input(call), call.rest.positional,
                                   named.empty() ? nullptr : &named, call.budget()));
}

Value wordcount(Call call) {
  const Value words = by_method(call, "split");
  return Value::integer(static_cast<int64_t>(words.items().size()));
}

const Builtin kFilters[] = {
    {"abs", "", absolute},
    {"attr", "name", [](Call call) { return call.interpreter.attribute(call.self, call.text(0)); }},
    {"batch", "linecount fill_with?", batch},
    {"capitalize", "", [](Call call) { return by_method(call, "capitalize"); }},
    {"center", "width?",
     [](Call call) {
       const Value self = text(call, input(call));
       const Value width = Value::integer(call.integer(0, 80));
       return call.interpreter.call(Value::method(find_method(self, "center"), self),
                                    Arguments{{width}, {}});
     }},
    {"count", "", length},
    {"d", "default_value? boolean?", fallback},
    {"default", "default_value? boolean?", fallback},
    {"dictsort", "case_sensitive? by? reverse?", dictsort},
    {"e", "", escape},
    {"escape", "", escape},
    {"first", "", [](Call call) { return end_item(call, true); }},
    {"float", "default?", to_float},
    {"forceescape", "", escape},
    {"format", "...", format},
    {"groupby", "attribute default?", groupby},
    {"indent", "width? first? blank?", indent},
    {"int", "default? base?", to_int},
    {"items", "", items},
    {"join", "d? attribute?", join},
    {"last", "", [](Call call) { return end_item(call, false); }},
    {"length", "", length},
    {"list", "", [](Call call) { return call.budget().list(items_of(call).items()); }},
    {"lower", "", [](Call call) { return by_method(call, "lower"); }},
    {"map", "...", map},
    {"max", "case_sensitive? attribute?", [](Call call) { return extreme(call, true); }},
    {"min", "case_sensitive? attribute?", [](Call call) { return extreme(call, false); }},
    {"reject", "...", [](Call call) { return select(call, false, false); }},
    {"rejectattr", "...", [](Call call) { return select(call, true, false); }},
    {"replace", "old new count?", [](Call call) { return by_method(call, "replace"); }},
    {"reverse", "", reverse},
    {"round", "precision? method?", round},
    {"safe", "", [](Call call) { return text(call, input(call)); }},
    {"select", "...", [](Call call) { return select(call, false, true); }},
    {"selectattr", "...", [](Call call) { return select(call, true, true); }},
    {"sort", "reverse? case_sensitive? attribute?", sort},
    {"string", "", [](Call call) { return text(call, input(call)); }},
    {"sum", "attribute? start?", sum},
    {"title", "", title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", tojson},
    {"trim", "chars?", [](Call call) { return by_method(call, "strip"); }},
    {"unique", "case_sensitive? attribute?", unique},
    {"upper", "", [](Call call) { return by_method(call, "upper"); }},
    {"wordcount", "", wordcount},
};

}  // namespace

const Builtin* find_filter(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [&](const Builtin& filter) { return filter.name == name; });
  return found != std::end(kFilters) ? found : nullptr;
}

}  // namespace tern::jinja

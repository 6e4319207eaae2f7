// The filters that work on lists and dicts.
#include <algorithm>
#include <charconv>
#include <iterator>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_text.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

using Call = const BuiltinCall&;

Value text(Call call, std::string out) {
  return call.budget().string(std::move(out));
}

Value items_of(Call call) {
  return call.interpreter.sequence_of(call.self);
}

// map and select take anything false for an empty list: "tools | selectattr(...)" where tools is
// none.
Value items_or_nothing(Call call) {
  return call.self.truthy() ? items_of(call) : call.budget().list({});
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

// select, reject, selectattr, rejectattr: the items of which a test holds; without one, those that
// are true.
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
    if (a.first.is_undefined() && b.first.is_undefined()) {
      return false;  // alike, though they cannot be compared
    }
    return less((reverse ? b : a).first, (reverse ? a : b).first, call.budget());
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

const Builtin kListFilters[] = {
    {"batch", "linecount fill_with?", batch},
    {"dictsort", "case_sensitive? by? reverse?", dictsort},
    {"first", "", [](Call call) { return end_item(call, true); }},
    {"groupby", "attribute default?", groupby},
    {"items", "", items},
    {"join", "d? attribute?", join},
    {"last", "", [](Call call) { return end_item(call, false); }},
    {"list", "", [](Call call) { return call.budget().list(items_of(call).items()); }},
    {"map", "...", map},
    {"max", "case_sensitive? attribute?", [](Call call) { return extreme(call, true); }},
    {"min", "case_sensitive? attribute?", [](Call call) { return extreme(call, false); }},
    {"reject", "...", [](Call call) { return select(call, false, false); }},
    {"rejectattr", "...", [](Call call) { return select(call, true, false); }},
    {"reverse", "", reverse},
    {"select", "...", [](Call call) { return select(call, false, true); }},
    {"selectattr", "...", [](Call call) { return select(call, true, true); }},
    {"sort", "reverse? case_sensitive? attribute?", sort},
    {"sum", "attribute? start?", sum},
    {"unique", "case_sensitive? attribute?", unique},
};

}  // namespace

const Builtin* find_list_filter(std::string_view name) {
  const auto* found = std::find_if(std::begin(kListFilters), std::end(kListFilters),
                                   [&](const Builtin& filter) { return filter.name == name; });
  return found != std::end(kListFilters) ? found : nullptr;
}

}  // namespace tern::jinja

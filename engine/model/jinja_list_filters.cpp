// The filters that work on lists and dicts.
#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_text.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

using Call = const BuiltinCall&;

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
    interpreter.budget().charge_text(4 * dot);  // copied and looked up
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
  const Value separator = call.has(0) ? call.interpreter.text(call.arg(0)) : Value::string("");
  TextBuilder out(call.budget());
  bool first = true;
  const Value items = items_of(call);
  for (const Value& item : items.items()) {
    call.budget().charge_steps(1);
    if (!first) {
      out.append(separator.as_text());
    }
    first = false;
    append_str(call.has(1) ? attribute_of(call.interpreter, item, call.arg(1)) : item, out,
               call.budget());
  }
  return out.value();
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
  call.budget().charge_bytes(call.rest.positional.size() + 2 * call.rest.keywords.size(),
                             sizeof(Value));
  call.budget().charge_steps((call.rest.positional.size() + call.rest.keywords.size()) / 4);
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
  ListBuilder out(call.budget());
  const Value items = items_or_nothing(call);
  for (const Value& item : items.items()) {
    call.budget().charge_iteration();
    if (path == nullptr) {
      out.push(
          call.interpreter.filter(call.rest.positional[0].as_string(), item, rest_of(call, 1)));
      continue;
    }
    Value value = attribute_of(call.interpreter, item, *path);
    const Value* missing = keyword("default");
    out.push(value.is_undefined() && missing != nullptr ? *missing : std::move(value));
  }
  return out.value(SequenceKind::kGenerator);
}

// select, reject, selectattr, rejectattr: the items of which a test holds; without one, those that
// are true.
Value select(Call call, bool by_attribute, bool wanted) {
  const size_t skipped = by_attribute ? 1 : 0;
  const auto& given = call.rest.positional;
  if (given.size() < skipped || (given.size() > skipped && !given[skipped].is_string())) {
    throw TemplateError{"select and reject need the name of an attribute or a test"};
  }
  ListBuilder out(call.budget());
  const Value items = items_or_nothing(call);
  for (const Value& item : items.items()) {
    call.budget().charge_iteration();
    const Value value = by_attribute ? attribute_of(call.interpreter, item, given[0]) : item;
    const bool holds =
        given.size() > skipped
            ? call.interpreter.test(given[skipped].as_string(), value, rest_of(call, skipped + 1))
            : value.truthy();
    if (holds == wanted) {
      out.push(item);
    }
  }
  return out.value(SequenceKind::kGenerator);
}

// Strings compare without regard to case unless told otherwise.
Value sort_key(Call call, const Value& value, bool case_sensitive) {
  if (!value.is_string() || case_sensitive) {
    return value;
  }
  call.budget().charge_text(value.as_string().size());
  call.budget().charge_bytes(value.as_string().size());
  return call.budget().string(to_lower(value.as_string()));
}

using Keyed = std::vector<std::pair<Value, Value>>;

// Room for so many pairs of a key and an item, and for what std::stable_sort takes.
void charge_keyed(Call call, size_t count) {
  call.budget().charge_bytes(count, 4 * sizeof(Value));
}

List values_of(Call call, Keyed keyed) {
  call.budget().charge_steps(keyed.size() / 16);
  List out;
  for (auto& one : keyed) {
    out.push_back(std::move(one.second));
  }
  return out;
}

void sort_by_keys(Call call, Keyed& keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    if (a.first.is_undefined() && b.first.is_undefined()) {
      return false;  // alike, though they cannot be compared
    }
    return less((reverse ? b : a).first, (reverse ? a : b).first, call.budget());
  });
}

Value sort(Call call) {
  Keyed keyed;
  const Value items = items_of(call);
  charge_keyed(call, items.items().size());
  for (const Value& item : items.items()) {
    const Value key = call.has(2) && !call.arg(2).is_none()
                          ? attribute_of(call.interpreter, item, call.arg(2))
                          : item;
    keyed.emplace_back(sort_key(call, key, call.truth(1, false)), item);
  }
  sort_by_keys(call, keyed, call.truth(0, false));
  return call.budget().list(values_of(call, std::move(keyed)));
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
  ListBuilder out(call.budget());
  if (!call.self.is_undefined()) {
    for (const auto& [key, value] : dict_of(call).entries()) {
      call.budget().charge_steps(1);
      out.push(pair_of(call, key, value));
    }
  }
  return out.value(SequenceKind::kGenerator);
}

Value dictsort(Call call) {
  const bool by_value = call.has(1) && call.text(1) == "value";
  Keyed keyed;
  charge_keyed(call, dict_of(call).size());
  for (const auto& [key, value] : dict_of(call).entries()) {
    keyed.emplace_back(sort_key(call, by_value ? value : key, call.truth(0, false)),
                       pair_of(call, key, value));
  }
  sort_by_keys(call, keyed, call.truth(2, false));
  return call.budget().list(values_of(call, std::move(keyed)));
}

Value unique(Call call) {
  List seen;
  ListBuilder out(call.budget());
  const Value items = items_of(call);
  call.budget().charge_bytes(items.items().size(), sizeof(Value));  // for `seen`
  for (const Value& item : items.items()) {
    const Value plain = call.has(1) && !call.arg(1).is_none()
                            ? attribute_of(call.interpreter, item, call.arg(1))
                            : item;
    const Value key = sort_key(call, plain, call.truth(0, false));
    if (std::none_of(seen.begin(), seen.end(),
                     [&](const Value& old) { return equal(old, key, call.budget()); })) {
      seen.push_back(key);
      out.push(item);
    }
  }
  return out.value(SequenceKind::kGenerator);
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
  if (call.self.is_string()) {
    TextBuilder reversed(call.budget());
    for (auto one = items.items().rbegin(); one != items.items().rend(); ++one) {
      reversed.append(one->as_text());
    }
    return reversed.value();
  }
  ListBuilder out(call.budget());
  for (auto one = items.items().rbegin(); one != items.items().rend(); ++one) {
    out.push(*one);
  }
  return out.value(SequenceKind::kGenerator);
}

// Lists of `size` items, the last filled up if a value for that is given.
Value batch(Call call) {
  const int64_t size = call.integer(0);
  if (size < 1) {
    throw TemplateError{"batch needs a size of at least 1"};
  }
  ListBuilder out(call.budget());
  std::optional<ListBuilder> one;
  const Value items = items_of(call);
  for (const Value& item : items.items()) {
    call.budget().charge_steps(1);
    if (!one) {
      one.emplace(call.budget());
    }
    one->push(item);
    if (static_cast<int64_t>(one->size()) == size) {
      out.push(one->value());
      one.reset();
    }
  }
  if (one) {
    if (call.has(1) && !call.arg(1).is_none()) {
      const size_t missing = static_cast<size_t>(size) - one->size();
      call.budget().charge_bytes(missing, sizeof(Value));
      one->push_all(List(missing, call.arg(1)));
    }
    out.push(one->value());
  }
  return out.value(SequenceKind::kGenerator);
}

// `slices` lists of about equal length; those that are shorter are filled up if a value is given.
Value slice(Call call) {
  const int64_t slices = call.integer(0);
  if (slices < 1) {
    throw TemplateError{"slice needs at least 1 slice"};
  }
  const Value items = items_of(call);
  const size_t count = items.items().size();
  const auto parts = static_cast<size_t>(slices);
  ListBuilder out(call.budget());
  size_t at = 0;
  for (size_t i = 0; i < parts; ++i) {
    call.budget().charge_iteration();
    ListBuilder one(call.budget());
    for (const size_t end = at + count / parts + (i < count % parts ? 1 : 0); at < end; ++at) {
      call.budget().charge_steps(1);
      one.push(items.items()[at]);
    }
    if (call.has(1) && !call.arg(1).is_none() && i >= count % parts) {
      one.push(call.arg(1));
    }
    out.push(one.value());
  }
  return out.value(SequenceKind::kGenerator);
}

Value groupby(Call call) {
  Keyed keyed;
  const Value items = items_of(call);
  charge_keyed(call, items.items().size());
  const bool case_sensitive = call.truth(2, false);
  for (const Value& item : items.items()) {
    Value key = attribute_of(call.interpreter, item, call.arg(0));
    key = key.is_undefined() && call.has(1) ? call.arg(1) : key;
    keyed.emplace_back(sort_key(call, key, case_sensitive), pair_of(call, key, item));
  }
  sort_by_keys(call, keyed, false);
  ListBuilder out(call.budget());
  for (size_t i = 0; i < keyed.size();) {
    const Value& key = keyed[i].first;
    const Value grouper = keyed[i].second.items()[0];  // of the first, as Jinja
    ListBuilder group(call.budget());
    for (; i < keyed.size() && equal(keyed[i].first, key, call.budget()); ++i) {
      group.push(keyed[i].second.items()[1]);
    }
    call.budget().charge_bytes(4 * sizeof(Value));
    out.push(Value::group(grouper, group.value()));
  }
  return out.value();
}

const Builtin kListFilters[] = {
    {"batch", "linecount fill_with?", batch},
    {"dictsort", "case_sensitive? by? reverse?", dictsort},
    {"first", "", [](Call call) { return end_item(call, true); }},
    {"groupby", "attribute default? case_sensitive?", groupby},
    {"items", "", items},
    {"join", "d? attribute?", join},
    {"last", "", [](Call call) { return end_item(call, false); }},
    {"list", "",
     [](Call call) {
       ListBuilder out(call.budget());
       out.push_all(items_of(call).items());
       return out.value();
     }},
    {"map", "...", map},
    {"max", "case_sensitive? attribute?", [](Call call) { return extreme(call, true); }},
    {"min", "case_sensitive? attribute?", [](Call call) { return extreme(call, false); }},
    {"reject", "...", [](Call call) { return select(call, false, false); }},
    {"rejectattr", "...", [](Call call) { return select(call, true, false); }},
    {"reverse", "", reverse},
    {"select", "...", [](Call call) { return select(call, false, true); }},
    {"selectattr", "...", [](Call call) { return select(call, true, true); }},
    {"slice", "slices fill_with?", slice},
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

// The tests of Jinja: what may stand behind "is".
#include <algorithm>
#include <iterator>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_text.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

using Kind = Value::Kind;
using Call = const BuiltinCall&;

Value yes(bool value) {
  return Value::boolean(value);
}

// self modulo an integer, as a test needs it.
Value rest_of(Call call, int64_t divisor) {
  if (!call.self.is_number()) {
    throw TemplateError{call.self.is_undefined() ? call.self.undefined_message()
                                                 : "the test needs a number, found a " +
                                                       std::string(call.self.type_name())};
  }
  return arithmetic("%", call.self, Value::integer(divisor), call.budget());
}

bool is_iterable(const Value& value) {
  return value.is_sequence() || value.is_string() || value.is_dict() || value.is_undefined();
}

// Some letter is cased, and all cased letters are as `same` makes them.
bool is_cased(Call call, std::string (*same)(std::string_view),
              std::string (*other)(std::string_view)) {
  const Value self = call.interpreter.text(call.self);
  const std::string& text = self.as_string();
  call.budget().charge_bytes(text.size(), 4);
  call.budget().charge_text(text.size());
  return same(text) == text && other(text) != text;
}

Value compare(Call call, bool (*accept)(const Value&, const Value&, Budget&)) {
  return yes(accept(call.self, call.arg(0), call.budget()));
}

Value test_in(Call call) {
  const Value& where = call.arg(0);
  if (where.is_string() && call.self.is_string()) {
    call.budget().charge_text(where.as_string().size());
    return yes(find_text(where.as_string(), call.self.as_string()) != std::string::npos);
  }
  if (where.is_dict()) {
    call.budget().charge_text(call.self.is_string() ? call.self.as_string().size() : 0);
    return yes(where.as_dict().find(call.self) != nullptr);
  }
  const Value items = call.interpreter.sequence_of(where);
  return yes(std::any_of(items.items().begin(), items.items().end(),
                         [&](const Value& item) { return equal(item, call.self, call.budget()); }));
}

Value test_divisible(Call call) {
  return yes(rest_of(call, call.integer(0)).as_real() == 0);
}

Value equal_to(Call call) {
  return compare(call, equal);
}
Value not_equal(Call call) {
  return compare(
      call, [](const Value& a, const Value& b, Budget& budget) { return !equal(a, b, budget); });
}
Value less_than(Call call) {
  return compare(call, less);
}
Value greater_than(Call call) {
  return compare(call,
                 [](const Value& a, const Value& b, Budget& budget) { return less(b, a, budget); });
}
Value at_most(Call call) {
  return compare(
      call, [](const Value& a, const Value& b, Budget& budget) { return !less(b, a, budget); });
}
Value at_least(Call call) {
  return compare(
      call, [](const Value& a, const Value& b, Budget& budget) { return !less(a, b, budget); });
}

const Builtin kTests[] = {
    {"defined", "", [](Call call) { return yes(!call.self.is_undefined()); }},
    {"undefined", "", [](Call call) { return yes(call.self.is_undefined()); }},
    {"none", "", [](Call call) { return yes(call.self.is_none()); }},
    {"boolean", "", [](Call call) { return yes(call.self.is(Kind::kBool)); }},
    {"true", "", [](Call call) { return yes(call.self.is(Kind::kBool) && call.self.as_bool()); }},
    {"false", "", [](Call call) { return yes(call.self.is(Kind::kBool) && !call.self.as_bool()); }},
    {"integer", "", [](Call call) { return yes(call.self.is(Kind::kInt)); }},
    {"float", "", [](Call call) { return yes(call.self.is(Kind::kFloat)); }},
    {"number", "", [](Call call) { return yes(call.self.is_number()); }},
    {"string", "", [](Call call) { return yes(call.self.is_string()); }},
    {"mapping", "", [](Call call) { return yes(call.self.is_dict()); }},
    {"sequence", "",
     [](Call call) {
       return yes(is_iterable(call.self) && (!call.self.is_sequence() || call.self.is_list()));
     }},
    {"iterable", "", [](Call call) { return yes(is_iterable(call.self)); }},
    {"callable", "", [](Call call) { return yes(call.self.is_callable()); }},
    {"escaped", "", [](Call) { return yes(false); }},  // nothing is: there is no Markup here
    {"odd", "", [](Call call) { return yes(rest_of(call, 2).as_real() == 1); }},
    {"even", "", [](Call call) { return yes(rest_of(call, 2).as_real() == 0); }},
    {"divisibleby", "num", test_divisible},
    {"lower", "", [](Call call) { return yes(is_cased(call, to_lower, to_upper)); }},
    {"upper", "", [](Call call) { return yes(is_cased(call, to_upper, to_lower)); }},
    {"in", "seq", test_in},
    {"sameas", "other", equal_to},  // values have no identity here
    {"filter", "",
     [](Call call) {
       return yes(call.self.is_string() && find_filter(call.self.as_string()) != nullptr);
     }},
    {"test", "",
     [](Call call) {
       return yes(call.self.is_string() && find_test(call.self.as_string()) != nullptr);
     }},
    {"equalto", "other", equal_to},
    {"eq", "other", equal_to},
    {"==", "other", equal_to},
    {"ne", "other", not_equal},
    {"!=", "other", not_equal},
    {"lt", "other", less_than},
    {"<", "other", less_than},
    {"lessthan", "other", less_than},
    {"gt", "other", greater_than},
    {">", "other", greater_than},
    {"greaterthan", "other", greater_than},
    {"le", "other", at_most},
    {"<=", "other", at_most},
    {"ge", "other", at_least},
    {">=", "other", at_least},
};

}  // namespace

const Builtin* find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [&](const Builtin& test) { return test.name == name; });
  return found != std::end(kTests) ? found : nullptr;
}

}  // namespace tern::jinja

// + - * / // % ** as in Python, but integers have 64 bits: a larger result is an error.
#include <algorithm>
#include <cmath>

#include "engine/model/jinja_eval.h"
#include "engine/model/jinja_text.h"

namespace tern::jinja {
namespace {

[[noreturn]] void cannot(const std::string& op, const Value& left, const Value& right) {
  for (const Value* value : {&left, &right}) {
    if (value->is_undefined()) {
      throw TemplateError{value->undefined_message()};
    }
  }
  throw TemplateError{"'" + op + "' does not go with " + std::string(left.type_name()) + " and " +
                      std::string(right.type_name())};
}

Value integer_arithmetic(const std::string& op, int64_t a, int64_t b) {
  int64_t out = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &out);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &out);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &out);
  } else if (op == "**") {
    if (b < 0) {
      return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
    }
    out = 1;
    for (int64_t i = 0; i < b && !overflow && (a != 1 || i < 1) && a != 0; ++i) {
      if (a == -1) {
        return Value::integer(b % 2 == 0 ? 1 : -1);
      }
      overflow = __builtin_mul_overflow(out, a, &out);
    }
    out = a == 0 && b > 0 ? 0 : out;
  } else if (b == 0) {
    throw TemplateError{"division by zero"};
  } else if (op == "/") {
    return Value::real(static_cast<double>(a) / static_cast<double>(b));
  } else if (b == -1) {  // the one case in which / overflows
    overflow = op == "//" && __builtin_sub_overflow(int64_t{0}, a, &out);
  } else {
    const int64_t quotient = a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
    out = op == "//" ? quotient : a - quotient * b;
  }
  if (overflow) {
    throw TemplateError{"a number is too large"};
  }
  return Value::integer(out);
}

Value real_arithmetic(const std::string& op, double a, double b) {
  if (op == "+") {
    return Value::real(a + b);
  }
  if (op == "-") {
    return Value::real(a - b);
  }
  if (op == "*") {
    return Value::real(a * b);
  }
  if (op == "**") {
    return Value::real(std::pow(a, b));
  }
  if (b == 0) {
    throw TemplateError{"division by zero"};
  }
  if (op == "/") {
    return Value::real(a / b);
  }
  double rest = std::fmod(a, b);
  rest += rest != 0 && (rest < 0) != (b < 0) ? b : 0;
  return Value::real(op == "%" ? rest : std::floor((a - rest) / b + 0.5));
}

Value repeated(const Value& what, int64_t count, Budget& budget) {
  const auto times = static_cast<size_t>(std::max(count, int64_t{0}));
  if (what.is_string()) {
    TextBuilder out(budget);
    out.repeat(what.as_text(), times);
    return out.value();
  }
  budget.charge_bytes(times, what.items().size() * sizeof(Value));
  budget.charge_steps(times * what.items().size() / 16);
  List out;
  for (size_t i = 0; i < times && !what.items().empty(); ++i) {
    out.insert(out.end(), what.items().begin(), what.items().end());
  }
  return Value::list(std::move(out), what.as_sequence().kind);
}

}  // namespace

Value arithmetic(const std::string& op, const Value& left, const Value& right, Budget& budget) {
  if (left.is_integral() && right.is_integral()) {
    return integer_arithmetic(op, left.as_int(), right.as_int());
  }
  if (left.is_number() && right.is_number()) {
    return real_arithmetic(op, left.as_real(), right.as_real());
  }
  if (op == "+" && left.is_string() && right.is_string()) {
    TextBuilder out(budget);
    out.append(left.as_text());
    out.append(right.as_text());
    return out.value();
  }
  if (op == "+" && left.is_list() && right.is_list() &&
      left.as_sequence().kind == right.as_sequence().kind) {
    ListBuilder out(budget);
    out.push_all(left.items());
    out.push_all(right.items());
    return out.value(left.as_sequence().kind);
  }
  if (op == "*" && (left.is_string() || left.is_list()) && right.is_integral()) {
    return repeated(left, right.as_int(), budget);
  }
  if (op == "*" && (right.is_string() || right.is_list()) && left.is_integral()) {
    return repeated(right, left.as_int(), budget);
  }
  if (op == "%" && left.is_string()) {
    const bool many = right.is_sequence() && right.as_sequence().kind == SequenceKind::kTuple;
    budget.charge_text(left.as_string().size());
    return format_percent(left.as_text(), many ? right.items() : List{right},
                          right.is_dict() ? &right.as_dict() : nullptr, budget);
  }
  cannot(op, left, right);
}

}  // namespace tern::jinja

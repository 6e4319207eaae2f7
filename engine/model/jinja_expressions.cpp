// The half of the interpreter that evaluates expressions.
#include <algorithm>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_eval.h"
#include "engine/model/jinja_eval_guards.h"
#include "engine/model/jinja_text.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {

using Kind = Expr::Kind;

Value Interpreter::evaluate(const Expr& expr) {
  const Depth depth(*this, expr.line);
  return evaluate_kind(expr);
}

Value Interpreter::evaluate_kind(const Expr& expr) {
  switch (expr.kind) {
    case Kind::kConstant:
      return expr.constant;
    case Kind::kBlockInput:
      return block_input_;
    case Kind::kName:
      return name(expr);
    case Kind::kList:
      return sequence(expr, SequenceKind::kList);
    case Kind::kTuple:
      return sequence(expr, SequenceKind::kTuple);
    case Kind::kDict:
      return dict(expr);
    case Kind::kNot:
      return Value::boolean(!evaluate(*expr.children[0]).truthy());
    case Kind::kNegate:
    case Kind::kPlus:
      return negate(expr);
    case Kind::kAnd:
    case Kind::kOr:
      return logical(expr);
    case Kind::kArithmetic: {
      const Value left = evaluate(*expr.children[0]);
      const Value right = evaluate(*expr.children[1]);
      line_ = expr.line;
      return arithmetic(expr.text, left, right, budget_);
    }
    case Kind::kConcat:
      return concat(expr);
    case Kind::kCompare:
      return comparison(expr);
    case Kind::kConditional:
      if (evaluate(*expr.children[1]).truthy()) {
        return evaluate(*expr.children[0]);
      }
      return expr.children[2] ? evaluate(*expr.children[2]) : Value();
    case Kind::kAttribute:
      return attribute(evaluate(*expr.children[0]), expr.text);
    case Kind::kSubscript: {
      const Value object = evaluate(*expr.children[0]);
      return item(object, evaluate(*expr.children[1]));
    }
    case Kind::kSlice:
      return slice(expr);
    case Kind::kCall:
      return evaluate_call(expr, nullptr);
    case Kind::kFilter: {
      const Value input = evaluate(*expr.children[0]);
      Arguments given = arguments(expr);
      line_ = expr.line;
      return filter(expr.text, input, std::move(given));
    }
    case Kind::kTest: {
      const Value input = evaluate(*expr.children[0]);
      Arguments given = arguments(expr);
      line_ = expr.line;
      return Value::boolean(test(expr.text, input, std::move(given)) != expr.negated);
    }
    case Kind::kUnpackList:
    case Kind::kUnpackDict:
      break;  // arguments() takes them apart
  }
  return {};
}

Value Interpreter::name(const Expr& expr) {
  for (const Frame* frame = frame_.get(); frame != nullptr; frame = frame->parent.get()) {
    budget_.charge_steps(1);
    if (const Value* value = frame->find(expr.text)) {
      return *value;
    }
  }
  if (const Builtin* function = find_function(expr.text)) {
    return Value::function(function);
  }
  return undefined(expr.text);
}

// Each holds its name, which no list that it stands in is charged for.
Value Interpreter::undefined(std::string name) {
  constexpr size_t kBytes = 160;
  budget_.charge_bytes(kBytes);
  return Value::undefined(std::move(name));
}

Value Interpreter::sequence(const Expr& expr, SequenceKind kind) {
  List items;
  items.reserve(expr.children.size());
  for (const ExprPtr& child : expr.children) {
    items.push_back(evaluate(*child));
  }
  return budget_.list(std::move(items), kind);
}

Value Interpreter::dict(const Expr& expr) {
  Dict dict;
  for (size_t i = 0; i < expr.children.size(); i += 2) {
    Value key = evaluate(*expr.children[i]);
    if (!key.is_string() && !key.is_number() && !key.is_none()) {
      throw TemplateError{"a " + std::string(key.type_name()) + " cannot be a key of a dict"};
    }
    budget_.charge_text(key.is_string() ? key.as_string().size() : 0);
    dict.set(std::move(key), evaluate(*expr.children[i + 1]));
  }
  return budget_.dict(std::move(dict));
}

// "and" and "or" give the operand that decides.
Value Interpreter::logical(const Expr& expr) {
  Value value;
  for (const ExprPtr& child : expr.children) {
    value = evaluate(*child);
    if (value.truthy() == (expr.kind == Kind::kOr)) {
      break;
    }
  }
  return value;
}

Value Interpreter::negate(const Expr& expr) {
  const Value value = evaluate(*expr.children[0]);
  line_ = expr.line;
  if (value.is_undefined()) {
    throw TemplateError{value.undefined_message()};
  }
  if (!value.is_number()) {
    throw TemplateError{"a sign before a " + std::string(value.type_name())};
  }
  if (expr.kind == Kind::kPlus) {
    return value.is_integral() ? Value::integer(value.as_int()) : value;
  }
  return value.is_integral() ? arithmetic("-", Value::integer(0), value, budget_)
                             : Value::real(-value.as_real());
}

Value Interpreter::concat(const Expr& expr) {
  TextBuilder out(budget_);
  for (const ExprPtr& child : expr.children) {
    append_str(evaluate(*child), out, budget_);
  }
  return out.value();
}

Value Interpreter::comparison(const Expr& expr) {
  Value left = evaluate(*expr.children[0]);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = evaluate(*expr.children[i + 1]);
    line_ = expr.line;
    if (!compare(expr.operators[i], left, right)) {
      return Value::boolean(false);
    }
    left = std::move(right);
  }
  return Value::boolean(true);
}

bool Interpreter::compare(const std::string& op, const Value& left, const Value& right) {
  if (op == "==") {
    return equal(left, right, budget_);
  }
  if (op == "!=") {
    return !equal(left, right, budget_);
  }
  if (op == "in" || op == "not in") {
    return contains(right, left) == (op == "in");
  }
  if (op == "<") {
    return less(left, right, budget_);
  }
  if (op == ">") {
    return less(right, left, budget_);
  }
  const bool real = left.is(Value::Kind::kFloat) || right.is(Value::Kind::kFloat);
  if (real && left.is_number() && right.is_number()) {  // NaN is neither less nor greater nor equal
    return op == "<=" ? left.as_real() <= right.as_real() : left.as_real() >= right.as_real();
  }
  return op == "<=" ? !less(right, left, budget_) : !less(left, right, budget_);
}

bool Interpreter::contains(const Value& container, const Value& value) {
  if (container.is_string()) {
    if (!value.is_string()) {
      throw TemplateError{value.is_undefined() ? value.undefined_message()
                                               : "'in <string>' needs a string, found " +
                                                     std::string(value.type_name())};
    }
    budget_.charge_text(container.as_string().size());
    return find_text(container.as_string(), value.as_string()) != std::string::npos;
  }
  if (container.is_dict()) {
    budget_.charge_text(value.is_string() ? value.as_string().size() : 0);
    return container.as_dict().find(value) != nullptr;
  }
  const Value items = sequence_of(container);
  return std::any_of(items.items().begin(), items.items().end(),
                     [&](const Value& item) { return equal(item, value, budget_); });
}

Value Interpreter::sequence_of(const Value& iterable) {
  ListBuilder items(budget_);
  switch (iterable.kind()) {
    case Value::Kind::kSequence:
      return iterable;
    case Value::Kind::kUndefined:
      break;
    case Value::Kind::kString: {
      const MarkedText& text = iterable.as_text();
      for (size_t at = 0; at < text.size();) {
        const size_t size = char_size(text.bytes, at);
        budget_.charge_steps(1);
        items.push(budget_.part(text, at, size));
        at += size;
      }
      break;
    }
    case Value::Kind::kDict:
      budget_.charge_text(iterable.as_dict().size());
      for (const Dict::Entry& entry : iterable.as_dict().entries()) {
        items.push(entry.first);
      }
      break;
    default:
      throw TemplateError{"a " + std::string(iterable.type_name()) + " cannot be iterated over"};
  }
  return items.value();
}

Value Interpreter::new_namespace(Dict attributes) {
  budget_.charge_bytes(attributes.size() + 4, 4 * sizeof(Value));
  namespaces_.push_back(std::make_unique<Namespace>(Namespace{std::move(attributes)}));
  return Value::name_space(namespaces_.back().get());
}

Value Interpreter::text(const Value& value) {
  if (value.is_string()) {
    return value;
  }
  TextBuilder out(budget_);
  append_str(value, out, budget_);
  return out.value();
}

namespace {
Value loop_attribute(const Value& object, const std::string& name) {
  const LoopState& loop = *object.as_loop();
  const List& items = loop.sequence.items();
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(items.size());
  if (name == "index") {
    return Value::integer(index + 1);
  }
  if (name == "index0") {
    return Value::integer(index);
  }
  if (name == "first") {
    return Value::boolean(index == 0);
  }
  if (name == "last") {
    return Value::boolean(index + 1 == length);
  }
  if (name == "length") {
    return Value::integer(length);
  }
  if (name == "revindex") {
    return Value::integer(length - index);
  }
  if (name == "revindex0") {
    return Value::integer(length - index - 1);
  }
  if (name == "previtem") {
    return index > 0 ? items[loop.index - 1] : Value::undefined("loop.previtem");
  }
  if (name == "nextitem") {
    return index + 1 < length ? items[loop.index + 1] : Value::undefined("loop.nextitem");
  }
  if (name == "depth" || name == "depth0") {  // counts recursive loops only
    return Value::integer(loop.level + (name == "depth" ? 1 : 0));
  }
  const Builtin* method = find_method(object, name);
  return method != nullptr ? Value::method(method, object) : Value::undefined("loop." + name);
}
}  // namespace

// As Python: the object's own attributes first, then its items.
Value Interpreter::attribute(const Value& object, const std::string& name) {
  budget_.charge_steps(1);
  switch (object.kind()) {
    case Value::Kind::kUndefined:
      throw TemplateError{object.undefined_message()};
    case Value::Kind::kLoop:
      return loop_attribute(object, name);
    case Value::Kind::kNamespace: {
      const Value* found = object.as_namespace().attributes.find(name);
      return found != nullptr ? *found : undefined(name);
    }
    default:
      break;
  }
  if (const Builtin* method = find_method(object, name)) {
    budget_.charge_bytes(4 * sizeof(Value));
    return Value::method(method, object);
  }
  if (object.is_sequence() && object.as_sequence().is_group &&
      (name == "grouper" || name == "list")) {
    return object.items()[name == "grouper" ? 0 : 1];
  }
  if (object.is_dict()) {
    if (const Value* found = object.as_dict().find(name)) {
      return *found;
    }
  }
  return undefined(name);
}

// As Python: the object's items first, then its attributes.
Value Interpreter::item(const Value& object, const Value& key) {
  if (object.is_undefined()) {
    throw TemplateError{object.undefined_message()};
  }
  budget_.charge_text(key.is_string() ? key.as_string().size() : 0);
  if (object.is_dict()) {
    if (const Value* found = object.as_dict().find(key)) {
      return *found;
    }
  }
  if (key.is_integral() && (object.is_string() || object.is_list())) {
    const std::string* text = object.is_string() ? &object.as_string() : nullptr;
    if (text != nullptr) {
      budget_.charge_text(text->size());
    }
    const auto size =
        static_cast<int64_t>(text != nullptr ? char_count(*text) : object.items().size());
    const int64_t index = key.as_int() < 0 ? key.as_int() + size : key.as_int();
    if (index < 0 || index >= size) {
      return undefined("index " + std::to_string(key.as_int()));
    }
    if (text == nullptr) {
      return object.items()[static_cast<size_t>(index)];
    }
    const size_t at = byte_offset(*text, static_cast<size_t>(index));
    return budget_.part(object.as_text(), at, char_size(*text, at));
  }
  return key.is_string() ? attribute(object, key.as_string()) : undefined("an item");
}

namespace {
// Python's rules for a[begin:end:step] of `size` items: the indices taken.
std::vector<int64_t> slice_indices(const Value& begin, const Value& end, const Value& step_value,
                                   int64_t size) {
  for (const Value* part : {&begin, &end, &step_value}) {
    if (!part->is_integral() && !part->is_none()) {
      throw TemplateError{part->is_undefined()
                              ? part->undefined_message()
                              : "a slice needs integers, found " + std::string(part->type_name())};
    }
  }
  const int64_t step = step_value.is_none() ? 1 : step_value.as_int();
  if (step == 0) {
    throw TemplateError{"a slice's step is zero"};
  }
  const bool forward = step > 0;
  const auto bound = [&](const Value& value, int64_t missing) {
    if (value.is_none()) {
      return missing;
    }
    const int64_t from_start = value.as_int() < 0 ? value.as_int() + size : value.as_int();
    return forward ? std::clamp(from_start, int64_t{0}, size)
                   : std::clamp(from_start, int64_t{-1}, size - 1);
  };
  const int64_t first = bound(begin, forward ? 0 : size - 1);
  const int64_t last = bound(end, forward ? size : -1);
  std::vector<int64_t> indices;
  const int64_t stride = std::clamp(step, -size - 1, size + 1);  // keeps the sum below in range
  for (int64_t i = first; forward ? i < last : i > last; i += stride) {
    indices.push_back(i);
  }
  return indices;
}
}  // namespace

Value Interpreter::slice(const Expr& expr) {
  const Value object = evaluate(*expr.children[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    bounds[i] = expr.children[i + 1] ? evaluate(*expr.children[i + 1]) : Value::none();
  }
  line_ = expr.line;
  if (object.is_string()) {
    const std::string& text = object.as_string();
    budget_.charge_bytes(text.size(), 4 * sizeof(size_t));
    budget_.charge_text(text.size());
    std::vector<size_t> starts;
    for (size_t at = 0; at < text.size(); at += char_size(text, at)) {
      starts.push_back(at);
    }
    TextBuilder out(budget_);
    for (const int64_t i :
         slice_indices(bounds[0], bounds[1], bounds[2], static_cast<int64_t>(starts.size()))) {
      const size_t at = starts[static_cast<size_t>(i)];
      out.append(object.as_text(), at, char_size(text, at));
    }
    return out.value();
  }
  if (!object.is_list()) {
    throw TemplateError{object.is_undefined()
                            ? object.undefined_message()
                            : "a " + std::string(object.type_name()) + " cannot be sliced"};
  }
  const List& items = object.items();
  budget_.charge_bytes(items.size(), 2 * sizeof(int64_t));
  budget_.charge_text(items.size());
  ListBuilder out(budget_);
  for (const int64_t i :
       slice_indices(bounds[0], bounds[1], bounds[2], static_cast<int64_t>(items.size()))) {
    out.push(items[static_cast<size_t>(i)]);
  }
  return out.value(object.as_sequence().kind);
}

namespace {
void unpack_keywords(const Value& value, Arguments& out, Budget& budget) {
  if (!value.is_dict()) {
    throw TemplateError{"the value behind ** must be a dict, found a " +
                        std::string(value.type_name())};
  }
  for (const auto& [name, item] : value.as_dict().entries()) {
    if (!name.is_string()) {
      throw TemplateError{"the keys of the dict behind ** must be strings"};
    }
    budget.charge_steps(1);
    budget.charge_bytes(sizeof(out.keywords[0]) + name.as_string().size());
    out.keywords.emplace_back(name.as_string(), item);
  }
}
}  // namespace

// Keywords by name come before those of a dict, whose order the receiver sees.
Arguments Interpreter::arguments(const Expr& expr) {
  Arguments out;
  std::vector<Value> dicts;
  for (size_t i = 1; i < expr.children.size(); ++i) {
    const Expr& child = *expr.children[i];
    const bool unpacks = child.kind == Kind::kUnpackList || child.kind == Kind::kUnpackDict;
    const Value value = evaluate(unpacks ? *child.children[0] : child);
    if (child.kind == Kind::kUnpackList) {
      const Value items = sequence_of(value);
      budget_.charge_bytes(items.items().size(), sizeof(Value));
      budget_.charge_steps(items.items().size() / 16);
      out.positional.insert(out.positional.end(), items.items().begin(), items.items().end());
    } else if (child.kind == Kind::kUnpackDict) {
      dicts.push_back(value);
    } else {
      out.positional.push_back(value);
    }
  }
  for (const auto& [name, value] : expr.keywords) {
    out.keywords.emplace_back(name, evaluate(*value));
  }
  for (const Value& value : dicts) {
    unpack_keywords(value, out, budget_);
  }
  return out;
}

// `caller`: what a call block hands in, or null.
Value Interpreter::evaluate_call(const Expr& expr, Value* caller) {
  const Value callee = evaluate(*expr.children[0]);
  Arguments given = arguments(expr);
  if (caller != nullptr) {
    given.keywords.emplace_back("caller", std::move(*caller));
  }
  line_ = expr.line;
  return call(callee, std::move(given));
}

Value Interpreter::call(const Value& callee, Arguments arguments) {
  switch (callee.kind()) {
    case Value::Kind::kFunction:
      return call_builtin(callee.as_function(), Value(), std::move(arguments));
    case Value::Kind::kMethod:
      return call_builtin(*callee.as_method().builtin, callee.as_method().self,
                          std::move(arguments));
    case Value::Kind::kMacro:
      return call_macro(*callee.as_macro(), std::move(arguments));
    case Value::Kind::kLoop:
      return call_loop(*callee.as_loop(), arguments);
    case Value::Kind::kUndefined:
      throw TemplateError{callee.undefined_message()};
    default:
      throw TemplateError{"a " + std::string(callee.type_name()) + " cannot be called"};
  }
}

Value Interpreter::call_builtin(const Builtin& builtin, const Value& self, Arguments arguments) {
  budget_.charge_text(self.is_string() ? self.as_string().size() : 0);
  return builtin.function(bind(*this, builtin, self, std::move(arguments)));
}

Value Interpreter::filter(const std::string& name, const Value& input, Arguments arguments) {
  const Builtin* builtin = find_filter(name);
  if (builtin == nullptr) {
    throw TemplateError{"there is no filter '" + name + "'"};
  }
  return call_builtin(*builtin, input, std::move(arguments));
}

bool Interpreter::test(const std::string& name, const Value& input, Arguments arguments) {
  const Builtin* builtin = find_test(name);
  if (builtin == nullptr) {
    throw TemplateError{"there is no test '" + name + "'"};
  }
  return call_builtin(*builtin, input, std::move(arguments)).truthy();
}

}  // namespace tern::jinja

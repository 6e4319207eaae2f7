#include "engine/model/jinja_value.h"

#include <algorithm>

#include "engine/model/jinja_eval.h"

namespace tern::jinja {

Value Value::undefined(std::string name) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(name))};
  return value;
}

Value Value::none() {
  Value value;
  value.data_ = std::monostate{};
  return value;
}

Value Value::boolean(bool boolean) {
  Value value;
  value.data_ = boolean;
  return value;
}

Value Value::integer(int64_t integer) {
  Value value;
  value.data_ = integer;
  return value;
}

Value Value::real(double real) {
  Value value;
  value.data_ = real;
  return value;
}

Value Value::string(std::string text) {
  Value value;
  value.data_ = std::make_shared<const std::string>(std::move(text));
  return value;
}

Value Value::list(List items, SequenceKind kind) {
  int depth = 0;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth());
  }
  Value value;
  value.data_ = std::make_shared<const Sequence>(Sequence{std::move(items), kind, depth + 1});
  return value;
}

Value Value::dict(Dict dict) {
  Value value;
  value.data_ = std::make_shared<const Dict>(std::move(dict));
  return value;
}

Value Value::name_space(Namespace* name_space) {
  Value value;
  value.data_ = name_space;
  return value;
}

Value Value::loop(std::shared_ptr<LoopState> loop) {
  Value value;
  value.data_ = std::move(loop);
  return value;
}

Value Value::function(const Builtin* builtin) {
  Value value;
  value.data_ = builtin;
  return value;
}

Value Value::method(const Builtin* builtin, Value self) {
  Value value;
  value.data_ = std::make_shared<const BoundMethod>(BoundMethod{builtin, std::move(self)});
  return value;
}

Value Value::macro(std::shared_ptr<const Macro> macro) {
  Value value;
  value.data_ = std::move(macro);
  return value;
}

bool Value::is_list() const {
  return is_sequence() && as_sequence().kind != SequenceKind::kGenerator;
}

int64_t Value::as_int() const {
  return is(Kind::kBool) ? int64_t{as_bool()} : std::get<int64_t>(data_);
}

double Value::as_real() const {
  return is(Kind::kFloat) ? std::get<double>(data_) : static_cast<double>(as_int());
}

bool Value::truthy() const {
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return as_bool();
    case Kind::kInt:
      return as_int() != 0;
    case Kind::kFloat:
      return as_real() != 0;
    case Kind::kString:
      return !as_string().empty();
    case Kind::kSequence:
      return !is_list() || !items().empty();
    case Kind::kDict:
      return !as_dict().empty();
    default:
      return true;
  }
}

int Value::depth() const {
  switch (kind()) {
    case Kind::kSequence:
      return as_sequence().depth;
    case Kind::kDict:
      return as_dict().depth();
    case Kind::kLoop:
      return as_loop().depth;
    case Kind::kMethod:
      return as_method().self.depth() + 1;
    default:
      return 0;
  }
}

std::string Value::undefined_message() const {
  const auto& name = std::get<Undefined>(data_).name;
  return name ? "'" + *name + "' is undefined" : "a value is undefined";
}

std::string_view Value::type_name() const {
  switch (kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kSequence: {
      const SequenceKind sequence = as_sequence().kind;
      return sequence == SequenceKind::kList    ? "list"
             : sequence == SequenceKind::kTuple ? "tuple"
                                                : "generator";
    }
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kFunction:
      return "function";
    case Kind::kMethod:
      return "method";
    case Kind::kMacro:
      return "Macro";
  }
  return "?";
}

const Value* Dict::find(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.first.is_string() && entry.first.as_string() == key) {
      return &entry.second;
    }
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) {
    return find(std::string_view(key.as_string()));
  }
  for (const Entry& entry : entries_) {
    const Value& other = entry.first;
    if ((key.is_none() && other.is_none()) ||
        (key.is_number() && other.is_number() && key.as_real() == other.as_real())) {
      return &entry.second;
    }
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  depth_ = std::max(depth_, value.depth() + 1);
  if (const Value* found = find(key)) {
    *const_cast<Value*>(found) = std::move(value);
  } else {
    entries_.emplace_back(std::move(key), std::move(value));
  }
}

namespace {
[[noreturn]] void over(const char* what, size_t limit) {
  throw TemplateError{"the template uses more than " + std::to_string(limit) + " " + what};
}
}  // namespace

void Budget::charge_bytes(size_t bytes) {
  if (bytes > limits_.memory_bytes - bytes_) {
    over("bytes of memory", limits_.memory_bytes);
  }
  bytes_ += bytes;
}

void Budget::charge_bytes(size_t count, size_t each) {
  if (each != 0 && count > limits_.memory_bytes / each) {
    over("bytes of memory", limits_.memory_bytes);
  }
  charge_bytes(count * each);
}

void Budget::charge_steps(size_t steps) {
  if (steps > limits_.steps - steps_) {
    over("steps of evaluation", limits_.steps);
  }
  steps_ += steps;
}

void Budget::charge_iteration() {
  if (iterations_ == limits_.iterations) {
    over("loop iterations", limits_.iterations);
  }
  ++iterations_;
}

Value Budget::string(std::string text) {
  charge_bytes(text.size() + sizeof(Value) + sizeof(std::string));
  return Value::string(std::move(text));
}

Value Budget::list(List items, SequenceKind kind) {
  charge_bytes(items.size() + 2, sizeof(Value));
  Value value = Value::list(std::move(items), kind);
  if (value.depth() > limits_.value_depth) {
    throw TemplateError{"values are nested more than " + std::to_string(limits_.value_depth) +
                        " deep"};
  }
  return value;
}

Value Budget::dict(Dict dict) {
  charge_bytes(dict.size() + 2, 2 * sizeof(Value));
  if (dict.depth() > limits_.value_depth) {
    throw TemplateError{"values are nested more than " + std::to_string(limits_.value_depth) +
                        " deep"};
  }
  return Value::dict(std::move(dict));
}

namespace {
bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.size() != b.size()) {
    return false;
  }
  for (const Dict::Entry& entry : a.entries()) {
    budget.charge_steps(b.size());
    const Value* other = b.find(entry.first);
    if (other == nullptr || !equal(entry.second, *other, budget)) {
      return false;
    }
  }
  return true;
}
}  // namespace

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.charge_steps(1);
  if (a.is_number() && b.is_number()) {
    return a.is_integral() && b.is_integral() ? a.as_int() == b.as_int()
                                              : a.as_real() == b.as_real();
  }
  if (a.kind() != b.kind()) {
    return false;
  }
  switch (a.kind()) {
    case Value::Kind::kString:
      budget.charge_text(a.as_string().size());
      return a.as_string() == b.as_string();
    case Value::Kind::kSequence:
      return a.as_sequence().kind == b.as_sequence().kind &&
             std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        [&](const Value& x, const Value& y) { return equal(x, y, budget); });
    case Value::Kind::kDict:
      return equal_dicts(a.as_dict(), b.as_dict(), budget);
    case Value::Kind::kNamespace:
      return &a.as_namespace() == &b.as_namespace();
    case Value::Kind::kUndefined:
    case Value::Kind::kNone:
      return true;
    default:
      return false;
  }
}

bool less(const Value& a, const Value& b, Budget& budget) {
  budget.charge_steps(1);
  if (a.is_number() && b.is_number()) {
    return a.is_integral() && b.is_integral() ? a.as_int() < b.as_int() : a.as_real() < b.as_real();
  }
  if (a.is_string() && b.is_string()) {
    budget.charge_text(a.as_string().size());
    return a.as_string() < b.as_string();  // UTF-8 sorts as its code points do
  }
  if (a.is_list() && b.is_list() && a.as_sequence().kind == b.as_sequence().kind) {
    for (size_t i = 0; i < a.items().size() && i < b.items().size(); ++i) {
      if (!equal(a.items()[i], b.items()[i], budget)) {
        return less(a.items()[i], b.items()[i], budget);
      }
    }
    return a.items().size() < b.items().size();
  }
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) {
      throw TemplateError{value->undefined_message()};
    }
  }
  throw TemplateError{"'<' compares neither " + std::string(a.type_name()) + " nor " +
                      std::string(b.type_name()) + " with the other"};
}

}  // namespace tern::jinja

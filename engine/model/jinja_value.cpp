#include "engine/model/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <functional>

#include "engine/model/jinja_eval.h"

namespace tern::jinja {

Value Value::undefined(std::string name) {
  // It may be any text that was looked up, and is only shown in messages.
  constexpr size_t kLongestName = 100;
  if (name.size() > kLongestName) {
    name = name.substr(0, kLongestName) + "...";
  }
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
  return Value::text(MarkedText{std::move(text), {}});
}

Value Value::text(MarkedText text) {
  Value value;
  value.data_ = std::make_shared<const MarkedText>(std::move(text));
  return value;
}

Value Value::list(List items, SequenceKind kind) {
  int depth = 0;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth());
  }
  Value value;
  value.data_ =
      std::make_shared<const Sequence>(Sequence{std::move(items), kind, depth + 1, false});
  return value;
}

Value Value::group(Value grouper, Value list) {
  const int depth = std::max(grouper.depth(), list.depth()) + 1;
  Value value;
  value.data_ = std::make_shared<const Sequence>(
      Sequence{{std::move(grouper), std::move(list)}, SequenceKind::kTuple, depth, true});
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
      return as_loop()->depth;
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

namespace {
size_t hash_of(std::string_view key) {
  return std::hash<std::string_view>()(key);
}

// Of equal keys equal hashes: numbers are hashed as the double that they are equal to.
size_t hash_of(const Value& key) {
  if (key.is_string()) {
    return hash_of(std::string_view(key.as_string()));
  }
  return key.is_number() ? std::hash<double>()(key.as_real()) : 0;
}

bool same_key(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    return a.as_int() == b.as_int();
  }
  if (a.is_number() && b.is_number()) {
    // One NaN is as good a key as another: Python tells them apart by their addresses.
    return a.as_real() == b.as_real() || (std::isnan(a.as_real()) && std::isnan(b.as_real()));
  }
  return a.is_none() && b.is_none();
}
}  // namespace

template <class Is>
const Value* Dict::find_by(size_t hash, const Is& is) const {
  if (!index_.empty()) {
    const size_t found =
        index_.find(hash, [&](size_t position) { return is(entries_[position].first); });
    return found != HashIndex::kNone ? &entries_[found].second : nullptr;
  }
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return is(entry.first); });
  return found != entries_.end() ? &found->second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  return find_by(index_.empty() ? 0 : hash_of(key),
                 [&](const Value& other) { return other.is_string() && other.as_string() == key; });
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) {
    return find(std::string_view(key.as_string()));
  }
  return find_by(index_.empty() ? 0 : hash_of(key),
                 [&](const Value& other) { return same_key(key, other); });
}

bool Dict::set(Value key, Value value) {
  depth_ = std::max(depth_, value.depth() + 1);
  if (const Value* found = find(key)) {
    *const_cast<Value*>(found) = std::move(value);
    return false;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() > HashIndex::kFewEntries) {
    for (size_t i = index_.empty() ? 0 : entries_.size() - 1; i < entries_.size(); ++i) {
      index_.add(hash_of(entries_[i].first), i);
    }
  }
  return true;
}

double thread_seconds() {
  std::timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

namespace {
[[noreturn]] void over(const char* what, size_t limit) {
  throw TemplateError{"the template uses more than " + std::to_string(limit) + " " + what};
}

void check_depth(const Value& value, const Limits& limits) {
  if (value.depth() > limits.value_depth) {
    throw TemplateError{"values are nested more than " + std::to_string(limits.value_depth) +
                        " deep"};
  }
}

// Of a string besides its bytes: the value, the text, and what counts its owners.
constexpr size_t kStringBytes = sizeof(Value) + sizeof(MarkedText) + 16;
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
  constexpr size_t kStepsBetweenLooks = 4096;
  if (steps_ - steps_at_clock_ >= kStepsBetweenLooks) {
    look_at_clock();
  }
}

void Budget::look_at_clock() {
  steps_at_clock_ = steps_;
  if (limits_.clock() - started_ > limits_.seconds) {
    throw TemplateError{"the template takes more than " +
                        std::to_string(static_cast<int>(std::ceil(limits_.seconds))) +
                        " seconds of processor time"};
  }
}

void Budget::charge_iteration() {
  if (iterations_ == limits_.iterations) {
    over("loop iterations", limits_.iterations);
  }
  ++iterations_;
}

Value Budget::string(std::string text) {
  return this->text(MarkedText{std::move(text), {}});
}

Value Budget::text(MarkedText text) {
  charge_bytes(text.size() + text.untrusted.size() * sizeof(TextSpan) + kStringBytes);
  return Value::text(std::move(text));
}

Value Budget::part(const MarkedText& text, size_t begin, size_t size) {
  TextBuilder out(*this);
  out.append(text, begin, std::min(size, text.size() - begin));
  return out.value();
}

Value Budget::list(List items, SequenceKind kind) {
  charge_bytes(items.size() + 4, sizeof(Value));
  Value value = Value::list(std::move(items), kind);
  check_depth(value, limits_);
  return value;
}

Value Budget::dict(Dict dict) {
  charge_bytes(dict.size() + 1, 4 * sizeof(Value));  // entries and index
  Value value = Value::dict(std::move(dict));
  check_depth(value, limits_);
  return value;
}

void TextBuilder::charge(size_t bytes) {
  budget_.charge_bytes(bytes);
  uncounted_ += bytes;
  constexpr size_t kCountedAtOnce = 4096;
  if (uncounted_ >= kCountedAtOnce) {
    budget_.charge_text(uncounted_);
    uncounted_ = 0;
  }
}

void TextBuilder::append(std::string_view text, bool is_untrusted) {
  charge(text.size());
  const size_t spans = text_.untrusted.size();
  text_.append(text, is_untrusted);
  budget_.charge_bytes(text_.untrusted.size() - spans, sizeof(TextSpan));
}

void TextBuilder::append(const MarkedText& text, size_t begin, size_t size) {
  charge(size);
  if (!text.untrusted.empty()) {
    const size_t first = first_span_behind(text.untrusted, begin);
    const size_t last = first_span_behind(text.untrusted, begin + size);
    budget_.charge_bytes(last - first + 1, sizeof(TextSpan));
  }
  text_.append(text, begin, size);
}

void TextBuilder::repeat(const MarkedText& text, size_t times) {
  if (text.size() == 0) {
    return;
  }
  budget_.charge_bytes(times, text.size() + text.untrusted.size() * sizeof(TextSpan));
  budget_.charge_text(times * text.size());
  if (text.untrusted.empty() && text.size() == 1) {
    text_.bytes.append(times, text.bytes[0]);
    return;
  }
  for (size_t i = 0; i < times; ++i) {
    text_.append(text, 0, text.size());
  }
}

Value TextBuilder::value() {
  budget_.charge_text(std::exchange(uncounted_, 0));
  budget_.charge_bytes(kStringBytes);
  return Value::text(take());
}

void ListBuilder::push(Value value) {
  budget_.charge_bytes(sizeof(Value));
  items_.push_back(std::move(value));
}

void ListBuilder::push_all(const List& items) {
  budget_.charge_bytes(items.size(), sizeof(Value));
  budget_.charge_steps(items.size() / 16);
  items_.insert(items_.end(), items.begin(), items.end());
}

Value ListBuilder::value(SequenceKind kind) {
  budget_.charge_bytes(4 * sizeof(Value));
  Value value = Value::list(std::move(items_), kind);
  check_depth(value, budget_.limits());
  return value;
}

namespace {
bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.size() != b.size()) {
    return false;
  }
  for (const Dict::Entry& entry : a.entries()) {
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

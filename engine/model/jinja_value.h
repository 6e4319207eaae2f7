#pragma once
// Values of the Jinja interpreter: Python's, as far as chat templates meet them, and the budget
// they are charged to.
//
// Values are immutable and shared, as in the sandbox that Hugging Face renders templates in (no
// list.append there). The one exception is namespace(): those are owned by the interpreter, so that
// a cycle through one leaks nothing.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/model/jinja_index.h"
#include "engine/model/marked_text.h"

namespace tern::jinja {

// Thrown inside the interpreter only; jinja.cpp turns it into an Error. An interpreter with a
// Result at every step would hide its own logic. `line` is filled in by the evaluator where the
// thrower does not know it.
struct TemplateError {
  std::string message;
  int line = 0;
};

class Value;
class Dict;
class Budget;
struct Builtin;      // jinja_builtins.h
struct Macro;        // jinja_eval.h
struct LoopState;    // jinja_eval.h
struct Namespace;    // below
struct BoundMethod;  // below

using List = std::vector<Value>;

enum class SequenceKind : uint8_t {
  kList,
  kTuple,
  kGenerator,  // what map, select, ... give: iterates, but has no length and is always true
};

struct Sequence {
  List items;
  SequenceKind kind = SequenceKind::kList;
  int depth = 1;  // of the nesting; bounded, because values are destroyed and printed by recursion
  bool is_group = false;  // a pair of groupby's: its items are called grouper and list as well
};

class Value {
 public:
  enum class Kind : uint8_t {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kSequence,
    kDict,
    kNamespace,
    kLoop,
    kFunction,
    kMethod,
    kMacro,
  };

  Value() = default;  // undefined, without a name
  static Value undefined(std::string name);
  static Value none();
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value real(double value);
  static Value string(std::string value);
  static Value text(MarkedText value);  // a string, parts of which are marked
  static Value list(List items, SequenceKind kind = SequenceKind::kList);
  static Value group(Value grouper, Value list);
  static Value dict(Dict dict);
  static Value name_space(Namespace* name_space);
  static Value loop(std::shared_ptr<LoopState> loop);
  static Value function(const Builtin* builtin);
  static Value method(const Builtin* builtin, Value self);
  static Value macro(std::shared_ptr<const Macro> macro);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  bool is_sequence() const { return is(Kind::kSequence); }
  bool is_list() const;  // a list or tuple: a sequence that is no generator
  bool is_dict() const { return is(Kind::kDict); }
  bool is_integral() const {
    return is(Kind::kInt) || is(Kind::kBool);
  }  // bool is an int in Python
  bool is_number() const { return is_integral() || is(Kind::kFloat); }
  bool is_callable() const { return kind() >= Kind::kLoop; }

  // Each may be called for its own kind only.
  bool as_bool() const { return std::get<bool>(data_); }
  int64_t as_int() const;  // also of a bool
  double as_real() const;  // of any number
  const MarkedText& as_text() const { return *std::get<StringPtr>(data_); }
  const std::string& as_string() const { return as_text().bytes; }
  const Sequence& as_sequence() const { return *std::get<SequencePtr>(data_); }
  const List& items() const { return as_sequence().items; }
  const Dict& as_dict() const { return *std::get<DictPtr>(data_); }
  Namespace& as_namespace() const { return *std::get<Namespace*>(data_); }
  const std::shared_ptr<LoopState>& as_loop() const { return std::get<LoopPtr>(data_); }
  const Builtin& as_function() const { return *std::get<const Builtin*>(data_); }
  const BoundMethod& as_method() const { return *std::get<MethodPtr>(data_); }
  const std::shared_ptr<const Macro>& as_macro() const { return std::get<MacroPtr>(data_); }

  bool truthy() const;
  int depth() const;  // 0 for a scalar
  // What the template's author called an undefined value: "'messages' is undefined".
  std::string undefined_message() const;
  std::string_view type_name() const;  // as Python calls it: "str", "list", ...

 private:
  struct Undefined {
    std::shared_ptr<const std::string> name;
  };
  using StringPtr = std::shared_ptr<const MarkedText>;
  using SequencePtr = std::shared_ptr<const Sequence>;
  using DictPtr = std::shared_ptr<const Dict>;
  using LoopPtr = std::shared_ptr<LoopState>;
  using MethodPtr = std::shared_ptr<const BoundMethod>;
  using MacroPtr = std::shared_ptr<const Macro>;
  // In the order of Kind.
  std::variant<Undefined, std::monostate, bool, int64_t, double, StringPtr, SequencePtr, DictPtr,
               Namespace*, LoopPtr, const Builtin*, MethodPtr, MacroPtr>
      data_;
};

// A mapping that keeps its order. Keys are scalars.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;  // 1, 1.0 and true are one key, as in Python
  bool set(Value key, Value value);           // replaces, or appends and says so
  bool set(std::string_view key, Value value) {
    return set(Value::string(std::string(key)), std::move(value));
  }
  const std::vector<Entry>& entries() const { return entries_; }
  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  template <class Is>
  const Value* find_by(size_t hash, const Is& is) const;

  std::vector<Entry> entries_;
  HashIndex index_;  // of more than HashIndex::kFewEntries entries
  int depth_ = 1;
};

struct Namespace {
  Dict attributes;
};

struct BoundMethod {
  const Builtin* builtin;
  Value self;
};

// Processor time that this thread has taken, in seconds.
double thread_seconds();

struct Limits {
  size_t template_bytes = size_t{1} << 20;
  int nesting = 120;                       // of expressions and blocks in the template's text
  int evaluation_depth = 500;              // of evaluation: macros that call themselves
  int value_depth = 100;                   // lists in lists
  size_t iterations = 1'000'000;           // of all loops together
  size_t steps = 20'000'000;               // of evaluation: each node and each 16 bytes looked at
  size_t output_bytes = size_t{64} << 20;  // of the rendered text
  // Of all values made, whether still alive or not. What grows holds up to three times its size
  // while it moves to a larger place, so that less than 512 MB are taken.
  size_t memory_bytes = size_t{160} << 20;
  // Steps are charged before the work, but some take longer than others: time is the belt.
  double seconds = 2;
  double (*clock)() = thread_seconds;
};

// What one rendering has used up. Every charge past a limit throws an error that names the limit.
class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits), started_(limits.clock()) {}

  void charge_bytes(size_t bytes);
  void charge_bytes(size_t count, size_t each);  // without overflow
  void refund_bytes(size_t bytes) { bytes_ -= bytes; }
  void charge_steps(size_t steps);
  void charge_text(size_t bytes) { charge_steps(1 + bytes / 16); }  // a pass over a text
  void charge_iteration();

  // Values whose size is charged, and whose nesting is checked.
  Value string(std::string text);
  Value text(MarkedText text);
  Value part(const MarkedText& text, size_t begin, size_t size);  // charged before it is copied
  Value list(List items, SequenceKind kind = SequenceKind::kList);
  Value dict(Dict dict);

  const Limits& limits() const { return limits_; }

 private:
  void look_at_clock();

  Limits limits_;
  double started_;
  size_t bytes_ = 0;
  size_t steps_ = 0;
  size_t iterations_ = 0;
  size_t steps_at_clock_ = 0;  // when it was last looked at
};

// A text that grows, charged before it does.
class TextBuilder {
 public:
  explicit TextBuilder(Budget& budget) : budget_(budget) {}

  void append(std::string_view text, bool is_untrusted = false);
  void append(char c, bool is_untrusted = false) { append(std::string_view(&c, 1), is_untrusted); }
  void append(const MarkedText& text) { append(text, 0, text.size()); }
  void append(const MarkedText& text, size_t begin, size_t size);
  void repeat(const MarkedText& text, size_t times);

  size_t size() const { return text_.size(); }
  const MarkedText& text() const { return text_; }
  MarkedText take() { return std::move(text_); }
  Value value();  // takes it

 private:
  void charge(size_t bytes);

  Budget& budget_;
  MarkedText text_;
  size_t uncounted_ = 0;  // bytes whose steps are not charged yet
};

// A list that grows, charged before it does.
class ListBuilder {
 public:
  explicit ListBuilder(Budget& budget) : budget_(budget) {}

  void push(Value value);
  void push_all(const List& items);
  size_t size() const { return items_.size(); }
  Value value(SequenceKind kind = SequenceKind::kList);  // takes it

 private:
  Budget& budget_;
  List items_;
};

bool equal(const Value& a, const Value& b, Budget& budget);
// a < b for numbers, strings and lists; others are an error, as in Python.
bool less(const Value& a, const Value& b, Budget& budget);

}  // namespace tern::jinja

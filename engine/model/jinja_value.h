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
  static Value list(List items, SequenceKind kind = SequenceKind::kList);
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
  bool is_callable() const { return kind() >= Kind::kFunction; }

  // Each may be called for its own kind only.
  bool as_bool() const { return std::get<bool>(data_); }
  int64_t as_int() const;  // also of a bool
  double as_real() const;  // of any number
  const std::string& as_string() const { return *std::get<StringPtr>(data_); }
  const Sequence& as_sequence() const { return *std::get<SequencePtr>(data_); }
  const List& items() const { return as_sequence().items; }
  const Dict& as_dict() const { return *std::get<DictPtr>(data_); }
  Namespace& as_namespace() const { return *std::get<Namespace*>(data_); }
  const LoopState& as_loop() const { return *std::get<LoopPtr>(data_); }
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
  using StringPtr = std::shared_ptr<const std::string>;
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

// A mapping that keeps its order. Keys are scalars; looked up one by one, since those of templates
// are small.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;  // 1, 1.0 and true are one key, as in Python
  void set(Value key, Value value);           // replaces or appends
  void set(std::string_view key, Value value) {
    set(Value::string(std::string(key)), std::move(value));
  }
  const std::vector<Entry>& entries() const { return entries_; }
  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  std::vector<Entry> entries_;
  int depth_ = 1;
};

struct Namespace {
  Dict attributes;
};

struct BoundMethod {
  const Builtin* builtin;
  Value self;
};

struct Limits {
  size_t template_bytes = size_t{1} << 20;
  int nesting = 120;                        // of expressions and blocks in the template's text
  int evaluation_depth = 500;               // of evaluation: macros that call themselves
  int value_depth = 100;                    // lists in lists
  size_t iterations = 1'000'000;            // of all loops together
  size_t steps = 20'000'000;                // of evaluation: each node and each 16 bytes looked at
  size_t output_bytes = size_t{64} << 20;   // of the rendered text
  size_t memory_bytes = size_t{256} << 20;  // of all values made, whether still alive or not
};

// What one rendering has used up. Every charge past a limit throws an error that names the limit.
class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}

  void charge_bytes(size_t bytes);
  void charge_bytes(size_t count, size_t each);  // without overflow
  void charge_steps(size_t steps);
  void charge_text(size_t bytes) { charge_steps(1 + bytes / 16); }  // a pass over a text
  void charge_iteration();

  // Values whose size is charged, and whose nesting is checked.
  Value string(std::string text);
  Value list(List items, SequenceKind kind = SequenceKind::kList);
  Value dict(Dict dict);

  const Limits& limits() const { return limits_; }

 private:
  Limits limits_;
  size_t bytes_ = 0;
  size_t steps_ = 0;
  size_t iterations_ = 0;
};

bool equal(const Value& a, const Value& b, Budget& budget);
// a < b for numbers, strings and lists; others are an error, as in Python.
bool less(const Value& a, const Value& b, Budget& budget);

}  // namespace tern::jinja

#pragma once
// Runs a parsed template.

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/model/jinja_ast.h"
#include "engine/model/jinja_value.h"

namespace tern::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;
};

// The variables of one scope. Names point into the template's tree or the caller's globals, which
// live longer.
struct Frame {
  std::shared_ptr<Frame> parent;
  std::vector<std::pair<std::string_view, Value>> variables;
  HashIndex index;  // of more than HashIndex::kFewEntries variables
  size_t charged = 0;

  const Value* find(std::string_view name) const;
  bool set(std::string_view name, Value value);  // replaces, or appends and says so

 private:
  size_t position(std::string_view name) const;  // HashIndex::kNone if there is none
};

struct Macro {
  std::shared_ptr<const MacroNode> node;
  std::shared_ptr<Frame> frame;  // where it was defined
};

struct LoopState {
  Value sequence;
  size_t index = 0;
  int depth = 1;                 // of the value, for Limits::value_depth
  int64_t level = 0;             // how often a recursive loop has called itself
  const Stmt* loop;              // a recursive one
  std::shared_ptr<Frame> frame;  // around a recursive loop
  Value changed;                 // what changed() was last given
};

class Interpreter {
 public:
  Interpreter(const Limits& limits, std::time_t now) : budget_(limits), now_(now) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // The whole rendering. Throws TemplateError with a line, as everything here does.
  MarkedText run(const Block& body, const Dict& globals);

  // For the built-ins:
  Budget& budget() { return budget_; }
  std::time_t now() const { return now_; }
  Value call(const Value& callee, Arguments arguments);
  Value filter(const std::string& name, const Value& input, Arguments arguments);
  bool test(const std::string& name, const Value& input, Arguments arguments);
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& key);
  Value sequence_of(const Value& iterable);  // its items as a sequence
  Value new_namespace(Dict attributes);
  Value text(const Value& value);  // str()
  bool loop_changed(const std::shared_ptr<LoopState>& loop, Value values);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  class Depth;  // counts one level of evaluation
  class Scope;  // a frame of its own for as long as it lives

  // jinja_eval.cpp: statements
  Flow execute(const Block& block);
  Flow execute(const Stmt& stmt);
  Flow execute_if(const Stmt& stmt);
  Flow execute_for(const Stmt& stmt, const Value& iterable, int64_t level);
  Value call_loop(const LoopState& loop, const Arguments& arguments);
  Flow execute_with(const Stmt& stmt);
  void execute_set_block(const Stmt& stmt);
  Value filtered_items(const Stmt& stmt, const Value& items);
  void assign(const Expr& target, const Value& value);
  void define(std::string_view name, Value value);
  Value capture(const Block& block);
  void check_output(size_t more) const;
  void emit(const Value& value);
  Value make_macro(const std::shared_ptr<const MacroNode>& node);
  Value call_macro(const Macro& macro, Arguments arguments);
  void bind_keywords(const MacroNode& node, Arguments& arguments);

  // jinja_expressions.cpp
  Value evaluate(const Expr& expr);
  Value evaluate_kind(const Expr& expr);
  Value name(const Expr& expr);
  Value sequence(const Expr& expr, SequenceKind kind);
  Value dict(const Expr& expr);
  Value logical(const Expr& expr);
  Value negate(const Expr& expr);
  Value concat(const Expr& expr);
  Value comparison(const Expr& expr);
  bool compare(const std::string& op, const Value& left, const Value& right);
  bool contains(const Value& container, const Value& value);
  Value slice(const Expr& expr);
  Value evaluate_call(const Expr& expr, Value* caller);
  Arguments arguments(const Expr& expr);
  Value call_builtin(const struct Builtin& builtin, const Value& self, Arguments arguments);
  Value undefined(std::string name);

  Budget budget_;
  std::time_t now_;
  int depth_ = 0;
  int line_ = 0;  // of the node at work, for errors
  std::shared_ptr<Frame> frame_;
  TextBuilder* out_ = nullptr;
  Value block_input_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  // Frames that macros hold: their variables hold the macros in turn, so the cycle is cut at the
  // end.
  std::vector<std::shared_ptr<Frame>> captured_;
  // Loops that remember what changed() was given, which may hold the loop itself.
  std::vector<std::shared_ptr<LoopState>> remembering_;
};

// a + b and the like, without regard to the interpreter.
Value arithmetic(const std::string& op, const Value& left, const Value& right, Budget& budget);

}  // namespace tern::jinja

#include "engine/model/jinja_eval.h"

#include <algorithm>
#include <functional>

#include "engine/model/jinja_eval_guards.h"
#include "engine/model/jinja_text.h"

namespace tern::jinja {

using Kind = Stmt::Kind;

size_t Frame::position(std::string_view name) const {
  if (!index.empty()) {
    return index.find(std::hash<std::string_view>()(name),
                      [&](size_t at) { return variables[at].first == name; });
  }
  for (size_t i = 0; i < variables.size(); ++i) {
    if (variables[i].first == name) {
      return i;
    }
  }
  return HashIndex::kNone;
}

const Value* Frame::find(std::string_view name) const {
  const size_t at = position(name);
  return at != HashIndex::kNone ? &variables[at].second : nullptr;
}

bool Frame::set(std::string_view name, Value value) {
  const size_t at = position(name);
  if (at != HashIndex::kNone) {
    variables[at].second = std::move(value);
    return false;
  }
  variables.emplace_back(name, std::move(value));
  if (variables.size() > HashIndex::kFewEntries) {
    for (size_t i = index.empty() ? 0 : variables.size() - 1; i < variables.size(); ++i) {
      index.add(std::hash<std::string_view>()(variables[i].first), i);
    }
  }
  return true;
}

// Values hold macros, macros frames, and frames values: chains without an end, which would be
// destroyed by recursion, and cycles. Every frame that a macro holds is held by captured_ too, so
// all values that may begin a chain are let go first, while none of the frames can die of it.
Interpreter::~Interpreter() {
  block_input_ = Value();
  for (const auto& one : namespaces_) {
    const Dict attributes = std::exchange(one->attributes, {});
  }
  for (const auto& loop : remembering_) {
    const Value changed = std::exchange(loop->changed, {});
  }
  for (const auto& frame : captured_) {
    const auto variables = std::exchange(frame->variables, {});
  }
  frame_.reset();
  // Children before their parents, or a long chain of them would be destroyed by recursion.
  while (!captured_.empty()) {
    captured_.pop_back();
  }
}

MarkedText Interpreter::run(const Block& body, const Dict& globals) {
  TextBuilder out(budget_);
  out_ = &out;
  frame_ = std::make_shared<Frame>();
  for (const Dict::Entry& entry : globals.entries()) {
    frame_->set(entry.first.as_string(), entry.second);
  }
  try {
    execute(body);
  } catch (TemplateError& error) {
    error.line = error.line != 0 ? error.line : line_;
    throw;
  }
  return out.take();
}

void Interpreter::check_output(size_t more) const {
  const size_t most = budget_.limits().output_bytes;
  if (more > most - out_->size()) {
    throw TemplateError{"the text is longer than " + std::to_string(most) + " bytes"};
  }
}

void Interpreter::emit(const Value& value) {
  const Value printed = text(value);
  check_output(printed.as_string().size());
  out_->append(printed.as_text());
}

Interpreter::Flow Interpreter::execute(const Block& block) {
  for (const Stmt& stmt : block) {
    const Flow flow = execute(stmt);
    if (flow != Flow::kNormal) {
      return flow;
    }
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Stmt& stmt) {
  const Depth depth(*this, stmt.line);
  switch (stmt.kind) {
    case Kind::kText:
      check_output(stmt.text.size());
      out_->append(stmt.text);
      break;
    case Kind::kOutput:
      emit(evaluate(*stmt.value));
      break;
    case Kind::kIf:
      return execute_if(stmt);
    case Kind::kFor:
      return execute_for(stmt, evaluate(*stmt.value), 0);
    case Kind::kSet:
      assign(*stmt.target, evaluate(*stmt.value));
      break;
    case Kind::kSetBlock:
      execute_set_block(stmt);
      break;
    case Kind::kMacro:
      define(stmt.macro->name, make_macro(stmt.macro));
      break;
    case Kind::kCallBlock: {
      Value caller = make_macro(stmt.macro);
      emit(evaluate_call(*stmt.value, &caller));
      break;
    }
    case Kind::kFilter: {
      Value input = capture(stmt.body);
      std::swap(block_input_, input);
      const Value filtered = evaluate(*stmt.value);
      std::swap(block_input_, input);
      emit(filtered);
      break;
    }
    case Kind::kWith:
      return execute_with(stmt);
    case Kind::kScope: {
      const Scope scope(*this);
      return execute(stmt.body);
    }
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute_if(const Stmt& stmt) {
  for (const auto& [condition, block] : stmt.branches) {
    if (evaluate(*condition).truthy()) {
      return execute(block);
    }
  }
  return execute(stmt.otherwise);
}

// The items that "for x in items if condition" lets through.
Value Interpreter::filtered_items(const Stmt& stmt, const Value& items) {
  ListBuilder kept(budget_);
  for (const Value& item : items.items()) {
    budget_.charge_iteration();
    const Scope scope(*this);
    assign(*stmt.target, item);
    if (evaluate(*stmt.condition).truthy()) {
      kept.push(item);
    }
  }
  return kept.value();
}

Interpreter::Flow Interpreter::execute_for(const Stmt& stmt, const Value& iterable, int64_t level) {
  budget_.charge_bytes(sizeof(LoopState));
  auto loop = std::make_shared<LoopState>();
  loop->level = level;
  loop->sequence = sequence_of(iterable);
  if (stmt.condition) {
    loop->sequence = filtered_items(stmt, loop->sequence);
  }
  loop->depth = loop->sequence.depth() + 1;
  if (stmt.recursive) {  // may be called as long as anything holds it, so it holds its frame
    loop->loop = &stmt;
    loop->frame = frame_;
    captured_.push_back(frame_);
  }
  const List& items = loop->sequence.items();
  for (; loop->index < items.size(); ++loop->index) {
    budget_.charge_iteration();
    const Scope scope(*this);
    define("loop", Value::loop(loop));
    assign(*stmt.target, items[loop->index]);
    if (execute(stmt.body) == Flow::kBreak) {
      break;
    }
  }
  if (items.empty()) {
    const Scope scope(*this);
    return execute(stmt.otherwise);
  }
  return Flow::kNormal;
}

// loop(children) in a recursive loop: the text of the same loop over `children`.
Value Interpreter::call_loop(const LoopState& loop, const Arguments& arguments) {
  if (loop.loop == nullptr) {
    throw TemplateError{"only a loop that is marked 'recursive' can be called"};
  }
  if (arguments.positional.size() != 1 || !arguments.keywords.empty()) {
    throw TemplateError{"loop() takes what to loop over, and nothing else"};
  }
  const Depth depth(*this, line_);
  const Restore caller_frame(frame_, loop.frame);
  TextBuilder out(budget_);
  const Restore restore(out_, &out);
  execute_for(*loop.loop, arguments.positional[0], loop.level + 1);
  return out.value();
}

bool Interpreter::loop_changed(const std::shared_ptr<LoopState>& loop, Value values) {
  if (loop->changed.is_undefined()) {
    budget_.charge_bytes(sizeof(loop));
    remembering_.push_back(loop);
  } else if (equal(loop->changed, values, budget_)) {
    return false;
  }
  loop->changed = std::move(values);
  return true;
}

Interpreter::Flow Interpreter::execute_with(const Stmt& stmt) {
  std::vector<Value> values;  // all seen from outside
  for (const auto& binding : stmt.bindings) {
    values.push_back(evaluate(*binding.second));
  }
  const Scope scope(*this);
  for (size_t i = 0; i < values.size(); ++i) {
    assign(*stmt.bindings[i].first, values[i]);
  }
  return execute(stmt.body);
}

void Interpreter::execute_set_block(const Stmt& stmt) {
  Value value = capture(stmt.body);
  if (stmt.value) {
    std::swap(block_input_, value);
    Value filtered = evaluate(*stmt.value);
    std::swap(block_input_, value);
    value = std::move(filtered);
  }
  assign(*stmt.target, value);
}

void Interpreter::define(std::string_view name, Value value) {
  if (frame_->set(name, std::move(value))) {
    // A variable, with its place in the index.
    constexpr size_t kBytes = sizeof(frame_->variables[0]) + 4 * sizeof(size_t);
    budget_.charge_bytes(kBytes);
    frame_->charged += kBytes;
  }
}

void Interpreter::assign(const Expr& target, const Value& value) {
  if (target.kind == Expr::Kind::kName) {
    define(target.text, value);
    return;
  }
  if (target.kind == Expr::Kind::kAttribute) {
    const Value object = evaluate(*target.children[0]);
    if (!object.is(Value::Kind::kNamespace)) {
      throw TemplateError{"cannot set the attribute '" + target.text + "' of a " +
                          std::string(object.type_name()) + ": only of a namespace()"};
    }
    if (object.as_namespace().attributes.set(target.text, value)) {
      budget_.charge_bytes(4 * sizeof(Value) + sizeof(MarkedText));
    }
    return;
  }
  const Value values = sequence_of(value);
  if (values.items().size() != target.children.size()) {
    throw TemplateError{"expected " + std::to_string(target.children.size()) +
                        " values to unpack, found " + std::to_string(values.items().size())};
  }
  for (size_t i = 0; i < target.children.size(); ++i) {
    assign(*target.children[i], values.items()[i]);
  }
}

Value Interpreter::capture(const Block& block) {
  TextBuilder out(budget_);
  const Restore restore(out_, &out);
  const Scope scope(*this);
  execute(block);
  return out.value();
}

Value Interpreter::make_macro(const std::shared_ptr<const MacroNode>& node) {
  budget_.charge_bytes(sizeof(Macro) + sizeof(Frame));
  captured_.push_back(frame_);
  return Value::macro(std::make_shared<const Macro>(Macro{node, frame_}));
}

void Interpreter::bind_keywords(const MacroNode& node, Arguments& arguments) {
  Dict extra;
  for (auto& [name, value] : arguments.keywords) {
    budget_.charge_steps(1 + node.parameters.size() / 16);
    const auto known = [&, &wanted = name](const Parameter& parameter) {
      return parameter.name == wanted;
    };
    const auto parameter = std::find_if(node.parameters.begin(), node.parameters.end(), known);
    if (parameter != node.parameters.end()) {
      if (frame_->find(parameter->name) != nullptr) {
        throw TemplateError{"macro '" + node.name + "' got '" + name + "' twice"};
      }
      define(parameter->name, std::move(value));
    } else if (name == "caller") {
      define("caller", std::move(value));
    } else if (node.takes_kwargs) {
      extra.set(name, std::move(value));
    } else {
      throw TemplateError{"macro '" + node.name + "' takes no argument '" + name + "'"};
    }
  }
  if (node.takes_kwargs) {
    define("kwargs", budget_.dict(std::move(extra)));
  }
}

Value Interpreter::call_macro(const Macro& macro, Arguments arguments) {
  const MacroNode& node = *macro.node;
  const size_t count = std::min(arguments.positional.size(), node.parameters.size());
  if (arguments.positional.size() > count && !node.takes_varargs) {
    throw TemplateError{"macro '" + node.name + "' takes at most " + std::to_string(count) +
                        " arguments"};
  }
  const Scope scope(*this, macro.frame);
  for (size_t i = 0; i < count; ++i) {
    define(node.parameters[i].name, std::move(arguments.positional[i]));
  }
  bind_keywords(node, arguments);
  for (const Parameter& parameter : node.parameters) {
    budget_.charge_steps(1);
    if (frame_->find(parameter.name) == nullptr) {
      Value value = parameter.fallback ? evaluate(*parameter.fallback) : undefined(parameter.name);
      define(parameter.name, std::move(value));
    }
  }
  if (node.takes_varargs) {
    List rest(arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
              arguments.positional.end());
    define("varargs", budget_.list(std::move(rest), SequenceKind::kTuple));
  }
  return capture(node.body);
}

}  // namespace tern::jinja

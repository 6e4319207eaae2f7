#include "engine/model/jinja_eval.h"

#include <algorithm>

#include "engine/model/jinja_eval_guards.h"
#include "engine/model/jinja_text.h"

namespace tern::jinja {

using Kind = Stmt::Kind;

const Value* Frame::find(std::string_view name) const {
  for (const auto& variable : variables) {
    if (variable.first == name) {
      return &variable.second;
    }
  }
  return nullptr;
}

void Frame::set(std::string_view name, Value value) {
  for (auto& variable : variables) {
    if (variable.first == name) {
      variable.second = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

Interpreter::~Interpreter() {
  for (const auto& frame : captured_) {
    // Taken out first: destroying a macro may come back to this frame.
    const auto variables = std::move(frame->variables);
    frame->variables.clear();
  }
  // Children before their parents, or a long chain of them would be destroyed by recursion.
  while (!captured_.empty()) {
    captured_.pop_back();
  }
}

std::string Interpreter::run(const Block& body, const Dict& globals) {
  std::string out;
  out_ = &out;
  frame_ = std::make_shared<Frame>();
  for (const Dict::Entry& entry : globals.entries()) {
    frame_->variables.emplace_back(entry.first.as_string(), entry.second);
  }
  try {
    execute(body);
  } catch (TemplateError& error) {
    error.line = error.line != 0 ? error.line : line_;
    throw;
  }
  return out;
}

void Interpreter::emit(std::string_view text) {
  if (text.size() > budget_.limits().output_bytes - out_->size()) {
    throw TemplateError{"the text is longer than " + std::to_string(budget_.limits().output_bytes) +
                        " bytes"};
  }
  budget_.charge_text(text.size());
  *out_ += text;
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
      emit(stmt.text);
      break;
    case Kind::kOutput: {
      const Value value = evaluate(*stmt.value);
      emit(value.is_string() ? value.as_string() : text(value));
      break;
    }
    case Kind::kIf:
      return execute_if(stmt);
    case Kind::kFor:
      return execute_for(stmt);
    case Kind::kSet:
      assign(*stmt.target, evaluate(*stmt.value));
      break;
    case Kind::kSetBlock:
      execute_set_block(stmt);
      break;
    case Kind::kMacro:
      frame_->set(stmt.macro->name, make_macro(stmt.macro));
      break;
    case Kind::kCallBlock: {
      Value caller = make_macro(stmt.macro);
      emit(text(evaluate_call(*stmt.value, &caller)));
      break;
    }
    case Kind::kFilter: {
      Value input = budget_.string(capture(stmt.body));
      std::swap(block_input_, input);
      const Value filtered = evaluate(*stmt.value);
      std::swap(block_input_, input);
      emit(text(filtered));
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
  List kept;
  for (const Value& item : items.items()) {
    budget_.charge_iteration();
    const Scope scope(*this);
    assign(*stmt.target, item);
    if (evaluate(*stmt.condition).truthy()) {
      kept.push_back(item);
    }
  }
  return budget_.list(std::move(kept));
}

Interpreter::Flow Interpreter::execute_for(const Stmt& stmt) {
  auto loop = std::make_shared<LoopState>();
  loop->sequence = sequence_of(evaluate(*stmt.value));
  if (stmt.condition) {
    loop->sequence = filtered_items(stmt, loop->sequence);
  }
  loop->depth = loop->sequence.depth() + 1;
  const List& items = loop->sequence.items();
  for (; loop->index < items.size(); ++loop->index) {
    budget_.charge_iteration();
    const Scope scope(*this);
    frame_->set("loop", Value::loop(loop));
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
  Value value = budget_.string(capture(stmt.body));
  if (stmt.value) {
    std::swap(block_input_, value);
    Value filtered = evaluate(*stmt.value);
    std::swap(block_input_, value);
    value = std::move(filtered);
  }
  assign(*stmt.target, value);
}

void Interpreter::assign(const Expr& target, const Value& value) {
  if (target.kind == Expr::Kind::kName) {
    frame_->set(target.text, value);
    return;
  }
  if (target.kind == Expr::Kind::kAttribute) {
    const Value object = evaluate(*target.children[0]);
    if (!object.is(Value::Kind::kNamespace)) {
      throw TemplateError{"cannot set the attribute '" + target.text + "' of a " +
                          std::string(object.type_name()) + ": only of a namespace()"};
    }
    budget_.charge_steps(object.as_namespace().attributes.size());
    object.as_namespace().attributes.set(target.text, value);
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

std::string Interpreter::capture(const Block& block) {
  std::string out;
  const Restore restore(out_, &out);
  const Scope scope(*this);
  execute(block);
  return out;
}

Value Interpreter::make_macro(const std::shared_ptr<const MacroNode>& node) {
  budget_.charge_bytes(sizeof(Macro) + sizeof(Frame));
  captured_.push_back(frame_);
  return Value::macro(std::make_shared<const Macro>(Macro{node, frame_}));
}

Value Interpreter::call_macro(const Macro& macro, Arguments arguments) {
  const MacroNode& node = *macro.node;
  const size_t count = std::min(arguments.positional.size(), node.parameters.size());
  if (arguments.positional.size() > count && !node.takes_varargs) {
    throw TemplateError{"macro '" + node.name + "' takes at most " + std::to_string(count) +
                        " arguments"};
  }
  const Restore caller_frame(frame_, std::make_shared<Frame>());
  frame_->parent = macro.frame;
  for (size_t i = 0; i < count; ++i) {
    frame_->set(node.parameters[i].name, std::move(arguments.positional[i]));
  }
  Dict extra;
  for (auto& [name, value] : arguments.keywords) {
    const auto known = [&, &wanted = name](const Parameter& parameter) {
      return parameter.name == wanted;
    };
    const auto parameter = std::find_if(node.parameters.begin(), node.parameters.end(), known);
    if (parameter != node.parameters.end()) {
      if (frame_->find(parameter->name) != nullptr) {
        throw TemplateError{"macro '" + node.name + "' got '" + name + "' twice"};
      }
      frame_->set(parameter->name, std::move(value));
    } else if (name == "caller") {
      frame_->set("caller", std::move(value));
    } else if (node.takes_kwargs) {
      extra.set(name, std::move(value));
    } else {
      throw TemplateError{"macro '" + node.name + "' takes no argument '" + name + "'"};
    }
  }
  for (const Parameter& parameter : node.parameters) {
    if (frame_->find(parameter.name) == nullptr) {
      Value value =
          parameter.fallback ? evaluate(*parameter.fallback) : Value::undefined(parameter.name);
      frame_->set(parameter.name, std::move(value));
    }
  }
  if (node.takes_varargs) {
    List rest(arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
              arguments.positional.end());
    frame_->set("varargs", budget_.list(std::move(rest), SequenceKind::kTuple));
  }
  if (node.takes_kwargs) {
    frame_->set("kwargs", budget_.dict(std::move(extra)));
  }
  return budget_.string(capture(node.body));
}

}  // namespace tern::jinja

#pragma once
// What the interpreter puts back at the end of a C++ scope, also when an error leaves it.

#include <memory>
#include <string>
#include <utility>

#include "engine/model/jinja_eval.h"

namespace tern::jinja {

// Sets a variable for as long as it lives.
template <class T>
class Restore {
 public:
  Restore(T& variable, T value)
      : variable_(variable), old_(std::exchange(variable, std::move(value))) {}
  ~Restore() { variable_ = std::move(old_); }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& variable_;
  T old_;
};

// One level of evaluation. The line stays when an error passes, so that the error can tell it.
class Interpreter::Depth {
 public:
  Depth(Interpreter& interpreter, int line) : interpreter_(interpreter) {
    interpreter.line_ = line;
    interpreter.budget_.charge_steps(1);
    if (interpreter.depth_ >= interpreter.budget_.limits().evaluation_depth) {
      throw TemplateError{"evaluation is nested more than " +
                          std::to_string(interpreter.budget_.limits().evaluation_depth) + " deep"};
    }
    ++interpreter.depth_;
  }
  ~Depth() { --interpreter_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Interpreter& interpreter_;
};

class Interpreter::Scope {
 public:
  explicit Scope(Interpreter& interpreter) : Scope(interpreter, interpreter.frame_) {}
  // Within `parent`, for a macro that is called from elsewhere.
  Scope(Interpreter& interpreter, std::shared_ptr<Frame> parent)
      : interpreter_(interpreter), outer_(std::move(interpreter.frame_)) {
    interpreter.frame_ = std::make_shared<Frame>();
    interpreter.frame_->parent = std::move(parent);
  }
  ~Scope() {
    if (interpreter_.frame_.use_count() == 1) {  // no macro holds it
      interpreter_.budget_.refund_bytes(interpreter_.frame_->charged);
    }
    interpreter_.frame_ = std::move(outer_);
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  Interpreter& interpreter_;
  std::shared_ptr<Frame> outer_;
};

}  // namespace tern::jinja

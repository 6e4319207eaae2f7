#pragma once
// The tree of a parsed template. One node type each for expressions and statements: what the
// children mean is said at the kinds.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/jinja_value.h"

namespace tern::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind : uint8_t {
    kConstant,     // `constant`
    kBlockInput,   // what a filter block or filtered block set stands around
    kName,         // `text`
    kList,         // children
    kTuple,        // children
    kDict,         // key, value, key, value, ...
    kNot,          // child
    kNegate,       // child
    kPlus,         // child
    kAnd,          // children
    kOr,           // children
    kArithmetic,   // `text` is the operator, two children
    kConcat,       // children
    kCompare,      // children a b c, `operators` between them
    kConditional,  // value, condition, other value or null
    kAttribute,    // object; `text`
    kSubscript,    // object, index
    kSlice,        // object, begin, end, step; each but the first may be null
    kCall,         // callee, positional arguments; `keywords`
    kFilter,       // value, positional arguments; `text` is the filter's name, `keywords`
    kTest,         // the same; `negated` for "is not"
    kUnpackList,   // *child, among the arguments of a call
    kUnpackDict,   // **child
  };

  Kind kind;
  int line;
  int depth = 1;  // of this tree
  std::string text;
  Value constant;
  std::vector<ExprPtr> children;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
  std::vector<std::string> operators;
  bool negated = false;
};

struct Stmt;
using Block = std::vector<Stmt>;

// A macro's parameter; `fallback` is null if it has none.
struct Parameter {
  std::string name;
  ExprPtr fallback;
};

struct MacroNode {
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
  int line = 0;
  bool takes_varargs = false;  // its body names them
  bool takes_kwargs = false;
};

struct Stmt {
  enum class Kind : uint8_t {
    kText,       // `text`
    kOutput,     // `value`
    kIf,         // `branches`: (condition, block)...; `otherwise`
    kFor,        // `target` in `value` if `condition`: `body`; `otherwise` if it never ran
    kSet,        // `target` = `value`
    kSetBlock,   // `target` = the text of `body` through the filters `value` (null if none)
    kMacro,      // `macro`
    kCallBlock,  // `value` is a call; `macro` becomes its caller()
    kFilter,     // the text of `body` through the filters `value`
    kWith,       // `bindings`, then `body` in a scope of its own
    kScope,      // `body` in a scope of its own: generation, which only marks text for training
    kBreak,
    kContinue,
  };

  Kind kind;
  int line;
  std::string text;
  ExprPtr target;
  ExprPtr value;
  ExprPtr condition;
  Block body;
  Block otherwise;
  std::vector<std::pair<ExprPtr, Block>> branches;
  std::vector<std::pair<ExprPtr, ExprPtr>> bindings;
  std::shared_ptr<const MacroNode> macro;
  bool recursive = false;  // a loop that may call itself
};

}  // namespace tern::jinja

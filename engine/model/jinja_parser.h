#pragma once
// Tokens to a tree, by the grammar and precedence of Jinja 3.1.

#include <vector>

#include "engine/model/jinja_ast.h"
#include "engine/model/jinja_lexer.h"
#include "engine/model/jinja_value.h"

namespace tern::jinja {

// Throws TemplateError. No tree is deeper than limits.nesting, so that recursion over it is
// bounded.
Block parse(const std::vector<Token>& tokens, const Limits& limits);

}  // namespace tern::jinja

#pragma once
// The half of the parser that reads expressions; jinja_parser.cpp reads statements on top of it.

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/jinja_ast.h"
#include "engine/model/jinja_lexer.h"

namespace tern::jinja {

class ExpressionParser {
 public:
  ExpressionParser(const std::vector<Token>& tokens, int nesting_limit)
      : tokens_(tokens), nesting_limit_(nesting_limit) {}

 protected:
  // a if b else c; without `conditional` no "if" is taken, as in "for x in y if z".
  ExprPtr parse_expression(bool conditional = true);
  // One expression, or a tuple without parentheses: "a, b".
  ExprPtr parse_tuple(bool conditional);
  // What may be assigned to: a name, names "a, b", or (where `attributes`) "ns.a".
  ExprPtr parse_target(bool attributes);
  // "|f(x)|g" upon `input`; the first bar may be read already.
  ExprPtr parse_filters(ExprPtr input, bool bar_read);

  const Token& token() const { return tokens_[at_]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool at_operator(std::string_view text) const {
    return token().kind == Token::Kind::kOperator && token().text == text;
  }
  bool at_name(std::string_view text) const {
    return token().kind == Token::Kind::kName && token().text == text;
  }
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_operator(std::string_view text);
  std::string expect_name(const char* what);
  [[noreturn]] void fail(std::string message) const {
    throw TemplateError{std::move(message), token().line};
  }
  // "found '%}'" of the token at hand.
  std::string found() const;

  // Counts one level of nesting for as long as it lives.
  class Nest {
   public:
    explicit Nest(ExpressionParser& parser);
    ~Nest() { --parser_.nesting_; }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

   private:
    ExpressionParser& parser_;
  };

  bool saw_varargs_ = false;  // the names were met since they were last cleared
  bool saw_kwargs_ = false;

 private:
  ExprPtr make(Expr::Kind kind, std::vector<ExprPtr> children = {}, std::string text = {},
               int line = 0) const;
  // Takes the depth of its children into account; a tree too deep is an error.
  void grow(Expr& expr) const;

  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_arithmetic(int level);
  ExprPtr parse_unary(bool filters);
  ExprPtr parse_primary();
  ExprPtr parse_literal_name();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr expr);
  ExprPtr parse_attribute(ExprPtr object);
  ExprPtr parse_subscript(ExprPtr object);
  ExprPtr parse_test(ExprPtr value);
  void parse_arguments(Expr& call);
  bool at_tuple_end(bool conditional) const;

  const std::vector<Token>& tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int nesting_limit_;
};

}  // namespace tern::jinja

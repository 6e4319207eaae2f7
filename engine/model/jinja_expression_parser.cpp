#include "engine/model/jinja_expression_parser.h"

#include <algorithm>
#include <charconv>

namespace tern::jinja {

using Kind = Expr::Kind;

namespace {
std::vector<ExprPtr> pack(ExprPtr a, ExprPtr b = nullptr) {
  std::vector<ExprPtr> children;
  children.push_back(std::move(a));
  if (b) {
    children.push_back(std::move(b));
  }
  return children;
}
}  // namespace

ExpressionParser::Nest::Nest(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.nesting_ > parser_.nesting_limit_) {
    --parser_.nesting_;  // the destructor does not run
    parser_.fail("the template is nested more than " + std::to_string(parser_.nesting_limit_) +
                 " deep");
  }
}

std::string ExpressionParser::found() const {
  switch (token().kind) {
    case Token::Kind::kEnd:
      return "found the end of the template";
    case Token::Kind::kText:
    case Token::Kind::kBlockEnd:
    case Token::Kind::kOutputEnd:
      return "found the end of the tag";
    case Token::Kind::kString:
      return "found a string";
    default:
      return "found '" + token().text + "'";
  }
}

bool ExpressionParser::skip_operator(std::string_view text) {
  const bool here = at_operator(text);
  at_ += here ? 1 : 0;
  return here;
}

bool ExpressionParser::skip_name(std::string_view text) {
  const bool here = at_name(text);
  at_ += here ? 1 : 0;
  return here;
}

void ExpressionParser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) {
    fail("expected '" + std::string(text) + "', " + found());
  }
}

std::string ExpressionParser::expect_name(const char* what) {
  if (token().kind != Token::Kind::kName) {
    fail(std::string("expected ") + what + ", " + found());
  }
  return next().text;
}

ExprPtr ExpressionParser::make(Kind kind, std::vector<ExprPtr> children, std::string text,
                               int line) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line != 0 ? line : token().line;
  expr->children = std::move(children);
  expr->text = std::move(text);
  grow(*expr);
  return expr;
}

void ExpressionParser::grow(Expr& expr) const {
  for (const ExprPtr& child : expr.children) {
    expr.depth = std::max(expr.depth, child ? child->depth + 1 : 1);
  }
  for (const auto& [name, value] : expr.keywords) {
    expr.depth = std::max(expr.depth, value->depth + 1);
  }
  if (expr.depth > nesting_limit_) {
    fail("an expression is nested more than " + std::to_string(nesting_limit_) + " deep");
  }
}

ExprPtr ExpressionParser::parse_expression(bool conditional) {
  const Nest nest(*this);
  ExprPtr expr = parse_or();
  while (conditional && at_name("if")) {
    const int line = next().line;
    std::vector<ExprPtr> children = pack(std::move(expr), parse_or());
    children.push_back(skip_name("else") ? parse_expression() : nullptr);
    expr = make(Kind::kConditional, std::move(children), {}, line);
  }
  return expr;
}

bool ExpressionParser::at_tuple_end(bool conditional) const {
  return token().kind == Token::Kind::kBlockEnd || token().kind == Token::Kind::kOutputEnd ||
         at_operator(")") || (!conditional && (at_name("if") || at_name("recursive")));
}

ExprPtr ExpressionParser::parse_tuple(bool conditional) {
  const int line = token().line;
  std::vector<ExprPtr> items;
  bool comma = false;
  while (!at_tuple_end(conditional)) {
    items.push_back(parse_expression(conditional));
    comma = skip_operator(",");
    if (!comma) {
      break;
    }
  }
  if (items.empty()) {
    fail("expected an expression, " + found());
  }
  if (items.size() == 1 && !comma) {
    return std::move(items[0]);
  }
  return make(Kind::kTuple, std::move(items), {}, line);
}

ExprPtr ExpressionParser::parse_target(bool attributes) {
  const Nest nest(*this);
  const int line = token().line;
  std::vector<ExprPtr> targets;
  bool comma = false;
  do {
    if (skip_operator("(")) {
      targets.push_back(parse_target(false));
      expect_operator(")");
    } else {
      ExprPtr name = make(Kind::kName, {}, expect_name("a variable's name"));
      if (attributes && skip_operator(".")) {
        name = make(Kind::kAttribute, pack(std::move(name)), expect_name("an attribute's name"));
      }
      targets.push_back(std::move(name));
    }
    comma = skip_operator(",");
  } while (comma && token().kind == Token::Kind::kName && !at_name("in"));
  if (targets.size() == 1 && !comma) {
    return std::move(targets[0]);
  }
  return make(Kind::kTuple, std::move(targets), {}, line);
}

ExprPtr ExpressionParser::parse_or() {
  ExprPtr left = parse_and();
  if (!at_name("or")) {
    return left;
  }
  std::vector<ExprPtr> children = pack(std::move(left));
  while (skip_name("or")) {
    children.push_back(parse_and());
  }
  return make(Kind::kOr, std::move(children));
}

ExprPtr ExpressionParser::parse_and() {
  ExprPtr left = parse_not();
  if (!at_name("and")) {
    return left;
  }
  std::vector<ExprPtr> children = pack(std::move(left));
  while (skip_name("and")) {
    children.push_back(parse_not());
  }
  return make(Kind::kAnd, std::move(children));
}

ExprPtr ExpressionParser::parse_not() {
  if (!at_name("not")) {
    return parse_compare();
  }
  const Nest nest(*this);
  const int line = next().line;
  return make(Kind::kNot, pack(parse_not()), {}, line);
}

ExprPtr ExpressionParser::parse_compare() {
  ExprPtr first = parse_arithmetic(0);
  std::vector<ExprPtr> children;
  std::vector<std::string> operators;
  while (true) {
    static constexpr std::string_view kComparisons[] = {"==", "!=", "<", "<=", ">", ">="};
    const bool compares = token().kind == Token::Kind::kOperator &&
                          std::find(std::begin(kComparisons), std::end(kComparisons),
                                    token().text) != std::end(kComparisons);
    const bool not_in = at_name("not") && tokens_[at_ + 1].kind == Token::Kind::kName &&
                        tokens_[at_ + 1].text == "in";
    if (!compares && !not_in && !at_name("in")) {
      break;
    }
    operators.push_back(not_in ? "not in" : token().text);
    at_ += not_in ? 2 : 1;
    children.push_back(parse_arithmetic(0));
  }
  if (operators.empty()) {
    return first;
  }
  children.insert(children.begin(), std::move(first));
  ExprPtr expr = make(Kind::kCompare, std::move(children));
  expr->operators = std::move(operators);
  return expr;
}

// Level 0: + and -; 1: ~; 2: * / // %; 3: **. All from left to right, as in Jinja.
ExprPtr ExpressionParser::parse_arithmetic(int level) {
  static const std::vector<std::string_view> kLevels[] = {
      {"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
  const auto operand = [&] { return level == 3 ? parse_unary(true) : parse_arithmetic(level + 1); };
  const auto& operators = kLevels[level];
  ExprPtr left = operand();
  while (token().kind == Token::Kind::kOperator &&
         std::find(operators.begin(), operators.end(), token().text) != operators.end()) {
    const Token& op = next();
    ExprPtr right = operand();
    if (op.text == "~" && left->kind == Kind::kConcat) {
      left->depth =
          std::max(left->depth, right->depth + 1);  // as grow(), but for the new child only
      left->children.push_back(std::move(right));
    } else {
      left = make(op.text == "~" ? Kind::kConcat : Kind::kArithmetic,
                  pack(std::move(left), std::move(right)), op.text, op.line);
    }
  }
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool filters) {
  ExprPtr expr;
  if (at_operator("-") || at_operator("+")) {
    const Nest nest(*this);
    const Token& sign = next();
    expr = make(sign.text == "-" ? Kind::kNegate : Kind::kPlus, pack(parse_unary(false)), {},
                sign.line);
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(std::move(expr));
  if (!filters) {
    return expr;
  }
  // Filters, tests and calls upon them.
  while (true) {
    if (at_operator("|")) {
      expr = parse_filters(std::move(expr), false);
    } else if (at_name("is")) {
      next();
      expr = parse_test(std::move(expr));
    } else if (at_operator("(")) {
      expr = parse_postfix(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::parse_primary() {
  const Token& here = token();
  switch (here.kind) {
    case Token::Kind::kName:
      return parse_literal_name();
    case Token::Kind::kString: {
      std::string text = next().text;
      while (token().kind == Token::Kind::kString) {  // neighbours are one string
        text += next().text;
      }
      ExprPtr expr = make(Kind::kConstant, {}, {}, here.line);
      expr->constant = Value::string(std::move(text));
      return expr;
    }
    case Token::Kind::kInt:
    case Token::Kind::kFloat: {
      next();
      ExprPtr expr = make(Kind::kConstant, {}, {}, here.line);
      const char* end = here.text.data() + here.text.size();
      int64_t integer = 0;
      double real = 0;
      const bool is_int = here.kind == Token::Kind::kInt;
      const auto parsed = is_int ? std::from_chars(here.text.data(), end, integer)
                                 : std::from_chars(here.text.data(), end, real);
      if (parsed.ec != std::errc() || parsed.ptr != end) {
        throw TemplateError{"the number " + here.text + " is too large", here.line};
      }
      expr->constant = is_int ? Value::integer(integer) : Value::real(real);
      return expr;
    }
    default:
      break;
  }
  if (at_operator("[")) {
    return parse_list();
  }
  if (at_operator("{")) {
    return parse_dict();
  }
  if (skip_operator("(")) {
    if (skip_operator(")")) {
      return make(Kind::kTuple, {}, {}, here.line);
    }
    ExprPtr expr = parse_tuple(true);
    expect_operator(")");
    return expr;
  }
  fail("expected an expression, " + found());
}

ExprPtr ExpressionParser::parse_literal_name() {
  const Token& name = next();
  ExprPtr expr = make(Kind::kConstant, {}, {}, name.line);
  if (name.text == "true" || name.text == "True") {
    expr->constant = Value::boolean(true);
  } else if (name.text == "false" || name.text == "False") {
    expr->constant = Value::boolean(false);
  } else if (name.text == "none" || name.text == "None") {
    expr->constant = Value::none();
  } else {
    expr->kind = Kind::kName;
    expr->text = name.text;
    saw_varargs_ = saw_varargs_ || name.text == "varargs";
    saw_kwargs_ = saw_kwargs_ || name.text == "kwargs";
  }
  return expr;
}

ExprPtr ExpressionParser::parse_list() {
  const int line = token().line;
  expect_operator("[");
  std::vector<ExprPtr> items;
  while (!at_operator("]")) {
    items.push_back(parse_expression());
    if (!skip_operator(",")) {
      break;
    }
  }
  expect_operator("]");
  return make(Kind::kList, std::move(items), {}, line);
}

ExprPtr ExpressionParser::parse_dict() {
  const int line = token().line;
  expect_operator("{");
  std::vector<ExprPtr> items;
  while (!at_operator("}")) {
    items.push_back(parse_expression());
    expect_operator(":");
    items.push_back(parse_expression());
    if (!skip_operator(",")) {
      break;
    }
  }
  expect_operator("}");
  return make(Kind::kDict, std::move(items), {}, line);
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr expr) {
  while (true) {
    if (skip_operator(".")) {
      expr = parse_attribute(std::move(expr));
    } else if (at_operator("[")) {
      expr = parse_subscript(std::move(expr));
    } else if (at_operator("(")) {
      ExprPtr call = make(Kind::kCall, pack(std::move(expr)));
      parse_arguments(*call);
      expr = std::move(call);
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::parse_attribute(ExprPtr object) {
  if (token().kind != Token::Kind::kInt) {
    const int line = token().line;
    return make(Kind::kAttribute, pack(std::move(object)), expect_name("an attribute's name"),
                line);
  }
  ExprPtr index = parse_primary();  // "a.0" is a[0]
  return make(Kind::kSubscript, pack(std::move(object), std::move(index)));
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr object) {
  const int line = token().line;
  expect_operator("[");
  std::vector<ExprPtr> parts = pack(std::move(object));
  bool slice = false;
  parts.push_back(at_operator(":") || at_operator("]") ? nullptr : parse_expression());
  while (parts.size() < 4 && skip_operator(":")) {
    slice = true;
    parts.push_back(at_operator(":") || at_operator("]") ? nullptr : parse_expression());
  }
  if (!slice && parts[1] == nullptr) {
    fail("expected an index, " + found());
  }
  expect_operator("]");
  if (slice) {
    parts.resize(4);
  }
  return make(slice ? Kind::kSlice : Kind::kSubscript, std::move(parts), {}, line);
}

void ExpressionParser::parse_arguments(Expr& call) {
  expect_operator("(");
  while (!at_operator(")")) {
    const bool keyword = token().kind == Token::Kind::kName &&
                         tokens_[at_ + 1].kind == Token::Kind::kOperator &&
                         tokens_[at_ + 1].text == "=";
    const bool unpack_list = at_operator("*");
    if (unpack_list || at_operator("**")) {
      next();
      call.children.push_back(
          make(unpack_list ? Kind::kUnpackList : Kind::kUnpackDict, pack(parse_expression())));
    } else if (keyword) {
      std::string name = next().text;
      next();
      call.keywords.emplace_back(std::move(name), parse_expression());
    } else if (call.keywords.empty()) {
      call.children.push_back(parse_expression());
    } else {
      fail("a positional argument follows a keyword argument");
    }
    if (!skip_operator(",")) {
      break;
    }
  }
  expect_operator(")");
  grow(call);
}

ExprPtr ExpressionParser::parse_filters(ExprPtr input, bool bar_read) {
  while (bar_read || skip_operator("|")) {
    bar_read = false;
    ExprPtr filter = make(Kind::kFilter, pack(std::move(input)), expect_name("a filter's name"));
    if (at_operator("(")) {
      parse_arguments(*filter);
    }
    input = std::move(filter);
  }
  return input;
}

ExprPtr ExpressionParser::parse_test(ExprPtr value) {
  const bool negated = skip_name("not");
  ExprPtr test = make(Kind::kTest, pack(std::move(value)), expect_name("a test's name"));
  test->negated = negated;
  const Token::Kind kind = token().kind;
  if (at_operator("(")) {
    parse_arguments(*test);
  } else if (kind == Token::Kind::kString || kind == Token::Kind::kInt ||
             kind == Token::Kind::kFloat || at_operator("[") || at_operator("{") ||
             (kind == Token::Kind::kName && !at_name("else") && !at_name("or") && !at_name("and") &&
              !at_name("is") && !at_name("if"))) {
    test->children.push_back(parse_postfix(parse_primary()));
    grow(*test);
  }
  return test;
}

}  // namespace tern::jinja

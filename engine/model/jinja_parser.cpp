#include "engine/model/jinja_parser.h"

#include <algorithm>
#include <initializer_list>

#include "engine/model/jinja_expression_parser.h"

namespace tern::jinja {
namespace {

using Kind = Stmt::Kind;

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Block run() {
    Block block = parse_block({});
    if (token().kind != Token::Kind::kEnd) {
      fail("unexpected tag '" + token().text + "'");
    }
    return block;
  }

 private:
  // Statements up to a tag that is one of `ends`; its name is the token at hand then.
  Block parse_block(std::initializer_list<std::string_view> ends) {
    Block block;
    while (token().kind != Token::Kind::kEnd) {
      if (token().kind == Token::Kind::kText) {
        Stmt text = make(Kind::kText);
        text.text = next().text;
        block.push_back(std::move(text));
      } else if (token().kind == Token::Kind::kOutputBegin) {
        next();
        Stmt output = make(Kind::kOutput);
        output.value = parse_tuple(true);
        expect_end(Token::Kind::kOutputEnd, "}}");
        block.push_back(std::move(output));
      } else {
        next();  // {%
        if (token().kind != Token::Kind::kName) {
          fail("expected a tag's name, " + found());
        }
        if (ends.size() == 0 ? token().text.starts_with("end")
                             : std::find(ends.begin(), ends.end(), token().text) != ends.end()) {
          return block;
        }
        block.push_back(parse_statement());
      }
    }
    if (ends.size() != 0) {
      fail("expected {% " + std::string(*(ends.end() - 1)) + " %}, found the end of the template");
    }
    return block;
  }

  // The block of a tag, with the closing tag read.
  Block parse_body(std::string_view end) {
    expect_tag_end();
    Block body = parse_block({end});
    next();
    expect_tag_end();
    return body;
  }

  Stmt make(Kind kind) const {
    Stmt stmt{};
    stmt.kind = kind;
    stmt.line = token().line;
    return stmt;
  }

  void expect_end(Token::Kind kind, const char* spelling) {
    if (token().kind != kind) {
      fail(std::string("expected '") + spelling + "', " + found());
    }
    next();
  }
  void expect_tag_end() { expect_end(Token::Kind::kBlockEnd, "%}"); }

  Stmt parse_statement() {
    const Nest nest(*this);
    const std::string& tag = token().text;
    if (tag == "if") {
      return parse_if();
    }
    if (tag == "for") {
      return parse_for();
    }
    if (tag == "set") {
      return parse_set();
    }
    if (tag == "macro") {
      return parse_macro();
    }
    if (tag == "call") {
      return parse_call_block();
    }
    if (tag == "filter") {
      return parse_filter_block();
    }
    if (tag == "with") {
      return parse_with();
    }
    if (tag == "generation") {
      Stmt stmt = make(Kind::kScope);
      next();
      stmt.body = parse_body("endgeneration");
      return stmt;
    }
    if (tag == "block") {
      return parse_named_block();
    }
    if (tag == "print") {
      Stmt stmt = make(Kind::kOutput);
      next();
      stmt.value = parse_tuple(true);
      expect_tag_end();
      return stmt;
    }
    if (tag == "break" || tag == "continue") {
      Stmt stmt = make(tag == "break" ? Kind::kBreak : Kind::kContinue);
      if (loops_ == 0) {
        fail("'" + tag + "' stands outside of a loop");
      }
      next();
      expect_tag_end();
      return stmt;
    }
    fail("the tag '" + tag + "' is not known here");
  }

  Stmt parse_if() {
    Stmt stmt = make(Kind::kIf);
    do {
      next();  // if, elif
      ExprPtr condition = parse_tuple(false);
      expect_tag_end();
      Block block = parse_block({"elif", "else", "endif"});
      stmt.branches.emplace_back(std::move(condition), std::move(block));
    } while (at_name("elif"));
    if (skip_name("else")) {
      expect_tag_end();
      stmt.otherwise = parse_block({"endif"});
    }
    next();
    expect_tag_end();
    return stmt;
  }

  Stmt parse_for() {
    Stmt stmt = make(Kind::kFor);
    next();
    stmt.target = parse_target(false);
    if (!skip_name("in")) {
      fail("expected 'in', " + found());
    }
    stmt.value = parse_tuple(false);
    if (skip_name("if")) {
      stmt.condition = parse_expression();
    }
    stmt.recursive = skip_name("recursive");
    expect_tag_end();
    ++loops_;
    stmt.body = parse_block({"else", "endfor"});
    --loops_;
    if (skip_name("else")) {
      expect_tag_end();
      stmt.otherwise = parse_block({"endfor"});
    }
    next();
    expect_tag_end();
    return stmt;
  }

  Stmt parse_set() {
    Stmt stmt = make(Kind::kSet);
    next();
    stmt.target = parse_target(true);
    if (skip_operator("=")) {
      stmt.value = parse_tuple(true);
      expect_tag_end();
      return stmt;
    }
    stmt.kind = Kind::kSetBlock;
    if (skip_operator("|")) {
      stmt.value = parse_filters(block_input(), true);
    }
    stmt.body = parse_body("endset");
    return stmt;
  }

  ExprPtr block_input() const {
    auto input = std::make_unique<Expr>();
    input->kind = Expr::Kind::kBlockInput;
    input->line = token().line;
    return input;
  }

  // "(a, b=1)", both brackets read here.
  std::vector<Parameter> parse_parameters() {
    std::vector<Parameter> parameters;
    expect_operator("(");
    while (!at_operator(")")) {
      Parameter parameter{expect_name("a parameter's name"), nullptr};
      if (skip_operator("=")) {
        parameter.fallback = parse_expression();
      } else if (!parameters.empty() && parameters.back().fallback) {
        fail("a parameter without a default follows one that has one");
      }
      parameters.push_back(std::move(parameter));
      if (!skip_operator(",")) {
        break;
      }
    }
    expect_operator(")");
    return parameters;
  }

  // A macro's body, with what it names of its own special variables.
  void parse_macro_body(MacroNode& macro, std::string_view end) {
    const bool outer_varargs = std::exchange(saw_varargs_, false);
    const bool outer_kwargs = std::exchange(saw_kwargs_, false);
    const int outer_loops = std::exchange(loops_, 0);
    macro.body = parse_body(end);
    macro.takes_varargs = std::exchange(saw_varargs_, outer_varargs);
    macro.takes_kwargs = std::exchange(saw_kwargs_, outer_kwargs);
    loops_ = outer_loops;
  }

  Stmt parse_macro() {
    Stmt stmt = make(Kind::kMacro);
    next();
    auto macro = std::make_shared<MacroNode>();
    macro->line = stmt.line;
    macro->name = expect_name("the macro's name");
    macro->parameters = parse_parameters();
    parse_macro_body(*macro, "endmacro");
    stmt.macro = std::move(macro);
    return stmt;
  }

  Stmt parse_call_block() {
    Stmt stmt = make(Kind::kCallBlock);
    next();
    auto macro = std::make_shared<MacroNode>();
    macro->line = stmt.line;
    macro->name = "caller";
    if (at_operator("(")) {
      macro->parameters = parse_parameters();
    }
    stmt.value = parse_expression();
    if (stmt.value->kind != Expr::Kind::kCall) {
      fail("the tag 'call' needs a call");
    }
    parse_macro_body(*macro, "endcall");
    stmt.macro = std::move(macro);
    return stmt;
  }

  Stmt parse_filter_block() {
    Stmt stmt = make(Kind::kFilter);
    next();
    stmt.value = parse_filters(block_input(), true);
    stmt.body = parse_body("endfilter");
    return stmt;
  }

  // {% block name %}: without inheritance, its body where it stands.
  Stmt parse_named_block() {
    Stmt stmt = make(Kind::kScope);
    next();
    const std::string name = expect_name("the block's name");
    while (skip_name("scoped") || skip_name("required")) {
    }
    expect_tag_end();
    stmt.body = parse_block({"endblock"});
    next();
    skip_name(name);
    expect_tag_end();
    return stmt;
  }

  Stmt parse_with() {
    Stmt stmt = make(Kind::kWith);
    next();
    while (token().kind != Token::Kind::kBlockEnd) {
      ExprPtr target = parse_target(false);
      expect_operator("=");
      stmt.bindings.emplace_back(std::move(target), parse_expression());
      if (!skip_operator(",")) {
        break;
      }
    }
    stmt.body = parse_body("endwith");
    return stmt;
  }

  int loops_ = 0;  // around the place at hand, within its macro
};

}  // namespace

Block parse(const std::vector<Token>& tokens, const Limits& limits) {
  return Parser(tokens, limits.nesting).run();
}

}  // namespace tern::jinja

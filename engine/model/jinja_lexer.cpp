#include "engine/model/jinja_lexer.h"

#include <algorithm>
#include <array>

#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

// Longest first, so that the first match is the right one.
constexpr std::array<std::string_view, 27> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "(", ")",
    "[",  "]",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";", "@"};

// Line breaks of any system become "\n", and the last one goes.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      i += i + 1 < source.size() && source[i + 1] == '\n' ? 1U : 0U;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') {
    out.pop_back();
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(normalized(source)) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) {
      lex_text();
    }
    add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string message) const {
    throw TemplateError{std::move(message), line_};
  }

  bool at(std::string_view what) const { return text_.compare(at_, what.size(), what) == 0; }

  void add(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, line_, std::move(text)});
  }

  // Moves on and keeps the line count.
  void advance(size_t to) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  void skip_space() {
    size_t to = at_;
    while (to < text_.size() && is_space(text_[to])) {
      ++to;
    }
    advance(to);
  }

  // Text up to the next tag, then the tag.
  void lex_text() {
    size_t tag = at_;
    while (tag < text_.size() &&
           !(text_[tag] == '{' && tag + 1 < text_.size() &&
             (text_[tag + 1] == '{' || text_[tag + 1] == '%' || text_[tag + 1] == '#'))) {
      ++tag;
    }
    if (tag == text_.size()) {
      add_text(std::string_view(text_).substr(at_), '+', false);
      advance(tag);
      return;
    }
    const char type = text_[tag + 1];
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : ' ';
    add_text(std::string_view(text_).substr(at_, tag - at_), sign, type != '{');
    // "{{+" is an expression that begins with a plus, not a mark.
    advance(tag + (sign == '-' || (sign == '+' && type != '{') ? 3 : 2));
    line_start_ = false;
    if (type == '#') {
      skip_comment();
    } else if (type == '%' && at_raw_tag("raw")) {
      lex_raw();
    } else {
      lex_tag(type == '{');
    }
  }

  // `sign` is what follows the tag's opening; a block or comment tag at the start of its line takes
  // the blanks before it.
  void add_text(std::string_view text, char sign, bool strips_line) {
    if (sign == '-') {
      text = text.substr(0, trimmed_right(text));
    } else if (sign != '+' && strips_line) {
      const size_t line = text.rfind('\n') + 1;  // npos + 1 = 0
      const bool blank =
          std::all_of(text.begin() + static_cast<std::ptrdiff_t>(line), text.end(), is_space);
      if ((line > 0 || line_start_) && blank) {
        text = text.substr(0, line);
      }
    }
    if (!text.empty()) {
      add(Token::Kind::kText, std::string(text));
    }
  }

  // At the closing of a tag, e.g. "-%}" with `close` "%}": moves behind it and what white space it
  // takes.
  bool skip_close(std::string_view close, bool takes_newline) {
    const char sign = at_ < text_.size() ? text_[at_] : ' ';
    const bool has_sign = sign == '-' || (sign == '+' && takes_newline);
    if (text_.compare(std::min(at_ + (has_sign ? 1 : 0), text_.size()), close.size(), close) != 0) {
      return false;
    }
    advance(at_ + close.size() + (has_sign ? 1 : 0));
    if (sign == '-') {
      skip_space();
    } else if (takes_newline && !has_sign && at_ < text_.size() && text_[at_] == '\n') {
      advance(at_ + 1);
    }
    line_start_ = at_ > 0 && text_[at_ - 1] == '\n';
    return true;
  }

  void skip_comment() {
    const size_t close = text_.find("#}", at_);
    if (close == std::string::npos) {
      fail("a comment {# is not closed");
    }
    const char sign = close > at_ ? text_[close - 1] : ' ';
    advance(sign == '-' || sign == '+' ? close - 1 : close);
    skip_close("#}", true);
  }

  // Whether a tag that holds only `word` stands here, behind its opening.
  bool at_raw_tag(std::string_view word) const {
    size_t i = at_;
    while (i < text_.size() && is_space(text_[i])) {
      ++i;
    }
    if (text_.compare(i, word.size(), word) != 0) {
      return false;
    }
    i += word.size();
    while (i < text_.size() && is_space(text_[i])) {
      ++i;
    }
    i += i < text_.size() && (text_[i] == '-' || text_[i] == '+') ? 1U : 0U;
    return text_.compare(std::min(i, text_.size()), 2, "%}") == 0;
  }

  void skip_raw_tag(std::string_view word, bool takes_newline) {
    advance(text_.find(word, at_) + word.size());
    skip_space();
    if (!skip_close("%}", takes_newline)) {
      fail("the tag " + std::string(word) + " is not closed by %}");
    }
  }

  void lex_raw() {
    skip_raw_tag("raw", false);
    const size_t begin = at_;
    for (size_t tag = text_.find("{%", begin); tag != std::string::npos;
         tag = text_.find("{%", tag + 2)) {
      const char sign = tag + 2 < text_.size() ? text_[tag + 2] : ' ';
      const size_t inner = tag + (sign == '-' || sign == '+' ? 3 : 2);
      const size_t back = at_;
      at_ = inner;
      const bool found = at_raw_tag("endraw");
      at_ = back;
      if (found) {
        add_text(std::string_view(text_).substr(begin, tag - begin), sign, true);
        advance(inner);
        skip_raw_tag("endraw", true);
        return;
      }
    }
    fail("a {% raw %} has no {% endraw %}");
  }

  // The inside of {{ }} or {% %}. The closing counts only outside of brackets: "{{ {'a': {}} }}".
  void lex_tag(bool output) {
    add(output ? Token::Kind::kOutputBegin : Token::Kind::kBlockBegin, "");
    const int begin_line = line_;
    std::string brackets;  // the closing ones that are due
    while (true) {
      skip_space();
      if (at_ >= text_.size()) {
        throw TemplateError{output ? "{{ is not closed by }}" : "{% is not closed by %}",
                            begin_line};
      }
      if (brackets.empty() && skip_close(output ? "}}" : "%}", !output)) {
        break;
      }
      lex_token(brackets);
    }
    add(output ? Token::Kind::kOutputEnd : Token::Kind::kBlockEnd, "");
  }

  void lex_token(std::string& brackets) {
    const char c = text_[at_];
    if (is_name_start(c)) {
      size_t end = at_ + 1;
      while (end < text_.size() && (is_name_start(text_[end]) || is_digit(text_[end]))) {
        ++end;
      }
      add(Token::Kind::kName, text_.substr(at_, end - at_));
      advance(end);
    } else if (is_digit(c)) {
      lex_number();
    } else if (c == '"' || c == '\'') {
      lex_string(c);
    } else {
      lex_operator(brackets);
    }
  }

  void lex_operator(std::string& brackets) {
    const auto* op = std::find_if(kOperators.begin(), kOperators.end(),
                                  [&](auto candidate) { return at(candidate); });
    if (op == kOperators.end()) {
      fail("unexpected character '" + text_.substr(at_, char_size(text_, at_)) + "'");
    }
    const char c = (*op)[0];
    if (c == '(' || c == '[' || c == '{') {
      brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c) {
        fail(std::string("unexpected '") + c + "'");
      }
      brackets.pop_back();
    }
    add(Token::Kind::kOperator, std::string(*op));
    advance(at_ + op->size());
  }

  // Digits, which may be grouped by single underscores.
  size_t digits_end(size_t i) const {
    while (i < text_.size() && (is_digit(text_[i]) || (text_[i] == '_' && i + 1 < text_.size() &&
                                                       is_digit(text_[i + 1])))) {
      ++i;
    }
    return i;
  }

  void lex_number() {
    size_t end = digits_end(at_);
    bool real = false;
    const bool after_dot =
        tokens_.back().kind == Token::Kind::kOperator && tokens_.back().text == ".";
    if (!after_dot && end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      real = true;
      end = digits_end(end + 1);
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      const size_t sign =
          end + 1 < text_.size() && (text_[end + 1] == '+' || text_[end + 1] == '-') ? 1 : 0;
      if (end + 1 + sign < text_.size() && is_digit(text_[end + 1 + sign])) {
        real = true;
        end = digits_end(end + 1 + sign);
      }
    }
    std::string digits = text_.substr(at_, end - at_);
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    add(real ? Token::Kind::kFloat : Token::Kind::kInt, std::move(digits));
    advance(end);
  }

  void lex_string(char quote) {
    std::string value;
    size_t i = at_ + 1;
    while (i < text_.size() && text_[i] != quote) {
      if (text_[i] != '\\') {
        value += text_[i++];
      } else {
        i = unescape(i + 1, value);
      }
    }
    if (i >= text_.size()) {
      fail("a string is not closed");
    }
    add(Token::Kind::kString, std::move(value));
    advance(i + 1);
  }

  // Python's escapes. `i` stands behind the backslash; gives the place behind the escape.
  size_t unescape(size_t i, std::string& value) {
    if (i >= text_.size()) {
      fail("a string is not closed");
    }
    constexpr std::string_view kFrom = "\\'\"abfnrtv";
    constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    const char c = text_[i];
    if (const size_t known = kFrom.find(c); known != std::string_view::npos) {
      value += kTo[known];
      return i + 1;
    }
    if (c == '\n') {  // continues the line
      return i + 1;
    }
    if (c == 'x' || c == 'u' || c == 'U') {
      return unescape_digits(i + 1, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, value);
    }
    if (c >= '0' && c <= '7') {
      size_t count = 1;
      while (count < 3 && i + count < text_.size() && text_[i + count] >= '0' &&
             text_[i + count] <= '7') {
        ++count;
      }
      return unescape_digits(i, count, 8, value);
    }
    value += '\\';  // an unknown escape stays as it is
    return i;
  }

  size_t unescape_digits(size_t i, size_t count, uint32_t base, std::string& value) {
    uint32_t code = 0;
    for (size_t k = i; k < i + count; ++k) {
      const char c = k < text_.size() ? text_[k] : ' ';
      const int digit = is_digit(c)            ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) {
        fail("a character escape in a string lacks digits");
      }
      code = code * base + static_cast<uint32_t>(digit);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
      fail("a character escape in a string is no Unicode character");
    }
    append_utf8(value, code);
    return i + count;
  }

  std::string text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_start_ = true;  // whether a line begins where the text since the last tag begins
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace tern::jinja

#include "tools/console.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>

#include "engine/base/printable.h"

namespace tern::cli {
namespace {

bool g_raw_output = false;
bool g_reports_to_stderr = false;

PrintableStream& text_stream() {
  static PrintableStream stream;
  return stream;
}

void put(std::string_view text, FILE* where) {
  std::fwrite(text.data(), 1, text.size(), where);
}

std::string formatted(const char* format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int size = std::vsnprintf(nullptr, 0, format, arguments);
  std::string text(static_cast<size_t>(size > 0 ? size : 0), '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, again);
  va_end(again);
  return text;
}

}  // namespace

void print_message(std::string_view text) {
  put(printable_lines(text) + "\n", stderr);
}

void print_notice(const std::string& text) {
  print_message("note: " + text);
}

void print_error(std::string_view text) {
  print_message("error: " + std::string(text));
}

void print_message_f(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const std::string text = formatted(format, arguments);
  va_end(arguments);
  put(printable_lines(text), stderr);
}

void show_status(std::string_view text) {
  put("\r\033[K" + printable_line(text, std::string::npos), stderr);
  std::fflush(stderr);
}

void clear_status() {
  put("\r\033[K", stderr);
}

void print_report(std::string_view text) {
  put(printable_lines(text), g_reports_to_stderr ? stderr : stdout);
}

void print_report_f(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const std::string text = formatted(format, arguments);
  va_end(arguments);
  print_report(text);
}

void send_reports_to_stderr() {
  g_reports_to_stderr = true;
}

void print_data(std::string_view bytes) {
  put(bytes, stdout);
}

void print_json_text(std::string_view json) {
  if (!stdout_is_terminal()) {
    print_data(json);
    return;
  }
  std::string text;
  for (const char c : json) {
    text += c == '\x7F' ? "\\u007F" : std::string(1, c);  // \x7F is no escape of JSON
  }
  print_data(printable_lines(text));
}

void print_text(std::string_view piece) {
  const bool plain = stdout_is_terminal() && !g_raw_output;
  put(plain ? text_stream().add(piece) : std::string(piece), stdout);
}

void end_text() {
  put(text_stream().finish(), stdout);
}

void print_name(std::string_view name) {
  print_text(name);
  end_text();
  print_data("\n");
}

void print_raw_output(bool raw) {
  g_raw_output = raw;
}

Result<void> flush_stdout() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return Error{"cannot write the output; is the disk full?"};
  }
  return {};
}

Result<OutputFile> open_output(const std::string& path, bool replace) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::create(path, {.replace = replace}));
  if (file.is_stdout()) {
    send_reports_to_stderr();
  }
  return file;
}

void claim_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) {
      continue;
    }
    // The wrong way round, so that using it still is the error that it was. The lowest free number is this one.
    const int opened = ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (opened != stream && opened >= 0) {
      ::close(opened);
    }
  }
}

bool stdin_is_terminal() {
  return ::isatty(STDIN_FILENO) == 1;
}
bool stdout_is_terminal() {
  return ::isatty(STDOUT_FILENO) == 1;
}
bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

}  // namespace tern::cli

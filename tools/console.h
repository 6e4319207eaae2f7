#pragma once
// The one place where the commands speak: everything that a person will read goes through here and is made printable
// (engine/base/printable.h), so that no message can forget it. Files, servers and arguments put words into all of them.

#include <string>
#include <string_view>

#include "engine/base/output_file.h"
#include "engine/base/result.h"

namespace tern::cli {

// Lines on standard error: the text alone, or after "note: " or "error: ".
void print_message(std::string_view text);
void print_notice(const std::string& text);
void print_error(std::string_view text);
[[gnu::format(printf, 1, 2)]] void print_message_f(const char* format, ...);

// The terminal's last line on standard error, which the next one replaces. Only for terminals.
void show_status(std::string_view text);
void clear_status();

// What a command found, for people: tables and figures, on standard output.
void print_report(std::string_view text);
[[gnu::format(printf, 1, 2)]] void print_report_f(const char* format, ...);
// From here on reports go to standard error, because data goes to standard output.
void send_reports_to_stderr();

// Standard output as it is, for programs: JSON, numbers.
void print_data(std::string_view bytes);
// JSON, on a terminal with its escapes for what a terminal obeys (\u009B, \u202E): the same values.
void print_json_text(std::string_view json);
// Text of a model or a name that scripts take up: as it is on pipes and in files, printable on a terminal unless --raw-output
// says otherwise. Comes in pieces, cut anywhere; the end of a text lets out what waits for the rest of a character.
void print_text(std::string_view piece);
void end_text();
void print_raw_output(bool raw);
// Such a name alone, with its line end.
void print_name(std::string_view name);
// Writes out what was printed, and says if anything could not be: a full disk shows only now.
Result<void> flush_stdout();

// Where a command writes its result (engine/base/output_file.h). If that is standard output, reports go to standard error.
Result<OutputFile> open_output(const std::string& path, bool replace);

// To be called first of all: where the program was started with a standard stream closed, the next file that it opens would take
// its number, and what is printed would go there.
void claim_standard_streams();

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

}  // namespace tern::cli

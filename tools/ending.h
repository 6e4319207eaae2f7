#pragma once
// How the program ends, in one way for all commands: by an error, by a signal, or because nobody reads its output any more.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "engine/base/result.h"

namespace tern::cli {

// What kind of failure it is, for scripts that act on it.
enum class FailureKind : uint8_t {
  kInput,      // an argument, a file or a setting, which the user can change
  kMachine,    // this machine failed: memory, disk, a file that cannot be written
  kPartial,    // an answer broke off after a part of it had been delivered
  kAuth,       // another machine refuses the key, or there is none
  kQuota,      // a quota or a budget is used up
  kRateLimit,  // too many requests
  kTimeout,    // no answer in time
  kNetwork,    // no connection
  kContext,    // the request is longer than the model's context
  kContent,    // refused for what the text says
  kServer,     // another machine failed, or its answer makes no sense
};

struct Failure {
  std::string message;  // a sentence for the user; empty: it was printed already
  FailureKind kind = FailureKind::kInput;
  // What a script may want to know besides, as the text of a JSON object; empty: nothing.
  std::string details = {};
};

// How a command ended: well, or with a failure. An Error of the libraries is bad input unless the command knows better.
class Ending {
 public:
  Ending() = default;
  Ending(Failure failure) : failure_(std::move(failure)) {}         // NOLINT: implicit by design
  Ending(const Error& error) : failure_(Failure{error.message}) {}  // NOLINT: likewise
  Ending(const Result<void>& done) {                                // NOLINT: likewise
    if (!done) {
      failure_ = Failure{done.error().message};
    }
  }

  // Null: it ended well.
  const Failure* failure() const { return failure_ ? &*failure_ : nullptr; }

 private:
  std::optional<Failure> failure_;
};

// What the process returns for a failure of this kind. Beside these: 0 for success, 1 for a mistake in Tern itself, and for
// a signal 128 and its number, as shells report it: 130 for Ctrl-C, 141 when the reader of a pipe has gone.
int exit_code(FailureKind kind);
// The table of exit codes, for `tern --help`.
std::string exit_code_help();

// Called first of all. SIGINT, SIGTERM and SIGHUP end the program from here on, with the terminal as it was found; those
// that whoever started Tern wants ignored (nohup) stay ignored. A closed pipe fails the write to it, and nothing else.
void prepare_endings();

// From here on the command asks interrupted() often enough, so that the first signal only sets it and the command ends in
// its own time: calls are settled, files are removed or kept whole. A second signal ends the program at once.
void catch_interrupts();
bool interrupted();
// Forgets Ctrl-C. Every other signal stays: it was meant for the program, not for an answer.
void clear_interrupt();
// Whether standard output is a pipe or a terminal whose other end has gone. What was written so far is lost.
bool output_closed();
// Either of the two: whoever makes text for standard output stops.
bool stop_wanted();

// While this lives, the first signal ends the program: nothing here asks interrupted().
class EndAtOnce {
 public:
  EndAtOnce();
  EndAtOnce(const EndAtOnce&) = delete;
  EndAtOnce& operator=(const EndAtOnce&) = delete;
  ~EndAtOnce();

 private:
  bool before_;
};

// Prints the failure, on stdout as JSON too if `json`, flushes what was printed, and returns the exit code.
int finish(const Ending& ending, bool json);

}  // namespace tern::cli

#include "tools/ending.h"

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/console.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Class {
  FailureKind kind;
  int code;
  const char* name;
  const char* help;
};

// The order is that of the codes. README.md has the same table.
constexpr Class kClasses[] = {
    {FailureKind::kInput, 2, "bad input",
     "bad input: an option, a file, a setting, a refused request"},
    {FailureKind::kMachine, 3, "local failure",
     "this machine failed: memory, standard output, the ledger"},
    {FailureKind::kPartial, 4, "partial answer", "an answer broke off after a part of it came"},
    {FailureKind::kAuth, 5, "auth", "no key, or the provider refuses it"},
    {FailureKind::kQuota, 6, "quota", "a provider's quota or a budget of yours is used up"},
    {FailureKind::kRateLimit, 7, "rate limit", "too many requests"},
    {FailureKind::kTimeout, 8, "timeout", "no answer in time"},
    {FailureKind::kNetwork, 9, "network", "no connection"},
    {FailureKind::kContext, 10, "context length", "too long for a provider's model"},
    {FailureKind::kContent, 11, "content policy", "a provider refuses or withholds the text"},
    {FailureKind::kServer, 12, "server",
     "a provider failed, or its answer makes no sense or is empty"},
};

const Class& class_for(FailureKind kind) {
  for (const Class& each : kClasses) {
    if (each.kind == kind) {
      return each;
    }
  }
  return kClasses[0];
}

constexpr int kSignalCode = 128;

std::atomic<int> g_signal = 0;      // the one that came first; 0: none
std::atomic<bool> g_asked = false;  // interrupted() is asked often
std::atomic<bool> g_output_gone = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "a signal handler may touch only lock-free atomics");

// The terminal as it was found: a line editor may have changed it when a signal comes.
termios g_terminal{};
bool g_has_terminal = false;

// Only where this is the terminal's own job: changing it from the background would stop the program instead.
void restore_terminal() {
  const pid_t foreground =
      ::tcgetpgrp(STDIN_FILENO);  // -1: not a terminal that controls this program
  if (g_has_terminal && (foreground == -1 || foreground == ::getpgrp())) {
    ::tcsetattr(STDIN_FILENO, TCSANOW, &g_terminal);
  }
}

void on_signal(int signal) {
  int none = 0;
  if (g_signal.compare_exchange_strong(none, signal) && g_asked) {
    return;
  }
  restore_terminal();
  ::_exit(kSignalCode + signal);
}

std::string failure_json(const Failure& error, const char* name, int code) {
  Json json = {{"class", name},          {"exit_code", code}, {"message", error.message},
               {"provider", nullptr},    {"status", nullptr}, {"retry_after", nullptr},
               {"partial_text", nullptr}};
  if (!error.details.empty()) {
    json.update(Json::parse(error.details));
  }
  return Json{{"error", json}}.dump(2, ' ', false, Json::error_handler_t::replace);
}

void print_failure(const Failure& error, const char* name, int code, bool json) {
  if (error.message.empty()) {
    return;
  }
  if (json) {
    print_json_text(failure_json(error, name, code) + "\n");
    std::fflush(stdout);
  }
  print_error(error.message);
}

}  // namespace

int exit_code(FailureKind kind) {
  return class_for(kind).code;
}

std::string exit_code_help() {
  std::string text = "Exit codes:\n   0  success\n   1  a mistake in Tern\n";
  for (const Class& each : kClasses) {
    const std::string number = std::to_string(each.code);
    text += std::string(4 - number.size(), ' ') + number + "  " + each.help + "\n";
  }
  return text + " 130  Ctrl-C; other signals: 128 and their number (141: nobody reads the output)";
}

void prepare_endings() {
  // Ignored, as servers that hang up would raise it too. Writing to a closed pipe fails then.
  ::signal(SIGPIPE, SIG_IGN);
  g_has_terminal = ::tcgetattr(STDIN_FILENO, &g_terminal) == 0;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) {
      continue;
    }
    action = {};
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
}

void catch_interrupts() {
  g_asked = true;
}

bool interrupted() {
  return g_signal != 0;
}

void clear_interrupt() {
  int expected = SIGINT;
  g_signal.compare_exchange_strong(expected, 0);
}

bool output_closed() {
  pollfd stream{STDOUT_FILENO, 0, 0};  // errors are reported without being asked for
  if (::poll(&stream, 1, 0) == 1 && (stream.revents & (POLLERR | POLLHUP)) != 0) {
    g_output_gone = true;
  }
  return g_output_gone;
}

bool stop_wanted() {
  return interrupted() || output_closed();
}

EndAtOnce::EndAtOnce() : before_(g_asked.exchange(false)) {}

EndAtOnce::~EndAtOnce() {
  g_asked = before_;
}

int finish(const Ending& ending, bool json) {
  const Result<void> written = flush_stdout();
  if (g_output_gone || (!written && output_closed())) {
    return kSignalCode + SIGPIPE;  // its reader has gone, and knows it: nothing is said
  }
  const Failure* failure = ending.failure();
  if (const int signal = g_signal) {
    if (failure != nullptr) {
      print_failure(*failure, "interrupted", kSignalCode + signal, json);
    }
    return kSignalCode + signal;
  }
  const Failure lost{written ? "" : written.error().message, FailureKind::kMachine};
  if (failure == nullptr && !written) {
    failure = &lost;
  }
  if (failure == nullptr) {
    return 0;
  }
  const Class& kind = class_for(failure->kind);
  print_failure(*failure, kind.name, kind.code, json);
  return kind.code;
}

}  // namespace tern::cli

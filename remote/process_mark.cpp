#include "remote/process_mark.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace tern {
namespace {

struct Mark {
  std::string machine;
  std::string boot;
  std::string names;  // the namespace that the number belongs to
  std::string number;
  std::string started;  // in the system's ticks since it was booted
};

std::string first_word(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word.empty() ? "-" : word;
}

// Empty: there is no such process.
std::string start_time(const std::string& number) {
  std::ifstream file("/proc/" + number + "/stat");
  std::string text;
  std::getline(file, text);
  // The name in the second field may hold anything; what follows its bracket are numbers and a letter.
  const size_t bracket = text.rfind(')');
  if (bracket == std::string::npos) {
    return {};
  }
  std::istringstream fields(text.substr(bracket + 1));
  std::string field;
  constexpr int kStartTime = 22;  // proc(5); the first one behind the bracket is the third
  for (int i = 3; i <= kStartTime; ++i) {
    fields >> field;
  }
  return fields ? field : std::string();
}

Mark own_mark() {
  Mark mark;
  mark.machine = first_word("/etc/machine-id");
  mark.boot = first_word("/proc/sys/kernel/random/boot_id");
  std::error_code failed;
  const auto names = std::filesystem::read_symlink("/proc/self/ns/pid", failed);
  mark.names = failed ? "-" : names.string();
  mark.number = std::to_string(::getpid());
  mark.started = start_time("self");
  return mark;
}

}  // namespace

std::string process_mark() {
  const Mark mark = own_mark();
  return mark.machine + " " + mark.boot + " " + mark.names + " " + mark.number + " " +
         (mark.started.empty() ? "-" : mark.started);
}

Presence presence_of(const std::string& mark) {
  Mark other;
  std::istringstream words(mark);
  if (!(words >> other.machine >> other.boot >> other.names >> other.number >> other.started)) {
    return Presence::kUnknown;
  }
  const Mark own = own_mark();
  if (own.started.empty() || own.machine != other.machine) {  // without /proc nothing is known
    return Presence::kUnknown;
  }
  if (own.boot != other.boot) {
    return Presence::kGone;
  }
  if (own.names != other.names) {
    return Presence::kUnknown;
  }
  return start_time(other.number) == other.started ? Presence::kRunning : Presence::kGone;
}

}  // namespace tern

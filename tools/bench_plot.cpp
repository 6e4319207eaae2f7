#include "tools/bench_plot.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/built_in.h"
#include "tools/console.h"

extern char** environ;

namespace tern::cli {
namespace {

// Runs Python on `code`, as `python3 -c` does, and waits for its end: what it wrote if it succeeded. It reads `input`. -I keeps the
// working folder, which may hold anybody's matplotlib.py, and the variables PYTHON* out of where modules are sought.
std::optional<std::string> run_python(const std::string& python, std::string_view code,
                                      const std::vector<std::string>& arguments,
                                      std::string_view input, bool silent) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return {};
  }
  std::vector<std::string> words = {python, "-I", "-c", std::string(code)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  if (silent) {
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  pid_t child = -1;
  const int failed =
      ::posix_spawnp(&child, python.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  while (failed == 0 && !input.empty()) {
    // A socket, because a pipe whose reader has gone would end this program with SIGPIPE.
    const ssize_t sent = ::send(ends[0], input.data(), input.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) {
      break;
    }
    input.remove_prefix(sent < 0 ? 0 : static_cast<size_t>(sent));
  }
  // The script reads all before it writes, so that neither waits for the other.
  ::shutdown(ends[0], SHUT_WR);
  std::string output;
  std::array<char, 65536> block{};
  while (failed == 0) {
    const ssize_t count = ::recv(ends[0], block.data(), block.size(), 0);
    if (count > 0) {
      output.append(block.data(), static_cast<size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      break;
    }
  }
  ::close(ends[0]);
  int status = -1;
  while (failed == 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const bool good = failed == 0 && input.empty() && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return good ? std::optional(std::move(output)) : std::nullopt;
}

}  // namespace

Result<Plotter> Plotter::create(const std::string& file, bool replace) {
  if (!file.ends_with(".png") && !file.ends_with(".svg")) {
    return Error{"--plot: expected a name that ends in .png or .svg, found " + file + "."};
  }
  // A python3 of the user's own may lack what the system's has.
  for (const std::string python : {"python3", "/usr/bin/python3"}) {
    if (run_python(python, "import matplotlib", {}, "", true)) {
      ASSIGN_OR_RETURN(OutputFile output, open_output(file, replace));
      return Plotter(python, std::move(output));
    }
  }
  return Error{
      "--plot needs Python 3 with matplotlib: install the package python3-matplotlib (Debian, "
      "Ubuntu), or pip install matplotlib into the environment of your python3 (packages of "
      "pip install --user are not looked at)."};
}

Result<void> Plotter::draw(const std::string& json) {
  const std::string file = output_.path().string();
  const std::optional<std::string> picture =
      run_python(python_, kBenchPlotScript, {file.substr(file.size() - 3)}, json, false);
  if (!picture) {
    return Error{"--plot: drawing " + file + " failed; what Python said about it stands above."};
  }
  RETURN_IF_ERROR(output_.write(std::as_bytes(std::span(*picture))));
  RETURN_IF_ERROR(output_.commit());
  print_message("drawn: " + file);
  return {};
}

}  // namespace tern::cli

#include "tools/bench_plot.h"

#include <cstdio>
#include <cstdlib>

#include "tools/cli.h"

namespace tern::cli {
namespace {

// As one word of a shell's command.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return out + "'";
}

}  // namespace

Result<Plotter> Plotter::create(const std::string& file) {
  if (!file.ends_with(".png") && !file.ends_with(".svg")) {
    return Error{"--plot: expected a name that ends in .png or .svg, found " + file + "."};
  }
  ASSIGN_OR_RETURN(const std::string script,
                   find_shared_file("tools/bench_plot.py", "bench_plot.py"));
  // A python3 of the user's own may lack what the system's has.
  for (const std::string python : {"python3", "/usr/bin/python3"}) {
    if (std::system((python + " -c 'import matplotlib' 2>/dev/null").c_str()) == 0) {
      return Plotter(python + " " + quoted(script) + " " + quoted(file), file);
    }
  }
  return Error{
      "--plot needs Python 3 with matplotlib: install the package python3-matplotlib (Debian, "
      "Ubuntu), or "
      "pip install matplotlib."};
}

Result<void> Plotter::draw(const std::string& json) const {
  FILE* script = ::popen(command_.c_str(), "w");
  const bool fed =
      script != nullptr && std::fwrite(json.data(), 1, json.size(), script) == json.size();
  const int status = script == nullptr ? -1 : ::pclose(script);
  if (!fed || status != 0) {
    return Error{"--plot: drawing " + file_ + " failed; what Python said about it stands above."};
  }
  print_message_f("drawn: %s\n", file_.c_str());
  return {};
}

}  // namespace tern::cli

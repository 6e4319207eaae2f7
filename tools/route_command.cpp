// tern route: who would be asked, and why. Sends nothing.

#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/input_file.h"
#include "tools/cli.h"
#include "tools/offload.h"
#include "tools/table.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

struct RouteCommand {
  ModelOptions model;
  SpeculationFlags speculation;
  RemoteOptions remote;
  std::string prompt;
  int context = 0;
  int max_tokens = -1;
  bool explain = false;
  bool json = false;
};

std::string window_text(const RouteStep& step) {
  return step.context == 0 ? "" : ", " + std::to_string(step.context) + " tokens of context";
}

void print_route(const Route& route) {
  print_report_f("because %s\n", route.reason.c_str());
  int number = 0;
  for (const RouteStep& step : route.steps) {
    print_report_f("%d. %s: %s%s%s\n", ++number, step.provider.c_str(), step.model.c_str(),
                   window_text(step).c_str(), step.stand_in ? ", in place of what was named" : "");
    if (!step.passed_over.empty()) {
      print_report_f("   passed over now: %s\n", step.passed_over.c_str());
    }
  }
  for (const std::string& each : route.left_out) {
    print_report_f("not asked: %s\n", each.c_str());
  }
}

Json json_of(const Route& route) {
  Json steps = Json::array();
  for (const RouteStep& step : route.steps) {
    steps.push_back({{"provider", step.provider},
                     {"model", step.model},
                     {"local", step.local},
                     {"stand_in", step.stand_in},
                     {"context", step.context},
                     {"passed_over", step.passed_over}});
  }
  return {{"reason", route.reason}, {"steps", steps}, {"left_out", route.left_out}};
}

Result<void> explain(const RouteCommand& command) {
  ASSIGN_OR_RETURN(const RemoteSettings settings, command.remote.settings());
  Request request;
  std::string prompt = command.prompt;
  if (prompt == "-") {
    ASSIGN_OR_RETURN(prompt, read_stream_or_file(prompt));
  }
  request.messages.push_back({"user", std::move(prompt), ""});
  ASSIGN_OR_RETURN(const ModelNames names, command.remote.names(command.model.path, &settings));
  request.model = names.remote;
  request.max_tokens = command.max_tokens;
  request.local_only = command.remote.local_only;
  ASSIGN_OR_RETURN(const auto offload, Offload::create(settings, command.model, names,
                                                       command.speculation, command.context));
  ASSIGN_OR_RETURN(const Route route, offload->outlook(request));
  if (command.json) {
    print_json(json_of(route));
  } else {
    print_route(route);
  }
  return {};
}

}  // namespace

Action declare_route(CLI::App& app) {
  const auto command = std::make_shared<RouteCommand>();
  app.add_option("prompt", command->prompt, "The prompt; - reads it from standard input");
  app.add_flag("--explain", command->explain, "Say why (the default)");
  app.add_option("-n,--predict,--n-predict", command->max_tokens, "Tokens to generate at most")
      ->check(in_range(-1, 1 << 30))
      ->type_name("N");
  command->model.declare(app);
  declare_context(app, command->context);
  command->remote.declare(app);
  app.add_flag("--json", command->json, "As JSON");
  return [command] { return explain(*command); };
}

}  // namespace tern::cli

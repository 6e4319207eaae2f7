// tern inspect: what a model file holds, and whether it fits this machine.

#include <cstdio>

#include "engine/base/memory.h"
#include "engine/base/parallel.h"
#include "tools/cli.h"
#include "tools/inspect_report.h"
#include "tools/model_store.h"

namespace tern::cli {
namespace {

struct InspectCommand {
  std::string path;
  std::string i2s_layout = "auto";
  int context = 0;
  std::string kv_type = "f16";
  bool json = false;
};

Result<void> inspect(const InspectCommand& command) {
  ASSIGN_OR_RETURN(const std::optional<I2sLayout> layout, parse_i2s_layout(command.i2s_layout));
  ASSIGN_OR_RETURN(const KvType kv_type, parse_kv_type(command.kv_type));
  ASSIGN_OR_RETURN(const std::string path, resolve_model(command.path));
  ASSIGN_OR_RETURN(const TensorFile file,
                   TensorFile::open(path, {.i2s_layout = layout.value_or(I2sLayout::k128)}));
  ASSIGN_OR_RETURN(const Setup setup, choose_setup({}));
  const std::string report = inspect_report(file, {.json = command.json,
                                                   .kernels = setup.kernels,
                                                   .choice = setup.packing,
                                                   .threads = setup.threads,
                                                   .context = command.context,
                                                   .kv_type = kv_type,
                                                   .available = available_memory()});
  if (command.json) {
    print_json_text(report);
  } else {
    print_report(report);
  }
  return {};
}

}  // namespace

Action declare_inspect(CLI::App& app) {
  const auto command = std::make_shared<InspectCommand>();
  app.add_option("file", command->path,
                 "GGUF file (or the first part of a split one), or Hugging Face folder")
      ->required()
      ->type_name("FILE");
  declare_context(app, command->context);
  app.add_option("--kv-type", command->kv_type, "Type of the KV cache: f16 or q8_0")
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_flag("--json", command->json, "Print one JSON object");
  app.add_option("--i2s-layout", command->i2s_layout,
                 "Byte order of I2_S weights: 128, arm64 or 1x4")
      ->type_name("NAME")
      ->capture_default_str();
  return [command] { return inspect(*command); };
}

}  // namespace tern::cli

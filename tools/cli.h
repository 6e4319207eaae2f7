#pragma once
// What the commands of `tern` share: how they are listed, the options that name a model, how they load it and report.

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/arch/model.h"
#include "engine/base/result.h"
#include "engine/session/session.h"
#include "tools/console.h"
#include "tools/ending.h"
#include "tools/number_option.h"

namespace tern::cli {

// What a command does once its options are read. A failure is printed, and its kind is the exit code.
using Action = std::function<Ending()>;

// A command declares its options on its subcommand and returns its action.
struct Command {
  const char* name;
  const char* summary;
  Action (*declare)(CLI::App& app);
};

Action declare_batch(CLI::App& app);
Action declare_bench(CLI::App& app);
Action declare_chat(CLI::App& app);
Action declare_convert(CLI::App& app);
Action declare_cost(CLI::App& app);
Action declare_doctor(CLI::App& app);
Action declare_eval(CLI::App& app);
Action declare_inspect(CLI::App& app);
Action declare_list(CLI::App& app);
Action declare_route(CLI::App& app);
Action declare_run(CLI::App& app);
Action declare_embed(CLI::App& app);
Action declare_logits(CLI::App& app);
Action declare_perplexity(CLI::App& app);
Action declare_pull(CLI::App& app);
Action declare_remote(CLI::App& app);
Action declare_rm(CLI::App& app);
Action declare_synth(CLI::App& app);
Action declare_tokenize(CLI::App& app);
Action declare_tune(CLI::App& app);

// Options of every command that runs a model.
struct ModelOptions {
  std::string path;       // empty: the default model
  int threads = 0;        // at most, for generating; 0 or less: all cores that suit
  int batch_threads = 0;  // at most, for prompts; 0 or less: as `threads`
  std::string isa;        // empty: the best table, or what TERN_ISA names
  std::string kv_type = "f16";
  std::string i2s_layout = "auto";
  std::string packing;  // a ternary kernel's name; empty: what suits the model
  std::string head_type = "auto";
  std::string activations = "auto";
  std::vector<std::string> lora;  // FILE or FILE:SCALE
  std::string chat_template;      // a built-in name or a file
  bool verbose = false;

  void declare(CLI::App& app);
};

// Of every command that writes a file where the user says: without it a file with content is not replaced.
void declare_force(CLI::App& app, bool& force);
void declare_lora(CLI::App& app, std::vector<std::string>& lora);
// Options of commands that generate text.
void declare_context(CLI::App& app, int& context);
void declare_chat_template(CLI::App& app, ModelOptions& options);
void declare_raw_output(CLI::App& app);
// The text of a Jinja template; an empty file is an error.
Result<std::string> read_template_file(const std::string& path);

// A model and how to compute with it.
struct LoadedModel {
  std::shared_ptr<const Model> model;
  Compute compute;
  SessionOptions session;  // threads as the user's options say
};

// How to compute: by options and TERN_ISA, else by what `tern tune` stored, else by default. Prints a notice on a stored tuning
// that is of no use.
struct Setup {
  const KernelTable* kernels = nullptr;
  TernaryChoice packing;
  int threads = 1;        // at most, for generating
  int batch_threads = 0;  // at most, for prompts; 0: as for generating
  bool tuned = false;     // what was stored had a part in it
};
Result<Setup> choose_setup(const ModelOptions& options);

// What a model of `file` and a session on it will take here. context 0: the default one.
Result<MemoryPlan> plan_for_file(const TensorFile& file, const ModelOptions& options, int context);
// Loads with a progress bar on a terminal (if it takes long) and prints the model's notices to stderr.
Result<LoadedModel> load_model(const ModelOptions& options);
// A session on it; prints the plan's notice to stderr. context 0: the default one. `reserved`: bytes to leave to a draft model.
Result<Session> create_session(const LoadedModel& loaded, int context, uint64_t reserved = 0);

// The kernel table that --isa or TERN_ISA name, else the best. An unknown or unsupported name is an error that lists the
// choices.
Result<const KernelTable*> choose_table(const std::string& isa);
// The kernel of that name; none for an empty one.
Result<std::optional<TernaryKind>> parse_packing(const std::string& name);
Result<KvType> parse_kv_type(const std::string& name);
Result<HeadType> parse_head_type(const std::string& name);
Result<LoraSource> parse_lora(const std::string& text);
// "auto": none.
Result<std::optional<I2sLayout>> parse_i2s_layout(const std::string& name);
// None for "auto".
Result<std::optional<Activations>> parse_activations(const std::string& name);
// Where the default model lies: TERN_MODEL, or the one that comes with Tern.
Result<std::string> default_model_path();

// A bar on the terminal's last line of stderr: drawn after two seconds, cleared at the end. Silent on a pipe.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar();
  void update(double done);  // 0 to 1

 private:
  std::string label_;
  double started_;
  double drawn_ = 0;
  bool visible_ = false;
};

}  // namespace tern::cli

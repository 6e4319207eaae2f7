#include "tools/cli.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "engine/base/clock.h"
#include "engine/base/environment.h"
#include "engine/base/memory.h"
#include "engine/base/parallel.h"
#include "engine/model/chat_families.h"
#include "engine/model/chat_template.h"
#include "kernels/cpu.h"
#include "kernels/select.h"
#include "tools/model_store.h"
#include "tools/model_summary.h"
#include "tools/shared_file.h"
#include "tools/text_input.h"
#include "tools/tuning.h"

namespace tern::cli {
namespace {

// What --chat-template names: a built-in template, else a file; Jinja text is taken as it is.
Result<std::string> template_text(const std::string& name) {
  if (name.empty() || name.find('{') != std::string::npos || find_family(name) != nullptr) {
    return name;
  }
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored)) {
    return read_template_file(name);
  }
  return Error{"--chat-template: expected a built-in template (" + ChatTemplate::builtin_names() +
               ") or a file with a Jinja template, found " + name + ", which is neither."};
}

}  // namespace

void ModelOptions::declare(CLI::App& app) {
  app.add_option("-m,--model", path,
                 "Model file (GGUF), or the name of one that `tern pull` has downloaded; default: "
                 "TERN_MODEL, else the model that comes with Tern")
      ->type_name("MODEL");
  app.add_option(
         "-t,--threads", threads,
         "Generate on at most so many threads, fewer where that measures faster; default, 0 or -1: "
         "the physical cores that this process may use")
      ->check(in_range(-1, 1024))
      ->type_name("N");
  app.add_option("--threads-batch", batch_threads,
                 "The same for reading prompts (-tb); default, 0 or -1: as -t")
      ->check(in_range(-1, 1024))
      ->type_name("N");
  app.add_option(
         "--isa", isa,
         "Kernels to use: a name that `tern doctor` lists; default: TERN_ISA, else the best")
      ->type_name("NAME");
  app.add_option("--kv-type", kv_type,
                 "Numbers of the KV cache: f16, or q8_0 for half the memory and reading")
      ->type_name("TYPE");
  app.add_option(
         "--i2s-layout", i2s_layout,
         "Byte order of I2_S tensors: 128 (published files), arm64, 1x4, or auto (default): the "
         "one under which the model predicts a short text")
      ->type_name("NAME");
  app.add_option("--packing", packing,
                 "Ternary kernel: two_bit, base3, bitplanes, bitplanes_masked or sign; default: "
                 "what suits the model")
      ->type_name("NAME");
  app.add_option("--head-type", head_type,
                 "Output head: keep (as in the file), q6_k (in two planes, which are fast), q8_0, "
                 "f16, or auto (q6_k if the file's is large and Q6_K, so that nothing is rounded)")
      ->type_name("NAME");
  declare_lora(app, lora);
  app.add_option("--activations", activations,
                 "Inputs of ternary layers: int8 (as BitNet models were trained), int16, f32 "
                 "(exact and slow) or auto (what suits the model)")
      ->type_name("TYPE");
  app.add_flag("-v,--verbose", verbose, "Say more on stderr");
}

void declare_force(CLI::App& app, bool& force) {
  app.add_flag("--force", force, "Replace an existing file");
}

void declare_lora(CLI::App& app, std::vector<std::string>& lora) {
  app.add_option("--lora", lora,
                 "LoRA adapter to add (GGUF file or PEFT folder), times SCALE if given; may be "
                 "repeated")
      ->allow_extra_args(false)
      ->type_name("FILE[:SCALE]");
}

void declare_context(CLI::App& app, int& context) {
  app.add_option("-c,--ctx-size", context, "Context in tokens; 0: the model's own, at most 8192")
      ->check(in_range(0, 1 << 24))
      ->type_name("N");
}

void declare_chat_template(CLI::App& app, ModelOptions& options) {
  app.add_option("--chat-template", options.chat_template,
                 "A built-in template's name or a Jinja file")
      ->type_name("NAME|FILE");
}

void declare_raw_output(CLI::App& app) {
  app.add_flag_callback(
      "--raw-output", [] { print_raw_output(true); },
      "Let the text's own control characters (colours, but also what changes or reads the "
      "terminal) reach the terminal");
}

Result<std::string> read_template_file(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, read_text_input(path, size_t{1} << 20));
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return Error{path + ": expected a Jinja template, found an empty file."};
  }
  if (text.find('{') == std::string::npos) {
    return Error{path + ": expected a Jinja template, found a text without { and }."};
  }
  return text;
}

Result<const KernelTable*> choose_table(const std::string& isa) {
  const std::string name = isa.empty() ? environment("TERN_ISA") : isa;
  if (name.empty()) {
    return &best_table();
  }
  if (const KernelTable* table = find_table(name)) {
    return table;
  }
  std::string choices;
  bool exists = false;
  for (const KernelTable* table : all_tables()) {
    exists = exists || name == table->name;
    if (runs_here(*table)) {
      choices += (choices.empty() ? "" : ", ") + std::string(table->name);
    }
  }
  return Error{(isa.empty() ? "TERN_ISA: " : "--isa: ") + std::string("expected one of ") +
               choices + ", found " + name + (exists ? ", which this CPU cannot run." : ".")};
}

Result<std::optional<TernaryKind>> parse_packing(const std::string& name) {
  if (name.empty()) {
    return std::optional<TernaryKind>();
  }
  std::string choices;
  for (int kind = 0; kind < kTernaryKinds; ++kind) {
    if (name == kTernaryKindNames[kind]) {
      return std::optional(static_cast<TernaryKind>(kind));
    }
    choices += (choices.empty() ? "" : ", ") + std::string(kTernaryKindNames[kind]);
  }
  return Error{"--packing: expected one of " + choices + ", found " + name + "."};
}

Result<KvType> parse_kv_type(const std::string& name) {
  if (name == "f16") {
    return KvType::kF16;
  }
  if (name == "q8_0") {
    return KvType::kQ8_0;
  }
  return Error{"--kv-type: expected f16 or q8_0, found " + name + "."};
}

Result<LoraSource> parse_lora(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::error_code ignored;
  if (colon == std::string::npos || std::filesystem::exists(text, ignored)) {
    return LoraSource{text, 1.0F};
  }
  constexpr float kMostScale = 1e6F;
  const Result<float> scale = parse_number(text.substr(colon + 1), -kMostScale, kMostScale);
  if (!scale) {
    return Error{"--lora " + text +
                 ": this file is not there, and read as FILE:SCALE: " + scale.error().message};
  }
  return LoraSource{text.substr(0, colon), *scale};
}

Result<std::optional<I2sLayout>> parse_i2s_layout(const std::string& name) {
  if (name == "auto") {
    return std::optional<I2sLayout>();
  }
  if (name == "128") {
    return std::optional(I2sLayout::k128);
  }
  if (name == "arm64") {
    return std::optional(I2sLayout::kArm64);
  }
  if (name == "1x4") {
    return std::optional(I2sLayout::k1x4);
  }
  return Error{"--i2s-layout: expected auto, 128, arm64 or 1x4, found " + name + "."};
}

Result<HeadType> parse_head_type(const std::string& name) {
  std::string choices;
  for (size_t type = 0; type < std::size(kHeadTypeNames); ++type) {
    if (name == kHeadTypeNames[type]) {
      return static_cast<HeadType>(type);
    }
    choices += (type == 0 ? "" : ", ") + std::string(kHeadTypeNames[type]);
  }
  return Error{"--head-type: expected one of " + choices + ", found " + name + "."};
}

Result<std::optional<Activations>> parse_activations(const std::string& name) {
  if (name == "auto") {
    return std::optional<Activations>();
  }
  std::string choices = "auto";
  for (size_t each = 0; each < std::size(kActivationsNames); ++each) {
    if (name == kActivationsNames[each]) {
      return std::optional(static_cast<Activations>(each));
    }
    choices += ", " + std::string(kActivationsNames[each]);
  }
  return Error{"--activations: expected one of " + choices + ", found " + name + "."};
}

Result<std::string> default_model_path() {
  if (const std::string named = environment("TERN_MODEL"); !named.empty()) {
    return resolve_model(named);
  }
  Result<std::string> found = find_shared_file("models/tern-tiny.gguf", "tern-tiny.gguf");
  if (!found) {
    return Error{
        "No model given, and the default one, which comes with Tern as share/tern/tern-tiny.gguf, "
        "is not there: name one with -m FILE."};
  }
  return found;
}

Result<Setup> choose_setup(const ModelOptions& options) {
  const StoredTuning stored = load_tuning(tuning_path(), this_machine());
  if (!stored.notice.empty()) {
    print_notice(stored.notice);
  }
  Setup setup;
  const bool asked = !options.isa.empty() || !environment("TERN_ISA").empty();
  ASSIGN_OR_RETURN(setup.kernels,
                   asked || !stored.tuning ? choose_table(options.isa) : stored.tuning->kernels);
  ASSIGN_OR_RETURN(setup.packing.wanted, parse_packing(options.packing));
  setup.threads = default_thread_count();
  // What was measured with other kernels says nothing about these.
  if (stored.tuning && stored.tuning->kernels == setup.kernels) {
    setup.tuned = true;
    setup.packing.cached = stored.tuning->cached;
    setup.packing.streamed = stored.tuning->streamed;
    setup.threads = stored.tuning->threads;
    setup.batch_threads = stored.tuning->batch_threads;
  }
  if (options.threads > 0) {
    setup.threads = options.threads;
    setup.batch_threads = 0;
  }
  if (options.batch_threads > 0) {
    setup.batch_threads = options.batch_threads;
  }
  return setup;
}

namespace {

Result<SessionOptions> session_options(const ModelOptions& options, const Setup& setup) {
  SessionOptions session;
  session.threads = setup.threads;
  session.batch_threads = setup.batch_threads;
  session.tune_threads = true;
  ASSIGN_OR_RETURN(session.kv_type, parse_kv_type(options.kv_type));
  return session;
}

}  // namespace

Result<MemoryPlan> plan_for_file(const TensorFile& file, const ModelOptions& options, int context) {
  ASSIGN_OR_RETURN(const Setup setup, choose_setup(options));
  ASSIGN_OR_RETURN(SessionOptions session, session_options(options, setup));
  session.context = context;
  std::vector<std::string> notices;
  ASSIGN_OR_RETURN(ModelConfig config, read_config(file, notices));
  ASSIGN_OR_RETURN(const std::optional<Activations> activations,
                   parse_activations(options.activations));
  config.activations = activations.value_or(config.activations);
  ASSIGN_OR_RETURN(const HeadType head, parse_head_type(options.head_type));
  ASSIGN_OR_RETURN(const ModelPlan plan,
                   ModelPlan::create(file, std::move(config), *setup.kernels, setup.packing, head));
  return plan_memory(plan.shape(), session, available_memory());
}

Result<LoadedModel> load_model(const ModelOptions& options) {
  ASSIGN_OR_RETURN(const Setup setup, choose_setup(options));
  LoadedModel loaded;
  loaded.compute = Compute{setup.kernels, setup.threads};
  ASSIGN_OR_RETURN(loaded.session, session_options(options, setup));
  ASSIGN_OR_RETURN(std::string path, resolve_model(options.path));
  if (path.empty()) {
    ASSIGN_OR_RETURN(path, default_model_path());
  }
  ProgressBar bar("loading");
  LoadOptions load;
  load.compute = loaded.compute;
  ASSIGN_OR_RETURN(load.i2s_layout, parse_i2s_layout(options.i2s_layout));
  load.packing = setup.packing;
  ASSIGN_OR_RETURN(load.head, parse_head_type(options.head_type));
  for (const std::string& adapter : options.lora) {
    ASSIGN_OR_RETURN(LoraSource source, parse_lora(adapter));
    load.lora.push_back(std::move(source));
  }
  ASSIGN_OR_RETURN(load.activations, parse_activations(options.activations));
  ASSIGN_OR_RETURN(load.chat_template, template_text(options.chat_template));
  load.progress = [&](double done) { bar.update(done); };
  ASSIGN_OR_RETURN(loaded.model, Model::load(path, load));
  for (const std::string& notice : loaded.model->notices()) {
    print_notice(notice);
  }
  if (options.verbose) {
    const TernaryKind kind =
        choose_ternary_kind(*setup.kernels, setup.packing, ternary_weights(loaded.model->file()));
    print_message_f("%s: %s, %s kernels, %s, %s activations, %d threads%s, %s template\n",
                    path.c_str(), loaded.model->config().architecture.c_str(), setup.kernels->name,
                    kTernaryKindNames[static_cast<int>(kind)],
                    kActivationsNames[static_cast<int>(loaded.model->config().activations)],
                    setup.threads, setup.tuned ? " (tuned)" : "",
                    std::string(loaded.model->chat_template().name()).c_str());
    print_message_f("%s\n", describe_head(*loaded.model).c_str());
  }
  return loaded;
}

Result<Session> create_session(const LoadedModel& loaded, int context, uint64_t reserved) {
  SessionOptions options = loaded.session;
  options.context = context;
  options.reserved = reserved;
  ASSIGN_OR_RETURN(Session session, Session::create(loaded.model, options));
  if (!session.plan().notice.empty()) {
    print_notice(session.plan().notice);
  }
  return session;
}

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)), started_(steady_seconds()) {}

ProgressBar::~ProgressBar() {
  if (visible_) {
    clear_status();
  }
}

void ProgressBar::update(double done) {
  constexpr double kPatience = 2.0;  // seconds before a bar is worth showing
  constexpr int kWidth = 30;
  const double time = steady_seconds();
  if (!stderr_is_terminal() || time - started_ < kPatience || time - drawn_ < 0.1) {
    return;
  }
  visible_ = true;
  drawn_ = time;
  const int filled = static_cast<int>(done * kWidth);
  const double left = done > 0 ? (time - started_) / done * (1 - done) : 0;
  char numbers[48];
  std::snprintf(numbers, sizeof numbers, "%3.0f %%, %.0f s left", done * 100, left);
  show_status(label_ + " [" + std::string(static_cast<size_t>(filled), '#') +
              std::string(static_cast<size_t>(kWidth - filled), ' ') + "] " + numbers);
}

}  // namespace tern::cli

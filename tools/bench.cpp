// tern bench: how fast models run here, beside what the machine allows. Flags and names of tests are those of llama-bench.

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "engine/base/memory.h"
#include "engine/base/parallel.h"
#include "kernels/cpu.h"
#include "tools/bench_plot.h"
#include "tools/bench_report.h"
#include "tools/bench_runner.h"
#include "tools/cli.h"
#include "tools/synth_model.h"
#include "tools/version.h"

namespace tern::cli {
namespace {

struct Options {
  std::vector<std::string> models;
  std::vector<int> prompts = {512};
  std::vector<int> generated = {128};
  std::vector<int> depths = {0};
  std::vector<int> threads;
  std::vector<std::string> isas = {""};
  std::vector<std::string> packings = {""};
  std::vector<std::string> lora;
  std::string kv_type = "f16";
  std::string activations = "auto";
  int repetitions = 5;
  bool vs_fp16 = false;
  std::string format = "md";
  std::string plot;
  bool force = false;
};

Result<BenchFormat> parse_format(const std::string& name) {
  constexpr std::pair<const char*, BenchFormat> kFormats[] = {{"md", BenchFormat::kMarkdown},
                                                              {"json", BenchFormat::kJson},
                                                              {"jsonl", BenchFormat::kJsonLines},
                                                              {"csv", BenchFormat::kCsv}};
  for (const auto& [known, format] : kFormats) {
    if (name == known) {
      return format;
    }
  }
  return Error{"-o: expected md, json, jsonl or csv, found " + name + "."};
}

// ---- models ------------------------------------------------------------------------------------

// The kernel that reads the layers' matrices, or the type that they are stored in.
void name_weights(BenchModel& model) {
  const LayerWeights& layer = model.model->decoder().layers.front();
  const Linear w = layer.experts ? layer.experts->up->shape() : layer.up;
  model.ternary = w.ternary();
  if (!model.ternary) {
    const Tensor* tensor = model.model->file().find(layer.experts ? "blk.0.ffn_up_exps.weight"
                                                                  : "blk.0.ffn_up.weight");
    model.packing = tensor != nullptr ? std::string(tensor->format->name) : "dense";
    return;
  }
  for (int kind = 0; kind < kTernaryKinds; ++kind) {
    if (model.model->kernels().ternary[kind].matmul == w.kernel->matmul) {
      model.packing = kTernaryKindNames[kind];
    }
  }
}

Result<BenchModel> load(const std::string& path, const std::string& isa, const std::string& packing,
                        const std::string& activations, const std::vector<std::string>& lora) {
  ModelOptions options;
  options.path = path;
  options.isa = isa;
  options.packing = packing;
  options.activations = activations;
  options.lora = lora;
  options.i2s_layout = "128";  // no layout is faster, so there is nothing to find out
  const uint64_t before = resident_memory();
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options));
  const uint64_t after = resident_memory();
  BenchModel model;
  model.name = std::filesystem::path(path).filename().string();
  model.model = loaded.model;
  model.resident = after > before ? after - before : 0;
  name_weights(model);
  return model;
}

// A folder for twins, gone at the end (also after an error).
class TwinFolder {
 public:
  TwinFolder() = default;
  TwinFolder(const TwinFolder&) = delete;
  TwinFolder& operator=(const TwinFolder&) = delete;
  ~TwinFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Result<std::filesystem::path> path() {
    if (path_.empty()) {
      std::string name = (std::filesystem::temp_directory_path() / "tern-bench-XXXXXX").string();
      if (::mkdtemp(name.data()) == nullptr) {
        return Error{name +
                     ": cannot make a folder for the fp16 model. TMPDIR names another place."};
      }
      path_ = name;
    }
    return path_;
  }

 private:
  std::filesystem::path path_;
};

// Writes a model of the same shape with all matrices in F16.
Result<std::string> write_twin(const Model& model, const std::string& path, TwinFolder& folder) {
  const bool tied = model.file().find("output.weight") == nullptr;
  SynthOptions options;
  options.shape = shape_of(model.config(), tied);
  options.linear = options.embedding = options.head = find_weight_format("F16");
  options.threads = default_thread_count();
  uint64_t bytes = 0;
  for (const Tensor& tensor : model.file().tensors()) {
    bytes += 2 * static_cast<uint64_t>(tensor.count());
  }
  if (const uint64_t available = available_memory(); available > 0 && bytes > available) {
    return Error{path + ": its fp16 twin needs " + human_bytes(bytes) + ", found " +
                 human_bytes(available) + " of memory available. Leave --vs-fp16 out."};
  }
  ProgressBar bar("writing the fp16 twin");
  options.keep_going = [&](double done) {
    bar.update(done);
    return !interrupted();
  };
  ASSIGN_OR_RETURN(const std::filesystem::path place, folder.path());
  const std::string twin =
      (place / (std::filesystem::path(path).stem().string() + "-f16.gguf")).string();
  RETURN_IF_ERROR(write_synth_model(twin, options));
  return twin;
}

Result<std::vector<BenchModel>> load_all(const Options& options) {
  std::vector<std::string> paths = options.models;
  if (paths.empty()) {
    ASSIGN_OR_RETURN(const std::string path, default_model_path());
    paths.push_back(path);
  }
  std::vector<BenchModel> models;
  TwinFolder folder;
  for (const std::string& path : paths) {
    std::string twin_path;
    for (const std::string& isa : options.isas) {
      const size_t first = models.size();
      for (const std::string& packing : options.packings) {
        ASSIGN_OR_RETURN(BenchModel model,
                         load(path, isa, packing, options.activations, options.lora));
        models.push_back(std::move(model));
      }
      if (!options.vs_fp16) {
        continue;
      }
      if (twin_path.empty()) {
        ASSIGN_OR_RETURN(twin_path, write_twin(*models[first].model, path, folder));
      }
      // The file stays mapped when its folder is removed.
      ASSIGN_OR_RETURN(BenchModel twin, load(twin_path, isa, "", "auto", {}));
      for (size_t i = first; i < models.size(); ++i) {
        models[i].twin = models.size();
      }
      models.push_back(std::move(twin));
    }
  }
  return models;
}

// ---- tests -------------------------------------------------------------------------------------

std::vector<BenchResult> tests_of(const Options& options, size_t models) {
  std::vector<BenchResult> results;
  const auto add_for_all = [&](BenchTest test) {
    for (test.model = 0; test.model < models; ++test.model) {
      results.push_back({test, {}});
    }
  };
  for (const int depth : options.depths) {
    for (const int threads : options.threads) {
      for (const int prompt : options.prompts) {
        if (prompt > 0) {
          add_for_all({0, threads, prompt, 0, depth});
        }
      }
      for (const int generate : options.generated) {
        if (generate > 0) {
          add_for_all({0, threads, 0, generate, depth});
        }
      }
    }
  }
  return results;
}

// Says which tests go beyond what a model was made for: their speed counts, but no text of that length would be good.
void note_contexts(const BenchRun& run, std::vector<std::string>& notes) {
  for (size_t i = 0; i < run.models.size(); ++i) {
    int longest = 0;
    for (const BenchResult& result : run.results) {
      if (result.test.model == i) {
        longest = std::max(longest, result.test.depth + result.test.tokens());
      }
    }
    const int context = run.models[i].model->config().context;
    if (context > 0 && longest > context) {
      notes.push_back(run.models[i].name + ": a test goes to " + std::to_string(longest) +
                      " tokens, beyond the context of " + std::to_string(context) +
                      " that the model was made for; only its speed means something.");
    }
  }
}

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// One line on a terminal that says what is being done; nothing elsewhere.
class StatusLine {
 public:
  ~StatusLine() { show({}); }
  void show(const std::string& text) {
    if (stderr_is_terminal()) {
      show_status(text);
    }
  }
};

Result<void> bench(Options options) {
  ASSIGN_OR_RETURN(const BenchFormat format, parse_format(options.format));
  std::optional<Plotter> plotter;
  if (!options.plot.empty()) {
    ASSIGN_OR_RETURN(Plotter made, Plotter::create(options.plot, options.force));
    plotter.emplace(std::move(made));
  }
  ASSIGN_OR_RETURN(const Setup setup, choose_setup({}));
  if (options.threads.empty()) {
    options.threads = {setup.threads};
  }
  for (int& threads : options.threads) {
    threads = threads > 0 ? threads : setup.threads;
  }
  catch_interrupts();
  BenchRun run;
  ASSIGN_OR_RETURN(run.kv_type, parse_kv_type(options.kv_type));
  ASSIGN_OR_RETURN(run.models, load_all(options));
  run.results = tests_of(options, run.models.size());
  if (run.results.empty()) {
    return Error{
        "-p and -n: expected at least one number above 0, so that there is something to measure."};
  }
  {
    StatusLine status;
    BenchRunner runner(run, [&](double done, const std::string& what) {
      if (!what.empty()) {
        char percent[16];
        std::snprintf(percent, sizeof percent, "%3.0f %% ", 100 * done);
        status.show(percent + what);
      }
      return !stop_wanted();
    });
    RETURN_IF_ERROR(runner.prepare());
    runner.measure(options.repetitions);
  }
  const std::vector<BenchRow> rows = rows_of(run);
  if (rows.empty()) {
    return Error{"Interrupted before the first measurement."};
  }
  std::vector<std::string> notes = notes_of(run);
  note_contexts(run, notes);
  if (interrupted()) {
    notes.emplace_back("Interrupted: some repetitions are missing.");
  }
  const BenchHeading heading{kVersion, cpu_name(), now_utc()};
  const std::string formatted = format_rows(rows, notes, heading, format);
  if (format == BenchFormat::kMarkdown) {
    print_report(formatted);
  } else {
    print_json_text(formatted);
  }
  for (const std::string& note : notes) {
    if (format != BenchFormat::kMarkdown) {
      print_notice(note);
    }
  }
  return plotter ? plotter->draw(format_rows(rows, notes, heading, BenchFormat::kJson))
                 : Result<void>();
}

}  // namespace

Action declare_bench(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  const auto list = [&](const char* names, auto& values, const char* help, const char* type) {
    return app.add_option(names, values, help)->delimiter(',')->type_name(type);
  };
  list("-m,--model", options->models,
       "Model files, separated by commas; default: the model that comes with Tern", "FILES");
  constexpr int kMostTokens = 1 << 20;
  add_numbers(app, "-p,--n-prompt", options->prompts, 0, kMostTokens,
              "Lengths of prompts to read; 0: none");
  add_numbers(app, "-n,--n-gen", options->generated, 0, kMostTokens,
              "Numbers of tokens to generate, as greedy decoding does; 0: none");
  add_numbers(app, "-d,--n-depth", options->depths, 0, kMostTokens,
              "Tokens already in the context");
  add_numbers(app, "-t,--threads", options->threads, -1, 1024,
              "Threads; default, 0 or -1: the physical cores");
  list("--isa", options->isas, "Kernel tables that `tern doctor` lists; default: the best",
       "NAME,...");
  list("--packing", options->packings, "Ternary kernels; default: what suits the model",
       "NAME,...");
  declare_lora(app, options->lora);
  app.add_option("--activations", options->activations,
                 "Inputs of ternary layers: int8, int16, f32 or auto (what suits each model)")
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_option("--kv-type", options->kv_type, "Type of keys and values: f16 or q8_0")
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_option("-r,--repetitions", options->repetitions, "How often each test is run")
      ->check(in_range(1, 1000))
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--vs-fp16", options->vs_fp16,
               "Measure a model of the same shape in F16 too (a temporary file), and print the "
               "speedup");
  app.add_option("-o,--output", options->format, "md, json, jsonl or csv")
      ->type_name("FORMAT")
      ->capture_default_str();
  app.add_option("--plot", options->plot, "Draw speeds and rooflines into this .png or .svg file")
      ->type_name("FILE");
  declare_force(app, options->force);
  return [options] { return bench(*options); };
}

}  // namespace tern::cli

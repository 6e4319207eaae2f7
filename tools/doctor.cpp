// tern doctor: what this machine can do, and whether its kernels compute correctly.

#include <cstdio>

#include "engine/base/buffer.h"
#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/base/parallel.h"
#include "kernels/cpu.h"
#include "kernels/select.h"
#include "kernels/self_test.h"
#include "tools/cli.h"
#include "tools/model_store.h"
#include "tools/tuning.h"

namespace tern::cli {
namespace {

// Reads a buffer larger than any cache a few times on all threads; the best pass counts, for the others were disturbed.
double read_bandwidth(int threads) {
  constexpr int64_t kWords = int64_t{256} << 20 >> 3;
  constexpr int kPasses = 5;
  AlignedArray<uint64_t> buffer(static_cast<size_t>(kWords));
  const auto pass = [&](auto&& body) {
    const Stopwatch watch;
    parallel_for(threads, kWords, 512, body);
    return watch.seconds();
  };
  pass(
      [&](int64_t begin, int64_t end, int) { std::fill(&buffer[0] + begin, &buffer[0] + end, 1); });
  std::vector<uint64_t> sums(static_cast<size_t>(threads));
  double best = 0;
  for (int i = 0; i < kPasses; ++i) {
    const double seconds = pass([&](int64_t begin, int64_t end, int thread) {
      uint64_t lanes[8] = {};  // independent sums, so that adding does not hold up reading
      for (int64_t word = begin; word < end; word += 8) {
        for (int64_t lane = 0; lane < 8; ++lane) {
          lanes[lane] += buffer[static_cast<size_t>(word + lane)];
        }
      }
      for (const uint64_t lane : lanes) {
        sums[static_cast<size_t>(thread)] += lane;
      }
    });
    best = std::max(best, static_cast<double>(kWords * 8) / seconds);
  }
  return best;
}

// What a model takes here.
std::string needs_of(const std::string& path, const ModelOptions& options) {
  const Result<TensorFile> file = TensorFile::open(path);
  const Result<MemoryPlan> plan =
      file ? plan_for_file(*file, options, 0) : Result<MemoryPlan>(file.error());
  if (!plan) {
    return plan.error().message;
  }
  return "needs " + human_bytes(plan->total()) + " with a context of " +
         std::to_string(plan->context) + " tokens (" + parts_of(*plan) + ")" +
         (plan->fits() ? "" : ", which do not fit: use a smaller model");
}

Result<void> doctor(const ModelOptions& options) {
  ASSIGN_OR_RETURN(const Setup setup, choose_setup(options));
  const KernelTable* chosen = setup.kernels;
  const int threads = default_thread_count();
  print_report_f("CPU        %s\n", cpu_name().c_str());
  print_report_f("features   %s\n", cpu_feature_names(cpu_features()).c_str());
  print_report_f("threads    %d (physical cores this process may use)\n", threads);
  print_report_f("memory     %s available\n", human_bytes(available_memory()).c_str());
  print_report_f("bandwidth  %.1f GB/s read, %d threads\n", read_bandwidth(threads) * 1e-9,
                 threads);
  const Result<std::string> model =
      options.path.empty() ? default_model_path() : resolve_model(options.path);
  if (!options.path.empty()) {  // what was asked for by name must be there
    const Result<TensorFile> file =
        model ? TensorFile::open(*model) : Result<TensorFile>(model.error());
    if (!file) {
      return file.error();
    }
  }
  print_report_f("model      %s\n", model ? model->c_str() : model.error().message.c_str());
  if (model) {
    print_report_f("           %s\n", needs_of(*model, options).c_str());
  }

  print_report_f("\nkernels\n");
  for (const KernelTable* table : all_tables()) {
    const char* mark = table == chosen ? "*" : " ";
    const std::string missing = cpu_feature_names(table->needs & ~cpu_features());
    print_report_f("  %s %-12s %s\n", mark, table->name,
                   missing.empty() ? "runs here" : ("needs " + missing).c_str());
  }
  print_report_f("  * in use: %s\n", setup.tuned               ? "measured by `tern tune`"
                                     : chosen != &best_table() ? "asked for by --isa or TERN_ISA"
                                                               : "the best that this CPU runs");
  const StoredTuning stored = load_tuning(tuning_path(), this_machine());
  print_report_f("\ntuning     %s\n", stored.tuning
                                          ? describe(*stored.tuning).c_str()
                                          : "none (`tern tune` measures what is fastest)");

  print_report_f("\nself-test against the reference\n");
  int failures = 0;
  for (const SelfTestResult& result : run_self_test()) {
    failures += result.passed ? 0 : 1;
    print_report_f("    %-12s %s\n", result.table.c_str(),
                   result.passed ? (std::to_string(result.checks) + " values equal").c_str()
                                 : result.failure.c_str());
  }
  if (failures > 0) {
    return Error{std::to_string(failures) +
                 " kernel tables failed the self-test: this program computes wrongly on this CPU. "
                 "Please report it "
                 "with this output; " +
                 "--isa portable may work meanwhile."};
  }
  return {};
}

}  // namespace

Action declare_doctor(CLI::App& app) {
  const auto options = std::make_shared<ModelOptions>();
  app.add_option("-m,--model", options->path,
                 "Say what this model needs here; default: TERN_MODEL, else the one that comes "
                 "with Tern")
      ->type_name("MODEL");
  app.add_option("--isa", options->isa, "Kernels to use instead of the best")->type_name("NAME");
  return [options] { return doctor(*options); };
}

}  // namespace tern::cli

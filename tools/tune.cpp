// tern tune: find out which kernels, packings and thread counts are fastest on this machine, and keep the answer for the other
// commands.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/base/environment.h"
#include "engine/base/parallel.h"
#include "kernels/select.h"
#include "tools/cli.h"
#include "tools/system_load.h"
#include "tools/tune_measure.h"
#include "tools/tuning.h"

namespace tern::cli {
namespace {

struct TuneOptions {
  std::string model;
  std::string i2s_layout = "auto";
  bool reset = false;
};

// Every kernel that runs here, once: a table that inherits one from a table below it does not make it another.
std::vector<TuneCandidate> kernel_candidates(int threads) {
  std::vector<TuneCandidate> candidates;
  for (const KernelTable* table : all_tables()) {
    for (int kind = 0; kind < kTernaryKinds && runs_here(*table); ++kind) {
      const auto matmul = table->ternary[kind].matmul;
      const bool known = std::any_of(
          candidates.begin(), candidates.end(),
          [&](const TuneCandidate& c) { return c.kernels->kernel(c.kind).matmul == matmul; });
      // The sign kernel serves 1-bit weights, which no other packing beats.
      if (!known && static_cast<TernaryKind>(kind) != TernaryKind::kSign) {
        candidates.push_back({table, static_cast<TernaryKind>(kind), threads, threads});
      }
    }
  }
  return candidates;
}

const TuneCandidate& find(const std::vector<TuneCandidate>& candidates, const KernelTable& table,
                          TernaryKind kind) {
  return *std::find_if(candidates.begin(), candidates.end(), [&](const TuneCandidate& c) {
    return c.kernels->kernel(c.kind).matmul == table.kernel(kind).matmul;
  });
}

bool clearly_faster(const TuneCandidate& a, const TuneCandidate& b) {
  return a.job_seconds() * kClearGain < b.job_seconds();
}

// The candidate that serves best with this table: its default, unless another is clearly faster.
const TuneCandidate& fastest(const std::vector<TuneCandidate>& candidates, const KernelTable& table,
                             TernaryKind by_default) {
  const TuneCandidate* best = &find(candidates, table, by_default);
  for (int kind = 0; kind < kTernaryKinds; ++kind) {
    if (static_cast<TernaryKind>(kind) != TernaryKind::kSign) {
      const TuneCandidate& other = find(candidates, table, static_cast<TernaryKind>(kind));
      best = clearly_faster(other, *best) ? &other : best;
    }
  }
  return *best;
}

const KernelTable& fastest_table(const std::vector<TuneCandidate>& candidates) {
  const auto with = [&](const KernelTable& table) -> const TuneCandidate& {
    return fastest(candidates, table, table.streamed);
  };
  const KernelTable* best = &best_table();
  for (const KernelTable* table : all_tables()) {
    if (runs_here(*table) && clearly_faster(with(*table), with(*best))) {
      best = table;
    }
  }
  return *best;
}

double billions(double count, double seconds) {
  return count / seconds * 1e-9;
}

void print_kernels(const char* title, const TuneShape& shape,
                   const std::vector<TuneCandidate>& candidates, const TuneCandidate& chosen) {
  print_report_f("\n%s, %d threads\n", title, chosen.threads);
  print_report_f("    %-13s %-17s %12s %8s %14s\n", "kernels", "packing", "generating", "GB/s",
                 "prompt");
  const auto weights = static_cast<double>(shape.weights());
  for (const TuneCandidate& c : candidates) {
    const auto bytes = static_cast<double>(shape.bytes(c.kernels->kernel(c.kind).layout));
    print_report_f("  %s %-13s %-17s %12.1f %8.1f", &c == &chosen ? "*" : " ", c.kernels->name,
                   kTernaryKindNames[static_cast<int>(c.kind)], billions(weights, c.token_seconds),
                   billions(bytes, c.token_seconds));
    if (std::isinf(c.prompt_seconds)) {
      print_report_f(" %14s\n", "-");
    } else {
      print_report_f(" %14.1f\n", billions(weights, c.prompt_seconds));
    }
  }
}

void print_threads(const TuneShape& shape, const std::vector<TuneCandidate>& candidates,
                   const Tuning& tuning) {
  const auto weights = static_cast<double>(shape.weights());
  print_report_f("\n    %-31s %12s %8s %14s\n", "threads", "generating", "", "prompt");
  for (const TuneCandidate& c : candidates) {
    print_report_f("    %-31d %12.1f%s %22.1f%s\n", c.threads, billions(weights, c.token_seconds),
                   c.threads == tuning.threads ? "*" : " ", billions(weights, c.prompt_seconds),
                   c.threads == tuning.batch_threads ? "*" : " ");
  }
}

// 1, 2, 3, 4, 6, 8, 12, 16, ... up to the hardware threads, and the physical cores.
std::vector<int> thread_counts() {
  const int most = usable_cpu_count();
  std::vector<int> counts = {default_thread_count(), most};
  for (int power = 1; power <= most; power *= 2) {
    counts.push_back(power);
    counts.push_back(power + power / 2);
  }
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  counts.erase(std::upper_bound(counts.begin(), counts.end(), most), counts.end());
  return counts;
}

Result<Tuning> find_tuning(const TuneShape& cached, const TuneShape& streamed) {
  ProgressBar bar("measuring");
  double done = 0;
  // Most of the time goes to what streams.
  const auto share = [&](double part) {
    return [&bar, &done, part](double progress) {
      bar.update(done + part * progress);
      done += progress >= 1 ? part : 0;
    };
  };
  const int threads = default_thread_count();
  std::vector<TuneCandidate> in_memory = kernel_candidates(threads);
  std::vector<TuneCandidate> in_cache = in_memory;
  measure(streamed, in_memory, share(0.7));
  measure(cached, in_cache, share(0.1));

  Tuning tuning;
  tuning.kernels = &fastest_table(in_memory);
  const TuneCandidate& best_in_memory =
      fastest(in_memory, *tuning.kernels, tuning.kernels->streamed);
  const TuneCandidate& best_in_cache = fastest(in_cache, *tuning.kernels, tuning.kernels->cached);
  tuning.streamed = best_in_memory.kind;
  tuning.cached = best_in_cache.kind;

  std::vector<TuneCandidate> by_threads;
  for (const int count : thread_counts()) {
    by_threads.push_back({tuning.kernels, tuning.streamed, count, count});
  }
  const CpuTimes before = cpu_times();
  measure(streamed, by_threads, share(0.2));
  const double others = other_load(before, cpu_times());
  choose_threads(by_threads, threads, others, tuning);

  print_report_f("Billion weights a second (a token reads each weight once).\n");
  print_kernels("Weights that stream from memory", streamed, in_memory, best_in_memory);
  print_kernels("Weights that stay in the caches", cached, in_cache, best_in_cache);
  print_threads(streamed, by_threads, tuning);
  if (others > kMostOthers) {
    char busy[32];
    std::snprintf(busy, sizeof busy, "%.1f", others);
    print_notice("other programs kept " + std::string(busy) +
                 " CPUs busy meanwhile. That says nothing about how many threads are best, so the "
                 "usual number is kept. Run "
                 "`tern tune` again when the machine is quiet.");
  }
  return tuning;
}

Result<void> reset(const std::filesystem::path& path) {
  std::error_code error;
  const bool removed = std::filesystem::remove(path, error);
  if (error) {
    return Error{path.string() + ": cannot be removed: " + error.message() + "."};
  }
  print_report_f("%s %s\n", path.c_str(), removed ? "removed" : "is not there");
  return {};
}

Result<void> tune(const TuneOptions& options) {
  const std::filesystem::path path = tuning_path();
  if (options.reset) {
    return reset(path);
  }
  if (path.empty()) {
    return Error{"the tuning: " + std::string(kNoHomeFolder)};  // before minutes of measuring
  }
  TuneShape cached = cached_shape();
  TuneShape streamed = streamed_shape();
  if (!options.model.empty()) {
    ASSIGN_OR_RETURN(const std::optional<I2sLayout> layout, parse_i2s_layout(options.i2s_layout));
    ASSIGN_OR_RETURN(
        const TensorFile file,
        TensorFile::open(options.model, {.i2s_layout = layout.value_or(I2sLayout::k128)}));
    std::vector<std::string> notices;
    Result<ModelConfig> config = read_config(file, notices);
    if (!config) {
      return config.error().in(options.model);
    }
    (ternary_weights(file) <= kCachedWeights ? cached : streamed) = tune_shape_of(*config);
  }
  ASSIGN_OR_RETURN(const Tuning tuning, find_tuning(cached, streamed));
  RETURN_IF_ERROR(save_tuning(path, this_machine(), tuning));
  print_report_f("\n%s\nwritten to %s\n", describe(tuning).c_str(), path.c_str());
  return {};
}

}  // namespace

Action declare_tune(CLI::App& app) {
  const auto options = std::make_shared<TuneOptions>();
  app.add_option("-m,--model", options->model,
                 "Measure on the shapes of this model; default: those of BitNet-b1.58-2B-4T")
      ->type_name("FILE");
  app.add_option("--i2s-layout", options->i2s_layout,
                 "Byte order of I2_S weights: 128, arm64 or 1x4")
      ->type_name("NAME");
  app.add_flag("--reset", options->reset, "Forget what was measured");
  return [options] { return tune(*options); };
}

}  // namespace tern::cli

#pragma once
// What `tern tune` found to be fastest on this machine, and the file that keeps it.

#include <filesystem>
#include <optional>
#include <string>

#include "engine/base/result.h"
#include "kernels/kernels.h"

namespace tern::cli {

struct Tuning {
  const KernelTable* kernels = nullptr;
  TernaryKind cached = TernaryKind::kTwoBit;    // for models whose weights stay in the caches
  TernaryKind streamed = TernaryKind::kTwoBit;  // for models whose weights stream from memory
  int threads = 1;                              // for generating
  int batch_threads = 1;                        // for prompts

  friend bool operator==(const Tuning&, const Tuning&) = default;
};

// In one line, for people.
std::string describe(const Tuning& tuning);

// What a tuning is good for: another machine, or another version of the kernels, has to be measured anew.
struct TuningKey {
  std::string cpu;
  int cores = 0;
  std::string version;

  friend bool operator==(const TuningKey&, const TuningKey&) = default;
};
TuningKey this_machine();

// $XDG_CACHE_HOME/tern/tune.json, or ~/.cache/tern/tune.json.
std::filesystem::path tuning_path();

struct StoredTuning {
  std::optional<Tuning> tuning;
  std::string notice;  // why a file that is there is of no use
};
// Never fails: a file that is damaged, was made for another machine or names kernels that this CPU cannot run is left aside, with
// a notice. Without a file there is neither.
StoredTuning load_tuning(const std::filesystem::path& path, const TuningKey& key);
// Makes the folder if need be. Errors: it cannot be written.
Result<void> save_tuning(const std::filesystem::path& path, const TuningKey& key,
                         const Tuning& tuning);

}  // namespace tern::cli

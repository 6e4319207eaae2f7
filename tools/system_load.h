#pragma once
// What else the machine was doing, and what it drew, while something was measured.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace tern::cli {

// Processor time since the system started, of everything (all CPUs together, time taken by other virtual machines included) and
// of this process.
struct CpuTimes {
  double all = 0;
  double own = 0;
  std::chrono::steady_clock::time_point when;
};

// `stat`: a file like /proc/stat. Where there is none, `all` is 0 and other_load() too.
CpuTimes cpu_times(const std::filesystem::path& stat = "/proc/stat");
// How many CPUs others kept busy between two moments, on average.
double other_load(const CpuTimes& begin, const CpuTimes& end);

// Energy that the machine draws: of its processor packages where Intel's or AMD's counters (RAPL) may be read, else of the
// whole machine where a battery is being discharged.
class EnergyMeter {
 public:
  // `root`: a folder like /sys/class.
  explicit EnergyMeter(const std::filesystem::path& root = "/sys/class");

  enum class Source : uint8_t { kNone, kPackages, kBattery };
  Source source() const { return source_; }

  void start();
  // Joules since start(); none if nothing can be read.
  std::optional<double> joules() const;

 private:
  struct Counter {
    std::filesystem::path energy;  // microjoules
    double range;                  // where the counter begins again
    double at_start = 0;
  };
  std::optional<double> battery_watts() const;

  Source source_ = Source::kNone;
  std::vector<Counter> packages_;
  std::filesystem::path battery_;
  double watts_at_start_ = 0;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace tern::cli

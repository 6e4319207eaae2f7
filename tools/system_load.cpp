#include "tools/system_load.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <system_error>

namespace tern::cli {
namespace {

using Clock = std::chrono::steady_clock;

std::string word_in(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::string word;
  in >> word;
  return word;
}

std::optional<double> number_in(const std::filesystem::path& path) {
  std::ifstream in(path);
  double value = 0;
  return in >> value ? std::optional(value) : std::nullopt;
}

std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> entries;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    entries.push_back(entry.path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

}  // namespace

CpuTimes cpu_times(const std::filesystem::path& stat) {
  CpuTimes times;
  times.when = Clock::now();
  std::ifstream in(stat);
  std::string name;
  // user nice system idle iowait irq softirq steal; guests are part of user.
  double fields[8] = {};
  in >> name;
  for (double& field : fields) {
    in >> field;
  }
  if (name == "cpu" && in) {
    constexpr size_t kIdle = 3;
    constexpr size_t kWaiting = 4;
    for (size_t i = 0; i < std::size(fields); ++i) {
      times.all += i == kIdle || i == kWaiting ? 0 : fields[i];
    }
    times.all /= static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  times.own = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  return times;
}

double other_load(const CpuTimes& begin, const CpuTimes& end) {
  const double wall = std::chrono::duration<double>(end.when - begin.when).count();
  const double others = (end.all - begin.all) - (end.own - begin.own);
  return wall > 0 && end.all > 0 ? std::max(0.0, others / wall) : 0;
}

EnergyMeter::EnergyMeter(const std::filesystem::path& root) {
  for (const std::filesystem::path& zone : entries_of(root / "powercap")) {
    if (!word_in(zone / "name").starts_with("package")) {
      continue;  // cores and memory are parts of a package
    }
    const std::optional<double> now = number_in(zone / "energy_uj");  // often for root only
    const std::optional<double> range = number_in(zone / "max_energy_range_uj");
    if (now && range) {
      packages_.push_back({zone / "energy_uj", *range});
    }
  }
  if (!packages_.empty()) {
    source_ = Source::kPackages;
    return;
  }
  for (const std::filesystem::path& supply : entries_of(root / "power_supply")) {
    battery_ = supply;
    if (word_in(supply / "status") == "Discharging" && battery_watts()) {
      source_ = Source::kBattery;
      return;
    }
  }
}

std::optional<double> EnergyMeter::battery_watts() const {
  if (const std::optional<double> microwatts = number_in(battery_ / "power_now")) {
    return *microwatts * 1e-6;
  }
  const std::optional<double> microamperes = number_in(battery_ / "current_now");
  const std::optional<double> microvolts = number_in(battery_ / "voltage_now");
  return microamperes && microvolts ? std::optional(*microamperes * *microvolts * 1e-12)
                                    : std::nullopt;
}

void EnergyMeter::start() {
  started_ = Clock::now();
  for (Counter& package : packages_) {
    package.at_start = number_in(package.energy).value_or(0);
  }
  if (source_ == Source::kBattery) {
    watts_at_start_ = battery_watts().value_or(0);
  }
}

std::optional<double> EnergyMeter::joules() const {
  if (source_ == Source::kNone) {
    return std::nullopt;
  }
  if (source_ == Source::kBattery) {
    const double wall = std::chrono::duration<double>(Clock::now() - started_).count();
    return wall * (watts_at_start_ + battery_watts().value_or(watts_at_start_)) / 2;
  }
  double microjoules = 0;
  for (const Counter& package : packages_) {
    const double spent = number_in(package.energy).value_or(package.at_start) - package.at_start;
    microjoules += spent < 0 ? spent + package.range : spent;
  }
  return microjoules * 1e-6;
}

}  // namespace tern::cli

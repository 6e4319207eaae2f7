// The figures of the bench, against ones worked out by hand, and its readings of the system, from folders made up here.

#include "tools/bench_report.h"
#include "tests/support/source_dir.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/select.h"
#include "tests/support/temp_folder.h"
#include "tools/system_load.h"

namespace tern::cli {
namespace {

using testing::TempFolder;

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

TEST(Spread, MedianAndHalfTheRange) {
  EXPECT_EQ(spread_of({5, 1, 2}).median, 2);
  EXPECT_EQ(spread_of({5, 1, 2}).half_range, 2);
  EXPECT_EQ(spread_of({4, 1, 2, 9}).median, 3);
  EXPECT_EQ(spread_of({7}).half_range, 0);
}

TEST(TestName, IsThatOfLlamaBench) {
  EXPECT_EQ(test_name({0, 1, 512, 0, 0}), "pp512");
  EXPECT_EQ(test_name({0, 1, 0, 128, 2048}), "tg128 @ d2048");
}

class DefaultModel : public ::testing::Test {
 protected:
  static BenchModel load() {
    LoadOptions options;
    options.compute = {&best_table(), 1};
    auto model = Model::load(testing::source_path("models/tern-tiny.gguf"), options);
    EXPECT_TRUE(model.has_value());
    BenchModel loaded;
    loaded.name = "tiny";
    loaded.packing = "two_bit";
    loaded.ternary = true;
    loaded.model = *model;
    return loaded;
  }
};

// Work of a short test, added up token by token and matrix by matrix.
TEST_F(DefaultModel, WorkIsWhatTheTokensNeed) {
  const BenchModel loaded = load();
  const ModelConfig& config = loaded.model->config();
  const double kv_row = 2.0 * 2 * config.layers * config.kv_heads * config.head_dim;  // halves
  double layer = 0;  // multiplications of a token's matrices
  layer += 2.0 * config.width * config.heads * config.head_dim;
  layer += 2.0 * config.width * config.kv_heads * config.head_dim;
  layer += 3.0 * config.width * config.ffn;
  const double head = 1.0 * config.width * config.vocab;
  const double weights = static_cast<double>(loaded.model->bytes_per_token());

  double bytes = 0;
  double products = 0;
  for (int token = 0; token < 4; ++token) {
    const double positions = 10 + token + 1;
    bytes += weights + kv_row * positions;
    products += layer * config.layers + head;
    products += 2 * positions * config.heads * config.head_dim * config.layers;
  }
  const BenchWork generated = work_of({0, 1, 0, 4, 10}, *loaded.model);
  EXPECT_DOUBLE_EQ(generated.bytes, bytes);
  EXPECT_DOUBLE_EQ(generated.multiplications, products);
  // A prompt reads the weights and the cache once, and the head serves its last token.
  const BenchWork prompt = work_of({0, 1, 4, 0, 10}, *loaded.model);
  EXPECT_DOUBLE_EQ(prompt.bytes, weights + kv_row * 14);
  EXPECT_DOUBLE_EQ(prompt.multiplications, products - 3 * head);
  // 600 tokens are two batches.
  EXPECT_DOUBLE_EQ(work_of({0, 1, 600, 0, 0}, *loaded.model).bytes, 2 * weights + kv_row * 600);
}

BenchRun two_models(const BenchModel& model) {
  BenchRun run;
  run.models = {model, model};
  run.models[0].twin = 1;
  run.models[1].name = "tiny-f16";
  const double bytes = work_of({0, 2, 0, 8, 0}, *model.model).bytes;
  for (const size_t index : {size_t{0}, size_t{1}}) {
    BenchResult result{{index, 2, 0, 8, 0}, {}};
    for (const double seconds : {4.0, 2.0, 1.0}) {
      BenchSample sample;
      sample.seconds = seconds * (index == 0 ? 1 : 3);
      sample.bandwidth =
          2 * bytes / sample.seconds;  // twice what the test reads, whatever its time
      sample.peak = 1e9;
      sample.joules = 16 * seconds;
      result.samples.push_back(sample);
    }
    run.results.push_back(result);
  }
  return run;
}

TEST_F(DefaultModel, RowsAreMediansOfEachRepetitionsRatios) {
  BenchRun run = two_models(load());
  run.results.push_back({{0, 2, 16, 0, 0}, {}});  // interrupted before its first repetition
  const std::vector<BenchRow> rows = rows_of(run);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].tokens_per_second.median, 4);      // 8 tokens in 2 s
  EXPECT_EQ(rows[0].tokens_per_second.half_range, 3);  // 2 to 8
  EXPECT_DOUBLE_EQ(rows[0].of_bandwidth, 0.5);
  EXPECT_DOUBLE_EQ(rows[0].joules_per_token.value(), 4);  // 32 J for 8 tokens
  EXPECT_DOUBLE_EQ(rows[0].peak, 0.002);                  // two operations a multiplication
  EXPECT_DOUBLE_EQ(rows[0].speedup.value(), 3);
  EXPECT_FALSE(rows[1].speedup.has_value());
}

TEST_F(DefaultModel, EveryFormatSaysTheSame) {
  BenchRun run = two_models(load());
  run.other_load = 0.5;
  const std::vector<BenchRow> rows = rows_of(run);
  const BenchHeading heading{"1.2.3", "A \"fine\" CPU, really", "2026-11-24T00:00:00Z"};
  const auto text = [&](BenchFormat format) {
    return format_rows(rows, notes_of(run), heading, format);
  };
  const auto json = nlohmann::json::parse(text(BenchFormat::kJson));
  EXPECT_EQ(json["cpu"], heading.cpu);
  EXPECT_EQ(json["results"].size(), 2U);
  EXPECT_EQ(json["results"][0]["tokens_per_second"], 4);
  EXPECT_EQ(json["notes"].size(), 1U);

  const std::string lines = text(BenchFormat::kJsonLines);
  EXPECT_EQ(nlohmann::json::parse(lines.substr(0, lines.find('\n'))), json["results"][0]);

  const std::string csv = text(BenchFormat::kCsv);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
  EXPECT_NE(csv.find("tokens_per_second"), std::string::npos);

  const std::string table = text(BenchFormat::kMarkdown);
  EXPECT_NE(table.find("4.00 +/- 3.00"), std::string::npos) << table;
  EXPECT_NE(table.find("3.00x"), std::string::npos) << table;
  EXPECT_NE(table.find("0.5 CPUs"), std::string::npos) << table;
}

TEST(Csv, QuotesAreDoubled) {
  BenchRow row;
  const std::string csv =
      format_rows({row}, {}, {"1", "A \"fine\" CPU, really", ""}, BenchFormat::kCsv);
  EXPECT_NE(csv.find("\"A \"\"fine\"\" CPU, really\""), std::string::npos) << csv;
}

TEST(OtherLoad, IsWhatOthersUsed) {
  const TempFolder folder;
  const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto times_with = [&](int user, double own, int seconds) {
    // user nice system idle iowait irq softirq steal guest guest_nice: idle and waiting do not count, guests are in user.
    write(folder / "stat", "cpu  " + std::to_string(user) + " 0 0 900 77 0 0 0 55 0\ncpu0 1 2 3\n");
    CpuTimes times = cpu_times(folder / "stat");
    times.own = own;
    times.when = std::chrono::steady_clock::time_point(std::chrono::seconds(seconds));
    return times;
  };
  const CpuTimes begin = times_with(1000, 0, 0);
  const CpuTimes end = times_with(1000 + static_cast<int>(30 * ticks), 20, 10);
  EXPECT_DOUBLE_EQ(other_load(begin, end), 1.0);  // 30 s, 20 of them ours, within 10 s
  EXPECT_EQ(cpu_times(folder / "none").all, 0);
}

TEST(EnergyMeter, AddsPackagesAndSurvivesOverflow) {
  const TempFolder folder;
  const auto zone = [&](const char* name, const char* what, long long microjoules) {
    write(folder / ("powercap/" + std::string(name) + "/name"), what);
    write(folder / ("powercap/" + std::string(name) + "/energy_uj"), std::to_string(microjoules));
    write(folder / ("powercap/" + std::string(name) + "/max_energy_range_uj"), "10000000");
  };
  zone("intel-rapl:0", "package-0", 1'000'000);
  zone("intel-rapl:0:0", "core", 5'000'000);  // part of the package
  zone("intel-rapl:1", "package-1", 9'000'000);
  EnergyMeter meter(folder / "");
  ASSERT_EQ(meter.source(), EnergyMeter::Source::kPackages);
  meter.start();
  zone("intel-rapl:0", "package-0", 3'000'000);
  zone("intel-rapl:0:0", "core", 9'000'000);
  zone("intel-rapl:1", "package-1", 500'000);  // begun again at 10 J
  EXPECT_DOUBLE_EQ(meter.joules().value(), 2 + 1.5);
}

TEST(EnergyMeter, ReadsABatteryOnlyWhenItIsUsed) {
  const TempFolder folder;
  write(folder / "power_supply/BAT0/status", "Charging");
  write(folder / "power_supply/BAT0/power_now", "15000000");
  EXPECT_EQ(EnergyMeter(folder / "").source(), EnergyMeter::Source::kNone);
  EXPECT_FALSE(EnergyMeter(folder / "").joules().has_value());
  write(folder / "power_supply/BAT0/status", "Discharging");
  EXPECT_EQ(EnergyMeter(folder / "").source(), EnergyMeter::Source::kBattery);
}

}  // namespace
}  // namespace tern::cli

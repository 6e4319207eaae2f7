#include "tools/bench_report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/base/memory.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, kPassParts> kPartNames = {"qkvo", "ffn", "attention", "head",
                                                            "rest"};

template <class... Arguments>
std::string print(const char* format, Arguments... arguments) {
  char text[160];
  std::snprintf(text, sizeof text, format, arguments...);
  return text;
}

uint64_t parameters_of(const Model& model) {
  uint64_t count = 0;
  for (const Tensor& tensor : model.file().tensors()) {
    const bool twice = tensor.name.ends_with(kPreparedHead);  // the head once more
    count += twice ? 0 : static_cast<uint64_t>(tensor.count());
  }
  return count;
}

uint64_t file_bytes_of(const Model& model) {
  uint64_t bytes = 0;
  for (const MappedFile& file : model.file().files()) {
    bytes += file.bytes().size();
  }
  return bytes;
}

double weights_of(const Linear& w) {
  return static_cast<double>(w.rows()) * static_cast<double>(w.cols());
}

double layer_weights(const Model& model) {
  double total = 0;
  for (const LayerWeights& layer : model.decoder().layers) {
    layer.for_each_linear([&](const Linear& w) { total += weights_of(w); });
    if (layer.experts) {
      total += model.config().experts.used * 3 * weights_of(layer.experts->up->shape());
    }
  }
  return total;
}

// Medians of the samples' own figures, so that each is compared with ceilings of its own moment.
template <class Figure>
Spread over_samples(const BenchResult& result, Figure figure) {
  std::vector<double> values;
  for (const BenchSample& sample : result.samples) {
    values.push_back(figure(sample));
  }
  return spread_of(std::move(values));
}

// Of a head in two planes, the bytes of a row's fine one; 0 for any other.
double fine_row_bytes_of(const Linear& head) {
  const auto* split = std::get_if<SplitMatrix>(&head.matrix);
  return split != nullptr ? static_cast<double>(split->fine_row_bytes()) : 0.0;
}

BenchRow row_of(const BenchRun& run, const BenchResult& result) {
  const BenchModel& model = run.models[result.test.model];
  const BenchTest& test = result.test;
  const BenchWork work = work_of(test, *model.model, run.kv_type);
  const double tokens = test.tokens();
  const double fine_row_bytes = fine_row_bytes_of(model.model->decoder().head);
  // Bytes that a repetition read.
  const auto bytes = [&](const BenchSample& sample) {
    return work.bytes - fine_row_bytes * static_cast<double>(sample.skipped_rows);
  };
  const auto median = [&](auto figure) { return over_samples(result, figure).median; };
  BenchRow row;
  row.model = model.name;
  row.architecture = model.model->config().architecture;
  row.kernels = model.model->kernels().name;
  row.packing = model.packing;
  row.test = test_name(test);
  row.model_bytes = file_bytes_of(*model.model);
  row.parameters = parameters_of(*model.model);
  row.threads = test.threads;
  row.prompt = test.prompt;
  row.generate = test.generate;
  row.depth = test.depth;
  row.resident = model.resident;
  for (const BenchSample& sample : result.samples) {
    row.samples.push_back(tokens / sample.seconds);
  }
  row.tokens_per_second = spread_of(row.samples);
  row.gigabytes_per_second = 1e-9 * median([&](auto& s) { return bytes(s) / s.seconds; });
  row.bandwidth = 1e-9 * median([](auto& s) { return s.bandwidth; });
  row.of_bandwidth = median([&](auto& s) { return bytes(s) / s.seconds / s.bandwidth; });
  row.tops = 2e-12 * median([&](auto& s) { return work.multiplications / s.seconds; });
  row.peak = 2e-12 * median([](auto& s) { return s.peak; });
  row.of_peak = median([&](auto& s) { return work.multiplications / s.seconds / s.peak; });
  for (size_t part = 0; part < kPassParts; ++part) {
    row.ms[part] = 1e3 * median([&](auto& s) {
                     return s.parts.seconds(static_cast<PassPart>(part)) / tokens;
                   });
  }
  if (result.samples.front().joules) {
    row.joules_per_token = median([&](auto& s) { return s.joules.value_or(0) / tokens; });
  }
  return row;
}

// The same test on the model's fp16 twin, or null.
const BenchResult* twin_of(const BenchRun& run, const BenchResult& result) {
  const std::optional<size_t> twin = run.models[result.test.model].twin;
  for (const BenchResult& other : run.results) {
    if (twin && other.test.model == *twin && other.test.threads == result.test.threads &&
        test_name(other.test) == test_name(result.test) && !other.samples.empty()) {
      return &other;
    }
  }
  return nullptr;
}

// ---- Markdown ----------------------------------------------------------------------------------

using Cells = std::vector<std::string>;

// Columns of equal width, so that the text reads as a table too. The first `left` columns are text.
std::string markdown_table(const std::vector<Cells>& table, size_t left) {
  std::vector<size_t> widths(table.front().size());
  for (const Cells& cells : table) {
    for (size_t i = 0; i < cells.size(); ++i) {
      widths[i] = std::max(widths[i], cells[i].size());
    }
  }
  std::string out;
  for (size_t line = 0; line < table.size(); ++line) {
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string padding(widths[i] - table[line][i].size(), ' ');
      out +=
          i < left ? "| " + table[line][i] + padding + " " : "| " + padding + table[line][i] + " ";
    }
    out += "|\n";
    for (size_t i = 0; line == 0 && i < widths.size(); ++i) {
      const std::string dashes(widths[i] + 1, '-');
      out += '|';
      out += i < left ? ':' + dashes : dashes + ':';
    }
    out += line == 0 ? "|\n" : "";
  }
  return out;
}

constexpr size_t kTextColumns = 3;

std::string markdown(const std::vector<BenchRow>& rows, const std::vector<std::string>& notes,
                     const BenchHeading& heading) {
  const bool energy = std::any_of(rows.begin(), rows.end(), [](const BenchRow& row) {
    return row.joules_per_token.has_value();
  });
  const bool speedup = std::any_of(rows.begin(), rows.end(),
                                   [](const BenchRow& row) { return row.speedup.has_value(); });
  Cells head = {"model", "kernels", "test",      "size", "params", "threads",
                "t/s",   "GB/s",    "of bandw.", "TOPS", "of peak"};
  for (const char* part : kPartNames) {
    head.push_back("ms " + std::string(part));
  }
  head.emplace_back("memory");
  if (energy) {
    head.emplace_back("J/token");
  }
  if (speedup) {
    head.emplace_back("vs fp16");
  }
  std::vector<Cells> table = {head};
  for (const BenchRow& row : rows) {
    Cells cells = {
        row.model,
        row.kernels + " " + row.packing,
        row.test,
        human_bytes(row.model_bytes),
        print("%.2f B", static_cast<double>(row.parameters) * 1e-9),
        std::to_string(row.threads),
        print("%.2f +/- %.2f", row.tokens_per_second.median, row.tokens_per_second.half_range),
        print("%.1f", row.gigabytes_per_second),
        print("%.0f %%", 100 * row.of_bandwidth),
        print("%.3f", row.tops),
        print("%.0f %%", 100 * row.of_peak)};
    for (const double ms : row.ms) {
      cells.push_back(print("%.2f", ms));
    }
    cells.push_back(human_bytes(row.resident));
    if (energy) {
      cells.push_back(row.joules_per_token ? print("%.2f", *row.joules_per_token) : "");
    }
    if (speedup) {
      cells.push_back(row.speedup ? print("%.2fx", *row.speedup) : "");
    }
    table.push_back(std::move(cells));
  }
  std::string out = heading.cpu + ", tern " + heading.version + ", " + heading.date + "\n\n";
  out += markdown_table(table, kTextColumns);
  for (const std::string& note : notes) {
    out += "\n" + note + "\n";
  }
  return out;
}

// ---- for machines ------------------------------------------------------------------------------

Json json_of(const BenchRow& row) {
  Json json = {{"model", row.model},
               {"architecture", row.architecture},
               {"kernels", row.kernels},
               {"packing", row.packing},
               {"test", row.test},
               {"n_prompt", row.prompt},
               {"n_gen", row.generate},
               {"n_depth", row.depth},
               {"n_threads", row.threads},
               {"model_size", row.model_bytes},
               {"model_n_params", row.parameters},
               {"tokens_per_second", row.tokens_per_second.median},
               {"tokens_per_second_half_range", row.tokens_per_second.half_range},
               {"samples_tokens_per_second", row.samples},
               {"gigabytes_per_second", row.gigabytes_per_second},
               {"bandwidth_gigabytes_per_second", row.bandwidth},
               {"of_bandwidth", row.of_bandwidth},
               {"tops", row.tops},
               {"peak_tops", row.peak},
               {"of_peak", row.of_peak}};
  for (size_t part = 0; part < kPassParts; ++part) {
    json["ms_per_token_" + std::string(kPartNames[part])] = row.ms[part];
  }
  json["joules_per_token"] = row.joules_per_token ? Json(*row.joules_per_token) : Json();
  json["resident_bytes"] = row.resident;
  json["speedup_over_fp16"] = row.speedup ? Json(*row.speedup) : Json();
  return json;
}

// Quoted as spreadsheets expect it: a quotation mark is written twice.
std::string csv_value(const Json& value) {
  if (!value.is_string()) {
    return value.is_null() ? std::string() : value.dump();
  }
  std::string out = "\"";
  for (const char c : value.get<std::string>()) {
    out += c == '"' ? std::string("\"\"") : std::string(1, c);
  }
  return out + "\"";
}

std::string csv(const std::vector<BenchRow>& rows, const BenchHeading& heading) {
  std::string out;
  for (const BenchRow& row : rows) {
    Json json = {{"date", heading.date}, {"cpu", heading.cpu}, {"version", heading.version}};
    json.update(json_of(row));
    json.erase("samples_tokens_per_second");  // a list
    std::string names, values;
    for (const auto& [name, value] : json.items()) {
      if (!names.empty()) {
        names += ',';
        values += ',';
      }
      names += name;
      values += csv_value(value);
    }
    if (out.empty()) {
      out = names + '\n';
    }
    out += values + '\n';
  }
  return out;
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) {
    return {};
  }
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, (values.back() - values.front()) / 2};
}

BenchWork work_of(const BenchTest& test, const Model& model, KvType kv_type) {
  const ModelConfig& config = model.config();
  const double tokens = test.tokens();
  // Positions that each token looks at, its own included, added up.
  const double positions = tokens * test.depth + tokens * (tokens + 1) / 2;
  // The cache grows by blocks of positions; over many, one takes so much.
  constexpr int64_t kMany = 4096;
  const double kv_bytes_each =
      static_cast<double>(KvCache::bytes(config, kMany, kv_type)) / static_cast<double>(kMany);
  // A prompt reads the weights once a batch, and its head and the cache once; generating reads all of it for each token.
  const int batch = SessionOptions().batch;
  const double passes = test.prompt > 0 ? (test.prompt + batch - 1) / batch : test.generate;
  const double kv_bytes = kv_bytes_each * (test.prompt > 0 ? test.depth + tokens : positions);
  BenchWork work;
  work.bytes = passes * static_cast<double>(model.bytes_per_token()) + kv_bytes;
  const double heads = test.prompt > 0 ? 1 : tokens;
  work.multiplications = tokens * layer_weights(model) + heads * weights_of(model.decoder().head) +
                         positions * 2 * config.q_width() * config.attention_layers();
  return work;
}

std::vector<BenchRow> rows_of(const BenchRun& run) {
  std::vector<BenchRow> rows;
  for (const BenchResult& result : run.results) {
    if (result.samples.empty()) {
      continue;
    }
    rows.push_back(row_of(run, result));
    if (const BenchResult* twin = twin_of(run, result)) {
      rows.back().speedup =
          rows.back().tokens_per_second.median / row_of(run, *twin).tokens_per_second.median;
    }
  }
  return rows;
}

std::vector<std::string> notes_of(const BenchRun& run) {
  std::vector<std::string> notes;
  constexpr double kQuiet = 0.1;  // CPUs
  if (run.other_load > kQuiet) {
    notes.push_back(
        print("Other programs kept %.1f CPUs busy meanwhile: trust ratios, not figures.",
              run.other_load));
  }
  if (run.energy == EnergyMeter::Source::kBattery) {
    notes.emplace_back("Energy is that of the whole machine, from its battery.");
  }
  return notes;
}

std::string format_rows(const std::vector<BenchRow>& rows, const std::vector<std::string>& notes,
                        const BenchHeading& heading, BenchFormat format) {
  if (format == BenchFormat::kMarkdown) {
    return markdown(rows, notes, heading);
  }
  if (format == BenchFormat::kCsv) {
    return csv(rows, heading);
  }
  Json results = Json::array();
  std::string lines;
  for (const BenchRow& row : rows) {
    results.push_back(json_of(row));
    lines += json_of(row).dump() + "\n";
  }
  if (format == BenchFormat::kJsonLines) {
    return lines;
  }
  const Json whole = {{"tern", heading.version},
                      {"cpu", heading.cpu},
                      {"date", heading.date},
                      {"notes", notes},
                      {"results", results}};
  return whole.dump(1) + "\n";
}

}  // namespace tern::cli

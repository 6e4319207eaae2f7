// tern convert: a model in whatever form as a GGUF file of another weight type.

#include <algorithm>
#include <cstdio>
#include <optional>

#include "engine/base/ascii.h"
#include "engine/base/memory.h"
#include "engine/base/parallel.h"
#include "kernels/select.h"
#include "tools/cli.h"
#include "tools/convert_model.h"

namespace tern::cli {
namespace {

struct Options {
  std::string in;
  std::string out;
  std::string type;
  std::string embedding;
  std::string packing;
  std::string isa;
  std::string i2s_layout = "128";
  int threads = 0;
  bool allow_lossy = false;
  bool force = false;
};

// The kernels' own layouts.
constexpr std::string_view kTern = "tern";

std::string names_of(bool (*wanted)(const WeightFormat&)) {
  std::string text;
  std::string_view last;  // a format with two numbers stands there twice
  for (const WeightFormat* format : all_weight_formats()) {
    if (wanted(*format) && format->name != last) {
      text += (text.empty() ? "" : ", ") + lower(format->name);
      last = format->name;
    }
  }
  return text;
}

Result<const WeightFormat*> parse_type(const char* option, const std::string& name,
                                       bool (*wanted)(const WeightFormat&)) {
  const WeightFormat* format = find_weight_format(name);
  if (format == nullptr || !wanted(*format)) {
    const std::string more = wanted == is_layer_target ? ", " + std::string(kTern) : "";
    return Error{std::string(option) + ": expected one of " + names_of(wanted) + more + ", found " +
                 name + "."};
  }
  return format;
}

// What this machine would use, or what is asked for, of kernels that may not run here.
Result<PackedTarget> choose_packed(const Options& options) {
  ModelOptions model;
  model.packing = options.packing;
  ASSIGN_OR_RETURN(const Setup setup, choose_setup(model));
  PackedTarget target{setup.kernels, setup.packing};
  if (!options.isa.empty()) {
    std::string known;
    const auto tables = all_tables();
    const auto found = std::ranges::find_if(
        tables, [&](const KernelTable* table) { return table->name == options.isa; });
    for (const KernelTable* table : tables) {
      known += (known.empty() ? "" : ", ") + std::string(table->name);
    }
    if (found == tables.end()) {
      return Error{"--isa: expected one of " + known + ", found " + options.isa + "."};
    }
    target.kernels = *found;
    target.choice.cached = target.choice.streamed = std::nullopt;  // measured with other kernels
  }
  return target;
}

Result<void> choose_type(const Options& options, ConvertOptions& convert) {
  const bool packed = options.type == kTern;
  if (!packed && !(options.packing.empty() && options.isa.empty())) {
    return Error{"--packing and --isa: expected with --type tern, found with --type " +
                 options.type + ", whose order of weights is the same everywhere."};
  }
  if (packed) {
    ASSIGN_OR_RETURN(convert.packed, choose_packed(options));
    return {};
  }
  ASSIGN_OR_RETURN(convert.type, parse_type("--type", options.type, is_layer_target));
  return {};
}

std::string not_ternary_line(const ConvertReport& report, const std::string& type) {
  constexpr size_t kShown = 4;
  std::string names;
  for (size_t i = 0; i < std::min(report.not_ternary.size(), kShown); ++i) {
    names += (names.empty() ? "" : ", ") + printable(report.not_ternary[i]);
  }
  const size_t count = report.not_ternary.size();
  return std::to_string(count) + (count == 1 ? " matrix" : " matrices") +
         " of the layers, whose weights are not ternary, stayed as they were, although " + type +
         " was asked for: " + names + (count > kShown ? ", ..." : "") +
         ". The others are ternary; a model that should be so in all its layers is damaged, or was "
         "trained further without its rounding";
}

Result<void> convert(const Options& options) {
  ConvertOptions convert;
  RETURN_IF_ERROR(choose_type(options, convert));
  if (!options.embedding.empty()) {
    ASSIGN_OR_RETURN(convert.embedding,
                     parse_type("--embedding-type", options.embedding, is_embedding_target));
  }
  ASSIGN_OR_RETURN(const std::optional<I2sLayout> layout, parse_i2s_layout(options.i2s_layout));
  if (!layout) {  // finding it takes running the model
    return Error{"--i2s-layout: expected 128, arm64 or 1x4, found auto."};
  }
  ASSIGN_OR_RETURN(const TensorFile in, TensorFile::open(options.in, {.i2s_layout = *layout}));
  for (const std::string& notice : in.notices()) {
    print_notice(notice);
  }
  convert.replace = options.force;
  convert.allow_lossy = options.allow_lossy;
  // More than the system runs at once would only take turns.
  convert.threads =
      std::min(options.threads > 0 ? options.threads : default_thread_count(), usable_cpu_count());
  catch_interrupts();
  ConvertReport report;
  {
    ProgressBar bar("converting");
    convert.keep_going = [&](double done) {
      bar.update(done);
      return !interrupted();
    };
    ASSIGN_OR_RETURN(report, convert_model(in, options.out, convert));
  }
  if (!report.losses.empty()) {
    print_message_f("note: %zu tensors lost something, as --allow-lossy lets them; %s\n",
                    report.losses.size(), report.losses.front().c_str());
  }
  for (const std::string& notice : report.notices) {
    print_notice(notice);
  }
  if (!report.not_ternary.empty()) {
    print_notice(not_ternary_line(report, options.type));
  }
  print_message_f("%s: %s (was %s), %lld matrices converted, %lld tensors kept\n",
                  options.out.c_str(), human_bytes(report.bytes_out).c_str(),
                  human_bytes(report.bytes_in).c_str(), static_cast<long long>(report.matrices),
                  static_cast<long long>(report.kept));
  return {};
}

}  // namespace

Action declare_convert(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("in", options->in,
                 "GGUF file (or the first part of a split one), or Hugging Face folder")
      ->required()
      ->type_name("IN");
  app.add_option("out", options->out, "File to write (GGUF); -: standard output")
      ->required()
      ->type_name("OUT");
  app.add_option("--type", options->type,
                 "Type of the layers' matrices: " + names_of(is_layer_target) +
                     ", or tern: as the kernels of this machine read them, for Tern alone")
      ->required()
      ->type_name("TYPE");
  app.add_option("--embedding-type", options->embedding,
                 "Type of token embedding and head, rounded where it must be: " +
                     names_of(is_embedding_target) + "; default: as they are")
      ->type_name("TYPE");
  app.add_flag(
      "--allow-lossy", options->allow_lossy,
      "Round scales and weights that the type cannot hold exactly; without it they are an error");
  declare_force(app, options->force);
  app.add_option("--packing", options->packing,
                 "With --type tern: ternary kernel whose order is written; default: the one that "
                 "`tern run` would use")
      ->type_name("NAME");
  app.add_option("--isa", options->isa,
                 "With --type tern: kernels of another machine (`tern doctor` lists them)")
      ->type_name("NAME");
  app.add_option("--i2s-layout", options->i2s_layout,
                 "Byte order of I2_S tensors in IN: 128 (all published files), arm64 or 1x4")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("-t,--threads", options->threads,
                 "Threads; default, 0 or -1: the physical cores that this process may use")
      ->check(in_range(-1, 1024))
      ->type_name("N");
  return [options] { return convert(*options); };
}

}  // namespace tern::cli

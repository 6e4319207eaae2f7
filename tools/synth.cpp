// tern synth: a model of a real shape with random weights, so that anyone can measure without a download.

#include "tools/synth_model.h"

#include <cstdio>
#include <limits>

#include "engine/base/memory.h"
#include "engine/base/parallel.h"
#include "tools/cli.h"

namespace tern::cli {
namespace {

struct Options {
  std::string shape = "bitnet-2b-4t";
  int layers = 0;
  std::string type = "i2_s";
  std::string embedding = "f16";
  std::string head;
  uint64_t seed = 1;
  std::string output;
  bool force = false;
};

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

std::string shape_names() {
  std::vector<std::string> names;
  for (const SynthShape& shape : synth_shapes()) {
    names.push_back(shape.name);
  }
  return joined(names);
}

std::string type_names() {
  std::vector<std::string> names;
  for (const WeightFormat* format : all_weight_formats()) {
    // A format with two numbers stands there twice.
    if (synth_writes(*format) && (names.empty() || names.back() != format->name)) {
      names.emplace_back(format->name);
    }
  }
  return joined(names);
}

Result<const WeightFormat*> parse_type(const char* option, const std::string& name) {
  const WeightFormat* format = find_weight_format(name);
  if (format == nullptr || !synth_writes(*format)) {
    return Error{std::string(option) + ": expected one of " + type_names() + ", found " + name +
                 "."};
  }
  return format;
}

Result<SynthOptions> resolve(const Options& options) {
  const SynthShape* shape = find_synth_shape(options.shape);
  if (shape == nullptr) {
    return Error{"--shape: expected one of " + shape_names() + ", found " + options.shape + "."};
  }
  SynthOptions synth;
  synth.shape = *shape;
  ASSIGN_OR_RETURN(synth.linear, parse_type("--type", options.type));
  ASSIGN_OR_RETURN(synth.embedding, parse_type("--embedding", options.embedding));
  synth.head = synth.embedding;
  if (!options.head.empty()) {
    ASSIGN_OR_RETURN(synth.head, parse_type("--head", options.head));
    synth.shape.tied = false;
  }
  if (options.layers > 0) {
    synth.shape.layers = options.layers;
  }
  synth.seed = options.seed;
  synth.threads = default_thread_count();
  return synth;
}

Result<void> synth(const Options& options) {
  ASSIGN_OR_RETURN(SynthOptions resolved, resolve(options));
  resolved.replace = options.force;
  catch_interrupts();
  uint64_t bytes = 0;
  {
    ProgressBar bar("writing");
    resolved.keep_going = [&](double done) {
      bar.update(done);
      return !interrupted();
    };
    ASSIGN_OR_RETURN(bytes, write_synth_model(options.output, resolved));
  }
  print_message_f("%s: %s, %s\n", options.output.c_str(), options.shape.c_str(),
                  human_bytes(bytes).c_str());
  return {};
}

}  // namespace

Action declare_synth(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("--shape", options->shape, "The model whose shape to take: " + shape_names())
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--layers", options->layers, "Fewer or more layers than the shape has")
      ->check(in_range(1, 1000))
      ->type_name("N");
  app.add_option("--type", options->type, "Type of the layers' matrices: " + type_names())
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_option("--embedding", options->embedding, "Type of the token embedding")
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_option("--head", options->head,
                 "Type of the output head, which then is apart from the embedding; default: as the "
                 "shape has it, of the embedding's type")
      ->type_name("TYPE");
  app.add_option("--seed", options->seed, "The same seed writes the same file")
      ->check(in_range(uint64_t{0}, std::numeric_limits<uint64_t>::max()))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("-o,--output", options->output, "File to write (GGUF); -: standard output")
      ->required()
      ->type_name("FILE");
  declare_force(app, options->force);
  return [options] { return synth(*options); };
}

}  // namespace tern::cli

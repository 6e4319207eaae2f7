#pragma once
// What `tern convert` does: a model in whatever container and formats, written as a GGUF file with its matrices in another format.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "engine/model/head.h"
#include "engine/model/packed.h"

namespace tern::cli {

// The kernels' own layouts: matrices in the order of these kernels, the output head as they want it beside itself.
struct PackedTarget {
  const KernelTable* kernels = nullptr;
  TernaryChoice choice = {};
  HeadType head = HeadType::kAuto;
};

struct ConvertOptions {
  const WeightFormat* type = nullptr;  // of the layers' matrices; null: `packed`
  std::optional<PackedTarget> packed = {};
  const WeightFormat* embedding = nullptr;  // of token embedding and head; null: as they are
  bool replace = true;                      // a file that exists
  bool allow_lossy = false;                 // let the layers' matrices lose something
  int threads = 1;
  std::function<bool(double done)> keep_going = {};  // 0 to 1; false stops
};

// What was done.
struct ConvertReport {
  int64_t matrices = 0;  // that were converted
  int64_t kept = 0;      // tensors written as they were
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  std::vector<std::string> losses;  // which tensors lost what, under allow_lossy
  // Matrices of layers that are not ternary and so keep their type, although a ternary one was asked for.
  std::vector<std::string> not_ternary;
  std::vector<std::string> notices;  // what else is worth a line
};

// Formats that layers, and that embeddings can be converted to.
bool is_layer_target(const WeightFormat& format);
bool is_embedding_target(const WeightFormat& format);

// Reads and writes tensor by tensor, each in blocks of rows: takes the memory of one tensor's pages of the source and some MB.
// Errors: weights that the type cannot hold (and loss was not allowed), rows that do not divide into its blocks, damaged weights,
// a full disk, keep_going said no, `out` is a file of the model itself; then there is no file.
Result<ConvertReport> convert_model(const TensorFile& in, const std::filesystem::path& out,
                                    const ConvertOptions& options);

}  // namespace tern::cli

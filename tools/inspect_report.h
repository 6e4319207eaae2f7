#pragma once
// What `tern inspect` says about a model file: its keys, tensors, bits per weight, and the memory that running it takes.

#include <cstdint>
#include <string>

#include "engine/io/tensor_file.h"
#include "engine/model/packed.h"
#include "kernels/kv.h"

namespace tern::cli {

struct InspectOptions {
  bool json = false;
  const KernelTable* kernels = nullptr;  // which run the model
  TernaryChoice choice = {};
  int threads = 1;  // they share the scratch memory
  int context = 0;  // to plan for beside the model's own; 0: the default one
  KvType kv_type = KvType::kF16;
  uint64_t available = 0;  // bytes of memory free now; 0 = unknown
};

// As text for a terminal of 100 columns, or as one JSON object. A file of an architecture that Tern does not run is
// described all the same, with the reason in place of the memory plan.
std::string inspect_report(const TensorFile& file, const InspectOptions& options);

}  // namespace tern::cli

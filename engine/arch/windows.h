#pragma once
// Models that mix layers with a window (sliding attention) and layers that see everything.

#include <cstdint>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "engine/model/config.h"

namespace tern {

// Gives layers their window, as `<architecture>.attention.sliding_window` says (without it, all see everything) and, for which of
// them, `.sliding_window_pattern`: a flag for each layer, or a number n: all but every n-th. `period`: n where the file says
// nothing.
Result<void> read_windows(const TensorFile& file, ModelConfig& config, int32_t period);

}  // namespace tern

#pragma once
// general.file_type: what a GGUF file says that most of its matrices are. Programs show it; none reads a weight by it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/tensor_file.h"

namespace tern {

// The number of files whose layers have a format; nothing if it has none.
std::optional<uint32_t> file_type_of(std::string_view format);

// A line where matrices of layers are not what the file says or could be: floats under a ternary file type, floats that
// are ternary by their values. Looks at the first layer's values alone, which a conversion checks one by one.
std::vector<std::string> notices_of_types(const TensorFile& file);

}  // namespace tern

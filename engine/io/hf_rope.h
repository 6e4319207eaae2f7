#pragma once
// Where config.json says how positions turn queries and keys: rope_parameters, rope_scaling, rope_theta and more.

#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/base/result.h"

namespace tern {

// The parameters of one kind of layers each, with `rope_type` and `rope_theta`, without null values. Other keys (factor,
// partial_rotary_factor, ...) as the file has them.
struct HfRope {
  nlohmann::json full;
  nlohmann::json
      windowed;  // of layers with a window, where the architecture lets them differ; else null
};

// Reads them as transformers 5 does (modeling_rope_utils.py, and Gemma 3's own configuration):
//   - a rope_scaling that is not empty stands in the place of rope_parameters; in Gemma 3 it is added to those of the
//     layers without a window;
//   - rope_theta and partial_rotary_factor beside them count where they do not say their own;
//   - rope_parameters may have a set for each kind of layers.
// transformers passes over the other places in silence. Here each place must agree with what counts: a file that
// says two things was edited by hand or by a faulty program, and only its author knows which of them is right.
Result<HfRope> read_hf_rope(const nlohmann::json& config, std::string_view architecture);

}  // namespace tern

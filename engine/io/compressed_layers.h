#pragma once
// Matrices of a Hugging Face folder that were compressed by factoring them into sign matrices: DBF, MDBF and OneBit layers of
// OneCompression (Fujitsu), OneBit's own checkpoints, LittleBit, NanoQuant; and layers of GPTQ (engine/io/gptq.h), which become F16 in
// memory. What each is, its tensors tell: files may mix them. To the layers above, a factored matrix S.weight becomes tensors of
// paths and stages, whose products add up and follow one another:
//   S.pathP.stageT.signs  rows x cols, "U8/signs"
//   S.pathP.stageT.in     envelopes x cols, F32
//   S.pathP.stageT.out    envelopes x rows, F32
//   S.layer_norm           1, F32: if there, what is added to the variance when y is normalised (without a weight)
// A stage is v = sum over envelopes k of out_k * (signs (in_k * x)).

#include <map>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/io/safetensors.h"

namespace tern {

class HuggingFaceReader;

// Whether quantization_config's quant_method is one of OneCompression's.
bool is_onecomp_method(std::string_view method);

// Collects the parts of compressed matrices, which may lie in several files.
class CompressedLayers {
 public:
  // `all_names`: whether the folder says that its layers are compressed; if not, only names that nothing else has are taken.
  // `zeros_less_one`: gptq::Parts.
  CompressedLayers(bool all_names, bool zeros_less_one)
      : all_names_(all_names), zeros_less_one_(zeros_less_one) {}

  // Keeps a tensor that is such a part, or says nothing that is needed (its file's bytes must stay mapped), `name` being its full name. False: it is none.
  bool take(const safetensors::Entry& entry, std::string_view name, int file);
  // Adds the tensors above, and a notice with the bits a weight that they come to. Errors: parts that are missing or do not fit
  // each other, scales that are not finite; each names the tensor.
  Result<void> finish(HuggingFaceReader& out) const;

 private:
  struct Part {
    safetensors::Entry entry;
    int file = 0;
  };
  using Parts = std::map<std::string, Part, std::less<>>;  // by name within the layer
  struct Layer;

  bool all_names_;
  bool zeros_less_one_;
  std::map<std::string, Parts, std::less<>> layers_;  // by "model.layers.0.mlp.up_proj"
};

}  // namespace tern

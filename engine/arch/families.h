#pragma once
// What distinguishes each architecture; see ArchSpec::configure.

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "engine/model/config.h"

namespace tern {

// "bitnet": the 1bitLLM models (SiLU), and conversions of newer ones that name their activation.
Result<void> configure_bitnet(const TensorFile& file, ModelConfig& config,
                              std::vector<std::string>& notices);
// "bitnet-25", "bitnet-b1.58": the 2B-4T generation (squared ReLU).
Result<void> configure_bitnet_2b(const TensorFile& file, ModelConfig& config,
                                 std::vector<std::string>& notices);
// "llama": Llama, Falcon3, Falcon-E, TriLM.
Result<void> configure_llama(const TensorFile& file, ModelConfig& config,
                             std::vector<std::string>& notices);
// "minicpm": MiniCPM, MiniCPM4, BitCPM.
Result<void> configure_minicpm(const TensorFile& file, ModelConfig& config,
                               std::vector<std::string>& notices);
// "gemma3": Gemma 3 (text), bitnet-embedding-270m.
Result<void> configure_gemma3(const TensorFile& file, ModelConfig& config,
                              std::vector<std::string>& notices);
// "hunyuan-dense": Hunyuan dense models, Hy-MT.
Result<void> configure_hunyuan(const TensorFile& file, ModelConfig& config,
                               std::vector<std::string>& notices);
// "cohere2": Command R7B, Command A, Takane.
Result<void> configure_cohere2(const TensorFile& file, ModelConfig& config,
                               std::vector<std::string>& notices);
// "qwen3": Qwen3, Bonsai, bitnet-embedding-0.6b.
Result<void> configure_qwen3(const TensorFile& file, ModelConfig& config,
                             std::vector<std::string>& notices);

// "qwen35": Qwen3.5, Bonsai-27B: three gated delta-net layers, then one of gated attention.
Result<void> configure_qwen35(const TensorFile& file, ModelConfig& config,
                              std::vector<std::string>& notices);

// "qwen3moe": Qwen3 with experts.
Result<void> configure_qwen3moe(const TensorFile& file, ModelConfig& config,
                                std::vector<std::string>& notices);
// "maple": experts with bounded activations; layers with a window and RoPE, and layers with neither.
Result<void> configure_maple(const TensorFile& file, ModelConfig& config,
                             std::vector<std::string>& notices);

}  // namespace tern

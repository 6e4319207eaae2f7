// The shapes of public models. Unless another source is named they are those of the models' own config.json on the hub.

#include <algorithm>
#include <array>

#include "tools/synth_model.h"

namespace tern::cli {
namespace {

constexpr SynthHybrid kQwen35{
    .key_heads = 16, .value_heads = 48, .state = 128, .conv = 4, .interval = 4};
constexpr SynthMixture kMaple{.experts = 256, .used = 8};

SynthShape with_block_scales(SynthShape shape) {
  shape.block_scales = true;
  return shape;
}

// Name, architecture, layers, width, ffn, heads, kv heads, head size, vocabulary, context, RoPE base, eps, tied.
const std::array kShapes = {
    SynthShape{"bitnet-2b-4t", "bitnet-b1.58", 30, 2560, 6912, 20, 5, 128, 128256, 4096, 5e5F,
               1e-5F, true},
    SynthShape{"bitnet-0.7b", "bitnet", 24, 1536, 4096, 16, 16, 96, 32002, 2048, 1e4F, 1e-5F, true},
    SynthShape{"bitnet-1.3b", "bitnet", 24, 2048, 5460, 32, 32, 64, 32002, 2048, 1e4F, 1e-5F, true},
    // Heads of 100 values.
    SynthShape{"bitnet-3b", "bitnet", 26, 3200, 8640, 32, 32, 100, 32002, 2048, 1e4F, 1e-5F, true},
    SynthShape{"llama3-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 5e5F, 1e-5F, false},
    SynthShape{"falcon3-1b", "llama", 18, 2048, 8192, 8, 4, 256, 131072, 8192, 1000042, 1e-6F,
               false},
    // 3B and 7B: contexts of the base models' files.
    SynthShape{"falcon3-3b", "llama", 22, 3072, 9216, 12, 4, 256, 131072, 4096, 1000042, 1e-6F,
               false},
    SynthShape{"falcon3-7b", "llama", 28, 3072, 23040, 12, 4, 256, 131072, 8192, 1000042, 1e-6F,
               false},
    SynthShape{"falcon3-10b", "llama", 40, 3072, 23040, 12, 4, 256, 131072, 32768, 1000042, 1e-6F,
               false},
    // Unverified: no config.json of the two was at hand. 1B: that of a model whose author packed it anew, with the 635 MB (605 MiB
    // of 2 bits a weight and 16 of embedding and head) that its authors name. 3B: 32 layers and this ffn give the 864 million
    // numbers that the hub counts in the packed file.
    SynthShape{"falcon-e-1b", "llama", 24, 2048, 9216, 16, 2, 128, 32768, 32768, 1e6F, 1e-5F,
               false},
    SynthShape{"falcon-e-3b", "llama", 32, 2048, 13312, 16, 2, 128, 32768, 32768, 1e6F, 1e-5F,
               false},
    with_block_scales(
        {"trilm-99m", "llama", 16, 512, 1280, 8, 8, 64, 50304, 2048, 1e4F, 1e-5F, false}),
    // As others who converted it note it; together 3.992 billion weights, as the hub counts.
    with_block_scales(
        {"trilm-3.9b", "llama", 30, 3072, 9216, 24, 24, 128, 50688, 2048, 1e4F, 1e-5F, false}),
    // Bonsai and Ternary Bonsai, with the contexts of Qwen3, from which they were made.
    with_block_scales(
        {"qwen3-1.7b", "qwen3", 28, 2048, 6144, 16, 8, 128, 151936, 32768, 1e6F, 1e-6F, true}),
    with_block_scales(
        {"qwen3-4b", "qwen3", 36, 2560, 9728, 32, 8, 128, 151936, 32768, 1e6F, 1e-6F, true}),
    with_block_scales(
        {"qwen3-8b", "qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 32768, 1e6F, 1e-6F, false}),
    SynthShape{.name = "bonsai-27b",
               .architecture = "qwen35",
               .layers = 64,
               .width = 5120,
               .ffn = 17408,
               .heads = 24,
               .kv_heads = 4,
               .head_dim = 256,
               .vocab = 248320,
               .context = 262144,
               .rope_base = 1e7F,
               .norm_eps = 1e-6F,
               .rope_dims = 64,
               .hybrid = kQwen35,
               .block_scales = true},
    SynthShape{.name = "bonsai-2-27b",
               .architecture = "qwen35",
               .layers = 64,
               .width = 5120,
               .ffn = 17408,
               .heads = 24,
               .kv_heads = 4,
               .head_dim = 256,
               .vocab = 248320,
               .context = 262144,
               .rope_base = 1e7F,
               .norm_eps = 1e-6F,
               .rope_dims = 64,
               .hybrid = kQwen35,
               .rotation = 1024,
               .block_scales = true},
    // BitCPM-CANN. 0.5B and 8B: MiniCPM4's; head sizes of 3B and which are tied follow from the sizes of the bf16 files (0.87, 3.25 and
    // 7.21 GB). Without their LongRoPE, which takes no memory.
    with_block_scales(
        {"bitcpm-0.5b", "minicpm", 24, 1024, 4096, 16, 2, 64, 73448, 32768, 1e4F, 1e-5F, true}),
    with_block_scales(
        {"bitcpm-1b", "minicpm", 28, 2048, 6144, 16, 2, 128, 73448, 32768, 1e4F, 1e-5F, false}),
    with_block_scales(
        {"bitcpm-3b", "minicpm", 32, 2560, 10240, 32, 2, 128, 73448, 32768, 1e4F, 1e-5F, false}),
    with_block_scales(
        {"bitcpm-8b", "minicpm", 32, 4096, 16384, 32, 2, 128, 73448, 32768, 1e4F, 1e-6F, false}),
    SynthShape{.name = "maple-20b-a1b",
               .architecture = "maple",
               .layers = 24,
               .width = 2048,
               .ffn = 512,
               .heads = 16,
               .kv_heads = 4,
               .head_dim = 128,
               .vocab = 151936,
               .context = 128000,
               .rope_base = 1e4F,
               .norm_eps = 1e-6F,
               .rope_dims = 64,
               .window = 512,
               .mixture = kMaple,
               .block_scales = true},
    // Hunyuan-1.8B, of which Hy-MT was made.
    with_block_scales({"hy-mt-1.8b", "hunyuan-dense", 32, 2048, 6144, 16, 4, 128, 120818, 262144,
                       1e4F, 1e-5F, true}),
    SynthShape{.name = "bitnet-embedding-0.6b",
               .architecture = "qwen3",
               .layers = 28,
               .width = 1024,
               .ffn = 3072,
               .heads = 16,
               .kv_heads = 8,
               .head_dim = 128,
               .vocab = 151936,
               .context = 32768,
               .rope_base = 1e6F,
               .norm_eps = 1e-6F,
               .tied = true,
               .input_norms = true},
    // The window is that of Gemma 3 270M, of which it was made.
    SynthShape{.name = "bitnet-embedding-270m",
               .architecture = "gemma3",
               .layers = 18,
               .width = 640,
               .ffn = 2048,
               .heads = 4,
               .kv_heads = 1,
               .head_dim = 256,
               .vocab = 262144,
               .context = 32768,
               .rope_base = 1e6F,
               .norm_eps = 1e-6F,
               .tied = true,
               .window = 512,
               .input_norms = true},
    SynthShape{"small", "bitnet-b1.58", 4, 512, 1280, 8, 2, 64, 4096, 2048, 1e4F, 1e-5F, true},
};

}  // namespace

std::span<const SynthShape> synth_shapes() {
  return kShapes;
}

const SynthShape* find_synth_shape(std::string_view name) {
  const auto found = std::ranges::find(kShapes, name, &SynthShape::name);
  return found == kShapes.end() ? nullptr : &*found;
}

SynthShape shape_of(const ModelConfig& config, bool tied) {
  SynthShape shape{config.name,
                   config.architecture,
                   config.layers,
                   config.width,
                   config.ffn,
                   config.heads,
                   config.kv_heads,
                   config.head_dim,
                   config.vocab,
                   config.context,
                   1e4F,
                   config.norm_eps,
                   tied};
  const DeltaNet& delta = config.delta_net;
  shape.rope_dims = config.most_rope_dims();
  shape.hybrid = {delta.layers > 0 ? delta.key_heads : 0, delta.value_heads, delta.state,
                  delta.conv, delta.interval};
  shape.mixture = {config.experts.count, config.experts.used};
  for (const LayerConfig& layer : config.layer_configs) {
    shape.window = std::max(shape.window, layer.window);
  }
  shape.input_norms = config.input_norms;
  return shape;
}

}  // namespace tern::cli

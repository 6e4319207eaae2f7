#include "tools/synth_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "engine/base/parallel.h"
#include "engine/io/gguf_writer.h"

namespace tern::cli {
namespace {

// The 3B model of the first BitNet generation has heads of 100 values, Falcon3's have 256.
const std::array kShapes = {
    SynthShape{"bitnet-2b-4t", "bitnet-b1.58", 30, 2560, 6912, 20, 5, 128, 128256, 4096, 5e5F,
               1e-5F, true},
    SynthShape{"bitnet-0.7b", "bitnet", 24, 1536, 4096, 16, 16, 96, 32002, 2048, 1e4F, 1e-5F, true},
    SynthShape{"bitnet-3b", "bitnet", 26, 3200, 8640, 32, 32, 100, 32002, 2048, 1e4F, 1e-5F, true},
    SynthShape{"llama3-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 5e5F, 1e-5F, false},
    SynthShape{"falcon3-1b", "llama", 18, 2048, 8192, 8, 4, 256, 131072, 8192, 1000042, 1e-6F,
               false},
    SynthShape{"falcon3-3b", "llama", 22, 3072, 9216, 12, 4, 256, 131072, 32768, 1000042, 1e-6F,
               false},
    SynthShape{"falcon3-7b", "llama", 28, 3072, 23040, 12, 4, 256, 131072, 32768, 1000042, 1e-6F,
               false},
    SynthShape{"falcon3-10b", "llama", 40, 3072, 23040, 12, 4, 256, 131072, 32768, 1000042, 1e-6F,
               false},
    SynthShape{"trilm-99m", "llama", 16, 512, 1280, 8, 8, 64, 50304, 2048, 1e4F, 1e-5F, false},
    SynthShape{"qwen3-1.7b", "qwen3", 28, 2048, 6144, 16, 8, 128, 151936, 32768, 1e6F, 1e-6F, true},
    SynthShape{"qwen3-8b", "qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 32768, 1e6F, 1e-6F, false},
    SynthShape{"small", "bitnet-b1.58", 4, 512, 1280, 8, 2, 64, 4096, 2048, 1e4F, 1e-5F, true},
};

// ---- tokenizer ---------------------------------------------------------------------------------

std::string utf8(uint32_t character) {
  if (character < 0x80) {
    return {static_cast<char>(character)};
  }
  return {static_cast<char>(0xC0U | character >> 6U), static_cast<char>(0x80U | (character & 63U))};
}

// GPT-2's spelling of the 256 bytes: printable Latin-1 is itself, the others are characters from 256 up.
std::vector<std::string> byte_spellings() {
  std::vector<std::string> spellings;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    spellings.push_back(utf8(printable ? byte : next++));
  }
  return spellings;
}

struct Merge {
  std::string left, right;
};

// Words of two, three and four small letters, each from two shorter ones: up to 475,228 merges.
std::vector<Merge> letter_merges(size_t count) {
  std::vector<std::string> letters, pairs;
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    letters.emplace_back(1, letter);
  }
  std::vector<Merge> merges;
  const auto add_all = [&](const std::vector<std::string>& lefts,
                           const std::vector<std::string>& rights) {
    for (const std::string& left : lefts) {
      for (const std::string& right : rights) {
        if (merges.size() < count) {
          merges.push_back({left, right});
        }
      }
    }
  };
  for (const std::string& first : letters) {
    for (const std::string& second : letters) {
      pairs.push_back(first + second);
    }
  }
  add_all(letters, letters);
  add_all(pairs, letters);
  add_all(pairs, pairs);
  return merges;
}

constexpr int32_t kBytes = 256;
constexpr int32_t kFewestControl = 16;
constexpr int32_t kMostMerges = 26 * 26 * (1 + 26 + 26 * 26);

// Llama 3's names where they exist, at its distances from the first.
std::string control_spelling(int32_t index) {
  switch (index) {
    case 0:
      return "<|begin_of_text|>";
    case 1:
      return "<|end_of_text|>";
    case 9:
      return "<|eot_id|>";
    default:
      return "<|reserved_special_token_" + std::to_string(index) + "|>";
  }
}

Result<void> add_tokenizer(GgufHead& head, int32_t vocab) {
  const int32_t control =
      std::max({kFewestControl, vocab > 4096 ? 256 : 0, vocab - kBytes - kMostMerges});
  if (vocab < kBytes + control) {
    return Error{"expected a vocabulary of at least " + std::to_string(kBytes + control) +
                 " tokens (256 bytes and the control tokens), found " + std::to_string(vocab) +
                 "."};
  }
  const std::vector<Merge> merges = letter_merges(static_cast<size_t>(vocab - kBytes - control));
  std::vector<std::string> tokens = byte_spellings();
  std::vector<std::string> rules;
  for (const Merge& merge : merges) {
    tokens.push_back(merge.left + merge.right);
    rules.push_back(merge.left + " " + merge.right);
  }
  constexpr int32_t kNormal = 1;
  constexpr int32_t kControl = 3;
  std::vector<int32_t> types(tokens.size(), kNormal);
  const auto bos = static_cast<uint32_t>(tokens.size());
  for (int32_t i = 0; i < control; ++i) {
    tokens.push_back(control_spelling(i));
    types.push_back(kControl);
  }
  head.set("tokenizer.ggml.model", "gpt2");
  head.set("tokenizer.ggml.pre", "llama-bpe");
  head.set_array("tokenizer.ggml.tokens", tokens);
  head.set_array("tokenizer.ggml.token_type", std::span<const int32_t>(types));
  head.set_array("tokenizer.ggml.merges", rules);
  head.set("tokenizer.ggml.bos_token_id", bos);
  head.set("tokenizer.ggml.eos_token_id", bos + 9);
  head.set("tokenizer.ggml.add_bos_token", true);
  return {};
}

// ---- keys and tensors --------------------------------------------------------------------------

void add_keys(GgufHead& head, const SynthShape& shape) {
  const auto key = [&](const char* name) { return shape.architecture + "." + name; };
  const auto set_count = [&](const char* name, int32_t value) {
    head.set(key(name), static_cast<uint32_t>(value));
  };
  head.set("general.architecture", shape.architecture);
  head.set("general.name", "random " + shape.name);
  set_count("vocab_size", shape.vocab);
  set_count("context_length", shape.context);
  set_count("embedding_length", shape.width);
  set_count("block_count", shape.layers);
  set_count("feed_forward_length", shape.ffn);
  set_count("attention.head_count", shape.heads);
  set_count("attention.head_count_kv", shape.kv_heads);
  set_count("attention.key_length", shape.head_dim);
  set_count("attention.value_length", shape.head_dim);
  set_count("rope.dimension_count", shape.head_dim);
  head.set(key("attention.layer_norm_rms_epsilon"), shape.norm_eps);
  head.set(key("rope.freq_base"), shape.rope_base);
}

// Adds tensors to the head, and remembers how large each one's weights are to be.
class TensorList {
 public:
  explicit TensorList(GgufHead& head) : head_(head) {}

  Result<void> matrix(const std::string& name, int32_t rows, int32_t cols,
                      const WeightFormat& format, float deviation) {
    deviations_.push_back(deviation);
    return head_.add_tensor(name + ".weight", format, {cols, rows});
  }
  Result<void> norm(const std::string& name, int32_t size) {
    deviations_.push_back(0);  // all ones
    return head_.add_tensor(name + ".weight", *find_weight_format("F32"), {size});
  }
  const std::vector<float>& deviations() const { return deviations_; }

 private:
  GgufHead& head_;
  std::vector<float> deviations_;
};

float keep_size(int32_t cols) {
  return 1 / std::sqrt(static_cast<float>(cols));
}

Result<void> add_layer(TensorList& list, const SynthShape& s, const WeightFormat& linear,
                       const std::string& blk) {
  const int32_t q = s.heads * s.head_dim;
  const int32_t kv = s.kv_heads * s.head_dim;
  const auto matrix = [&](const char* name, int32_t rows, int32_t cols) {
    return list.matrix(blk + name, rows, cols, linear, keep_size(cols));
  };
  RETURN_IF_ERROR(list.norm(blk + "attn_norm", s.width));
  RETURN_IF_ERROR(matrix("attn_q", q, s.width));
  RETURN_IF_ERROR(matrix("attn_k", kv, s.width));
  RETURN_IF_ERROR(matrix("attn_v", kv, s.width));
  RETURN_IF_ERROR(matrix("attn_output", s.width, q));
  if (s.architecture.starts_with("bitnet")) {
    RETURN_IF_ERROR(list.norm(blk + "attn_sub_norm", q));
    RETURN_IF_ERROR(list.norm(blk + "ffn_sub_norm", s.ffn));
  } else if (s.architecture == "qwen3") {
    RETURN_IF_ERROR(list.norm(blk + "attn_q_norm", s.head_dim));
    RETURN_IF_ERROR(list.norm(blk + "attn_k_norm", s.head_dim));
  }
  RETURN_IF_ERROR(list.norm(blk + "ffn_norm", s.width));
  RETURN_IF_ERROR(matrix("ffn_gate", s.ffn, s.width));
  RETURN_IF_ERROR(matrix("ffn_up", s.ffn, s.width));
  return matrix("ffn_down", s.width, s.ffn);
}

Result<void> add_tensors(TensorList& list, const SynthOptions& options) {
  const SynthShape& s = options.shape;
  // The last norm makes activations of size 1, so logits have this many times that.
  const float deviation = 0.25F * keep_size(s.width);
  RETURN_IF_ERROR(list.matrix("token_embd", s.vocab, s.width, *options.embedding, deviation));
  RETURN_IF_ERROR(list.norm("output_norm", s.width));
  if (!s.tied) {
    RETURN_IF_ERROR(list.matrix("output", s.vocab, s.width, *options.head, deviation));
  }
  for (int32_t i = 0; i < s.layers; ++i) {
    RETURN_IF_ERROR(add_layer(list, s, *options.linear, "blk." + std::to_string(i) + "."));
  }
  return {};
}

// ---- weights -----------------------------------------------------------------------------------

// Splitmix64 (Steele, Lea, Flood 2014): any number is a good seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30U) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27U) * 0x94D049BB133111EBU;
    return z ^ z >> 31U;
  }

 private:
  uint64_t state_;
};

// Weights -scale, 0, scale, about equally many. weights.size() is a multiple of 8.
void fill_ternary(std::span<float> weights, float scale, Random& random) {
  const std::array<float, 3> values = {-scale, 0, scale};
  for (size_t i = 0; i < weights.size(); i += 8) {
    const auto bytes = std::bit_cast<std::array<uint8_t, 8>>(random.next());
    for (size_t j = 0; j < 8; ++j) {
      weights[i + j] = values[bytes[j] * 3U >> 8U];
    }
  }
}

// The sum of four bytes is near enough to a normal distribution: mean 510, variance 4 (256^2 - 1) / 12.
void fill_normal(std::span<float> weights, float deviation, Random& random) {
  const float unit = deviation / std::sqrt(65535.0F / 3);
  for (size_t i = 0; i < weights.size(); i += 2) {
    const auto bytes = std::bit_cast<std::array<uint8_t, 8>>(random.next());
    for (size_t j = 0; j < 2; ++j) {
      const uint8_t* b = &bytes[4 * j];
      weights[i + j] = unit * static_cast<float>(b[0] + b[1] + b[2] + b[3] - 510);
    }
  }
}

// Weights are made and written in pieces of so many, a multiple of every format's block and of 8.
constexpr int64_t kPieceWeights = int64_t{64} << 10;
constexpr int64_t kPiecesAtOnce = 16;

class WeightStream {
 public:
  WeightStream(const SynthOptions& options, GgufWriter& writer, uint64_t total)
      : options_(options),
        writer_(writer),
        total_(total),
        weights_(static_cast<size_t>(options.threads) * kPieceWeights) {}

  // The tensor at `index` of the head, whose weights are to have this standard deviation (0: all ones).
  Result<void> write(const GgufHead::Tensor& tensor, size_t index, float deviation) {
    const WeightFormat& format = *tensor.format;
    const float scale = deviation * std::sqrt(1.5F);  // of equally likely -1, 0, 1: variance 2/3
    int64_t count = 1;
    for (const int64_t size : tensor.shape) {
      count *= size;
    }
    const auto bytes_of = [&](int64_t weights) {
      return static_cast<size_t>(weights / format.block_weights * format.block_bytes);
    };
    for (int64_t first = 0; first < count; first += kPiecesAtOnce * kPieceWeights) {
      const int64_t some = std::min(count - first, kPiecesAtOnce * kPieceWeights);
      bytes_.resize(bytes_of(some));
      parallel_for(options_.threads, (some + kPieceWeights - 1) / kPieceWeights, 1,
                   [&](int64_t begin, int64_t end, int thread) {
                     for (int64_t piece = begin; piece < end; ++piece) {
                       const int64_t at = piece * kPieceWeights;
                       const std::span<float> weights = buffer_of(thread).first(
                           static_cast<size_t>(std::min(kPieceWeights, some - at)));
                       Random random(seed_of(index, first + at));
                       fill(weights, format, deviation, scale, random);
                       format.encode(weights, scale, &bytes_[bytes_of(at)]);
                     }
                   });
      RETURN_IF_ERROR(writer_.write(bytes_));
      written_ += bytes_.size();
      if (options_.keep_going &&
          !options_.keep_going(static_cast<double>(written_) / static_cast<double>(total_))) {
        return Error{"Interrupted; nothing was written."};
      }
    }
    bytes_.resize(static_cast<size_t>(format.extra_bytes));
    encode_end(format, scale, bytes_.data());
    return bytes_.empty() ? Result<void>() : writer_.write(bytes_);
  }

 private:
  std::span<float> buffer_of(int thread) {
    return std::span(weights_).subspan(static_cast<size_t>(thread * kPieceWeights), kPieceWeights);
  }
  // One stream of numbers for each piece, so that the file does not depend on the threads.
  uint64_t seed_of(size_t index, int64_t first_weight) const {
    return Random(Random(options_.seed ^ index << 40U).next() ^ static_cast<uint64_t>(first_weight))
        .next();
  }
  static void fill(std::span<float> weights, const WeightFormat& format, float deviation,
                   float scale, Random& random) {
    if (deviation == 0) {
      std::fill(weights.begin(), weights.end(), 1.0F);
    } else if (format.ternary) {
      fill_ternary(weights, scale, random);
    } else {
      fill_normal(weights, deviation, random);
    }
  }

  const SynthOptions& options_;
  GgufWriter& writer_;
  uint64_t total_;
  uint64_t written_ = 0;
  std::vector<float> weights_;    // a piece for each thread
  std::vector<std::byte> bytes_;  // encoded
};

}  // namespace

std::span<const SynthShape> synth_shapes() {
  return kShapes;
}

const SynthShape* find_synth_shape(std::string_view name) {
  const auto found = std::find_if(kShapes.begin(), kShapes.end(),
                                  [&](const SynthShape& shape) { return shape.name == name; });
  return found == kShapes.end() ? nullptr : &*found;
}

SynthShape shape_of(const ModelConfig& config, bool tied) {
  return {config.name,
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
}

Result<void> write_synth_model(const std::filesystem::path& path, const SynthOptions& options) {
  GgufHead head;
  add_keys(head, options.shape);
  RETURN_IF_ERROR(add_tokenizer(head, options.shape.vocab));
  TensorList list(head);
  RETURN_IF_ERROR(add_tensors(list, options));
  ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::create(path, std::move(head)));
  WeightStream stream(options, writer, writer.head().data_bytes());
  const std::span<const GgufHead::Tensor> tensors = writer.head().tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    RETURN_IF_ERROR(stream.write(tensors[i], i, list.deviations()[i]));
  }
  return writer.finish();
}

}  // namespace tern::cli

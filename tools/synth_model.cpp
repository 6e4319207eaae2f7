#include "tools/synth_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/base/half.h"
#include "engine/base/parallel.h"
#include "tools/synth_tensors.h"

namespace tern::cli {
namespace {

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

// Trits, about equally many of each, or of the two if there are no zeros. trits.size() is a multiple of 8.
void fill_trits(std::span<int8_t> trits, bool zeros, Random& random) {
  for (size_t i = 0; i < trits.size(); i += 8) {
    const auto bytes = std::bit_cast<std::array<uint8_t, 8>>(random.next());
    for (size_t j = 0; j < 8; ++j) {
      const int trit = zeros ? bytes[j] * 3 / 256 : bytes[j] / 128 * 2;
      trits[i + j] = static_cast<int8_t>(trit - 1);
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

// Every bit pattern of its codes stands for weights.
bool any_codes_do(const WeightFormat& format) {
  return format.name == "STQ1_0";
}

// Blocks of ternary weights with a scale each.
bool has_own_scales(const WeightFormat& format) {
  return format.ternary && format.pack != nullptr && format.rows_are_blocks &&
         format.cols_per_scale == format.block_weights && format.row_bytes == 0 &&
         format.row_group == 1;
}

// What a thread fills a piece of weights with.
struct Piece {
  std::vector<float> weights = std::vector<float>(kPieceWeights);
  std::vector<int8_t> trits = std::vector<int8_t>(kPieceWeights);
};

struct Scale {
  float mean;
  bool varies;  // from block to block

  // 0.75 to 1.25 times the mean: real models have no two equal scales then, and equal ones would take less memory.
  float next(Random& random) const {
    return !varies ? mean
                   : mean * (0.75F + static_cast<float>(random.next() >> 40U) /
                                         static_cast<float>(1 << 25));
  }
};

// Blocks of random trits of a format that keeps a scale for each.
void write_blocks(const WeightFormat& format, Piece& piece, size_t count, const Scale& scale,
                  Random& random, std::byte* out) {
  const std::span<int8_t> trits = std::span(piece.trits).first(count);
  fill_trits(trits, format.has_zeros, random);
  const std::span<float> scales =
      std::span(piece.weights).first(count / static_cast<size_t>(format.block_weights));
  std::ranges::generate(scales, [&] { return scale.next(random); });
  format.pack(trits.data(), scales.data(), 1, static_cast<int64_t>(count), out);
}

// The same of a format whose scale ends each block, and whose other bytes may be any.
void write_any_codes(const WeightFormat& format, size_t blocks, const Scale& scale, Random& random,
                     std::byte* out) {
  const auto bytes = static_cast<size_t>(format.block_bytes);
  for (size_t block = 0; block < blocks; ++block, out += bytes) {
    std::generate_n(out, bytes, [&] { return static_cast<std::byte>(random.next() >> 56U); });
    const uint16_t half = float_to_half(scale.next(random));
    std::memcpy(out + bytes - sizeof half, &half, sizeof half);
  }
}

void write_piece(const WeightFormat& format, const SynthFill& fill, const Scale& scale,
                 size_t count, Piece& piece, Random& random, std::byte* out) {
  const std::span<float> weights = std::span(piece.weights).first(count);
  if (fill.deviation > 0 && any_codes_do(format)) {
    write_any_codes(format, count / static_cast<size_t>(format.block_weights), scale, random, out);
    return;
  }
  if (fill.deviation > 0 && has_own_scales(format)) {
    write_blocks(format, piece, count, scale, random, out);
    return;
  }
  if (fill.deviation == 0) {
    std::ranges::fill(weights, fill.constant);
  } else if (format.ternary) {
    fill_trits(std::span(piece.trits).first(count), format.has_zeros, random);
    std::transform(piece.trits.begin(), piece.trits.begin() + static_cast<ptrdiff_t>(count),
                   weights.begin(),
                   [&](int8_t trit) { return static_cast<float>(trit) * scale.mean; });
  } else {
    fill_normal(weights, fill.deviation, random);
  }
  format.encode(weights, scale.mean, out);
}

class WeightStream {
 public:
  WeightStream(const SynthOptions& options, GgufWriter& writer, uint64_t total)
      : options_(options),
        writer_(writer),
        total_(total),
        pieces_(static_cast<size_t>(options.threads)) {}

  // The tensor at `index` of the head.
  Result<void> write(const GgufHead::Tensor& tensor, size_t index, const SynthFill& fill) {
    const WeightFormat& format = *tensor.format;
    // The share of weights that are not 0 is their variance in units of the scale.
    const float share = !format.has_zeros ? 1 : any_codes_do(format) ? 0.75F : 2.0F / 3;
    const Scale scale{fill.deviation / std::sqrt(share), options_.shape.block_scales};
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
                     for (int64_t at = begin * kPieceWeights;
                          at < std::min(end * kPieceWeights, some); at += kPieceWeights) {
                       Random random(seed_of(index, first + at));
                       write_piece(format, fill, scale,
                                   static_cast<size_t>(std::min(kPieceWeights, some - at)),
                                   pieces_[static_cast<size_t>(thread)], random,
                                   &bytes_[bytes_of(at)]);
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
    encode_end(format, scale.mean, bytes_.data());
    return bytes_.empty() ? Result<void>() : writer_.write(bytes_);
  }

 private:
  // One stream of numbers for each piece, so that the file does not depend on the threads.
  uint64_t seed_of(size_t index, int64_t first_weight) const {
    return Random(Random(options_.seed ^ index << 40U).next() ^ static_cast<uint64_t>(first_weight))
        .next();
  }

  const SynthOptions& options_;
  GgufWriter& writer_;
  uint64_t total_;
  uint64_t written_ = 0;
  std::vector<Piece> pieces_;     // one for each thread
  std::vector<std::byte> bytes_;  // encoded
};

}  // namespace

bool synth_writes(const WeightFormat& format) {
  return format.encode != nullptr || has_own_scales(format) || any_codes_do(format);
}

Result<uint64_t> write_synth_model(const std::filesystem::path& path, const SynthOptions& options) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::create(path, {.replace = options.replace}));
  GgufHead head;
  ASSIGN_OR_RETURN(const std::vector<SynthFill> fills, add_decoder(head, options));
  RETURN_IF_ERROR(add_tokenizer(head, options.shape.vocab));
  ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::create(std::move(file), std::move(head)));
  WeightStream stream(options, writer, writer.head().data_bytes());
  const std::span<const GgufHead::Tensor> tensors = writer.head().tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    RETURN_IF_ERROR(stream.write(tensors[i], i, fills[i]));
  }
  RETURN_IF_ERROR(writer.finish());
  return writer.head().bytes().size() + writer.head().data_bytes();
}

}  // namespace tern::cli

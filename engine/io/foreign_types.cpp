#include "engine/io/foreign_types.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace tern {
namespace {

using SizeFunction = uint64_t (*)(int64_t rows, int64_t cols);  // 0 if the shape does not fit

struct ForeignType {
  uint32_t id;
  std::string_view name;
  std::string_view writer;
  std::string_view advice;
  SizeFunction bytes;
};

// Rows of whole blocks, with bytes before each row and after the tensor.
template <int64_t kWeights, int64_t kBytes, int64_t kRowBytes = 0, int64_t kTensorBytes = 0>
uint64_t blocks(int64_t rows, int64_t cols) {
  uint64_t bytes = 0;
  if (cols % kWeights != 0 || __builtin_mul_overflow(cols / kWeights, kBytes, &bytes) ||
      __builtin_add_overflow(bytes, kRowBytes, &bytes) ||
      __builtin_mul_overflow(bytes, rows, &bytes) ||
      __builtin_add_overflow(bytes, kTensorBytes, &bytes)) {
    return 0;
  }
  return bytes;
}

uint64_t round_up(uint64_t value, uint64_t step) {
  return (value + step - 1) / step * step;
}

// 256 columns in pairs of 4 bits, the others in triples of 5 bits, padded, and a scale with its padding; divisions as
// bitnet.cpp's ggml_nbytes makes them.
uint64_t tl2_bytes(int64_t rows, int64_t cols) {
  uint64_t triples = 0;
  if (cols <= 256 || __builtin_mul_overflow(cols - 256, rows, &triples)) {
    return 0;
  }
  return round_up(triples / 3 * 5 / 8 + static_cast<uint64_t>(rows) * 64, 32) + 32;
}

constexpr std::string_view kGetCommon =
    "get the F16, Q8_0, Q4_0, Q6_K, TQ1_0, TQ2_0 or I2_S file of this model";
constexpr std::string_view kGetI2s =
    "its layout depends on a kernel_config.ini that is not in the file, so get the I2_S file of "
    "this model instead";
constexpr std::string_view kConvertTq =
    "not yet readable: get the F16 file of this model, or its TQ1_0 or TQ2_0 file if there is one";
constexpr std::string_view kIkAdvice = "get the I2_S, TQ1_0 or TQ2_0 file of this model";
constexpr std::string_view kRemoved =
    "llama.cpp removed this type: get a newer file of this model, for example Q4_0 or Q8_0";

constexpr std::string_view kLlama = "llama.cpp";
constexpr std::string_view kBitnet = "bitnet.cpp";
constexpr std::string_view kIk = "ik_llama.cpp";

// Sources: ggml.h of llama.cpp and of the forks named; block sizes from their block structures.
constexpr ForeignType kForeignTypes[] = {
    {4, "Q4_2", "llama.cpp of early 2023", kRemoved, nullptr},
    {5, "Q4_3", "llama.cpp of early 2023", kRemoved, nullptr},
    {9, "Q8_1", kLlama, kGetCommon, blocks<32, 36>},
    {15, "Q8_K", kLlama, kGetCommon, blocks<256, 292>},
    {16, "IQ2_XXS", kLlama, kGetCommon, blocks<256, 66>},
    {17, "IQ2_XS", kLlama, kGetCommon, blocks<256, 74>},
    {18, "IQ3_XXS", kLlama, kGetCommon, blocks<256, 98>},
    {19, "IQ1_S", kLlama, kGetCommon, blocks<256, 50>},
    {21, "IQ3_S", kLlama, kGetCommon, blocks<256, 110>},
    {22, "IQ2_S", kLlama, kGetCommon, blocks<256, 82>},
    {23, "IQ4_XS", kLlama, kGetCommon, blocks<256, 136>},
    {24, "I8", kLlama, kGetCommon, blocks<1, 1>},
    {25, "I16", kLlama, kGetCommon, blocks<1, 2>},
    {26, "I32", kLlama, kGetCommon, blocks<1, 4>},
    {27, "I64", kLlama, kGetCommon, blocks<1, 8>},
    {28, "F64", kLlama, kGetCommon, blocks<1, 8>},
    {29, "IQ1_M", kLlama, kGetCommon, blocks<256, 56>},
    {31, "Q4_0_4_4", "llama.cpp of 2024", kRemoved, blocks<32, 18>},
    {32, "Q4_0_4_8", "llama.cpp of 2024", kRemoved, blocks<32, 18>},
    {33, "Q4_0_8_8", "llama.cpp of 2024", kRemoved, blocks<32, 18>},
    {36, "IQ4_NL_4_4", "llama.cpp of late 2024", kRemoved, blocks<32, 18>},
    {37, "I8_S", kBitnet, "it holds activations, not weights: get the I2_S file of this model",
     blocks<1, 1>},
    {37, "IQ4_NL_4_8", "llama.cpp of late 2024", kRemoved, blocks<32, 18>},
    {38, "TL1", kBitnet, kGetI2s, blocks<4, 1, 0, 32>},
    {38, "IQ4_NL_8_8", "llama.cpp of late 2024", kRemoved, blocks<32, 18>},
    {39, "TL2", "bitnet.cpp before its id moved to 42", kGetI2s, tl2_bytes},
    {40, "NVFP4", kLlama, kGetCommon, blocks<64, 36>},
    {42, "TL2", kBitnet, kGetI2s, tl2_bytes},
    {43, "T5B", "bitnet-t5b", kConvertTq, nullptr},
    {133, "Q6_0", kIk, kGetCommon, blocks<32, 26>},
    {136, "Q8_K64", kIk, kIkAdvice, nullptr},
    {137, "IQ2_K", kIk, kGetCommon, nullptr},
    {138, "IQ3_K", kIk, kGetCommon, nullptr},
    {139, "IQ4_K", kIk, kGetCommon, nullptr},
    {140, "IQ5_K", kIk, kGetCommon, nullptr},
    {141, "IQ6_K", kIk, kGetCommon, nullptr},
    {142, "IQ2_TN", "ik_llama.cpp of 2024", kIkAdvice, blocks<256, 64, 4>},
    {143, "IQ1_TN", "ik_llama.cpp of 2024", kIkAdvice, blocks<64, 13, 2>},
};

std::string describe(const ForeignType& type) {
  return std::string(type.name) + ", which " + std::string(type.writer) + " writes";
}

std::string which_tensors(std::span<const StoredTensor> tensors) {
  std::string text = "tensor " + tensors.front().name;
  if (tensors.size() > 1) {
    text += " and " + std::to_string(tensors.size() - 1) + " more";
  }
  return text;
}

bool fits_all(const ForeignType& type, std::span<const StoredTensor> tensors) {
  return type.bytes != nullptr && std::ranges::all_of(tensors, [&](const StoredTensor& tensor) {
           const uint64_t bytes = type.bytes(tensor.rows, tensor.cols);
           return bytes != 0 && fills_span(tensor, bytes);
         });
}

std::string unknown_id_text(uint32_t ggml_type) {
  return (ggml_type >= 97 && ggml_type <= 400
              ? std::string("no format that Tern knows; ik_llama.cpp and other variants of "
                            "llama.cpp use ids in this range for formats of their own. To run it: ")
              : std::string("no format that Tern knows: the file is damaged, or newer than this "
                            "program. To run this model: ")) +
         std::string(kGetCommon) + ".";
}

}  // namespace

bool fills_span(const StoredTensor& tensor, uint64_t bytes) {
  return tensor.span == bytes || (bytes <= tensor.span && tensor.span - bytes < tensor.alignment &&
                                  tensor.span % tensor.alignment == 0);
}

bool is_foreign_type(uint32_t ggml_type) {
  return std::ranges::any_of(kForeignTypes,
                             [&](const ForeignType& type) { return type.id == ggml_type; });
}

uint64_t least_foreign_bytes(uint32_t ggml_type, int64_t rows, int64_t cols) {
  uint64_t least = 0;
  for (const ForeignType& type : kForeignTypes) {
    const uint64_t bytes =
        type.id == ggml_type && type.bytes != nullptr ? type.bytes(rows, cols) : 0;
    least = least == 0 || (bytes != 0 && bytes < least) ? bytes : least;
  }
  return least;
}

std::vector<std::string> foreign_twins(const WeightFormat& format,
                                       std::span<const StoredTensor> tensors) {
  std::vector<std::string> twins;
  for (const ForeignType& type : kForeignTypes) {
    const bool same_sizes = type.id == format.ggml_type && type.bytes != nullptr &&
                            std::ranges::all_of(tensors, [&](const StoredTensor& tensor) {
                              return type.bytes(tensor.rows, tensor.cols) ==
                                     tensor_bytes(format, tensor.rows, tensor.cols);
                            });
    if (same_sizes) {
      twins.push_back(describe(type));
    }
  }
  return twins;
}

Error foreign_type_error(uint32_t ggml_type, std::span<const StoredTensor> tensors,
                         std::span<const WeightFormat* const> tried) {
  std::vector<const ForeignType*> candidates;
  std::vector<const ForeignType*> fitting;
  for (const ForeignType& type : kForeignTypes) {
    if (type.id == ggml_type) {
      candidates.push_back(&type);
      if (fits_all(type, tensors)) {
        fitting.push_back(&type);
      }
    }
  }
  const std::string id = std::to_string(ggml_type);
  std::string text = which_tensors(tensors) + ": ";
  if (candidates.empty() && tried.empty()) {
    return Error{text + "type id " + id + " is " + unknown_id_text(ggml_type)};
  }
  // Where several formats claim the id, one is named only if the sizes fit it alone.
  const bool contested = candidates.size() + tried.size() > 1;
  if (!contested || fitting.size() == 1) {
    const ForeignType& type = contested ? *fitting.front() : *candidates.front();
    return Error{text +
                 (contested ? "type id " + id + ": the sizes fit " + describe(type)
                            : "type id " + id + " is " + describe(type)) +
                 "; Tern does not read it. What to do: " + std::string(type.advice) + "."};
  }
  text += "type id " + id + " stands for several formats, and the sizes in this file fit " +
          (fitting.empty() ? "none of them" : "more than one") + ": ";
  for (const WeightFormat* format : tried) {
    text += std::string(format->name) + "; ";
  }
  for (const ForeignType* type : fitting.empty() ? candidates : fitting) {
    text += describe(*type) + "; ";
  }
  return Error{text +
               (fitting.empty() ? "the file may be damaged: download it again, or "
                                : "Tern reads none of them: ") +
               std::string(kGetCommon) + "."};
}

}  // namespace tern

#include "engine/io/other_parts.h"

#include <algorithm>

namespace tern {
namespace {

constexpr std::string_view kVision = "a vision encoder";
constexpr std::string_view kAudio = "an audio encoder";
constexpr std::string_view kProjector = "a projector from another encoder";
constexpr std::string_view kSpeech = "a speech decoder";

struct Prefix {
  std::string_view name, part;
};
// Folders have them with and without "model." in front. Sources: clip-impl.h of llama.cpp; the modelling files of
// transformers.
constexpr Prefix kPrefixes[] = {{"v.", kVision},
                                {"vision.", kVision},
                                {"visual.", kVision},
                                {"vision_tower.", kVision},
                                {"vision_model.", kVision},
                                {"vision_encoder.", kVision},
                                {"vpm.", kVision},
                                {"image_newline", kVision},
                                {"resampler.", kProjector},
                                {"a.", kAudio},
                                {"audio.", kAudio},
                                {"audio_tower.", kAudio},
                                {"audio_model.", kAudio},
                                {"audio_encoder.", kAudio},
                                {"apm.", kAudio},
                                {"mm.", kProjector},
                                {"multi_modal_projector.", kProjector},
                                {"mm_projector.", kProjector},
                                {"vision_projector.", kProjector},
                                {"audio_projector.", kProjector},
                                {"embed_vision.", kProjector},
                                {"embed_audio.", kProjector},
                                {"connector.", kProjector},
                                {"talker.", kSpeech},
                                {"token2wav.", kSpeech},
                                {"code2wav.", kSpeech}};

}  // namespace

std::string_view other_part(std::string_view name) {
  for (const std::string_view outer : {"model.", "thinker."}) {
    if (name.starts_with(outer)) {
      name.remove_prefix(outer.size());
    }
  }
  const auto* const found = std::ranges::find_if(
      kPrefixes, [&](const Prefix& prefix) { return name.starts_with(prefix.name); });
  return found == std::end(kPrefixes) ? std::string_view() : found->part;
}

std::vector<std::string> notices_of(const OtherParts& parts) {
  std::vector<std::string> out;
  for (const auto& [part, names] : parts) {
    constexpr size_t kShown = 2;
    std::string list;
    for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
      list += (list.empty() ? "" : ", ") + printable(names[i]);
    }
    out.push_back(std::to_string(names.size()) + (names.size() == 1 ? " tensor" : " tensors") +
                  " of " + std::string(part) + " (" + list +
                  (names.size() > kShown ? ", ..." : "") +
                  ") not in use: Tern reads and writes text alone");
  }
  return out;
}

Result<void> refuse_other_kinds(const TensorFile& file) {
  ASSIGN_OR_RETURN(const std::optional<std::string_view> type, file.get_string("general.type"));
  ASSIGN_OR_RETURN(const std::optional<std::string_view> name,
                   file.get_string("general.architecture"));
  if (type == "mmproj" || name == "clip") {
    return Error{
        "expected a text model, found a projector for images or sound (mmproj), which lies beside "
        "one: give the model's own file. Tern reads text alone."};
  }
  if (type == "adapter") {
    return Error{
        "expected a model, found a LoRA adapter: give its model with -m, and this file with "
        "--lora."};
  }
  if (type == "imatrix" || name == "imatrix") {
    return Error{
        "expected a model, found an importance matrix, which quantizing programs use: give the "
        "model's own file."};
  }
  if (file.tensors().empty()) {
    return Error{"expected a model, found a file without tensors" +
                 std::string(file.metadata().contains("tokenizer.ggml.tokens")
                                 ? ", a vocabulary alone"
                                 : "") +
                 ": get the complete file of this model."};
  }
  return {};
}

OtherParts other_parts_of(std::span<const Tensor> tensors) {
  OtherParts parts;
  for (const Tensor& tensor : tensors) {
    if (const std::string_view part = other_part(tensor.name); !part.empty()) {
      parts[part].push_back(tensor.name);
    }
  }
  return parts;
}

}  // namespace tern

#pragma once
// SentencePiece's own file, tokenizer.model: a ModelProto of protocol buffers. Source: sentencepiece_model.proto of
// google/sentencepiece, whose numbers of fields are given where they are read.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"

namespace tern::sentencepiece {

enum class PieceType : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

struct Model {
  static constexpr int64_t kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4;

  std::vector<Piece> pieces;  // by id
  int64_t kind = kUnigram;    // trainer_spec.model_type
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool has_charsmap = false;  // rules that change characters before anything else (NFKC)
};

// Errors: not such a file, damaged, pieces that are no text of 1 to 65,535 bytes.
Result<Model> read(std::span<const std::byte> file);

}  // namespace tern::sentencepiece

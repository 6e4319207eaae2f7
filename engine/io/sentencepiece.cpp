#include "engine/io/sentencepiece.h"

#include <cstring>
#include <string_view>

#include "engine/io/file_kind.h"
#include "engine/io/tensor_file.h"

namespace tern::sentencepiece {
namespace {

constexpr size_t kMostPieces = size_t{1}
                               << 20U;  // the largest published vocabularies have a quarter of them
constexpr size_t kLongestPiece = 65535;

Error damaged() {
  return Error{"expected a SentencePiece model, found one that is cut off or damaged: " +
               std::string("download it again.")};
}

// One field of a message.
struct Field {
  uint64_t number = 0;
  uint64_t value = 0;      // of wire types 0, 1 and 5
  std::string_view bytes;  // of wire type 2
};

// Reads a message field by field, never past its end.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}

  bool done() const { return rest_.empty(); }

  Result<Field> next() {
    ASSIGN_OR_RETURN(const uint64_t tag, varint());
    Field field;
    field.number = tag >> 3U;
    switch (tag & 7U) {
      case 0: {
        ASSIGN_OR_RETURN(field.value, varint());
        return field;
      }
      case 1:
        return fixed(field, sizeof(uint64_t));
      case 2: {
        ASSIGN_OR_RETURN(const uint64_t length, varint());
        if (length > rest_.size()) {
          return damaged();
        }
        field.bytes = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return field;
      }
      case 5:
        return fixed(field, sizeof(uint32_t));
      default:
        return damaged();  // groups, which proto2 dropped long ago
    }
  }

 private:
  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) {
        return value;
      }
    }
    return damaged();
  }

  Result<Field> fixed(Field field, size_t size) {
    if (size > rest_.size()) {
      return damaged();
    }
    std::memcpy(&field.value, rest_.data(), size);  // little-endian, as this machine
    rest_.remove_prefix(size);
    return field;
  }

  std::string_view rest_;
};

// Calls use(field) for each field of a message.
template <class Use>
Result<void> each_field(std::string_view message, Use use) {
  Fields fields(message);
  while (!fields.done()) {
    ASSIGN_OR_RETURN(const Field field, fields.next());
    use(field);
  }
  return {};
}

Result<Piece> read_piece(std::string_view message) {
  Piece piece;
  RETURN_IF_ERROR(each_field(message, [&](const Field& field) {
    if (field.number == 1) {
      piece.text = field.bytes;
    } else if (field.number == 2) {
      const auto bits = static_cast<uint32_t>(field.value);
      std::memcpy(&piece.score, &bits, sizeof bits);
    } else if (field.number == 3) {
      piece.type = field.value >= 1 && field.value <= 6 ? static_cast<PieceType>(field.value)
                                                        : PieceType::kNormal;
    }
  }));
  if (piece.text.empty() || piece.text.size() > kLongestPiece) {
    return Error{"expected pieces of 1 to 65535 bytes, found one of " +
                 std::to_string(piece.text.size()) + ": the file is damaged; download it again."};
  }
  return piece;
}

}  // namespace

Result<Model> read(std::span<const std::byte> file) {
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  Model model;
  Result<void> pieces;
  const Result<void> whole = each_field(bytes, [&](const Field& field) {
    if (field.number == 1 && pieces) {
      Result<Piece> piece =
          model.pieces.size() < kMostPieces
              ? read_piece(field.bytes)
              : Result<Piece>(
                    Error{"expected at most " + std::to_string(kMostPieces) +
                          " pieces, found more: the file is damaged; download it again."});
      if (piece) {
        model.pieces.push_back(std::move(*piece));
      } else {
        pieces = piece.error();
      }
    } else if (field.number == 2 && pieces) {  // trainer_spec
      pieces = each_field(field.bytes, [&](const Field& spec) {
        model.kind = spec.number == 3 ? static_cast<int64_t>(spec.value) : model.kind;
      });
    } else if (field.number == 3 && pieces) {  // normalizer_spec
      pieces = each_field(field.bytes, [&](const Field& spec) {
        model.has_charsmap |= spec.number == 2 && !spec.bytes.empty();
        model.add_dummy_prefix = spec.number == 3 ? spec.value != 0 : model.add_dummy_prefix;
        model.remove_extra_whitespaces =
            spec.number == 4 ? spec.value != 0 : model.remove_extra_whitespaces;
      });
    }
  });
  if (whole && !pieces) {
    return pieces.error();
  }
  if (!whole || model.pieces.empty()) {
    const std::optional<FileKind> kind = kind_of_file(file);
    return kind && kind->what != "a SentencePiece model"
               ? wrong_kind_of_file(file, "a SentencePiece model", "download it again.")
               : damaged();
  }
  return model;
}

}  // namespace tern::sentencepiece

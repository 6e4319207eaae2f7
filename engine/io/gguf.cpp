// The GGUF reader: opens one file or all parts of a split set, decides what each type id means, checks that every tensor
// lies within its file and overlaps no other.

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <iterator>
#include <map>
#include <set>

#include "engine/io/file_kind.h"
#include "engine/io/foreign_types.h"
#include "engine/io/gguf_packed.h"
#include "engine/io/gguf_part.h"
#include "engine/io/hugging_face.h"
#include "engine/io/tensor_file.h"

namespace tern {
namespace {

using gguf::cut_off;
using gguf::IndexEntry;
using gguf::Metadata;
using gguf::Part;

constexpr uint32_t kI2sType = 36;

std::string number(uint64_t value) {
  return std::to_string(value);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text;
}

int64_t rows_of(const IndexEntry& entry) {
  return entry.count / entry.shape[0];
}

// The fewest bytes that a tensor of this id and shape can take, whichever format of the id it has; 1 if Tern reads none of them,
// for that is then the thing to say.
uint64_t least_bytes(const IndexEntry& entry, I2sLayout layout) {
  const std::vector<const WeightFormat*> ours = formats_of_type(entry.type, layout);
  if (ours.empty()) {
    return 1;
  }
  uint64_t least = least_foreign_bytes(entry.type, rows_of(entry), entry.shape[0]);
  for (const WeightFormat* format : ours) {
    const uint64_t bytes = tensor_bytes(*format, rows_of(entry), entry.shape[0]);
    least = least == 0 || (bytes != 0 && bytes < least) ? bytes : least;
  }
  return std::max<uint64_t>(least, 1);
}

// How far the data must reach, as far as this program can tell; says so if the file ends before.
Result<void> check_length(const Part& part, I2sLayout layout) {
  uint64_t needed = 0;
  for (const IndexEntry& entry : part.index) {
    uint64_t end = 0;
    if (__builtin_add_overflow(entry.offset, least_bytes(entry, layout), &end)) {
      return Error{"tensor " + printable(entry.name) + ": offset " + number(entry.offset) +
                   " is beyond any file: the file is damaged."};
    }
    needed = std::max(needed, end);
  }
  if (needed > part.data.size()) {
    return cut_off(needed - part.data.size());
  }
  return {};
}

// Another GGUF file behind the tensors of this one: what `cat` makes of the parts of a split model. Where the last tensor
// ends is not always known here, so that the beginning of a file is looked for.
Result<void> refuse_joined_files(const Part& part, std::span<const std::byte> file,
                                 I2sLayout layout) {
  uint64_t end = 0;
  for (const IndexEntry& entry : part.index) {
    end = std::max(end, entry.offset + least_bytes(entry, layout));  // check_length has added them
  }
  const std::span<const std::byte> rest =
      part.data.empty() ? std::span<const std::byte>() : part.data.subspan(end);
  const std::string_view text(reinterpret_cast<const char*>(rest.data()), rest.size());
  using namespace std::string_view_literals;
  const size_t next = std::min(text.find("GGUF\x03\0\0\0"sv), text.find("GGUF\x02\0\0\0"sv));
  if (next == std::string_view::npos) {
    return {};
  }
  const auto at = static_cast<uint64_t>(rest.data() - file.data()) + next;
  return Error{"the file is longer than its tensors: at byte " + number(at) + " of " +
               number(file.size()) +
               " another GGUF file begins. Parts of a split model were joined, it seems, and `cat` "
               "does not join them. Keep the parts under their own names and give the first one or "
               "their folder, or join them with `llama-gguf-split --merge`."};
}

// A piece of a file that was cut for its upload has a name that says so, and such pieces are what `cat` joins.
std::string piece_advice(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  const size_t split = name.rfind("-split-");
  const size_t part = name.rfind(".part");
  const bool cut = (split != std::string::npos && split + 8 == name.size()) ||
                   (part != std::string::npos && name.find("of", part) != std::string::npos);
  return cut ? " This is one of several pieces of a file, by its name: join all of them with "
               "`cat`, "
               "in order, and give the whole."
             : "";
}

Error shape_error(const IndexEntry& entry, const WeightFormat& format) {
  std::string expected = (format.rows_are_blocks ? "rows of a multiple of " : "a multiple of ") +
                         std::to_string(format.block_weights) + " weights";
  if (format.row_group > 1) {
    expected = "a multiple of " + std::to_string(format.row_group) + " rows";
  }
  return Error{"tensor " + printable(entry.name) + ": expected " + expected + " for " +
               std::string(format.name) + ", found " + shape_text(entry.shape) + "."};
}

Error several_fit(uint32_t type, const std::vector<StoredTensor>& tensors,
                  const std::vector<const WeightFormat*>& fitting,
                  const std::vector<std::string>& foreign) {
  std::string names;
  for (const WeightFormat* format : fitting) {
    names += (names.empty() ? "" : "; ") + std::string(format->name);
  }
  for (const std::string& name : foreign) {
    names += "; " + name;
  }
  return Error{
      "tensor " + tensors.front().name + ": type id " + number(type) +
      " stands for several formats, and the sizes in this file fit more than one: " + names +
      ". Nothing in the file tells them apart; get a file of this model in another format."};
}

// The name of another part of a split set: "model-00001-of-00003.gguf" gives the name of part `number` (from 0).
Result<std::filesystem::path> part_path(const std::filesystem::path& path, int64_t own,
                                        int64_t wanted, int64_t count) {
  const auto suffix = [&](int64_t part) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "-%05" PRId64 "-of-%05" PRId64 ".gguf", part + 1,
                  count);
    return std::string(text.data());
  };
  const std::string name = path.filename().string();
  const std::string own_suffix = suffix(own);
  if (!name.ends_with(own_suffix)) {
    return Error{path.string() + ": this is part " + std::to_string(own + 1) + " of " +
                 std::to_string(count) + " of a split model: expected a name that ends in " +
                 own_suffix + "; give the parts their original names."};
  }
  return path.parent_path() / (name.substr(0, name.size() - own_suffix.size()) + suffix(wanted));
}

struct SplitPlace {
  int64_t number = 0;
  int64_t count = 1;
};

Result<SplitPlace> split_place(const Metadata& metadata) {
  SplitPlace place;
  const auto read = [&](std::string_view key, int64_t& value) -> Result<void> {
    if (const auto found = metadata.find(key); found != metadata.end()) {
      const auto* integer = std::get_if<int64_t>(&found->second);
      if (integer == nullptr || *integer < 0 || *integer > 65535) {
        return Error{"key " + std::string(key) + ": expected an integer from 0 to 65535."};
      }
      value = *integer;
    }
    return {};
  };
  RETURN_IF_ERROR(read("split.count", place.count));
  RETURN_IF_ERROR(read("split.no", place.number));
  place.count = std::max<int64_t>(place.count, 1);
  if (place.number >= place.count) {
    return Error{"key split.no: expected a number below split.count, which is " +
                 std::to_string(place.count) + ", found " + std::to_string(place.number) + "."};
  }
  return place;
}

}  // namespace

// Opens the parts, decides what each type id means, and fills the TensorFile.
class GgufReader {
 public:
  static Result<TensorFile> open(const std::filesystem::path& path, const OpenOptions& options) {
    GgufReader reader(options);
    RETURN_IF_ERROR(reader.add_file(path));
    RETURN_IF_ERROR(reader.add_other_parts(path));
    RETURN_IF_ERROR(reader.choose_formats());
    RETURN_IF_ERROR(reader.add_tensors());
    if (const auto bound = reader.bind_packed_scales(); !bound) {
      return bound.error().in(path.string());
    }
    reader.add_notices();
    reader.out_.metadata_ = std::move(reader.parts_.front().metadata);
    reader.out_.stored_values_ = std::move(reader.parts_.front().stored_values);
    return std::move(reader.out_);
  }

 private:
  explicit GgufReader(const OpenOptions& options) : options_(options) {}

  Result<void> add_file(const std::filesystem::path& path) {
    ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
    auto part = gguf::read_part(file.bytes());
    if (!part) {
      return error_in_file({part.error().message + piece_advice(path)}, path);
    }
    if (const auto length = check_length(*part, options_.i2s_layout); !length) {
      return error_in_file({length.error().message + piece_advice(path)}, path);
    }
    if (const auto alone = refuse_joined_files(*part, file.bytes(), options_.i2s_layout); !alone) {
      return alone.error().in(path.string());
    }
    if (const auto aligned = gguf::check_packed_alignment(*part); !aligned) {
      return aligned.error().in(path.string());
    }
    parts_.push_back(std::move(*part));
    out_.files_.push_back(std::move(file));
    return {};
  }

  Result<void> add_other_parts(const std::filesystem::path& path) {
    const auto place = split_place(parts_.front().metadata);
    if (!place) {
      return place.error().in(path.string());
    }
    if (place->count == 1) {
      return {};
    }
    if (place->number != 0) {
      ASSIGN_OR_RETURN(const auto first, part_path(path, place->number, 0, place->count));
      return Error{path.string() + ": this is part " + std::to_string(place->number + 1) + " of " +
                   std::to_string(place->count) + " of a split model: open the first part, " +
                   first.string() + "."};
    }
    for (int64_t i = 1; i < place->count; ++i) {
      ASSIGN_OR_RETURN(const auto other, part_path(path, 0, i, place->count));
      RETURN_IF_ERROR(add_part(other, {i, place->count}));
    }
    return check_tensor_total(path);
  }

  Result<void> add_part(const std::filesystem::path& path, SplitPlace expected) {
    const std::string which =
        "part " + std::to_string(expected.number + 1) + " of " + std::to_string(expected.count);
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
      const std::string unfinished = unfinished_download(path);
      return Error{path.string() + ": " + which + " of this model is missing" +
                   (unfinished.empty() ? ": put it beside the first part."
                                       : ", but " + printable(unfinished) +
                                             " is there: its download was not finished; begin it "
                                             "again.")};
    }
    RETURN_IF_ERROR(add_file(path));
    const auto found = split_place(parts_.back().metadata);
    if (!found) {
      return found.error().in(path.string());
    }
    if (found->number != expected.number || found->count != expected.count) {
      return Error{path.string() + ": expected " + which + " of a split model, found part " +
                   std::to_string(found->number + 1) + " of " + std::to_string(found->count) +
                   ": give the parts their original names."};
    }
    return {};
  }

  Result<void> check_tensor_total(const std::filesystem::path& path) const {
    const auto key = parts_.front().metadata.find("split.tensors.count");
    if (key == parts_.front().metadata.end()) {
      return {};
    }
    size_t found = 0;
    for (const Part& part : parts_) {
      found += part.index.size();
    }
    const auto* expected = std::get_if<int64_t>(&key->second);
    if (expected == nullptr || *expected != static_cast<int64_t>(found)) {
      return Error{path.string() + ": expected " +
                   (expected == nullptr ? "an integer" : std::to_string(*expected)) +
                   " tensors in all parts (split.tensors.count), found " + number(found) +
                   ": the parts do not belong together; download them again."};
    }
    return {};
  }

  // Decides what each type id of the file means. Errors: an id that this program does not read, or whose tensors have other
  // sizes than the formats that go by it.
  Result<void> choose_formats() {
    std::map<uint32_t, std::vector<StoredTensor>> by_type;
    for (const Part& part : parts_) {
      for (const IndexEntry& entry : part.index) {
        by_type[entry.type].push_back(
            {printable(entry.name), rows_of(entry), entry.shape[0], entry.span, part.alignment});
      }
    }
    for (const auto& [type, tensors] : by_type) {
      ASSIGN_OR_RETURN(formats_[type], choose_format(type, tensors));
    }
    return {};
  }

  // Whether general.file_type tells a format from those that share its id and its sizes. PQ2_0's number is nobody else's.
  bool is_named_by_file_type(const WeightFormat& format) const {
    constexpr int64_t kPq2_0 = 141;
    const auto& keys = parts_.front().metadata;
    const auto found = keys.find("general.file_type");
    const auto* file_type = found == keys.end() ? nullptr : std::get_if<int64_t>(&found->second);
    return format.name == "PQ2_0" && file_type != nullptr && *file_type == kPq2_0;
  }

  Result<const WeightFormat*> choose_format(uint32_t type,
                                            const std::vector<StoredTensor>& tensors) {
    if (gguf::is_packed_type(type)) {
      auto packed = gguf::packed_format(type, parts_.front().metadata);
      return packed ? std::move(packed) : packed.error().in(out_.path().string());
    }
    const std::vector<const WeightFormat*> ours = formats_of_type(type, options_.i2s_layout);
    if (ours.size() == 1 && !is_foreign_type(type)) {
      return ours
          .front();  // sizes are checked tensor by tensor, which says more where one is wrong
    }
    // Programs that rewrite a file with a larger alignment pad tensors further; the last of a file may or may not be padded.
    std::vector<const WeightFormat*> fitting;
    std::ranges::copy_if(ours, std::back_inserter(fitting), [&](const WeightFormat* format) {
      return std::ranges::all_of(tensors, [&](const StoredTensor& tensor) {
        const uint64_t bytes = tensor_bytes(*format, tensor.rows, tensor.cols);
        return bytes != 0 && fills_span(tensor, bytes);
      });
    });
    if (fitting.empty()) {
      return foreign_type_error(type, tensors, ours).in(out_.path().string());
    }
    const std::vector<std::string> twins = is_named_by_file_type(*fitting.front())
                                               ? std::vector<std::string>()
                                               : foreign_twins(*fitting.front(), tensors);
    if (fitting.size() + twins.size() > 1) {
      return several_fit(type, tensors, fitting, twins).in(out_.path().string());
    }
    if (ours.size() > 1) {
      out_.notices_.push_back("type id " + number(type) + " read as " +
                              std::string(fitting.front()->name) + ": the sizes of its " +
                              number(tensors.size()) + " tensors fit no other format of this id");
    }
    return fitting.front();
  }

  Result<void> add_tensors() {
    for (size_t i = 0; i < parts_.size(); ++i) {
      for (IndexEntry& entry : parts_[i].index) {
        if (const auto added = add_tensor(entry, parts_[i], static_cast<int>(i)); !added) {
          return added.error().in(out_.files_[i].path().string());
        }
      }
    }
    return {};
  }

  Result<void> add_tensor(IndexEntry& entry, const Part& part, int file) {
    const WeightFormat* format = formats_.at(entry.type);
    const uint64_t bytes = tensor_bytes(*format, rows_of(entry), entry.shape[0]);
    if (bytes == 0) {
      return shape_error(entry, *format);
    }
    if (bytes > entry.span) {
      return Error{"tensor " + printable(entry.name) + ": " + std::string(format->name) + ", " +
                   shape_text(entry.shape) + ", needs " + number(bytes) +
                   " bytes, but the next tensor begins after " + number(entry.span) +
                   ": they overlap; the file is damaged."};
    }
    if (!out_.index_.emplace(entry.name, out_.tensors_.size()).second) {
      return Error{"tensor " + printable(entry.name) + " occurs twice: the file is damaged."};
    }
    out_.tensors_.push_back({std::move(entry.name), format, std::move(entry.shape),
                             part.data.subspan(entry.offset, bytes), file});
    return {};
  }

  // Packed matrices get their scales, which are then no tensors of their own.
  Result<void> bind_packed_scales() {
    const auto& keys = parts_.front().metadata;
    const auto found = keys.find("tern.packed.bitnet");
    const auto* bitnet = found == keys.end() ? nullptr : std::get_if<bool>(&found->second);
    std::set<std::string, std::less<>> bound;
    for (Tensor& tensor : out_.tensors_) {
      if (!tensor.format->packed()) {
        continue;
      }
      const Tensor* scales = out_.find(tensor.name + ".scales");
      ASSIGN_OR_RETURN(const int32_t columns, gguf::packed_scale_columns(tensor, scales));
      WeightFormat& format = out_.formats_.emplace_back(*tensor.format);
      format.cols_per_scale = columns;
      format.bitnet = bitnet != nullptr && *bitnet;
      tensor.format = &format;
      tensor.scales = scales->data;
      bound.insert(scales->name);
    }
    std::erase_if(out_.tensors_, [&](const Tensor& tensor) { return bound.contains(tensor.name); });
    out_.index_.clear();
    for (size_t i = 0; i < out_.tensors_.size(); ++i) {
      out_.index_.emplace(out_.tensors_[i].name, i);
    }
    return {};
  }

  void add_notices() {
    const bool has_i2s = std::ranges::any_of(
        out_.tensors_, [](const Tensor& tensor) { return tensor.format->ggml_type == kI2sType; });
    if (options_.i2s_layout != I2sLayout::k128 && !has_i2s) {
      out_.notices_.push_back(out_.path().string() +
                              " has no I2_S tensors: the I2_S layout asked for has no effect.");
    }
  }

  OpenOptions options_;
  std::vector<Part> parts_;
  std::map<uint32_t, const WeightFormat*> formats_;  // of each type id in the file
  TensorFile out_;
};

Result<TensorFile> TensorFile::open(const std::filesystem::path& path, const OpenOptions& options) {
  ASSIGN_OR_RETURN(const std::filesystem::path model, model_in(path));
  return is_hugging_face_model(model) ? HuggingFaceReader::open(model)
                                      : GgufReader::open(model, options);
}

}  // namespace tern

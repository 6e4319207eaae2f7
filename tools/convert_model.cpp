#include "tools/convert_model.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <system_error>
#include <vector>

#include "engine/base/parallel.h"
#include "engine/io/experts.h"
#include "engine/io/formats.h"
#include "engine/io/gguf_packed.h"
#include "engine/io/gguf_writer.h"
#include "engine/io/other_parts.h"
#include "engine/model/weights.h"
#include "kernels/select.h"
#include "tools/convert_keys.h"
#include "tools/convert_layout.h"
#include "tools/convert_matrix.h"

namespace tern::cli {
namespace {

// A piece is what one thread converts at a time; a batch of them is written at once.
constexpr int64_t kPieceWeights = int64_t{64} << 10;
constexpr int64_t kPiecesAtOnce = 16;
constexpr size_t kCopyBytes = size_t{4} << 20;

// Matrices of layers: what becomes the asked type in a model without ternary weights. In others only the ternary ones do; routers
// and the like were left dense on purpose.
constexpr std::string_view kLinear[] = {
    "attn_q", "attn_k",   "attn_v",        "attn_output", "attn_qkv",     "ffn_gate",
    "ffn_up", "ffn_down", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};

bool is_layer_matrix(const Tensor& tensor) {
  if (!tensor.name.starts_with("blk.") || tensor.shape.size() < 2) {
    return false;
  }
  if (tensor.format->ternary) {
    return true;
  }
  const std::string name = name_in_gguf(tensor, "");
  return std::ranges::any_of(kLinear, [&](std::string_view stem) {
    return name.ends_with("." + std::string(stem) + ".weight");
  });
}

bool is_embedding(const Tensor& tensor) {
  return tensor.name == "token_embd.weight" || tensor.name == "output.weight";
}

// Where a matrix's scale of its own may lie (Weights::linear reads the same names).
std::vector<std::string> scale_names(std::string_view name) {
  return {std::string(name.substr(0, name.rfind('.'))) + ".scale", std::string(name) + "_scale"};
}

// What floats that may be ternary are called: "F16" of "F16/ternary256".
std::string_view base_name(const WeightFormat& format) {
  return format.name.substr(0, format.name.find('/'));
}

// A matrix that Tern prepared to be the output head, from another that the file has too.
bool is_prepared_head(const Tensor& tensor) {
  return tensor.name.ends_with(kPreparedHead) &&
         (tensor.format->packed() || tensor.format == &formats::kSplitHead);
}

// One of the sign matrices that OneCompression factored a matrix into.
bool is_factor(const Tensor& tensor) {
  return tensor.format == &formats::kSigns || tensor.format == &formats::kSignRows ||
         (tensor.format->packed() && tensor.name.ends_with(".signs"));
}

bool has_factors(const TensorFile& in) {
  return std::ranges::any_of(in.tensors(), is_factor);
}

struct Planned {
  const Tensor* tensor = nullptr;
  const WeightFormat* to = nullptr;
  bool may_lose = false;
  bool copied = true;       // byte by byte
  MatrixSource source;      // of those that are not
  bool is_head = false;     // once more, prepared to be the output head
  bool makes_head = false;  // the prepared head is made of its new bytes, which are in this format:
  const WeightFormat* head_of = nullptr;
  std::shared_ptr<const WeightFormat> own = nullptr;  // `to`, where it is of this matrix alone

  int64_t experts =
      0;  // the first of so many that become one tensor, which the next ones go on with
  bool goes_on = false;
  std::string new_name = {};  // the tensor's, or that of all experts together

  std::string name() const {
    return is_head ? tensor->name + std::string(kPreparedHead) : new_name;
  }
};

class Plan {
 public:
  Plan(const TensorFile& in, const ConvertOptions& options) : in_(in), options_(options) {
    if (options.packed) {
      kernels_.emplace(in, *options.packed->kernels, options.packed->choice);
    }
  }

  Result<std::vector<Planned>> make() {
    if (!has_factors(in_)) {  // rows of factors stay as they are, as does the key that says so
      ASSIGN_OR_RETURN(heads_, find_reordered_heads(in_));
    }
    const bool has_ternary = std::ranges::any_of(in_.tensors(), [](const Tensor& tensor) {
      return tensor.format->ternary && is_layer_matrix(tensor);
    });
    std::set<std::string> consumed;
    ASSIGN_OR_RETURN(const std::vector<const Tensor*> tensors, experts_together(in_));
    for (const Tensor* each : tensors) {
      const Tensor& tensor = *each;
      if (is_prepared_head(tensor) || !other_part(tensor.name).empty()) {
        continue;
      }
      if (is_factor(tensor) && !kernels_) {
        return Error{"tensor " + printable(tensor.name) +
                     ": expected a matrix, found one of the sign matrices that it was "
                     "factored into, for which only --type tern has room."};
      }
      Planned planned{&tensor, tensor.format, false, true, {&tensor, tensor.format}};
      planned.source.heads = heads_of(tensor.name);
      planned.new_name = name_in_gguf(tensor, heads_.architecture);
      order_values(tensor, heads_.values, planned.source);
      if (const std::optional<ExpertName> expert = parse_expert_name(tensor.name)) {
        planned.goes_on = expert->index > 0;
        planned.experts = planned.goes_on ? 0 : std::ssize(separate_experts(in_, expert->matrix));
      }
      const bool dense = !tensor.format->ternary;
      const bool floats = options_.type != nullptr && !options_.type->ternary;
      if (is_embedding(tensor) && options_.embedding != nullptr) {
        planned.to = options_.embedding;
        planned.may_lose = true;
      } else if (is_layer_matrix(tensor) && !(dense && has_ternary && !floats)) {
        // Experts stay as they are: they are packed when a token first goes to them.
        const bool experts = is_experts(tensor);
        planned.to = !kernels_ ? options_.type : experts ? tensor.format : &any_packed();
        planned.may_lose = options_.allow_lossy;
        RETURN_IF_ERROR(check_experts_type(tensor, *planned.to));
      } else if (is_layer_matrix(tensor) && !floats) {
        not_ternary_.push_back(tensor.name + " (" + std::string(base_name(*tensor.format)) + ")");
      } else if (becomes_floats(tensor) && tensor.format->ggml_type != formats::kF32.ggml_type &&
                 is_half(tensor)) {
        planned.to = &formats::kF32;  // loaders add norms and biases as floats
      }
      RETURN_IF_ERROR(choose_source(planned, consumed));
      if (planned.to->packed()) {
        RETURN_IF_ERROR(choose_layout(planned));
      }
      // What was looked at so far is read again, one tensor after another.
      in_.files()[static_cast<size_t>(tensor.file)].drop(tensor.data);
      planned_.push_back(planned);
    }
    RETURN_IF_ERROR(plan_head());
    std::erase_if(planned_,
                  [&](const Planned& planned) { return consumed.contains(planned.tensor->name); });
    return std::move(planned_);
  }

  const std::vector<std::string>& not_ternary() const { return not_ternary_; }

 private:
  static bool is_half(const Tensor& tensor) {
    return tensor.format == &formats::kF16 || tensor.format == &formats::kBf16;
  }

  // Loaders add norms and biases as floats, and want floats of a router.
  static bool becomes_floats(const Tensor& tensor) {
    return tensor.shape.size() == 1 || tensor.name.ends_with(".ffn_gate_inp.weight");
  }

  int64_t heads_of(std::string_view name) const {
    const size_t dot = name.find('.', 4);
    const std::string_view part = dot == std::string_view::npos ? "" : name.substr(dot + 1);
    const bool rows = part.ends_with(".weight") || part.ends_with(".bias");
    return !rows || !name.starts_with("blk.") ? 0
           : part.starts_with("attn_q.")      ? heads_.queries
           : part.starts_with("attn_k.")      ? heads_.keys
                                              : 0;
  }

  // How the tensor is read, and whether there is anything to do.
  Result<void> choose_source(Planned& planned, std::set<std::string>& consumed) {
    const Tensor& tensor = *planned.tensor;
    const WeightFormat& format = *tensor.format;
    MatrixSource& source = planned.source;
    const std::string_view base = base_name(format);
    const WeightFormat* floats =
        base == "F32" || base == "F16" || base == "BF16" ? find_weight_format(base) : nullptr;
    const bool claims_ternary = format.name.find("/ternary") != std::string_view::npos;
    if (claims_ternary && !planned.to->ternary) {
      source.format = floats;
    } else if (planned.to->ternary && floats != nullptr && (claims_ternary || !format.ternary)) {
      const WeightFormat* ternary =
          claims_ternary
              ? &format
              : formats::find_ternary_floats(base, tensor.data, tensor.rows(), tensor.cols());
      source.format =
          ternary != nullptr && is_ternary_throughout(tensor, *ternary, options_.threads) ? ternary
                                                                                          : floats;
    }
    for (const std::string& name : scale_names(tensor.name)) {
      const Tensor* scale = in_.find(name);
      if (scale == nullptr || planned.to == &format || planned.to->packed()) {
        continue;  // it stays beside the matrix
      }
      if (scale->format != &formats::kF32 || scale->count() != 1) {
        return Error{"tensor " + printable(name) + ": expected one F32, found " +
                     std::to_string(scale->count()) + " " + std::string(scale->format->name) + "."};
      }
      std::memcpy(&source.scale, scale->data.data(), sizeof source.scale);
      consumed.insert(name);
    }
    planned.copied = source.format == planned.to && !source.moves() && source.scale == 1;
    if (!planned.copied && source.format->ternary) {
      source.mean = mean_magnitude(tensor, options_.threads);
    }
    return {};
  }

  const WeightFormat& any_packed() const { return stored_format(layout_of(formats::kTq2_0)); }

  // The layout that the kernels have for weights of a format, whatever order they lie in now.
  PackedLayout layout_of(const WeightFormat& format) const {
    WeightFormat plain = format;
    plain.tiles = {};
    return kernels_->of(plain).layout;
  }

  Result<void> choose_layout(Planned& planned) const {
    auto format = std::make_shared<WeightFormat>(stored_format(layout_of(*planned.source.format)));
    format->cols_per_scale = packed_scale_columns(planned.source, options_.threads);
    if (format->cols_per_scale > 0 && format->cols_per_scale % kQ8SumBlock != 0) {
      return Error{"tensor " + printable(planned.tensor->name) +
                   ": expected scales of a multiple of " + std::to_string(kQ8SumBlock) +
                   " columns, found " + std::to_string(format->cols_per_scale) + "."};
    }
    planned.to = format.get();
    planned.own = std::move(format);
    planned.copied = false;
    return {};
  }

  // The head in the form that loading would give it.
  Result<void> plan_head() {
    const char* name = in_.find("output.weight") != nullptr ? "output.weight" : "token_embd.weight";
    const auto matrix = std::ranges::find_if(
        planned_, [&](const Planned& planned) { return planned.tensor->name == name; });
    if (!kernels_ || matrix == planned_.end()) {
      return {};
    }
    Planned head = *matrix;
    head.is_head = true;
    head.head_of = head.to;
    Tensor written = *head.tensor;
    written.format = head.to;
    written.data = std::span(static_cast<const std::byte*>(nullptr),
                             tensor_bytes(*head.to, written.rows(), written.cols()));
    ASSIGN_OR_RETURN(const HeadType type, choose_head_type(options_.packed->head, written));
    if (head.to->ternary) {
      RETURN_IF_ERROR(choose_layout(head));
    } else if (type == HeadType::kQ6K) {
      head.to = &formats::kSplitHead;
      matrix->makes_head = !matrix->copied;
    } else {
      return {};
    }
    planned_.insert(matrix + 1, head);
    return {};
  }

  const TensorFile& in_;
  const ConvertOptions& options_;
  std::optional<KernelChoice> kernels_;  // for which matrices are packed
  ReorderedHeads heads_;
  std::vector<Planned> planned_;
  std::vector<std::string> not_ternary_;
};

class Stream {
 public:
  Stream(const TensorFile& in, const ConvertOptions& options, GgufWriter& writer)
      : in_(in), options_(options), writer_(writer), total_(writer.head().data_bytes()) {}

  Result<void> write(const Planned& planned) {
    const Result<void> done = planned.to == &formats::kSplitHead ? split(planned)
                              : planned.copied                   ? copy(planned)
                                                                 : convert(planned);
    // Read once and not again: gigabytes of pages would stand for memory that is not needed.
    const MappedFile& file = in_.files()[static_cast<size_t>(planned.tensor->file)];
    file.drop(planned.tensor->data);
    return done;
  }
  ConvertReport report() && { return std::move(report_); }

 private:
  Result<void> copy(const Planned& planned) {
    ++report_.kept;
    return put_all(planned.tensor->data);
  }

  Result<void> split(const Planned& planned) {
    Tensor tensor = *planned.tensor;
    if (!planned.copied) {
      tensor.format = planned.head_of;
      tensor.data = head_bytes_;
    }
    ASSIGN_OR_RETURN(const SplitHead head,
                     split_head(tensor, *dense_matrix(tensor), best_table(), options_.threads));
    head_bytes_ = {};
    in_.files()[static_cast<size_t>(planned.tensor->file)].drop(planned.tensor->data);
    return put_all({head.memory.data(), head.memory.size()});
  }

  Result<void> put_all(std::span<const std::byte> rest) {
    while (!rest.empty()) {
      const size_t some = std::min(rest.size(), kCopyBytes);
      RETURN_IF_ERROR(put(rest.first(some)));
      rest = rest.subspan(some);
    }
    return {};
  }

  Result<void> convert(const Planned& planned) {
    ++report_.matrices;
    const Tensor& tensor = *planned.tensor;
    MatrixConversion conversion(planned.source, *planned.to, options_.threads);
    const int64_t rows = tensor.rows();
    const int64_t step = conversion.row_step();
    const int64_t piece =
        std::max<int64_t>((kPieceWeights / tensor.cols() + step - 1) / step, 1) * step;
    for (int64_t first = 0; first < rows; first += piece * kPiecesAtOnce) {
      const int64_t some = std::min(rows - first, piece * kPiecesAtOnce);
      buffer_.resize(conversion.bytes_of_rows(some));
      parallel_for(
          options_.threads, (some + piece - 1) / piece, 1, [&](int64_t begin, int64_t end, int) {
            for (int64_t at = begin * piece; at < std::min(end * piece, some); at += piece) {
              conversion.rows(first + at, std::min(piece, some - at),
                              &buffer_[conversion.bytes_of_rows(at)]);
            }
          });
      ASSIGN_OR_RETURN(const std::string lost, loss_of(conversion, tensor));
      if (!lost.empty() && !planned.may_lose) {
        return Error{"tensor " + printable(tensor.name) + " (" + std::string(tensor.format->name) +
                     "): " + lost + ". Choose another --type, or accept it with --allow-lossy."};
      }
      if (planned.makes_head) {
        head_bytes_.insert(head_bytes_.end(), buffer_.begin(), buffer_.end());
      }
      RETURN_IF_ERROR(put(buffer_));
    }
    ASSIGN_OR_RETURN(const std::string lost, loss_of(conversion, tensor));
    if (!lost.empty() && !is_embedding(tensor)) {
      report_.losses.push_back(tensor.name + ": " + lost);
    }
    if (planned.to->packed()) {
      const float one = conversion.tensor_scale();
      return put_all(std::as_bytes(planned.to->cols_per_scale == 0 ? std::span(&one, 1)
                                                                   : conversion.scales()));
    }
    if (planned.to->extra_bytes > 0) {
      buffer_.resize(static_cast<size_t>(planned.to->extra_bytes));
      encode_end(*planned.to, conversion.tensor_scale(), buffer_.data());
      return put(buffer_);
    }
    return {};
  }

  static Result<std::string> loss_of(const MatrixConversion& conversion, const Tensor& tensor) {
    Result<std::string> loss = conversion.loss();
    return loss ? std::move(loss) : loss.error().in("tensor " + printable(tensor.name));
  }

  Result<void> put(std::span<const std::byte> bytes) {
    RETURN_IF_ERROR(writer_.write(bytes));
    report_.bytes_out += bytes.size();
    if (options_.keep_going && !options_.keep_going(static_cast<double>(report_.bytes_out) /
                                                    static_cast<double>(total_))) {
      return Error{"Interrupted; nothing was written."};
    }
    return {};
  }

  const TensorFile& in_;
  const ConvertOptions& options_;
  GgufWriter& writer_;
  uint64_t total_;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> head_bytes_;  // of the matrix that becomes the prepared head
  ConvertReport report_;
};

Result<void> refuse_own_files(const TensorFile& in, const std::filesystem::path& out) {
  for (const MappedFile& file : in.files()) {
    std::error_code ignored;
    if (std::filesystem::equivalent(file.path(), out, ignored)) {
      return Error{out.string() +
                   ": this is a file of the model itself, which is read while the new one is "
                   "written. Give another name."};
    }
  }
  return {};
}

// What engine/io/gguf_packed.h reads.
void add_packed_keys(const TensorFile& in, const std::vector<Planned>& plan, GgufHead& head) {
  head.set("tern.packed.version", static_cast<uint32_t>(gguf::kPackedVersion));
  head.set("tern.packed.bitnet", std::ranges::any_of(in.tensors(), [](const Tensor& tensor) {
             return tensor.format->bitnet;
           }));
  std::set<StoredPacking> named;
  for (const Planned& planned : plan) {
    const PackedTiles& tiles = planned.to->tiles;
    if (planned.to->packed() && named.insert(tiles.packing).second) {
      const std::array<int32_t, 2> tile = {tiles.rows, tiles.cols};
      head.set_array(
          "tern.packed." + std::string(kStoredPackingNames[static_cast<size_t>(tiles.packing)]),
          std::span<const int32_t>(tile));
    }
  }
  head.set_alignment(gguf::kPackedAlignment);
}

Result<void> add_tensors(const std::vector<Planned>& plan, GgufHead& head) {
  const WeightFormat* experts = nullptr;
  for (const Planned& planned : plan) {
    const Tensor& tensor = *planned.tensor;
    if (planned.goes_on && planned.to == experts) {
      continue;
    }
    if (planned.goes_on) {
      return Error{"tensor " + printable(tensor.name) + ": expected " + std::string(experts->name) +
                   " as those of the experts before it, found " + std::string(planned.to->name) +
                   "."};
    }
    std::vector<int64_t> shape = tensor.shape;
    if (planned.experts > 0) {
      shape.push_back(planned.experts);
      experts = planned.to;
    }
    RETURN_IF_ERROR(head.add_tensor(planned.name(), *planned.to, shape));
    if (planned.to->packed()) {
      const int64_t groups = tensor.cols() / planned.to->scale_width(tensor.cols());
      const auto of_scales = planned.to->cols_per_scale == 0
                                 ? std::vector<int64_t>{1}
                                 : std::vector<int64_t>{groups, tensor.rows()};
      RETURN_IF_ERROR(head.add_tensor(planned.name() + ".scales", formats::kF32, of_scales));
    }
  }
  return {};
}

}  // namespace

bool is_layer_target(const WeightFormat& format) {
  // "I2_S/arm64" and the like share a name and id with the usual format, and are read only.
  const bool float_type = format.name == "F32" || format.name == "F16" || format.name == "BF16";
  return format.name.find('/') == std::string_view::npos && (format.pack != nullptr || float_type);
}

bool is_embedding_target(const WeightFormat& format) {
  return !format.ternary && format.encode != nullptr;
}

Result<ConvertReport> convert_model(const TensorFile& in, const std::filesystem::path& out,
                                    const ConvertOptions& options) {
  RETURN_IF_ERROR(refuse_own_files(in, out));
  ASSIGN_OR_RETURN(OutputFile target, OutputFile::create(out, {.replace = options.replace}));
  const auto written = [&]() -> Result<ConvertReport> {
    RETURN_IF_ERROR(refuse_other_kinds(in));
    Plan planning(in, options);
    ASSIGN_OR_RETURN(const std::vector<Planned> plan, planning.make());
    GgufHead head;
    copy_keys(in, {.type = options.type, .keep_row_order = has_factors(in)}, head);
    if (options.packed) {
      add_packed_keys(in, plan, head);
    }
    RETURN_IF_ERROR(add_tensors(plan, head));
    ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::create(std::move(target), std::move(head)));
    Stream stream(in, options, writer);
    for (const Planned& planned : plan) {
      RETURN_IF_ERROR(stream.write(planned));
    }
    RETURN_IF_ERROR(writer.finish());
    ConvertReport report = std::move(stream).report();
    report.not_ternary = planning.not_ternary();
    for (const std::string& notice : notices_of(other_parts_of(in.tensors()))) {
      report.notices.push_back(notice + "; the new file does not have them");
    }
    return report;
  }();
  if (!written) {
    return written.error().in(in.path().string());
  }
  ConvertReport report = *written;
  for (const MappedFile& file : in.files()) {
    report.bytes_in += file.bytes().size();
  }
  return report;
}

}  // namespace tern::cli

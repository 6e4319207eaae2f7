#include "tools/convert_model.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <system_error>
#include <vector>

#include "engine/base/parallel.h"
#include "engine/io/formats.h"
#include "engine/io/gguf_writer.h"
#include "engine/model/weights.h"
#include "tools/convert_keys.h"
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
  return std::ranges::any_of(kLinear, [&](std::string_view stem) {
    return tensor.name.ends_with("." + std::string(stem) + ".weight");
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

struct Planned {
  const Tensor* tensor = nullptr;
  const WeightFormat* to = nullptr;
  bool may_lose = false;
  bool copied = true;   // byte by byte
  MatrixSource source;  // of those that are not
};

class Plan {
 public:
  Plan(const TensorFile& in, const ConvertOptions& options) : in_(in), options_(options) {}

  Result<std::vector<Planned>> make() {
    ASSIGN_OR_RETURN(heads_, find_reordered_heads(in_));
    const bool has_ternary = std::ranges::any_of(in_.tensors(), [](const Tensor& tensor) {
      return tensor.format->ternary && is_layer_matrix(tensor);
    });
    std::set<std::string> consumed;
    for (const Tensor& tensor : in_.tensors()) {
      if (tensor.format == &formats::kSigns || tensor.format == &formats::kSignRows) {
        return Error{"tensor " + printable(tensor.name) +
                     ": expected a matrix, found one of the sign matrices that it was "
                     "factored into, for which GGUF has no type. Run the folder itself."};
      }
      Planned planned{&tensor, tensor.format, false, true, {&tensor, tensor.format}};
      planned.source.heads = heads_of(tensor.name);
      const bool dense = !tensor.format->ternary;
      const bool floats = options_.type != nullptr && !options_.type->ternary;
      if (is_embedding(tensor) && options_.embedding != nullptr) {
        planned.to = options_.embedding;
        planned.may_lose = true;
      } else if (is_layer_matrix(tensor) && !(dense && has_ternary && !floats)) {
        planned.to = options_.type;
        planned.may_lose = options_.allow_lossy;
      } else if (tensor.shape.size() == 1 && tensor.format->ggml_type != formats::kF32.ggml_type &&
                 is_half(tensor)) {
        planned.to = &formats::kF32;  // loaders add norms and biases as floats
      }
      RETURN_IF_ERROR(choose_source(planned, consumed));
      planned_.push_back(planned);
    }
    std::erase_if(planned_,
                  [&](const Planned& planned) { return consumed.contains(planned.tensor->name); });
    return std::move(planned_);
  }

 private:
  static bool is_half(const Tensor& tensor) {
    return tensor.format == &formats::kF16 || tensor.format == &formats::kBf16;
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
      if (scale == nullptr || planned.to == &format) {
        continue;
      }
      if (scale->format != &formats::kF32 || scale->count() != 1) {
        return Error{"tensor " + printable(name) + ": expected one F32, found " +
                     std::to_string(scale->count()) + " " + std::string(scale->format->name) + "."};
      }
      std::memcpy(&source.scale, scale->data.data(), sizeof source.scale);
      consumed.insert(name);
    }
    planned.copied = source.format == planned.to && source.heads == 0 && source.scale == 1;
    if (!planned.copied && source.format->ternary) {
      source.mean = mean_magnitude(tensor, options_.threads);
    }
    return {};
  }

  const TensorFile& in_;
  const ConvertOptions& options_;
  ReorderedHeads heads_;
  std::vector<Planned> planned_;
};

class Stream {
 public:
  Stream(const TensorFile& in, const ConvertOptions& options, GgufWriter& writer)
      : in_(in), options_(options), writer_(writer), total_(writer.head().data_bytes()) {}

  Result<void> write(const Planned& planned) {
    const Result<void> done = planned.copied ? copy(planned) : convert(planned);
    // Read once and not again: gigabytes of pages would stand for memory that is not needed.
    const MappedFile& file = in_.files()[static_cast<size_t>(planned.tensor->file)];
    file.drop(planned.tensor->data);
    return done;
  }
  ConvertReport report() && { return std::move(report_); }

 private:
  Result<void> copy(const Planned& planned) {
    ++report_.kept;
    std::span<const std::byte> rest = planned.tensor->data;
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
      RETURN_IF_ERROR(put(buffer_));
    }
    ASSIGN_OR_RETURN(const std::string lost, loss_of(conversion, tensor));
    if (!lost.empty() && !is_embedding(tensor)) {
      report_.losses.push_back(tensor.name + ": " + lost);
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
  const auto written = [&]() -> Result<ConvertReport> {
    ASSIGN_OR_RETURN(const std::vector<Planned> plan, Plan(in, options).make());
    GgufHead head;
    copy_keys(in, options.type, head);
    for (const Planned& planned : plan) {
      RETURN_IF_ERROR(head.add_tensor(planned.tensor->name, *planned.to, planned.tensor->shape));
    }
    ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::create(out, std::move(head)));
    Stream stream(in, options, writer);
    for (const Planned& planned : plan) {
      RETURN_IF_ERROR(stream.write(planned));
    }
    RETURN_IF_ERROR(writer.finish());
    return std::move(stream).report();
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

#include "tests/support/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <stdexcept>

namespace tern::testing {
namespace {

void pad(ByteVector& out, uint64_t alignment) {
  while (out.size() % alignment != 0) {
    out.push_back(std::byte{0});
  }
}

void put_int(ByteVector& out, int64_t value, GgufKind kind) {
  switch (kind) {
    case GgufKind::kUint8:
      return put(out, static_cast<uint8_t>(value));
    case GgufKind::kInt8:
      return put(out, static_cast<int8_t>(value));
    case GgufKind::kUint16:
      return put(out, static_cast<uint16_t>(value));
    case GgufKind::kInt16:
      return put(out, static_cast<int16_t>(value));
    case GgufKind::kUint32:
      return put(out, static_cast<uint32_t>(value));
    case GgufKind::kInt32:
      return put(out, static_cast<int32_t>(value));
    case GgufKind::kUint64:
    case GgufKind::kInt64:
      return put(out, value);
    default:
      throw std::invalid_argument("not an integer type");
  }
}

void put_float(ByteVector& out, double value, GgufKind kind) {
  if (kind == GgufKind::kFloat32) {
    put(out, static_cast<float>(value));
  } else if (kind == GgufKind::kFloat64) {
    put(out, value);
  } else {
    throw std::invalid_argument("not a float type");
  }
}

ByteVector array_head(GgufKind kind, size_t count) {
  ByteVector out;
  put(out, static_cast<uint32_t>(GgufKind::kArray));
  put(out, static_cast<uint32_t>(kind));
  put(out, static_cast<uint64_t>(count));
  return out;
}

ByteVector scalar_head(GgufKind kind) {
  ByteVector out;
  put(out, static_cast<uint32_t>(kind));
  return out;
}

// Code 0, 1, 2 for -1, 0, 1.
unsigned code(int8_t trit) {
  return static_cast<unsigned>(trit + 1);
}

// Blocks of 4 * stride weights; byte p of a block: weights p, p + stride, p + 2 stride, p + 3 stride, the first in the top.
ByteVector encode_i2s_blocks(const std::vector<int8_t>& trits, float scale, size_t stride) {
  ByteVector out;
  for (size_t block = 0; block < trits.size(); block += 4 * stride) {
    for (size_t p = 0; p < stride; ++p) {
      const int8_t* first = &trits[block + p];
      out.push_back(static_cast<std::byte>(code(first[0]) << 6U | code(first[stride]) << 4U |
                                           code(first[2 * stride]) << 2U |
                                           code(first[3 * stride])));
    }
  }
  put(out, scale);
  out.resize(out.size() + 28);
  return out;
}

// ceil(v * 256 / 243) where v is the number of five base-3 digits; fewer digits count as the leading ones.
std::byte digits_byte(const int8_t* first, size_t stride, int count) {
  unsigned value = 0;
  for (int n = 0; n < 5; ++n) {
    value = value * 3 + (n < count ? code(first[static_cast<size_t>(n) * stride]) : 0);
  }
  return static_cast<std::byte>((value * 256 + 242) / 243);
}

}  // namespace

void put_text(ByteVector& out, std::string_view text) {
  put(out, static_cast<uint64_t>(text.size()));
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  out.insert(out.end(), bytes, bytes + text.size());
}

void GgufWriter::set_raw(std::string_view key, const ByteVector& type_and_value) {
  put_text(keys_, key);
  keys_.insert(keys_.end(), type_and_value.begin(), type_and_value.end());
  ++key_count_;
}

void GgufWriter::set_int(std::string_view key, int64_t value, GgufKind kind) {
  ByteVector out = scalar_head(kind);
  put_int(out, value, kind);
  set_raw(key, out);
}

void GgufWriter::set_float(std::string_view key, double value, GgufKind kind) {
  ByteVector out = scalar_head(kind);
  put_float(out, value, kind);
  set_raw(key, out);
}

void GgufWriter::set_bool(std::string_view key, bool value) {
  ByteVector out = scalar_head(GgufKind::kBool);
  put(out, static_cast<uint8_t>(value));
  set_raw(key, out);
}

void GgufWriter::set_string(std::string_view key, std::string_view value) {
  ByteVector out = scalar_head(GgufKind::kString);
  put_text(out, value);
  set_raw(key, out);
}

void GgufWriter::set_ints(std::string_view key, const std::vector<int64_t>& values, GgufKind kind) {
  ByteVector out = array_head(kind, values.size());
  for (const int64_t value : values) {
    put_int(out, value, kind);
  }
  set_raw(key, out);
}

void GgufWriter::set_floats(std::string_view key, const std::vector<double>& values,
                            GgufKind kind) {
  ByteVector out = array_head(kind, values.size());
  for (const double value : values) {
    put_float(out, value, kind);
  }
  set_raw(key, out);
}

void GgufWriter::set_bools(std::string_view key, const std::vector<bool>& values) {
  ByteVector out = array_head(GgufKind::kBool, values.size());
  for (const bool value : values) {
    put(out, static_cast<uint8_t>(value));
  }
  set_raw(key, out);
}

void GgufWriter::set_strings(std::string_view key, const std::vector<std::string>& values) {
  ByteVector out = array_head(GgufKind::kString, values.size());
  for (const std::string& value : values) {
    put_text(out, value);
  }
  set_raw(key, out);
}

void GgufWriter::add_tensor(std::string_view name, uint32_t ggml_type,
                            const std::vector<uint64_t>& shape, ByteVector data) {
  tensors_.push_back({std::string(name), ggml_type, shape, std::move(data)});
}

void GgufWriter::add_f32(std::string_view name, const std::vector<uint64_t>& shape,
                         const std::vector<float>& values) {
  ByteVector data;
  for (const float value : values) {
    put(data, value);
  }
  add_tensor(name, 0, shape, std::move(data));
}

void GgufWriter::add_f16(std::string_view name, const std::vector<uint64_t>& shape,
                         const std::vector<float>& values) {
  ByteVector data;
  for (const float value : values) {
    put(data, half_bits(value));
  }
  add_tensor(name, 1, shape, std::move(data));
}

void GgufWriter::set_offset(size_t tensor, uint64_t offset) {
  tensors_.at(tensor).forced_offset = offset;
}

void GgufWriter::set_alignment(uint64_t alignment) {
  alignment_ = alignment;
  if (alignment != 32) {
    set_int("general.alignment", static_cast<int64_t>(alignment));
  }
}

ByteVector GgufWriter::bytes() const {
  ByteVector out;
  for (const char c : std::string_view("GGUF")) {
    out.push_back(static_cast<std::byte>(c));
  }
  put(out, version_);
  put(out, forced_tensor_count_ != UINT64_MAX ? forced_tensor_count_ : uint64_t{tensors_.size()});
  put(out, forced_key_count_ != UINT64_MAX ? forced_key_count_ : key_count_);
  out.insert(out.end(), keys_.begin(), keys_.end());
  uint64_t offset = 0;
  for (const StoredTensor& tensor : tensors_) {
    put_text(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.shape.size()));
    for (const uint64_t size : tensor.shape) {
      put(out, size);
    }
    put(out, tensor.type);
    put(out, tensor.forced_offset != UINT64_MAX ? tensor.forced_offset : offset);
    offset = (offset + tensor.data.size() + alignment_ - 1) / alignment_ * alignment_;
  }
  for (const StoredTensor& tensor : tensors_) {
    pad(out, alignment_);
    out.insert(out.end(), tensor.data.begin(), tensor.data.end());
  }
  if (pad_last_) {
    pad(out, alignment_);
  }
  return out;
}

void GgufWriter::save(const std::filesystem::path& path) const {
  const ByteVector content = bytes();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(content.data()),
             static_cast<std::streamsize>(content.size()));
  if (!file.flush()) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

uint16_t half_bits(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16U) & 0x8000U;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) {
    return static_cast<uint16_t>(sign | 0x7E00U);
  }
  if (magnitude >= 65520.0F) {
    return static_cast<uint16_t>(sign | 0x7C00U);
  }
  // The distance between halves here: 2^-24 for subnormals, else 2^-10 of the power of two at or below. Scaling by a power
  // of two is exact, and nearbyint rounds ties to even.
  const int exponent = std::max(magnitude == 0 ? -14 : std::ilogb(magnitude), -14);
  const auto steps = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  return static_cast<uint16_t>(sign | ((static_cast<uint32_t>(exponent + 14) << 10U) + steps));
}

ByteVector encode_i2s(const std::vector<int8_t>& trits, float scale) {
  return encode_i2s_blocks(trits, scale, 32);
}

ByteVector encode_i2s_arm64(const std::vector<int8_t>& trits, float scale) {
  return encode_i2s_blocks(trits, scale, 16);
}

ByteVector encode_i2s_1x4(const std::vector<int8_t>& trits, size_t rows, float scale) {
  const size_t cols = trits.size() / rows;
  ByteVector out;
  for (size_t row = 0; row < rows; row += 4) {
    for (size_t col = 0; col < cols; ++col) {
      const int8_t* first = &trits[row * cols + col];
      out.push_back(static_cast<std::byte>(code(first[0]) << 6U | code(first[cols]) << 4U |
                                           code(first[2 * cols]) << 2U | code(first[3 * cols])));
    }
  }
  put(out, scale);
  out.resize(out.size() + 28);
  return out;
}

ByteVector encode_tq1_0(const std::vector<int8_t>& trits, const std::vector<float>& scales) {
  ByteVector out;
  for (size_t block = 0; block < scales.size(); ++block) {
    const int8_t* first = &trits[256 * block];
    for (size_t m = 0; m < 32; ++m) {
      out.push_back(digits_byte(first + m, 32, 5));
    }
    for (size_t m = 0; m < 16; ++m) {
      out.push_back(digits_byte(first + 160 + m, 16, 5));
    }
    for (size_t m = 0; m < 4; ++m) {
      out.push_back(digits_byte(first + 240 + m, 4, 4));
    }
    put(out, half_bits(scales[block]));
  }
  return out;
}

ByteVector encode_tq2_0(const std::vector<int8_t>& trits, const std::vector<float>& scales) {
  ByteVector out;
  for (size_t block = 0; block < scales.size(); ++block) {
    for (size_t half = 0; half < 2; ++half) {
      for (size_t m = 0; m < 32; ++m) {
        const int8_t* first = &trits[256 * block + 128 * half + m];
        out.push_back(static_cast<std::byte>(code(first[0]) | code(first[32]) << 2U |
                                             code(first[64]) << 4U | code(first[96]) << 6U));
      }
    }
    put(out, half_bits(scales[block]));
  }
  return out;
}

ByteVector encode_q8_0(const std::vector<float>& values) {
  ByteVector out;
  for (size_t block = 0; block < values.size(); block += 32) {
    float largest = 0;
    for (size_t i = block; i < block + 32; ++i) {
      largest = std::max(largest, std::fabs(values[i]));
    }
    const float scale = largest / 127;
    put(out, half_bits(scale));
    for (size_t i = block; i < block + 32; ++i) {
      put(out, static_cast<int8_t>(scale == 0 ? 0 : std::round(values[i] / scale)));
    }
  }
  return out;
}

}  // namespace tern::testing

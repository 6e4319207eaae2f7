// Everything that is not a matrix product, of every table, against the reference.

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "kernels/reference.h"
#include "tests/kernels/kernel_test.h"

namespace tern::testing {
namespace {

constexpr double kUlp = 0x1p-23;  // of values near 1
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const std::vector<int32_t> kLengths = {1,  2,  3,  5,  7,  8,   9,   15,  16,  17,   31,
                                       32, 33, 63, 64, 65, 100, 127, 129, 257, 1000, 2560};

class FloatOps : public KernelTest {
 protected:
  // Calls check(table, n) for every table and length.
  void for_lengths(const std::function<void(const KernelTable&, int32_t)>& check) {
    for (const KernelTable* table : tables()) {
      for (const int32_t n : kLengths) {
        SCOPED_TRACE(std::string(table->name) + ", n = " + std::to_string(n) +
                     "\nreplay: " + replay_command());
        check(*table, n);
        if (HasFatalFailure()) {
          return;
        }
      }
    }
  }
  Guarded<float> normals(int32_t n, float scale = 1.0F) {
    Guarded<float> out(static_cast<size_t>(n), sizeof(float), any_place());
    fill_normal(out);
    for (float& value : out.span()) {
      value *= scale;
    }
    return out;
  }
};

void expect_relative(const std::vector<double>& truth, Guarded<float>& found, double ulps) {
  ASSERT_TRUE(found.intact()) << "wrote beside the output";
  for (size_t i = 0; i < truth.size(); ++i) {
    ASSERT_NEAR(found[i], truth[i], ulps * kUlp * std::fabs(truth[i]) + 1e-37) << "at " << i;
  }
}

TEST_F(FloatOps, RmsNorm) {
  for_lengths([&](const KernelTable& table, int32_t n) {
    Guarded<float> x = normals(n, 3.0F);
    Guarded<float> weight = normals(n);
    weight.freeze();
    Guarded<float> out(static_cast<size_t>(n), sizeof(float), any_place());
    const std::vector<double> truth = reference::rms_norm(x.data(), weight.data(), n, 1e-5F);
    // Squares are positive, so that their sum is off by at most its n/8 additions a lane, halved by the root.
    const double ulps = 8.0 + n / 16.0;
    table.rms_norm(x.data(), weight.data(), n, 1e-5F, out.data());
    expect_relative(truth, out, ulps);
    table.rms_norm(x.data(), weight.data(), n, 1e-5F, x.data());  // in place
    expect_relative(truth, x, ulps);
  });
}

TEST_F(FloatOps, RmsNormOfZerosIsZero) {
  for (const KernelTable* table : tables()) {
    std::vector<float> x(33, 0.0F);
    const std::vector<float> weight(33, 2.0F);
    table->rms_norm(x.data(), weight.data(), 33, 1e-6F, x.data());
    EXPECT_EQ(x, std::vector<float>(33, 0.0F)) << table->name;
  }
}

TEST_F(FloatOps, GeluMul) {
  for_lengths([&](const KernelTable& table, int32_t n) {
    for (const float scale : {1.0F, 4.0F, 40.0F}) {
      Guarded<float> gate = normals(n, scale);
      Guarded<float> up = normals(n);
      up.freeze();
      const std::vector<double> truth = reference::gelu_mul(gate.data(), up.data(), n);
      // The exponent is off by some roundings of itself, and so, relatively, is its exponential: below 1e-37 from -88 on.
      constexpr double kUlps = 8.0 + 4.0 * 88.0;
      table.gelu_mul(gate.data(), up.data(), n);
      expect_relative(truth, gate, kUlps);
    }
  });
}

TEST_F(FloatOps, SiluMul) {
  for_lengths([&](const KernelTable& table, int32_t n) {
    for (const float scale : {1.0F, 20.0F}) {
      Guarded<float> gate = normals(n, scale);
      Guarded<float> up = normals(n);
      up.freeze();
      const std::vector<double> truth = reference::silu_mul(gate.data(), up.data(), n);
      table.silu_mul(gate.data(), up.data(), n);
      expect_relative(truth, gate, 8.0);
    }
  });
}

TEST_F(FloatOps, SiluOfExtremesIsZeroOrItself) {
  for (const KernelTable* table : tables()) {
    std::vector<float> gate = {0.0F,  -0.0F,  -1000.0F, 1000.0F, -3e38F,
                               3e38F, -88.0F, 88.0F,    100.0F};
    const std::vector<float> up(gate.size(), 1.0F);
    const std::vector<double> truth = reference::silu_mul(gate.data(), up.data(), 9);
    table->silu_mul(gate.data(), up.data(), 9);
    for (size_t i = 0; i < gate.size(); ++i) {
      // e^88 and beyond may overflow in a float: a result below 1e-36 may come out as 0.
      EXPECT_NEAR(gate[i], truth[i], 4 * kUlp * std::fabs(truth[i]) + 1e-36) << table->name << i;
    }
  }
}

TEST_F(FloatOps, Relu2Mul) {
  for_lengths([&](const KernelTable& table, int32_t n) {
    Guarded<float> gate = normals(n, 5.0F);
    Guarded<float> up = normals(n);
    up.freeze();
    const std::vector<double> truth = reference::relu2_mul(gate.data(), up.data(), n);
    table.relu2_mul(gate.data(), up.data(), n);
    expect_relative(truth, gate, 2.0);
  });
}

TEST_F(FloatOps, Add) {
  for_lengths([&](const KernelTable& table, int32_t n) {
    Guarded<float> x = normals(n);
    Guarded<float> y = normals(n);
    y.freeze();
    std::vector<float> truth(x.span().begin(), x.span().end());
    for (size_t i = 0; i < truth.size(); ++i) {
      truth[i] += y[i];
    }
    table.add(x.data(), y.data(), n);
    ASSERT_TRUE(x.intact());
    ASSERT_TRUE(std::equal(truth.begin(), truth.end(), x.span().begin()));
  });
}

TEST_F(FloatOps, Rope) {
  for (const KernelTable* table : tables()) {
    for (const int32_t dims : {2, 4, 6, 16, 18, 32, 64, 80, 96, 100, 128, 256}) {
      for (const bool rotate_half : {false, true}) {
        SCOPED_TRACE(std::string(table->name) + ", " + std::to_string(dims) + " dims");
        Guarded<float> head = normals(dims);
        Guarded<float> cos = normals(dims / 2);
        Guarded<float> sin = normals(dims / 2);
        const std::vector<double> truth =
            reference::rope(head.data(), cos.data(), sin.data(), dims, rotate_half);
        table->rope(head.data(), cos.data(), sin.data(), dims, rotate_half);
        ASSERT_TRUE(head.intact());
        for (size_t i = 0; i < truth.size(); ++i) {
          ASSERT_NEAR(head[i], truth[i], 50 * kUlp) << "at " << i;  // two products of up to 16
        }
      }
    }
  }
}

class Quantize : public FloatOps {
 protected:
  void check(const KernelTable& table, std::span<const float> values) {
    const auto n = static_cast<int32_t>(values.size());
    const auto stride = static_cast<int32_t>(round_up(n, kQ8ColsAlign));
    Guarded<float> x(values.size(), sizeof(float), any_place());
    std::copy(values.begin(), values.end(), x.span().begin());
    x.freeze();
    Guarded<int8_t> q(static_cast<size_t>(stride), 64, any_place());
    Guarded<float> scale(1, sizeof(float), any_place());
    Guarded<int32_t> sums(static_cast<size_t>(stride / kQ8SumBlock), sizeof(int32_t), any_place());
    table.quantize_q8(x.data(), n, stride, q.data(), scale.data(), sums.data());
    const reference::Q8Row truth = reference::quantize_q8(x.data(), n, stride);
    ASSERT_EQ(std::memcmp(scale.data(), &truth.scale, sizeof(float)), 0)
        << "scale " << truth.scale << ", found " << scale[0];
    for (size_t i = 0; i < truth.q.size(); ++i) {
      ASSERT_EQ(int{q[i]}, int{truth.q[i]}) << "at " << i;
    }
    ASSERT_TRUE(std::equal(truth.sums.begin(), truth.sums.end(), sums.span().begin()));
    ASSERT_TRUE(q.intact() && scale.intact() && sums.intact());
  }
};

TEST_F(Quantize, EqualsTheReferenceInEveryBit) {
  for_lengths([&](const KernelTable& table, int32_t n) {
    for (const float scale : {1e-30F, 1e-7F, 1e-5F, 1e-3F, 1.0F, 127.0F, 1e10F, 1e38F}) {
      check(table, normals(n, scale).span());
    }
  });
}

// With a maximum of 127 the factor is 1: halves stand exactly between two integers.
TEST_F(Quantize, TiesGoToTheEvenInteger) {
  std::vector<float> x = {127.0F};
  for (int i = -127; i < 127; ++i) {
    x.push_back(static_cast<float>(i) + 0.5F);
  }
  for (const KernelTable* table : tables()) {
    check(*table, x);
    std::vector<int8_t> q(256);
    std::vector<int32_t> sums(4);
    float scale = 0.0F;
    table->quantize_q8(x.data(), static_cast<int32_t>(x.size()), 256, q.data(), &scale,
                       sums.data());
    EXPECT_EQ(scale, 1.0F);
    for (size_t i = 1; i < x.size(); ++i) {
      ASSERT_EQ(q[i] % 2, 0) << table->name << ": " << x[i] << " became " << int{q[i]};
    }
  }
}

TEST_F(Quantize, ExtremeValuesAreDefined) {
  for (const KernelTable* table : tables()) {
    SCOPED_TRACE(table->name);
    check(*table, std::vector<float>(70, 0.0F));
    check(*table, std::vector<float>(70, -0.0F));
    check(*table, std::vector<float>(70, std::numeric_limits<float>::denorm_min()));
    check(*table, std::vector<float>(70, -std::numeric_limits<float>::max()));
    std::vector<float> x(70, 1.0F);
    for (const float odd : {kNan, -kNan, kInfinity, -kInfinity}) {
      for (const size_t where : {size_t{0}, size_t{9}, size_t{69}}) {
        std::vector<float> values = x;
        values[where] = odd;
        check(*table, values);
      }
    }
    check(*table, std::vector<float>(70, kNan));
    check(*table, std::vector<float>(70, kInfinity));
  }
}

TEST_F(FloatOps, ToHalfRoundsToNearestEven) {
  // Every half, the numbers half way between neighbours, and those just beside.
  std::vector<float> x;
  for (uint32_t h = 0; h < 0x7C00; ++h) {
    const double low = reference::half_value(static_cast<Half>(h));
    const double high = h == 0x7BFF ? 65536.0 : reference::half_value(static_cast<Half>(h + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    for (const float value : {static_cast<float>(low), middle, std::nextafter(middle, 0.0F),
                              std::nextafter(middle, 1e9F)}) {
      x.push_back(value);
      x.push_back(-value);
    }
  }
  for (const float value : {0.0F, -0.0F, 65504.0F, 65519.9F, 65520.0F, 1e9F, 3e38F, 1e-30F,
                            kInfinity, -kInfinity, 0x1p-25F, 0x1.8p-25F}) {
    x.push_back(value);
  }
  for (const KernelTable* table : tables()) {
    std::vector<Half> out(x.size());
    table->to_half(x.data(), static_cast<int32_t>(x.size()), out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(out[i], reference::nearest_half(x[i])) << table->name << ": " << x[i];
    }
    Half nan = 0;
    table->to_half(&kNan, 1, &nan);
    EXPECT_TRUE(std::isnan(reference::half_value(nan))) << table->name;
  }
}

TEST_F(FloatOps, ToHalfOfAnyLength) {
  for_lengths([&](const KernelTable& table, int32_t n) {
    Guarded<float> x = normals(n);
    x.freeze();
    Guarded<Half> out(static_cast<size_t>(n), sizeof(Half), any_place());
    table.to_half(x.data(), n, out.data());
    ASSERT_TRUE(out.intact());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(out[i], reference::nearest_half(x[i])) << "at " << i;
    }
  });
}

}  // namespace
}  // namespace tern::testing

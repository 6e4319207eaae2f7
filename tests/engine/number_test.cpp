// Numbers from outside: whole texts, decimal, finite, in range.

#include "engine/base/number.h"

#include <gtest/gtest.h>

#include <limits>

namespace tern {
namespace {

TEST(Number, IsTheWholeText) {
  EXPECT_EQ(number_of("2.5"), 2.5);
  EXPECT_EQ(number_of("+2.5e-1"), 0.25);
  EXPECT_EQ(number_of("-.5"), -0.5);
  EXPECT_EQ(whole_number_of("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(unsigned_number_of("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  for (const char* bad :
       {"",         " ",     "1 ",     " 1", "x", "1x", "0x10", "nan", "-nan", "inf", "-inf",
        "infinity", "1e999", "-1e999", "1e", ".", "+",  "-",    "+-1", "--1",  "1,5"}) {
    EXPECT_EQ(number_of(bad), std::nullopt) << bad;
    EXPECT_EQ(whole_number_of(bad), std::nullopt) << bad;
    EXPECT_EQ(unsigned_number_of(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(whole_number_of("1.5"), std::nullopt);
  EXPECT_EQ(whole_number_of("9223372036854775808"), std::nullopt);
  EXPECT_EQ(unsigned_number_of("18446744073709551616"), std::nullopt);
  EXPECT_EQ(unsigned_number_of("-1"), std::nullopt);
}

TEST(Number, LiesInItsRange) {
  EXPECT_EQ(parse_number("1", 1, 8).value(), 1);
  EXPECT_EQ(parse_number("8", 1, 8).value(), 8);
  EXPECT_EQ(parse_number("0.5", 0.0F, 1.0F).value(), 0.5F);
  EXPECT_EQ(parse_number("0", 1, 8).error().message,
            "expected a whole number from 1 to 8, found 0.");
  EXPECT_EQ(parse_number("1.5", 0.0, 1.0).error().message,
            "expected a number from 0 to 1, found 1.5.");
  EXPECT_EQ(parse_number("", 0, 1).error().message,
            "expected a whole number from 0 to 1, found nothing.");
  // -0 passes every comparison with 0.
  EXPECT_FALSE(parse_number("-0", 0.0, 1.0));
  EXPECT_TRUE(parse_number("-0", -1.0, 1.0));
}

TEST(Number, HasNoZerosBeforeIt) {
  EXPECT_FALSE(parse_number("010", 0, 100));
  EXPECT_FALSE(parse_number("-010", -100, 100));
  EXPECT_FALSE(parse_number("00.5", 0.0, 1.0));
  EXPECT_TRUE(parse_number("0.5", 0.0, 1.0));
  EXPECT_EQ(number_of("010"), 10);  // as servers may write it in a header
}

}  // namespace
}  // namespace tern

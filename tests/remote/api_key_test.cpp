// Where keys come from, what is taken off them, and where they may go.

#include "remote/api_key.h"

#include <gtest/gtest.h>
#include <cstdlib>

#include <fstream>

#include "remote/url.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

constexpr char kVariable[] = "TERN_TEST_API_KEY";
constexpr char kPlain[] = "cr_0123456789abcdefwxyz";

Provider provider_at(const std::string& base_url) {
  Provider provider;
  provider.name = "test";
  provider.base_url = base_url;
  provider.key_variable = kVariable;
  return provider;
}

Result<ApiKey> loaded(const std::string& value, const std::string& url = "https://api.example/v1") {
  ::setenv(kVariable, value.c_str(), 1);
  Result<ApiKey> key = load_api_key(provider_at(url));
  ::unsetenv(kVariable);
  return key;
}

TEST(ApiKey, ComesFromTheVariableElseFromTheFile) {
  const testing::TempFolder folder;
  Provider provider = provider_at("https://api.example/v1");
  provider.key_file = (folder / "key").string();
  std::ofstream(provider.key_file) << "sk-fromfile0123456789\n";
  const Result<ApiKey> file = load_api_key(provider);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->value, "sk-fromfile0123456789");
  EXPECT_TRUE(file->warnings.empty());
  EXPECT_EQ(file->source, "the file " + provider.key_file);
  ::setenv(kVariable, kPlain, 1);
  const Result<ApiKey> variable = load_api_key(provider);
  ::unsetenv(kVariable);
  ASSERT_TRUE(variable);
  EXPECT_EQ(variable->value, kPlain);
  EXPECT_EQ(variable->source, std::string("the environment variable ") + kVariable);
  provider.key_file = (folder / "none").string();
  EXPECT_FALSE(load_api_key(provider));
  // No source at all: nothing is sent, which a server on this machine may be content with.
  provider.key_file.clear();
  provider.key_variable.clear();
  ASSERT_TRUE(load_api_key(provider));
  EXPECT_EQ(load_api_key(provider)->value, "");
}

TEST(ApiKey, IsCleanedWithAWarning) {
  for (const std::string& pasted :
       {std::string("  ") + kPlain + " ", std::string("Bearer ") + kPlain,
        std::string("bearer\t ") + kPlain + "\n", std::string("Authorization: Bearer ") + kPlain}) {
    const Result<ApiKey> key = loaded(pasted);
    ASSERT_TRUE(key) << pasted;
    EXPECT_EQ(key->value, kPlain) << pasted;
    ASSERT_EQ(key->warnings.size(), 1U) << pasted;
    EXPECT_EQ(key->warnings[0].find(kPlain), std::string::npos);
  }
  for (const std::string& quoted :
       {std::string("\"") + kPlain + "\"", std::string("'") + kPlain + "'",
        std::string("“") + kPlain + "”", std::string("\" ") + kPlain + " \""}) {
    const Result<ApiKey> key = loaded(quoted);
    ASSERT_TRUE(key) << quoted;
    EXPECT_EQ(key->value, kPlain) << quoted;
    EXPECT_EQ(key->warnings.size(), 1U) << quoted;
  }
  EXPECT_EQ(loaded(std::string("\"Bearer ") + kPlain + "\"")->value, kPlain);
  EXPECT_EQ(loaded(std::string("Bearer \"") + kPlain + "\"")->value, kPlain);
  EXPECT_TRUE(loaded(kPlain)->warnings.empty());
  EXPECT_TRUE(loaded(std::string(kPlain) + "\r\n")->warnings.empty());
}

TEST(ApiKey, WarnsOfAnUnknownBeginningAndNoMore) {
  for (const char* known : {"hs_0123456789abcdefwxyz", "cr_x", "sk-proj-0123456789"}) {
    EXPECT_TRUE(loaded(known)->warnings.empty()) << known;
  }
  const Result<ApiKey> other = loaded("AIza0123456789abcdefwxyz");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->value, "AIza0123456789abcdefwxyz");
  ASSERT_EQ(other->warnings.size(), 1U);
  EXPECT_NE(other->warnings[0].find("AIza...wxyz"), std::string::npos) << other->warnings[0];
}

TEST(ApiKey, IsRefusedWithoutSayingIt) {
  for (const std::string& bad :
       {std::string("cr_01234 56789abcdef"), std::string("cr_0123\n456789abcdef"),
        std::string("cr_0123456\xC3\xA4"), std::string("Bearer "), std::string("   "),
        std::string(20'000, 'x')}) {
    const Result<ApiKey> key = loaded(bad);
    ASSERT_FALSE(key) << bad;
    EXPECT_EQ(key.error().message.find("cr_0"), std::string::npos) << key.error().message;
    EXPECT_NE(key.error().message.find(kVariable), std::string::npos) << key.error().message;
  }
}

TEST(ApiKey, GoesOverHttpsOrToThisMachineOnly) {
  EXPECT_TRUE(loaded(kPlain, "http://127.0.0.1:8080/v1"));
  const Result<ApiKey> open = loaded(kPlain, "http://api.example/v1");
  ASSERT_FALSE(open);
  EXPECT_NE(open.error().message.find("https"), std::string::npos);
  for (const char* safe :
       {"https://a.example", "HTTPS://a.example/v1", "http://localhost", "http://localhost:1/",
        "http://127.0.0.1", "http://127.1.2.3:80/x", "http://[::1]:8080/v1", "HTTP://127.0.0.1"}) {
    EXPECT_TRUE(is_safe_for_keys(safe)) << safe;
  }
  for (const char* open_way :
       {"http://a.example", "http://127.0.0.1.a.example/", "http://localhost.a.example",
        "http://localhost@a.example/", "http://127.0.0.1:80@a.example/", "http://10.0.0.1/",
        "http://[::2]/", "http://[::1].a.example", "http://1270.0.0.1",
        "http://127.0.0.1\\@a.example/", "http://127..0.1/", "http://127.0.1", "ftp://localhost/",
        "localhost:80", "http://a.example#@localhost", "http://a.example?localhost", ""}) {
    EXPECT_FALSE(is_safe_for_keys(open_way)) << open_way;
  }
}

TEST(ApiKey, IsShownByFourCharactersOnEachSideAtMost) {
  EXPECT_EQ(mask_key(kPlain), "cr_0...wxyz");
  for (const char* key : {"", "short", "0123456789abcdef"}) {
    EXPECT_EQ(mask_key(key), "...") << key;
  }
  EXPECT_EQ(redact_keys("a mykey b mykey", "mykey"), "a ... b ...");
  EXPECT_EQ(redact_keys("hs_abcdefghijklmnop, key=sk-abcdefghijklmnop.", ""),
            "hs_a...mnop, key=sk-a...mnop.");
  EXPECT_EQ(redact_keys("sk-learn and task-0123456789abcdef stay", ""),
            "sk-learn and task-0123456789abcdef stay");
  EXPECT_EQ(redact_keys("cr_0...wxyz", kPlain), "cr_0...wxyz");
}

}  // namespace
}  // namespace tern

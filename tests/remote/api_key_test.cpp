// Where keys come from, what is taken off them, and where they may go.

#include "remote/api_key.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
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
  ASSERT_EQ(::chmod(provider.key_file.c_str(), 0600), 0);
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

// Spelled by Python: base64, urllib.parse.quote, json, html, bytes.hex.
TEST(ApiKey, IsMaskedInEverySpelling) {
  const char* const spellings[] = {
      R"(CR_0123456789ABCDEFWXYZ)",
      R"(Y3JfMDEyMzQ1Njc4OWFiY2RlZnd4eXo=)",
      R"(QmVhcmVyIGNyXzAxMjM0NTY3ODlhYmNkZWZ3eHl6)",
      R"(dXNlcjpjcl8wMTIzNDU2Nzg5YWJjZGVmd3h5ekBob3N0)",
      R"(YWJjcl8wMTIzNDU2Nzg5YWJjZGVmd3h5ej8_Pz4-Pg==)",
      R"(%63%72%5f%30%31%32%33%34%35%36%37%38%39%61%62%63%64%65%66%77%78%79%7a)",
      R"(cr%5F0123456789abcdefwxyz)",
      R"(\u0063\u0072\u005f\u0030\u0031\u0032\u0033\u0034\u0035\u0036\u0037\u0038\u0039\u0061\u0062\u0063\u0064\u0065\u0066\u0077\u0078\u0079\u007a)",
      R"(cr\x5f0123456789abcdefwxyz)",
      R"(&#99;&#114;&#95;&#48;&#49;&#50;&#51;&#52;&#53;&#54;&#55;&#56;&#57;&#97;&#98;&#99;&#100;&#101;&#102;&#119;&#120;&#121;&#122;)",
      R"(&#x63;&#x72;&#x5F;&#x30;&#x31;&#x32;&#x33;&#x34;&#x35;&#x36;&#x37;&#x38;&#x39;&#x61;&#x62;&#x63;&#x64;&#x65;&#x66;&#x77;&#x78;&#x79;&#x7A;)",
      R"(63725f303132333435363738396162636465667778797a)",
      R"(63725F303132333435363738396162636465667778797A)",
      R"(Y3JfMDEyMzQ1Njc4OWFiY2RlZnd4eXo%3D)",
      R"(key=cr_0123456789a...)",
      R"(123456789abcdefwxyz)",
      R"(Incorrect key cr_012345)"};
  for (const std::string text : spellings) {
    const std::string masked = redact_keys("was: " + text, kPlain);
    EXPECT_NE(masked.find("..."), std::string::npos) << text << " became " << masked;
    EXPECT_LE(masked.size(), 28U) << text << " became " << masked;
  }
  // What only resembles it stays.
  for (const std::string text :
       {"cr_0123 is short", "abcdef0123456789", "https://example.org/cr_?a=%5F&b=&#99;",
        "Y3JfMDEy is the beginning in base64", "\\u0063\\u0072", "%", "\\", "&#", "&#;"}) {
    EXPECT_EQ(redact_keys(text, kPlain), text);
  }
}

TEST(ApiKey, AFileThatOthersMayReadIsWarnedAbout) {
  const testing::TempFolder folder;
  Provider provider = provider_at("https://api.example/v1");
  provider.key_file = (folder / "key").string();
  std::ofstream(provider.key_file) << kPlain << "\n";
  for (const mode_t mode : {0644U, 0640U, 0604U, 0660U}) {
    ASSERT_EQ(::chmod(provider.key_file.c_str(), mode), 0);
    const Result<ApiKey> key = load_api_key(provider);
    ASSERT_TRUE(key);
    ASSERT_EQ(key->warnings.size(), 1U) << mode;
    EXPECT_NE(key->warnings[0].find("chmod 600 " + provider.key_file), std::string::npos);
  }
  ASSERT_EQ(::chmod(provider.key_file.c_str(), 0600), 0);
  EXPECT_TRUE(load_api_key(provider)->warnings.empty());
}

TEST(ApiKey, LeavesNoCoreDumpAndNoMemory) {
  ::prctl(PR_SET_DUMPABLE, 1);
  const Result<ApiKey> key = loaded(kPlain);
  ASSERT_TRUE(key);
  EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 0);
  std::string secret = "a secret that is too long for the string itself";
  const char* where = secret.data();
  const size_t size = secret.size();
  wipe(secret);
  EXPECT_TRUE(secret.empty());
  // The memory is still the string's own.
  EXPECT_EQ(secret.data(), where);
  EXPECT_EQ(std::count(where, where + size, '\0'), static_cast<std::ptrdiff_t>(size));
}

}  // namespace
}  // namespace tern

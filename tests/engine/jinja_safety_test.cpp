// Templates come from strangers' files: whatever they say, they end soon and take little memory.
// Memory is what `operator new` hands out; time is the thread's own, so that a busy machine changes
// nothing. TERN_JINJA_PROGRAMS sets the number of random programs (tools/nightly.sh: many).

#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>

#include "engine/model/jinja.h"
#include "tests/support/jinja_programs.h"

namespace {
thread_local size_t live_bytes = 0;
thread_local size_t peak_bytes = 0;

void* counted(size_t size) {
  void* memory = std::malloc(size != 0 ? size : 1);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  live_bytes += malloc_usable_size(memory);
  peak_bytes = std::max(peak_bytes, live_bytes);
  return memory;
}

void release(void* memory) {
  if (memory != nullptr) {
    live_bytes -= malloc_usable_size(memory);
    std::free(memory);
  }
}
}  // namespace

void* operator new(size_t size) {
  return counted(size);
}
void* operator new[](size_t size) {
  return counted(size);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  release(memory);
}

namespace tern::jinja {
namespace {

struct Outcome {
  std::string text;  // or "error: ..."
  size_t peak = 0;
  double seconds = 0;
};

Outcome render(const std::string& source) {
  Outcome out;
  const double start = thread_seconds();
  live_bytes = peak_bytes = 0;
  {
    Dict message;
    message.set("role", Value::string("user"));
    message.set("content", Value::string("Hello there"));
    Dict globals;
    globals.set("messages", Value::list({Value::dict(message), Value::dict(message)}));
    const auto parsed = Template::parse(source);
    const auto rendered = parsed ? parsed->render(globals) : Result<std::string>(parsed.error());
    out.text = rendered ? rendered->substr(0, 1000) : "error: " + rendered.error().message;
  }
  out.peak = peak_bytes;
  out.seconds = thread_seconds() - start;
  return out;
}

// Two seconds are the interpreter's own belt. Between two looks at the clock a built-in may pass
// over the longest text that there can be, which an instrumented build does many times slower.
constexpr double kMostSeconds = 20;
constexpr size_t kMostBytes = size_t{512} << 20;

void expect_harmless(const std::string& source) {
  const Outcome outcome = render(source);
  EXPECT_LT(outcome.peak, kMostBytes) << source;
  EXPECT_LT(outcome.seconds, kMostSeconds) << source;
  if (std::getenv("TERN_JINJA_PROGRAMS") != nullptr && outcome.seconds > 2.2) {
    GTEST_LOG_(INFO) << outcome.seconds << " s: " << source;
  }
}

// Runs on a thread with the smallest stack that programs usually give their threads.
void on_small_stack(const std::function<void()>& work) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, size_t{1} << 20);
  pthread_t thread{};
  const auto run = [](void* what) -> void* {
    (*static_cast<const std::function<void()>*>(what))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&work)),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

// A macro that holds a frame that holds a macro, and so on: 90,000 of them, kept by `keep` until
// the end, or let go before it.
TEST(JinjaSafety, ChainsOfMacrosAreDestroyedWithoutRecursion) {
  const std::string make =
      "{% set ns = namespace(f=none, l=[], d={}) %}"
      "{% macro mk(g) %}{% macro h() %}{{ g }}{% endmacro %}";
  const std::string loop = "{% endmacro %}{% for i in range(90000) %}{% if mk(";
  const std::string end = ") %}{% endif %}{% endfor %}";
  const std::string sources[] = {
      make + "{% set ns.f = h %}" + loop + "ns.f" + end,
      make + "{% set ns.l = [h] %}" + loop + "ns.l" + end,
      make + "{% set ns.d = {'a': h} %}" + loop + "ns.d" + end,
      make + "{% set ns.f = h %}" + loop + "ns.f" + end + "{% set ns.f = none %}done",
      make + "{% set ns.f = [h, 'x'.upper] %}" + loop + "ns.f" + end + "{% set q = ns.f %}",
      make + "{% for x in [h] %}{% set ns.f = loop %}{% endfor %}" + loop + "ns.f" + end,
      make + "{% for x in [1] %}{% if loop.changed(h) %}{% set ns.f = loop %}{% endif %}" +
          "{% endfor %}" + loop + "ns.f" + end,
      "{% set ns = namespace(f=none) %}{% for i in range(90000) %}{% for x in [1] recursive %}"
      "{% if loop.changed(ns.f, loop) %}{% set ns.f = loop %}{% endif %}{% endfor %}{% endfor %}",
      // Namespaces in namespaces.
      "{% set ns = namespace(f=none) %}{% for i in range(90000) %}"
      "{% set ns.f = namespace(g=ns.f) %}{% endfor %}",
  };
  for (const std::string& source : sources) {
    on_small_stack([&] { expect_harmless(source); });
  }
}

std::string keys(size_t count) {
  std::string out = "{% set d = {";
  for (size_t i = 0; i < count; ++i) {
    out += "'k" + std::to_string(i) + "': 1,";
  }
  return out + "} %}";
}

std::string parameters(size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) {
    out += (i > 0 ? ",k" : "k") + std::to_string(i);
  }
  return out;
}

std::string sets(size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) {
    out += "{% set v" + std::to_string(i) + "=1 %}";
  }
  return out;
}

TEST(JinjaSafety, NothingIsProducedBeforeItIsCharged) {
  const std::string many = "{% for i in range(100000) %}";
  const std::string sources[] = {
      "{{ 'x'.ljust(9223372036854775807, '') }}",
      "{{ 'x'.rjust(9223372036854775807, '') }}",
      "{{ 'x'.center(9223372036854775807, '') }}",
      "{{ 'x'.center(9223372036854775807) }}",
      "{{ 'x'.ljust(-9223372036854775807 - 1) }}",
      "{{ 'x'.zfill(9223372036854775807) }}",
      "{{ ([1]*60)|tojson(separators=('A'*60000000, ':'))|length }}",
      "{{ ({1: 2, 3: 4}|tojson(separators=(',', 'A'*60000000)))|length }}",
      "{{ (range(100000)|list)|tojson(indent='A'*1000000)|length }}",
      "{{ ('a'*200000000).split('a')|length }}",
      "{{ ('a '*50000000).split()|length }}",
      "{{ ('a '*50000000).rsplit(none, 999)|length }}",
      "{{ ('a'*100000000).rsplit('a')|length }}",
      "{{ ('\\n'*100000000).splitlines()|length }}",
      "{{ ('\\n'*100000000)|indent(1000, true, true)|length }}",
      "{{ ('a'*100000000)|list|length }}",
      "{{ ('a'*100000000)|reverse|length }}",
      "{% set b=[0]*8000000 %}" + many + "{% if loop.cycle(*b) %}{% endif %}{% endfor %}",
      "{% set b=[0]*1000000 %}" + many + "{% if loop.cycle(*b) %}{% endif %}{% endfor %}",
      "{% set b=[0]*1000000 %}{{ range(100000)|map('replace', *b)|list }}",
      keys(5000) + many + "{% if ''.format(**d) %}{% endif %}{% endfor %}",
      keys(5000) + many + "{% if ''|format(**d) %}{% endif %}{% endfor %}",
      keys(5000) + many + "{% if dict(**d) %}{% endif %}{% endfor %}",
      keys(5000) + many + "{% if namespace(d) %}{% endif %}{% endfor %}",
      keys(5000) + many + "{% if d == d %}{% endif %}{% endfor %}",
      keys(2500) + "{% macro f(" + parameters(2500) + ") %}{% endmacro %}" + many +
          "{{ f(**d) }}{% endfor %}",
      keys(2500) + "{% macro f() %}{{ kwargs }}{% endmacro %}" + many + "{{ f(**d) }}{% endfor %}",
      many + sets(1000) + "{% macro m() %}{% endmacro %}{% endfor %}",
      "{% set ns = namespace() %}" + many + sets(2000) + "{% endfor %}",
      "{{ ('\\x01'*200000000)|tojson|length }}",
      "{{ ('&'*100000000)|escape|length }}",
      "{{ ('\\x01'*100000000)|string|length }}{{ ['\\x01'*100000000] }}",
      "{{ 'a'*60000000 }}",
      // Searches that compare all of what they seek at each place.
      "{{ ('a'*40000000).find('a'*20000000 ~ 'b') }}",
      "{{ ('a'*40000000).rfind('b' ~ 'a'*20000000) }}",
      "{{ ('a'*40000000).count('a'*20000000 ~ 'b') }}",
      "{{ ('a'*40000000).replace('a'*20000000 ~ 'b', 'c')|length }}",
      "{{ ('a'*40000000).rsplit('b' ~ 'a'*20000000)|length }}",
      "{{ ('a'*40000000).rpartition('b' ~ 'a'*20000000)|length }}",
      "{{ ('a'*20000000 ~ 'b') in ('a'*40000000) }}",
      "{{ ('a'*20000000 ~ 'b') is in ('a'*40000000) }}",
      "{% set s='a'*10000000 %}{{ s.startswith([s ~ 'b']*1000000) }}",
      "{% set s='a'*1000000 %}{{ s.startswith([s]*1000000) }}",
      "{% set s='a'*1000000 %}{{ s.strip(s) }}",
      // What is looked up and not found keeps its name.
      "{% set s='a'*10000000 %}" + many + "{% set x = [d[s], d[s]] %}{% endfor %}",
      "{% set d={} %}{% set s='a'*10000000 %}{{ ([d]*100000)|map(attribute=s)|list|length }}",
      "{{ ('%.999f'*150000)|format(*([1e308]*150000))|length }}",
      "{{ ('{:>1000}'*100000).format(*(['a']*100000))|length }}",
      "{% set ns=namespace(s='a') %}" + many +
          "{% set ns.s = ns.s ~ ns.s|upper|lower|title %}{% endfor %}",
      "{% set ns=namespace(l=[1]) %}" + many + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}",
      "{% set ns=namespace(l=[1]) %}{% for i in range(90) %}{% set ns.l = [ns.l, ns.l] %}"
      "{% endfor %}{{ ns.l == ns.l }}{{ ns.l|tojson }}",
      "{% macro m(n) %}{{ 'a'*10000000 }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
      "{{ raise_exception('a'*100000000) }}",
      "{{ ('%(a'*10000000)|format(a=1) }}",
      "{{ range(100000)|groupby('a'*1000000)|length }}",
      "{{ ([0]*3000000)|slice(1000000, 1)|list|length }}",
      "{{ [1]|slice(9223372036854775807, 1)|list|length }}",
      "{{ [1]|batch(9223372036854775807, 1)|list|length }}",
      "{{ ('ab '*30000000)|wordcount }}{{ ('ab'*30000000)|title|length }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
      "{% for x in range(100000) recursive %}{{ loop([1, 2, 3]) if loop.depth < 90 }}{% endfor %}",
  };
  for (const std::string& source : sources) {
    SCOPED_TRACE(source.substr(0, 100));
    expect_harmless(source);
  }
}

// The table of a dict's or a scope's entries gives what looking at each of them gave.
TEST(JinjaSafety, LargeDictsAndScopesFindTheirEntries) {
  for (const size_t count : {15U, 16U, 17U, 18U, 100U, 5000U}) {
    const std::string last = std::to_string(count - 1);
    EXPECT_EQ(render(keys(count) + "{{ d|length }} {{ d.k0 }} {{ d.k" + last + " }} {{ d.k" +
                     std::to_string(count) + " is defined }}")
                  .text,
              std::to_string(count) + " 1 1 False");
    EXPECT_EQ(render(sets(count) + "{% set v0 = 7 %}{{ v0 }} {{ v" + last + " }}").text, "7 1");
  }
  EXPECT_EQ(render("{% set d = dict(range(100)|list|batch(1)|map('first')|batch(2)|list) %}"
                   "{{ d|length }} {{ d[0] }} {{ d[98] }} {{ d[98.0] }} {{ d[1] is defined }}")
                .text,
            "50 1 99 99 False");
}

TEST(JinjaSafety, TheClockEndsWhatTheStepsAllow) {
  Limits limits;
  limits.clock = [] {
    static double now = 0;
    return now += 0.5;  // half a second from one look to the next
  };
  const auto text =
      Template::parse("{% for i in range(100000) %}{% if i %}{% endif %}{% endfor %}", limits);
  ASSERT_TRUE(text);
  const auto rendered = text->render({});
  ASSERT_FALSE(rendered);
  EXPECT_EQ(rendered.error().message,
            "line 1: the template takes more than 2 seconds of processor time");
}

TEST(JinjaSafety, RandomProgramsEnd) {
  const char* wanted = std::getenv("TERN_JINJA_PROGRAMS");
  const long count = wanted != nullptr ? std::atol(wanted) : 150;
  const char* first = std::getenv("TERN_JINJA_SEED");
  const long seed = first != nullptr ? std::atol(first) : 1;
  long rendered = 0;
  for (long i = seed; i < seed + count; ++i) {
    testing::JinjaPrograms programs(static_cast<uint64_t>(i));
    const std::string source = programs.next();
    SCOPED_TRACE("seed " + std::to_string(i));
    expect_harmless(source);
    rendered += Template::parse(source) ? 1 : 0;
    if (HasFailure()) {
      break;
    }
  }
  EXPECT_GT(rendered, count / 2) << "most programs should be grammatical";
}

}  // namespace
}  // namespace tern::jinja

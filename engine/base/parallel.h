#pragma once
// The only place that starts threads for computing.

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace tern {

// A non-owning reference to a callable: what parallel_for needs without an allocation per call.
template <class Signature>
class FunctionRef;

template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& f)
  noexcept  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}

  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// Runs `body` on the calling thread while up to `threads` - 1 others stand by for the parallel_for calls in it, which then cost
// a fraction of a microsecond instead of a wake-up each. Workers that find nothing to do spin, and then sleep. Inside
// another region it is that region that serves. The body must not throw.
void parallel_region(int threads, FunctionRef<void()> body);

// Calls body(begin, end, thread) so that [0, count) is covered once, in at most `threads` contiguous pieces whose borders
// are multiples of `grain` (the last end is `count`). `thread` is in [0, threads), in a region in [0, the region's threads):
// index per-thread scratch with it. No two calls with the same `thread` run at once. Returns when all pieces are done. The
// body must not throw, and must not call parallel_for.
void parallel_for(int threads, int64_t count, int64_t grain,
                  FunctionRef<void(int64_t begin, int64_t end, int thread)> body);

// The same in about `tiles_per_thread` times as many pieces. Each thread begins with a run of neighbouring ones, which it walks
// in order, and takes from the far end of others' runs when it is through: a core that is slow or busy elsewhere then holds
// up the rest by no more than one tile.
void parallel_tiles(int threads, int tiles_per_thread, int64_t count, int64_t grain,
                    FunctionRef<void(int64_t begin, int64_t end, int thread)> body);

// How many threads serve computing best on this machine: the physical cores (performance cores only on hybrid CPUs) that
// the affinity mask and the cgroup's CPU quota leave to this process. At least 1.
int default_thread_count();

// How many hardware threads this process may run on at once: more threads than these only take turns. At least 1.
int usable_cpu_count();

}  // namespace tern

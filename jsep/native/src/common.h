// What all kernels share: vectors, loads and stores in float32 and bfloat16, work on XLA's threads, the folded
// normalisation of an input, the gradient of an output's moments.
//
// A library holds the kernels for one set of instructions; CMakeLists.txt builds several from the same files.
// Folds and sums are float32 whatever the dtype in memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace jsep {

namespace ffi = xla::ffi;

#if defined(__AVX512F__)
constexpr int W = 16;  // floats in a vector
#elif defined(__AVX__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float Vec __attribute__((vector_size(W * 4)));
typedef float LooseVec __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef uint16_t Half __attribute__((vector_size(W * 2), aligned(2), may_alias));
typedef uint32_t Bits __attribute__((vector_size(W * 4)));

struct bf16 {
  uint16_t bits;
};

inline Vec splat(float value) { return value - Vec{}; }  // v - 0 is v for every v, where v + 0 turns -0 into 0

// Loads and stores of W values, or of the first n, with zeros behind them.
inline Vec load(const float* p) { return *(const LooseVec*)p; }
inline void store(float* p, Vec v) { *(LooseVec*)p = v; }

inline Vec load(const bf16* p) { return (Vec)(__builtin_convertvector(*(const Half*)p, Bits) << 16); }
inline void store(bf16* p, Vec v) {
#if defined(__AVX512BF16__)
  *(Half*)p = (Half)_mm512_cvtneps_pbh((__m512)v);
#else
  Bits b = (Bits)v;
  Bits rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;  // to nearest, ties to even
  Bits quiet = (b >> 16) | 0x40;                          // a NaN stays one
  *(Half*)p = __builtin_convertvector((Bits)(v == v ? rounded : quiet), Half);
#endif
}

template <class T>
inline Vec load(const T* p, long n) {
  if (n >= W) return load(p);
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#endif
  T whole[W] = {};
  memcpy(whole, p, n * sizeof(T));
  return load(whole);
}
template <class T>
inline void store(T* p, Vec v, long n) {
  if (n >= W) return store(p, v);
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#endif
  T whole[W];
  store(whole, v);
  memcpy(p, whole, n * sizeof(T));
}

inline long round_up(long n, long m) { return (n + m - 1) / m * m; }

// sum + a * b: of floats, or of the two values of bfloat16 in each word.
#if defined(__AVX512BF16__)
constexpr bool HAS_PAIRS = true;
template <bool PAIRS>
Vec add_product(Vec sum, Vec a, Vec b) {
  return PAIRS ? (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b) : sum + a * b;
}
#else
constexpr bool HAS_PAIRS = false;
template <bool>
Vec add_product(Vec sum, Vec a, Vec b) { return sum + a * b; }
#endif

// The size of pieces of n no larger than `most`, as many as give every one of `shares` the same.
inline long evenly(long n, long most, long shares) {
  long pieces = std::max(shares, round_up((n + most - 1) / most, shares));
  return std::max(1L, (n + pieces - 1) / pieces);
}

// Calls f(0) to f(N - 1) in straight code, so that arrays of vectors lie in registers.
template <int N, class F>
inline void unrolled(const F& f) {
#pragma GCC unroll 32
  for (int i = 0; i < N; ++i) f(i);
}

// The sum of `count` vectors, `step` values apart.
template <class T>
Vec total(const T* p, long count, long step) {
  Vec sum{};
  for (long i = 0; i < count; ++i) sum += load(p + i * step);
  return sum;
}

// Memory of a thread for one call, which grows and is kept for the next.
class Scratch {
 public:
  float* get(size_t floats) {
    if (floats > size_) {
      size_ = floats + floats / 4 + 1024;
      data_.reset((float*)aligned_alloc(64, round_up(size_ * 4, 64)));
      if (!data_) abort();  // as any other allocation that fails on a thread of XLA
    }
    return data_.get();
  }

 private:
  std::unique_ptr<float, void (*)(void*)> data_{nullptr, free};
  size_t size_ = 0;
};

inline long threads(ffi::ThreadPool& pool) { return std::max<long>(1, pool.num_threads()); }

// Units of work are dealt to lanes, each of which has sums of its own: which units these are does not depend on the
// threads that happen to be free, so the same call gives the same bits. Two a thread, so that one which is held up
// leaves the other's work to those that are not.
inline long lanes(ffi::ThreadPool& pool) { return threads(pool) == 1 ? 1 : 2 * threads(pool); }

// Runs f(unit, lane) for every unit in [0, units), those of a lane in order, on XLA's threads and on the calling one.
// The caller only ever waits for lanes that have begun, so it cannot be blocked by a pool whose threads are all busy,
// and helpers that come late find nothing to do.
template <class F>
void parallel(ffi::ThreadPool& pool, long units, const F& f) {
  struct Job {
    const F* f;  // lives on the caller's stack: only touched while lanes are left or running
    long units, lanes;
    std::atomic<long> next{0}, done{0};
    void work() {
      for (long i; (i = next.fetch_add(1)) < lanes; done.fetch_add(1, std::memory_order_release))
        for (long unit = i; unit < units; unit += lanes) (*f)(unit, i);
    }
  };
  std::shared_ptr<Job> job(new Job{&f, units, std::min(lanes(pool), units)});
  for (long i = 1; i < std::min(threads(pool), units); ++i) pool.Schedule([job] { job->work(); });
  job->work();
  for (long spins = 0; job->done.load(std::memory_order_acquire) < job->lanes; ++spins)
    if (spins > 10000) std::this_thread::yield();
}

enum Activation : int64_t { UNFOLDED = -1, NONE = 0, RELU = 1, RELU6 = 2, HARD_SWISH = 3, PRELU = 4 };

// act((x - mean) * factor + bias), with vectors padded with zeros to a multiple of 64; or x as it is.
struct Fold {
  Activation act = UNFOLDED;
  const float *mean = nullptr, *factor = nullptr, *bias = nullptr, *slope = nullptr;
  explicit operator bool() const { return act != UNFOLDED; }
  Fold at(long c) const { return *this ? Fold{act, mean + c, factor + c, bias + c, slope + c} : *this; }
};

inline Vec relu6(Vec v) { return v < 0 ? Vec{} : (v > 6 ? splat(6) : v); }  // NaN stays NaN

template <Activation A>
inline Vec activate(Vec v, Vec slope) {
  if constexpr (A == RELU) return v < 0 ? Vec{} : v;
  if constexpr (A == RELU6) return relu6(v);
  if constexpr (A == HARD_SWISH) return v * relu6(v + 3) * (1.f / 6);
  if constexpr (A == PRELU) return v < 0 ? v * slope : v;
  return v;
}

// The derivative of `activate` times g, as JAX's jax.nn has it at the corners.
template <Activation A>
inline Vec activation_gradient(Vec v, Vec slope, Vec g) {
  if constexpr (A == RELU) return v > 0 ? g : Vec{};
  if constexpr (A == RELU6) return v > 0 ? (v < 6 ? g : Vec{}) : Vec{};
  if constexpr (A == HARD_SWISH) return v <= -3 ? Vec{} : (v >= 3 ? g : g * (v * (1.f / 3) + .5f));
  if constexpr (A == PRELU) return v < 0 ? g * slope : g;
  return g;
}

// Calls f with the activation as a template argument: f(std::integral_constant<Activation, A>{}).
template <int A = PRELU, class F>
auto with_activation(Activation act, F f) {
  if constexpr (A > UNFOLDED)
    if (act != A) return with_activation<A - 1>(act, f);
  return f(std::integral_constant<Activation, (Activation)A>{});
}

// Positions of `channels` values each, folded. The input of a convolution is one; the gradient of its output another:
// where gradients of moments come in, it is g + slope * (y - mean) + constant, so y is folded and g `plus`.
template <class T>
struct Source {
  const T* x;
  long channels;
  Fold fold{};
  const T* plus = nullptr;

  // Writes n channels from c0 on of `count` positions, `step` apart, with zeros up to a whole vector.
  // Asks meanwhile for what is `ahead` positions further on, if that is given, into the second level of cache: where
  // rows are short, the processor's own guesses come late.
  template <class Out>
  void read(long position, long step, long count, long c0, long n, Out* out, long out_step, long ahead = 0) const {
    const T *from = x + position * channels + c0, *more = plus ? plus + position * channels + c0 : nullptr;
    with_activation(fold.act, [=, f = fold.at(c0), step = step * channels, ahead = ahead * channels](auto act) mutable {
      for (long i = 0; count > 0; --count, i += step, out += out_step)
        for (long c = 0; c < n; c += W) {
          Vec v = load(from + i + c, n - c);
          __builtin_prefetch(from + i + ahead + c, 0, 2);
          if (act() != UNFOLDED) {  // behind the channels all vectors are zero
            v = (v - load(f.mean + c)) * load(f.factor + c) + load(f.bias + c);
            v = activate<act()>(v, act() == PRELU ? load(f.slope + c) : Vec{});
          }
          if (act() == NONE && more) {
            v += load(more + i + c, n - c);
            __builtin_prefetch(more + i + ahead + c, 0, 2);
          }
          store(out + c, v);
        }
    });
  }

  // The way back: from d, the gradient of what `read` gives for positions where(0) to where(count - 1), to dx, that of
  // x, unless it is null, and to the sums for factors, biases and slopes, `apart` floats from each other.
  template <class Where>
  void unfold(const float* d, long d_step, const Where& where, long count, long c0, long n, T* dx, float* sums,
              long apart, long ahead = 0) const {
    with_activation(fold.act, [=, x = x, f = fold.at(c0), channels = channels, ahead = ahead * channels](auto act) {
      for (long c = 0; c < n; c += W) {
        const long rest = n - c;
        auto at = [=](long r) { return where(r) * channels + c0 + c; };
        auto write = [=](long r, Vec v) {
          store(dx + at(r), v, rest);
          __builtin_prefetch(dx + at(r) + ahead, 1);
        };
        if (act() == UNFOLDED) {
          for (long r = 0; r < count; ++r) write(r, load(d + r * d_step + c));
          continue;
        }
        Vec mean = load(f.mean + c, rest), factor = load(f.factor + c, rest), bias = load(f.bias + c, rest);
        Vec slope = act() == PRELU ? load(f.slope + c, rest) : Vec{}, factors{}, biases{}, slopes{};
        for (long r = 0; r < count; ++r) {
          Vec away = load(x + at(r), rest) - mean, v = away * factor + bias, g = load(d + r * d_step + c);
          if (act() == PRELU) slopes += v < 0 ? v * g : Vec{};
          g = activation_gradient<act()>(v, slope, g);
          factors += g * away;
          biases += g;
          if (dx) write(r, g * factor);
        }
        store(sums + c, load(sums + c) + factors);
        store(sums + apart + c, load(sums + apart + c) + biases);
        if (act() == PRELU) store(sums + 2 * apart + c, load(sums + 2 * apart + c) + slopes);
      }
    });
  }
};

// Sums of every lane about a shift, which is near the mean so that the variance keeps its digits: it is the mean of
// the first values that the lane adds.
class Moments {
 public:
  Moments(long lanes, long channels)
      : lanes_(lanes), length_(round_up(channels, 128)),  // lanes write to lines of cache of their own
        sums_(lanes * 3 * length_), counts_(lanes * length_ / W) {}

  // Adds `count` values, `step` values apart, of each of the W channels from the given one on.
  template <class T>
  void add(long lane, long channel, const T* values, long step, long count) {
    float* shift = &sums_[lane * 3 * length_ + channel];
    float *sum = shift + length_, *square = sum + length_;
    long& counted = counts_[(lane * length_ + channel) / W];
    if (!counted) store(shift, total(values, count, step) * (1.f / count));
    counted += count;
    Vec about = load(shift), apart{}, squares{};
    for (long r = 0; r < count; ++r) {
      Vec away = load(values + r * step) - about;
      apart += away;
      squares += away * away;
    }
    store(sum, load(sum) + apart);
    store(square, load(square) + squares);
  }

  // Writes the means, what rounding them left out, and the biased variances: out[3][channels]. What belongs to channel
  // c has been added to channel at(c).
  template <class At>
  void finish(float* out, long channels, const At& at) const {
    for (long c = 0; c < channels; ++c) {
      double n = 0, mean = 0, deviations = 0;
      for (long i = 0; i < lanes_; ++i) {
        double more = counts_[(i * length_ + at(c)) / W];
        if (!more) continue;
        const float* own = &sums_[i * 3 * length_ + at(c)];
        double sum = own[length_], there = own[0] + sum / more, apart = there - mean;
        deviations += own[2 * length_] - sum * sum / more + apart * apart * n * more / (n + more);
        mean += apart * more / (n + more);
        n += more;
      }
      out[c] = (float)mean;
      out[channels + c] = (float)(mean - (double)(float)mean);
      out[2 * channels + c] = n && deviations > 0 ? (float)(deviations / n) : (float)(deviations * 0);
    }
  }

 private:
  long lanes_, length_;
  std::vector<float> sums_;
  std::vector<long> counts_;
};

struct Shape {
  long n, h, w, c;  // input
  long kh, kw;      // kernel
  long oh, ow, o;   // output
  // Row r of the output meets, under row i of the kernel, row r * stride_h - top + i * dilation_h of the input.
  long stride_h, stride_w, top, left, dilation_h, dilation_w;
  long groups;
};

}  // namespace jsep

// What all kernels share: vectors, loads and stores in float32 and bfloat16, work on XLA's threads, the folded
// normalisation of an input, the gradient of an output's moments.
//
// A library holds the kernels for one set of instructions; CMakeLists.txt builds several from the same files.
// Computation and sums are float32 whatever the dtype in memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
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
typedef uint16_t Half __attribute__((vector_size(W * 2)));
typedef uint16_t LooseHalf __attribute__((vector_size(W * 2), aligned(2), may_alias));
typedef uint32_t Bits __attribute__((vector_size(W * 4)));

struct bf16 {
  uint16_t bits;
};

inline Vec splat(float value) { return value - Vec{}; }  // no arithmetic: v - 0 is v, where v + 0 would turn -0 to 0

// ---- loads and stores of W values, or of the first n, with zeros behind them

inline Vec load(const float* p) { return *(const LooseVec*)p; }
inline void store(float* p, Vec v) { *(LooseVec*)p = v; }

inline Vec load(const bf16* p) {
  return (Vec)(__builtin_convertvector(*(const LooseHalf*)p, Bits) << 16);
}
inline void store(bf16* p, Vec v) {
#if defined(__AVX512BF16__)
  *(LooseHalf*)p = (Half)_mm512_cvtneps_pbh((__m512)v);
#else
  Bits b = (Bits)v;
  Bits rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;        // to nearest, ties to even
  Bits quiet = (b >> 16) | 0x40;                                // a NaN stays one
  *(LooseHalf*)p = __builtin_convertvector((Bits)(v == v ? rounded : quiet), Half);
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

// ---- memory of a thread for one call, which grows and is kept for the next

class Scratch {
 public:
  float* get(size_t floats) {
    if (floats > size_) {
      free(data_);
      size_ = floats + floats / 4 + 1024;
      data_ = (float*)aligned_alloc(64, round_up(size_ * 4, 64));
    }
    return data_;
  }
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { free(data_); }

 private:
  float* data_ = nullptr;
  size_t size_ = 0;
};

// ---- threads

// Runs f(unit, worker) for every unit in [0, units) on XLA's threads and on the calling one; workers are numbered from
// 0 below `max_workers(pool)`. The caller only ever waits for units that have begun, so it cannot be blocked by a pool
// whose threads are all busy, and helpers that come late find nothing to do.
inline int max_workers(ffi::ThreadPool& pool) { return (int)std::max<int64_t>(1, pool.num_threads()) + 1; }

template <class F>
void parallel(ffi::ThreadPool& pool, long units, const F& f) {
  long helpers = std::min<long>(std::max<int64_t>(1, pool.num_threads()), units) - 1;
  if (helpers <= 0) {
    for (long i = 0; i < units; ++i) f(i, 0);
    return;
  }
  struct Job {
    const F* f;  // lives on the caller's stack: only touched while units are left or running
    long units;
    std::atomic<long> next{0}, done{0};
    std::atomic<int> workers{0};
    void work() {
      int worker = -1;
      for (long i; (i = next.fetch_add(1)) < units; done.fetch_add(1, std::memory_order_release)) {
        if (worker < 0) worker = workers.fetch_add(1);
        (*f)(i, worker);
      }
    }
  };
  auto job = std::make_shared<Job>();
  job->f = &f;
  job->units = units;
  for (long i = 0; i < helpers; ++i) pool.Schedule([job] { job->work(); });
  job->work();
  for (long spins = 0; job->done.load(std::memory_order_acquire) < units; ++spins)
    if (spins > 10000) std::this_thread::yield();
}

// ---- the input of a convolution: act((x - mean) * factor + bias), or x itself

enum Activation : int64_t { NONE = 0, RELU = 1, RELU6 = 2, HARD_SWISH = 3, PRELU = 4 };

// Per-channel vectors of float32, `stride` floats apart and padded with zeros to whole vectors; data is null without folding.
struct Fold {
  Activation act = NONE;
  const float *mean = nullptr, *factor = nullptr, *bias = nullptr, *slope = nullptr;
  explicit operator bool() const { return mean; }
};

template <Activation A>
inline Vec activate(Vec v, Vec slope) {
  if constexpr (A == RELU) return v < 0 ? Vec{} : v;  // NaN stays NaN
  if constexpr (A == RELU6) return v < 0 ? Vec{} : (v > 6 ? splat(6) : v);
  if constexpr (A == HARD_SWISH) {
    Vec gate = v + 3;
    gate = gate < 0 ? Vec{} : (gate > 6 ? splat(6) : gate);
    return v * gate * (1.f / 6);
  }
  if constexpr (A == PRELU) return v < 0 ? v * slope : v;
  return v;
}

// The derivative of `activate` times g, as JAX's jax.nn has it at the corners.
template <Activation A>
inline Vec activation_gradient(Vec v, Vec slope, Vec g) {
  if constexpr (A == RELU) return v > 0 ? g : Vec{};
  if constexpr (A == RELU6) return v > 0 ? (v < 6 ? g : Vec{}) : Vec{};
  if constexpr (A == HARD_SWISH) {
    Vec inner = g * (v * (1.f / 3) + .5f);
    return v < -3 ? Vec{} : (v > 3 ? g : inner);
  }
  if constexpr (A == PRELU) return v < 0 ? g * slope : g;
  return g;
}

// Calls f with the activation as a template argument: f(std::integral_constant<Activation, A>{}).
template <class F>
auto with_activation(Activation act, F&& f) {
  switch (act) {
    case RELU: return f(std::integral_constant<Activation, RELU>{});
    case RELU6: return f(std::integral_constant<Activation, RELU6>{});
    case HARD_SWISH: return f(std::integral_constant<Activation, HARD_SWISH>{});
    case PRELU: return f(std::integral_constant<Activation, PRELU>{});
    default: return f(std::integral_constant<Activation, NONE>{});
  }
}

// Writes the channels of `count` positions, folded, as float32 and with zeros up to a whole vector; from one position
// to the next are x_step values of x and out_step floats.
template <class T>
inline void fold_rows(const T* x, long x_step, float* out, long out_step, long count, long channels, const Fold& fold) {
  if (!fold) {
    for (; count > 0; --count, x += x_step, out += out_step)
      for (long c = 0; c < channels; c += W) store(out + c, load(x + c, channels - c));
    return;
  }
  with_activation(fold.act, [=, &fold](auto act) mutable {
    for (; count > 0; --count, x += x_step, out += out_step)
      for (long c = 0; c < channels; c += W) {
        Vec slope = act() == PRELU ? load(fold.slope + c) : Vec{};
        Vec v = (load(x + c, channels - c) - load(fold.mean + c)) * load(fold.factor + c) + load(fold.bias + c);
        store(out + c, activate<act()>(v, slope));  // behind the channels all vectors are zero
      }
  });
}

// One position.
template <class T>
inline void fold_row(const T* x, float* out, long channels, const Fold& fold) {
  fold_rows(x, 0, out, 0, 1, channels, fold);
}

// ---- the gradient of an output: that of y itself, and that of its moments

// dy = g + constant + slope * (y - mean), with vectors padded to whole vectors; y is null without moments.
template <class T>
struct OutputGradient {
  const T* g = nullptr;
  const T* y = nullptr;
  const float *mean = nullptr, *constant = nullptr, *slope = nullptr;

  // Writes one position's channels as float32, with zeros up to a whole vector.
  void row(long position, float* out, long channels) const {
    const T* gp = g + position * channels;
    const T* yp = y ? y + position * channels : nullptr;
    for (long c = 0; c < channels; c += W) {
      long n = channels - c;
      Vec v = load(gp + c, n);
      if (y) v += load(constant + c) + load(slope + c) * (load(yp + c, n) - load(mean + c));  // zeros behind stay zeros
      store(out + c, v);
    }
  }
};

// ---- moments of an output

// Sums of every worker about a shift, which is near the mean so that the variance keeps its digits.
//
// Channels lie in blocks of `block` (a multiple of W). A worker's shift of a block is the mean of the first values that
// it adds to it: `begin`, once for each block and worker, then `add` for any number of vectors, then `finish`.
class Moments {
 public:
  Moments(int workers, long channels, long block)
      : channels_(channels), block_(block), padded_(round_up(channels, block)), blocks_(padded_ / block),
        sums_((size_t)workers * 3 * padded_), counts_((size_t)workers * blocks_), workers_(workers) {}

  bool begun(int worker, long channel) const { return counts_[worker * blocks_ + channel / block_]; }
  // Says that `values` more values of each channel of a block are about to be added.
  void count(int worker, long channel, long values) { counts_[worker * blocks_ + channel / block_] += values; }
  float* shift(int worker, long channel) { return &sums_[(size_t)worker * 3 * padded_ + channel]; }
  float* sum(int worker, long channel) { return shift(worker, channel) + padded_; }
  float* square(int worker, long channel) { return shift(worker, channel) + 2 * padded_; }

  // Writes the means, what rounding them left out, and the biased variances: out[3][channels].
  void finish(float* out) const {
    for (long c = 0; c < channels_; ++c) {
      double n = 0, mean = 0, deviations = 0;
      for (int i = 0; i < workers_; ++i) {
        double more = counts_[i * blocks_ + c / block_];
        if (!more) continue;
        const float* own = &sums_[(size_t)i * 3 * padded_ + c];
        double sum = own[padded_], there = own[0] + sum / more, apart = there - mean;
        deviations += own[2 * padded_] - sum * sum / more + apart * apart * n * more / (n + more);
        mean += apart * more / (n + more);
        n += more;
      }
      out[c] = (float)mean;
      out[channels_ + c] = (float)(mean - (double)(float)mean);
      out[2 * channels_ + c] = n && deviations > 0 ? (float)(deviations / n) : (float)(deviations * 0);
    }
  }

 private:
  long channels_, block_, padded_, blocks_;
  std::vector<float> sums_;
  std::vector<long> counts_;
  int workers_;
};

// ---- the shape of a convolution

struct Shape {
  long n, h, w, c;          // input
  long kh, kw;              // kernel
  long oh, ow, o;           // output
  long stride_h, stride_w, top, left, dilation_h, dilation_w;  // position (r, s) of the output and tap (i, j) meet input
  long groups;                                                 // (r * stride_h - top + i * dilation_h, ...)
  long outputs() const { return n * oh * ow; }
  long inputs() const { return n * h * w; }
};

}  // namespace jsep

// Depthwise convolution and its gradients: output channel o reads input channel o / m alone.
//
// A unit of work is a block of channels in a strip of rows of one image. Its rows are read once, folded, and kept as
// float32 in a ring that stays in cache; channels are repeated m times on the way, so that the loops over taps know
// only one value and one tap per output channel. The same loop makes the outputs and, from a ring of dy, the gradient
// of the input: at stride s that is s convolutions of stride 1, each with the taps that meet every s-th column.
#pragma once
#include "common.h"

namespace jsep {

template <int N>
using Int = std::integral_constant<int, N>;

// Rows of a block of channels with zeros left and right of them: [slot][column][channel], row r in slot r % slots.
struct Ring {
  long slots, margin, columns;  // columns with margins
  long block = 0;
  float* data = nullptr;
  long size() const { return slots * columns; }  // for each channel
  float* row(long r) const { return data + r % slots * columns * block; }
};

// The columns first, first + step, ... of a result: the q-th is the sum of tap `start + t`, in the order in which taps
// are packed, times column q * stride + offsets[t] of the source.
struct Phase {
  long first, step, columns, stride, start;
  std::vector<long> offsets;
};

// A row of a source and the row of taps that it meets.
struct Line {
  const float *values, *taps;
};

// Calls f with the number of neighbouring taps and the stride as template arguments, or with zeros for any others.
template <class F>
void with_taps(const Phase& p, const F& f) {
  long k = p.offsets.size();
  for (long t = 1; t < (long)p.offsets.size(); ++t)
    if (p.offsets[t] != p.offsets[0] + t) k = 0;
  if (p.stride == 1) {
    if (k == 1) return f(Int<1>{}, Int<1>{});
    if (k == 2) return f(Int<2>{}, Int<1>{});
    if (k == 3) return f(Int<3>{}, Int<1>{});
    if (k == 4) return f(Int<4>{}, Int<1>{});
    if (k == 5) return f(Int<5>{}, Int<1>{});
    if (k == 7) return f(Int<7>{}, Int<1>{});
  }
  if (p.stride == 2) {
    if (k == 3) return f(Int<3>{}, Int<2>{});
    if (k == 5) return f(Int<5>{}, Int<2>{});
    if (k == 7) return f(Int<7>{}, Int<2>{});
  }
  f(Int<0>{}, Int<0>{});
}

// Calls emit(channel, column, sums, Int<B>) for B columns at a time: inputs and taps once loaded serve all of them.
template <int K, int S, int B, class Emit>
inline void correlate(const Phase& p, const std::vector<Line>& lines, long block, long channels, long q, Emit emit) {
  const Line *begin = lines.data(), *end = begin + lines.size();
  const long columns = p.columns, stride = p.stride * block, count = p.offsets.size();
  const long *offsets = p.offsets.data(), first_tap = p.start * block;
  for (; q + B <= columns; q += B) {
    const long column = p.first + q * p.step, at = q * stride + (K ? offsets[0] * block : 0);
    for (long c = 0; c < channels; c += W) {
      Vec sums[B] = {};
      for (const Line* line = begin; line != end; ++line) {
        const float *taps = line->taps + first_tap + c, *values = line->values + at + c;
        if constexpr (K > 0) {
          Vec tap[K];
#pragma GCC unroll 8
          for (int t = 0; t < K; ++t) tap[t] = load(taps + t * block);
#pragma GCC unroll 32
          for (int j = 0; j < (B - 1) * S + K; ++j) {
            Vec value = load(values + j * block);
#pragma GCC unroll 8
            for (int t = 0; t < K; ++t)
              if (j >= t && (j - t) % S == 0 && (j - t) / S < B) sums[(j - t) / S] += value * tap[t];
          }
        } else {
          for (long t = 0; t < count; ++t) {
            Vec tap = load(taps + t * block);
#pragma GCC unroll 8
            for (int b = 0; b < B; ++b) sums[b] += load(values + offsets[t] * block + b * stride) * tap;
          }
        }
      }
      emit(c, column, sums, Int<B>{});
    }
  }
  if constexpr (B > 1) correlate<K, S, B / 2>(p, lines, block, channels, q, emit);
}

template <class Emit>
void correlate(const Phase& p, const std::vector<Line>& lines, long block, long channels, Emit emit) {
  with_taps(p, [&](auto k, auto stride) { correlate<k(), stride(), 8>(p, lines, block, channels, 0, emit); });
}

// Adds to sums[kw][block] the products of rows of the input, under the taps of one row of the kernel, with rows of dy.
template <int K, int S>
inline void multiply_rows(const Phase& p, const std::vector<Line>& pairs, long block, long c, float* sums) {
  if constexpr (K > 0) {
    Vec total[2][K] = {};
    for (const Line& pair : pairs) {
      const float *x = pair.values + c, *g = pair.taps + c;
      long q = 0;
      for (constexpr int B = 4; q + B <= p.columns; q += B, x += B * S * block, g += B * block) {
        Vec dy[B];
#pragma GCC unroll 8
        for (int b = 0; b < B; ++b) dy[b] = load(g + b * block);
#pragma GCC unroll 32
        for (int j = 0; j < (B - 1) * S + K; ++j) {
          Vec value = load(x + j * block);
#pragma GCC unroll 8
          for (int t = 0; t < K; ++t)
            if (j >= t && (j - t) % S == 0 && (j - t) / S < B) total[(j - t) / S % 2][t] += value * dy[(j - t) / S];
        }
      }
      for (; q < p.columns; ++q, x += S * block, g += block) {
        Vec dy = load(g);
#pragma GCC unroll 8
        for (int t = 0; t < K; ++t) total[0][t] += load(x + t * block) * dy;
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < K; ++t) store(sums + t * block + c, load(sums + t * block + c) + total[0][t] + total[1][t]);
  } else {
    for (long t = 0; t < (long)p.offsets.size(); ++t) {
      Vec total = {};
      for (const Line& pair : pairs)
        for (long q = 0; q < p.columns; ++q)
          total += load(pair.values + (q * p.stride + p.offsets[t]) * block + c) * load(pair.taps + q * block + c);
      store(sums + t * block + c, load(sums + t * block + c) + total);
    }
  }
}

// Folds the channels of neighbouring columns, and asks meanwhile for those `row` values further on, into the second
// level of cache: rows are short, so that the processor's own guesses come late.
template <Activation A, class T>
void fold_columns(const T* x, long pitch, long row, long columns, long channels, Fold f, float* out, long block) {
  for (long q = 0; q < columns; ++q, x += pitch, out += block)
    for (long c = 0; c < channels; c += W) {
      Vec v = load(x + c, channels - c);
      __builtin_prefetch(x + row + c, 0, 2);
      if (f) {
        v = (v - load(f.mean + c)) * load(f.factor + c) + load(f.bias + c);
        v = activate<A>(v, A == PRELU ? load(f.slope + c) : Vec{});
      }
      store(out + c, v);
    }
}

// The same for dy.
template <class T>
void gradient_columns(OutputGradient<T> from, long pitch, long row, long columns, long channels, float* out,
                      long block) {
  for (long q = 0; q < columns; ++q, from.g += pitch, from.y += from.y ? pitch : 0, out += block)
    for (long c = 0; c < channels; c += W) {
      Vec v = load(from.g + c, channels - c);
      __builtin_prefetch(from.g + row + c, 0, 2);
      if (from.y) {
        v += load(from.constant + c) + load(from.slope + c) * (load(from.y + c, channels - c) - load(from.mean + c));
        __builtin_prefetch(from.y + row + c, 0, 2);
      }
      store(out + c, v);
    }
}

// From the gradient of a folded input to that of the input itself, or to none if dx is null, and the sums for the
// folded vectors, `apart` floats from each other.
template <Activation A, class T>
void unfold_columns(const T* x, T* dx, long pitch, long columns, long channels, Fold f, const float* dv, long block,
                    float* sums, long apart) {
  constexpr long B = 8;  // columns for every time that sums are loaded and stored
  for (long q = 0; q < columns; q += B, dv += B * block, x += B * pitch, dx += dx ? B * pitch : 0)
    for (long c = 0; c < channels; c += W) {
      const long n = channels - c, more = std::min(B, columns - q);
      if (!f) {
        for (long i = 0; i < more; ++i) {
          store(dx + i * pitch + c, load(dv + i * block + c), n);
          __builtin_prefetch(dx + (i + columns) * pitch + c, 1);
        }
        continue;
      }
      Vec mean = load(f.mean + c), factor = load(f.factor + c), bias = load(f.bias + c), slope = load(f.slope + c);
      Vec of_factor = load(sums + c), of_bias = load(sums + apart + c), of_slope = {};
      for (long i = 0; i < more; ++i) {
        Vec away = load(x + i * pitch + c, n) - mean, v = away * factor + bias, g = load(dv + i * block + c);
        if (A == PRELU) of_slope += v < 0 ? v * g : Vec{};
        g = activation_gradient<A>(v, slope, g);
        of_factor += g * away;
        of_bias += g;
        if (!dx) continue;
        store(dx + i * pitch + c, g * factor, n);
        __builtin_prefetch(dx + (i + columns) * pitch + c, 1);
      }
      store(sums + c, of_factor);
      store(sums + apart + c, of_bias);
      if (A == PRELU) store(sums + 2 * apart + c, load(sums + 2 * apart + c) + of_slope);
    }
}

// What both directions need to know of a call.
template <class T>
struct Depthwise {
  const Shape& s;
  const Fold& fold;
  long m = s.o / s.c, reach_h = (s.kh - 1) * s.dilation_h + 1, reach_w = (s.kw - 1) * s.dilation_w + 1;
  Ring input{};
  Phase forward{0, 1, s.ow, s.stride_w, 0, {}};
  long block, blocks, strips, units, step;

  // `rows` of output are made at a time; `more` floats for each channel are needed beside the ring.
  Depthwise(ffi::ThreadPool& pool, const Shape& shape, const Fold& f, long rows, long more)
      : s(shape), fold(f), step(rows) {
    for (long t = 0; t < s.kw; ++t) forward.offsets.push_back(t * s.dilation_w);
    input.slots = std::max(1L, std::min(s.h, (rows - 1) * s.stride_h + reach_h));
    input.margin = s.left;
    input.columns = (s.ow - 1) * s.stride_w + reach_w;
    long unit = W * m, whole = round_up(s.o, unit);
    long fitting = std::clamp<long>(256 * 1024 / 4 / (input.size() + more), 32, 256) / unit * unit;
    blocks = (whole + std::max(fitting, unit) - 1) / std::max(fitting, unit);
    block = round_up((whole + blocks - 1) / blocks, unit);
    blocks = (whole + block - 1) / block;
    input.block = block;
    long threads = std::max<int64_t>(1, pool.num_threads());
    strips = threads == 1 ? 1 : std::max(1L, std::min(s.oh / 8, 4 * threads / (s.n * blocks)));
    units = s.n * blocks * strips;
  }

  long first_row(long strip) const { return s.oh * strip / strips; }

  // The kernel as [block][kh][kw][channel], the taps of each row in the given order.
  void pack(const T* kernel, const std::vector<long>& order, float* out) const {
    for (long b = 0; b < blocks; ++b)
      for (long i = 0; i < s.kh; ++i)
        for (long t : order)
          for (long c = 0; c < block; c += W, out += W) {
            long n = s.o - b * block - c;
            store(out, n > 0 ? load(kernel + (i * s.kw + t) * s.o + b * block + c, n) : Vec{});
          }
  }

  Fold fold_at(long c) const {
    if (!fold) return fold;
    return {fold.act, fold.mean + c, fold.factor + c, fold.bias + c, fold.slope + c};
  }

  // Folds the rows [from, to) of an image into the ring; c is the first of `channels` channels of the input.
  void read(const T* image, const Ring& ring, long from, long to, long c0, long channels) const {
    Fold f = fold_at(c0);
    const long ahead = step * s.stride_h * s.w * s.c;
    long first = std::max(0L, -ring.margin), columns = std::min(s.w, ring.columns - ring.margin) - first;
    for (long r = from; r < to; ++r) {
      const T* x = image + (r * s.w + first) * s.c + c0;
      float* out = ring.row(r) + (first + ring.margin) * block;
      with_activation(f.act, [&](auto act) { fold_columns<act()>(x, s.c, ahead, columns, channels, f, out, block); });
      if (m > 1)
        for (long q = 0; q < columns; ++q)
          for (long c = block / m - 1; c >= 0; --c) std::fill_n(out + q * block + c * m, m, float(out[q * block + c]));
    }
  }
};

template <class T>
void depthwise_forward(ffi::ThreadPool& pool, const Shape& s, const T* x, const T* kernel, const Fold& fold, T* y,
                       float* moments) {
  if (!s.outputs() || !s.o) {
    if (moments) std::fill_n(moments, 3 * s.o, 0.f);
    return;
  }
  const Depthwise<T> d(pool, s, fold, 1, s.kh * s.kw);
  const long block = d.block;
  int workers = max_workers(pool);
  static thread_local Scratch packed;
  float* taps = packed.get(d.blocks * s.kh * s.kw * block);
  std::vector<long> order(s.kw);
  for (long t = 0; t < s.kw; ++t) order[t] = t;
  d.pack(kernel, order, taps);
  Moments sums(moments ? workers : 0, s.o, block);
  std::vector<char> ready(workers);
  parallel(pool, d.units, [&](long unit, int worker) {
    static thread_local Scratch scratch;
    static thread_local std::vector<Line> lines;
    long b = unit % d.blocks, strip = unit / d.blocks % d.strips, image = unit / d.blocks / d.strips;
    long c0 = b * block, channels = std::min(block, s.o - c0);
    Ring ring = d.input;
    ring.data = scratch.get(ring.size() * block);
    if (!ready[worker]) memset(ring.data, 0, ring.size() * block * 4), ready[worker] = 1;
    float* shift = moments ? sums.shift(worker, c0) : nullptr;
    float *sum = moments ? sums.sum(worker, c0) : nullptr, *square = moments ? sums.square(worker, c0) : nullptr;
    long begin = d.first_row(strip), end = d.first_row(strip + 1), have = 0;
    for (long r = begin; r < end; ++r) {
      long top = r * s.stride_h - s.top, to = std::min(s.h, top + d.reach_h);
      d.read(x + image * s.h * s.w * s.c, ring, std::max(have, top), to, c0 / d.m, channels / d.m);
      have = std::max(have, to);
      lines.clear();
      for (long i = 0; i < s.kh; ++i) {
        long row = top + i * s.dilation_h;
        if (row >= 0 && row < s.h) lines.push_back({ring.row(row), taps + (b * s.kh + i) * s.kw * block});
      }
      T* out = y + (image * s.oh + r) * s.ow * s.o + c0;
      auto emit = [=, o = s.o, row = s.ow * s.o](long c, long q, const Vec* v, auto n) {
        for (int i = 0; i < n(); ++i) {
          store(out + (q + i) * o + c, v[i], channels - c);
          __builtin_prefetch(out + (q + i) * o + row + c, 1);
        }
        if (!shift) return;
        Vec from = load(shift + c), total = load(sum + c), squares = load(square + c);
        for (int i = 0; i < n(); ++i) {
          Vec apart = v[i] - from;
          total += apart;
          squares += apart * apart;
        }
        store(sum + c, total);
        store(square + c, squares);
      };
      if (moments && !sums.begun(worker, c0)) {
        correlate(d.forward, lines, block, channels, emit);
        for (long c = 0; c < block; ++c) {
          shift[c] = sum[c] / s.ow;
          sum[c] = square[c] = 0;
        }
      }
      if (moments) sums.count(worker, c0, s.ow);
      correlate(d.forward, lines, block, channels, emit);
    }
  });
  if (moments) sums.finish(moments);
}

template <class T>
void depthwise_backward(ffi::ThreadPool& pool, const Shape& s, const T* x, const T* kernel, const Fold& fold,
                        const OutputGradient<T>& gradient, T* dx, T* dkernel, float* dfold) {
  const long taps = s.kh * s.kw;
  if (!s.outputs() || !s.o) {
    if (dx) memset((void*)dx, 0, s.inputs() * s.c * sizeof(T));
    memset((void*)dkernel, 0, taps * s.o * sizeof(T));
    if (dfold) std::fill_n(dfold, 3 * s.c, 0.f);
    return;
  }
  // Column w of the input meets tap j at column (w + left - j * dilation) / stride of dy.
  const long rows = std::max(1L, std::min(s.oh, 32 / s.ow));
  const long reach_h = (s.kh - 1) * s.dilation_h + 1, reach_w = (s.kw - 1) * s.dilation_w + 1;
  Ring dy{std::min(s.oh, rows + (reach_h - 1) / s.stride_h)};
  dy.margin = std::max(0L, (reach_w - 1 - s.left + s.stride_w - 1) / s.stride_w);
  dy.columns = dy.margin + std::max(s.ow, (s.w - 1 + s.left) / s.stride_w + 1);
  const Depthwise<T> d(pool, s, fold, rows, dy.size() + s.w + 2 * taps);
  const long m = d.m, block = dy.block = d.block, inputs = d.blocks * block / m;
  std::vector<Phase> phases;
  std::vector<long> order;
  for (long first = 0; first < s.stride_w; ++first) {
    Phase p{first, s.stride_w, (s.w - first + s.stride_w - 1) / s.stride_w, 1, (long)order.size(), {}};
    for (long j = s.kw - 1; j >= 0; --j) {
      long column = first + s.left - j * s.dilation_w + dy.margin * s.stride_w;
      if (column % s.stride_w) continue;
      order.push_back(j);
      p.offsets.push_back(column / s.stride_w);
    }
    phases.push_back(p);
  }
  int workers = max_workers(pool);
  static thread_local Scratch packed, totals;
  float* turned = packed.get(d.blocks * taps * block);
  d.pack(kernel, order, turned);
  const long own = d.blocks * taps * block + 3 * inputs;  // sums of a worker: of taps, then of fold
  float* sums = totals.get(workers * own);
  memset(sums, 0, workers * own * 4);
  std::vector<char> ready(workers);

  parallel(pool, d.units, [&](long unit, int worker) {
    static thread_local Scratch scratch;
    static thread_local std::vector<Line> lines;
    long b = unit % d.blocks, strip = unit / d.blocks % d.strips, image = unit / d.blocks / d.strips;
    long c0 = b * block, channels = std::min(block, s.o - c0);
    Ring in = d.input, out = dy;
    in.data = scratch.get((in.size() + out.size() + s.w) * block);
    out.data = in.data + in.size() * block;
    float* dv = out.data + out.size() * block;
    if (!ready[worker]) memset(in.data, 0, (in.size() + out.size() + s.w) * block * 4), ready[worker] = 1;
    const T* picture = x + image * s.h * s.w * s.c;
    float *kernel_sums = sums + worker * own + b * taps * block;
    float *fold_sums = sums + worker * own + d.blocks * taps * block + c0 / m;
    const Fold f = d.fold_at(c0 / m);
    // The strip's share of dx ends before the first row that meets the next strip's dy.
    auto edge = [&](long r) { return r == s.oh ? s.h : r ? std::clamp(r * s.stride_h - s.top, 0L, s.h) : 0; };
    long begin = d.first_row(strip), end = d.first_row(strip + 1), have_in = 0, row = edge(begin);
    long have_out = std::max(0L, begin - (reach_h - 1) / s.stride_h);
    for (long r0 = begin; r0 < end; r0 += rows) {
      long r1 = std::min(end, r0 + rows), top = r0 * s.stride_h - s.top;
      long to = std::min(s.h, (r1 - 1) * s.stride_h - s.top + reach_h);
      d.read(picture, in, std::max(have_in, top), to, c0 / m, channels / m);
      have_in = std::max(have_in, to);
      for (; have_out < r1; ++have_out) {
        long at = (image * s.oh + have_out) * s.ow * s.o + c0;
        OutputGradient<T> from{gradient.g + at};
        if (gradient.y)
          from = {from.g, gradient.y + at, gradient.mean + c0, gradient.constant + c0, gradient.slope + c0};
        gradient_columns(from, s.o, rows * s.ow * s.o, s.ow, channels, out.row(have_out) + out.margin * block, block);
      }
      for (long i = 0; i < s.kh; ++i) {
        lines.clear();
        for (long r = r0; r < r1; ++r) {
          long met = r * s.stride_h - s.top + i * s.dilation_h;
          if (met >= 0 && met < s.h) lines.push_back({in.row(met), out.row(r) + out.margin * block});
        }
        with_taps(d.forward, [&](auto k, auto stride) {
          for (long c = 0; c < channels; c += W)
            multiply_rows<k(), stride()>(d.forward, lines, block, c, kernel_sums + i * s.kw * block);
        });
      }
      if (!dx && !dfold) continue;
      for (long last = edge(r1); row < last; ++row) {
        lines.clear();
        for (long i = 0; i < s.kh; ++i) {
          long met = row + s.top - i * s.dilation_h;
          if (met >= 0 && met % s.stride_h == 0 && met / s.stride_h < s.oh)
            lines.push_back({out.row(met / s.stride_h), turned + (b * s.kh + i) * s.kw * block});
        }
        for (const Phase& p : phases)
          correlate(p, lines, block, channels, [=, step = p.step * block](long c, long q, const Vec* v, auto n) {
            for (int i = 0; i < n(); ++i) store(dv + q * block + i * step + c, v[i]);
          });
        if (m > 1)
          for (long q = 0; q < s.w; ++q)
            for (long c = 0; c < block / m; ++c) {
              float sum = 0;
              for (long i = 0; i < m; ++i) sum += dv[q * block + c * m + i];
              dv[q * block + c] = sum;
            }
        const T* from = picture + row * s.w * s.c + c0 / m;
        T* result = dx ? dx + (image * s.h + row) * s.w * s.c + c0 / m : nullptr;
        with_activation(f.act, [&](auto act) {
          unfold_columns<act()>(from, result, s.c, s.w, channels / m, f, dv, block, fold_sums, inputs);
        });
      }
    }
  });

  auto total = [&](long at) {
    Vec sum = {};
    for (int i = 0; i < workers; ++i) sum += load(sums + i * own + at);
    return sum;
  };
  for (long t = 0; t < taps; ++t)
    for (long c = 0; c < s.o; c += W)
      store(dkernel + t * s.o + c, total((c / block * taps + t) * block + c % block), s.o - c);
  if (dfold)
    for (long i = 0; i < 3; ++i)
      for (long c = 0; c < s.c; c += W) store(dfold + i * s.c + c, total(own + (i - 3) * inputs + c), s.c - c);
}

}  // namespace jsep

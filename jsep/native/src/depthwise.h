// Depthwise convolution and its gradients: output channel o reads input channel o / m alone.
//
// A unit of work is a block of channels in a strip of rows of one image. Its rows are read once, folded, and kept as
// float32 in a ring that stays in cache; channels are repeated m times on the way, so that the loops over taps know
// only one value and one tap per output channel. The same loop makes the outputs and, from a ring of dy, the gradient
// of the input: at stride s that is s convolutions of stride 1, each with the taps that meet every s-th column.
#pragma once
#include <numeric>
#include <utility>

#include "common.h"

namespace jsep {

template <int N>
using Int = std::integral_constant<int, N>;

// Rows of a block of channels with zeros left and right of them: [slot][column][channel], row r in slot r % slots.
struct Ring {
  long h, w;                    // of an image
  long slots, margin, columns;  // columns with margins
  long times, block;            // how often a channel of the source is repeated, channels then
  long image, c0, channels;     // of the source, for a unit
  float* data;
  long have = 0;  // the rows before this one have been read
  long size() const { return slots * columns; }  // for each channel
  float* row(long r) const { return data + r % slots * columns * block; }

  // Reads those rows from `begin` to `end` that it does not have, and asks for what is `ahead` rows further on.
  template <class T>
  void read(const Source<T>& from, long begin, long end, long ahead) {
    const long first = std::max(0L, -margin), count = std::min(w, columns - margin) - first;
    for (long r = std::max(begin, have); r < end; have = ++r) {
      float* out = row(r) + (first + margin) * block;
      from.read((image * h + r) * w + first, 1, count, c0, channels, out, block, ahead * w);
      for (long q = 0; times > 1 && q < count; ++q, out += block)
        for (long c = block / times - 1; c >= 0; --c) std::fill_n(out + c * times, times, float(out[c]));
    }
  }
};

// The columns first, first + step, ... of a result: the q-th is the sum of taps[t], packed as number start + t of its
// row, times column q * stride + offsets[t] of the source.
struct Phase {
  long first, step, columns, stride, start;
  std::vector<long> taps, offsets;
};

// A row of a source and the row of taps that it meets.
struct Line {
  const float *values, *taps;
};

// Calls f with the number of taps that are taken together and their stride. Neighbouring ones are, where they are of a
// usual number and stride; all others come one by one.
template <class F>
void with_taps(const Phase& p, const F& f) {
  const long k = p.offsets.size();
  if (k && p.offsets[k - 1] - p.offsets[0] == k - 1) {
    if (p.stride == 1 && k == 2) return f(Int<2>{}, Int<1>{});
    if (p.stride == 1 && k == 3) return f(Int<3>{}, Int<1>{});
    if (p.stride == 1 && k == 5) return f(Int<5>{}, Int<1>{});
    if (p.stride == 1 && k == 7) return f(Int<7>{}, Int<1>{});
    if (p.stride == 2 && k == 3) return f(Int<3>{}, Int<2>{});
    if (p.stride == 2 && k == 5) return f(Int<5>{}, Int<2>{});
  }
  f(Int<1>{}, Int<1>{});
}

// Calls f(value, b, t) for columns b < B and taps t < K, which meet at value b * S + t, of values `step` floats apart:
// each is loaded once.
template <int K, int S, int B, class F>
inline void meet(const float* values, long step, const F& f) {
  unrolled<(B - 1) * S + K>([&](int j) {
    Vec value = load(values + j * step);
    unrolled<K>([&](int t) {
      if (j >= t && (j - t) % S == 0 && (j - t) / S < B) f(value, (j - t) / S, t);
    });
  });
}

// Calls emit(channel, column, sums, Int<B>) for B columns at a time: taps once loaded serve all of them.
template <int K, int S, int B, class Emit>
inline void correlate(const Phase& p, const std::vector<Line>& lines, long block, long channels, long q, Emit emit) {
  const Line *begin = lines.data(), *end = begin + lines.size();
  const long *offsets = p.offsets.data(), runs = K == 1 ? p.offsets.size() : 1, first_tap = p.start * block;
  const long columns = p.columns, stride = p.stride * block, step = K == 1 ? stride : block;
  for (; q + B <= columns; q += B) {
    const long column = p.first + q * p.step, at = q * stride + (K == 1 ? 0 : offsets[0] * block);
    for (long c = 0; c < channels; c += W) {
      Vec sums[B] = {};
      for (const Line* line = begin; line != end; ++line)
        for (long run = 0; run < runs; ++run) {
          const float *taps = line->taps + first_tap + run * block + c, *values = line->values + at + c;
          Vec tap[K];
          unrolled<K>([&](int t) { tap[t] = load(taps + t * block); });
          if (K == 1) values += offsets[run] * block;
          meet<K, S, B>(values, step, [&](Vec value, int b, int t) { sums[b] += value * tap[t]; });
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

// Adds to sums[tap][block] the products of rows of the input, under the taps of one row of the kernel, with rows of dy.
template <int K, int S>
void multiply_rows(const Phase& p, const std::vector<Line>& pairs, long block, long channels, float* sums) {
  const long runs = K == 1 ? p.offsets.size() : 1, stride = p.stride * block, step = K == 1 ? stride : block;
  for (long c = 0; c < channels; c += W)
    for (long run = 0; run < runs; ++run) {
      Vec total[2][K] = {};
      for (const Line& pair : pairs) {
        const float *x = pair.values + p.offsets[run] * block + c, *g = pair.taps + c;
        auto add = [&](auto columns) {
          Vec dy[columns()];
          unrolled<columns()>([&](int b) {
            dy[b] = load(g + b * block);
#if defined(__x86_64__)
            asm("" : "+v"(dy[b]));  // held in a register: GCC may rather load it again for each tap
#endif
          });
          meet<K, S, columns()>(x, step, [&](Vec value, int b, int t) { total[b % 2][t] += value * dy[b]; });
          x += columns() * stride;
          g += columns() * block;
        };
        long q = 0;
        for (; q + 4 <= p.columns; q += 4) add(Int<4>{});
        for (; q < p.columns; ++q) add(Int<1>{});
      }
      float* to = sums + run * block + c;
      unrolled<K>([&](int t) { store(to + t * block, load(to + t * block) + total[0][t] + total[1][t]); });
    }
}

// What both directions need to know of a call.
template <class T>
struct Depthwise {
  const Shape& s;
  long m = s.o / s.c, reach_h = (s.kh - 1) * s.dilation_h + 1, reach_w = (s.kw - 1) * s.dilation_w + 1;
  Ring input{s.h, s.w, 0, s.left, (s.ow - 1) * s.stride_w + reach_w, m, 0, 0, 0, 0, nullptr};
  Phase forward{0, 1, s.ow, s.stride_w, 0, {}, {}};
  long block, blocks, strips, rows;

  // A unit of work: a block of channels from c0 on, an image, rows [begin, end) of the output, memory of its thread.
  struct Unit {
    long b, c0, channels, image, begin, end, lane;
    float* memory;
  };

  // `rows` of output are made at a time; `more` floats for each channel are needed beside the ring.
  Depthwise(ffi::ThreadPool& pool, const Shape& shape, long rows, long more) : s(shape), rows(rows) {
    for (long t = 0; t < s.kw; ++t) {
      forward.taps.push_back(t);
      forward.offsets.push_back(t * s.dilation_w);
    }
    input.slots = std::max(1L, std::min(s.h, (rows - 1) * s.stride_h + reach_h));
    long unit = W * m, whole = round_up(s.o, unit);
    long fitting = std::clamp<long>(256 * 1024 / 4 / (input.size() + more), 32, 256) / unit * unit;
    block = round_up(evenly(whole, std::max(fitting, unit), 1), unit);
    blocks = (whole + block - 1) / block;
    strips = threads(pool) == 1 ? 1 : std::max(1L, std::min(s.oh / 8, 4 * threads(pool) / (s.n * blocks)));
  }

  // Calls f(unit) for all units, with memory of `floats` for each channel, which was zero for a lane's first one.
  template <class F>
  void run(ffi::ThreadPool& pool, long floats, const F& f) const {
    std::vector<char> ready(lanes(pool));
    parallel(pool, s.n * blocks * strips, [&](long i, long lane) {
      static thread_local Scratch scratch;
      float* memory = scratch.get(floats * block);
      if (!std::exchange(ready[lane], 1)) std::fill_n(memory, floats * block, 0.f);
      long b = i % blocks, strip = i / blocks % strips, c0 = b * block;
      f(Unit{b, c0, std::min(block, s.o - c0), i / blocks / strips, s.oh * strip / strips,
             s.oh * (strip + 1) / strips, lane, memory});
    });
  }

  // The ring of a unit.
  Ring of(const Unit& u, const Ring& r, float* to) const {
    return {r.h, r.w, r.slots, r.margin, r.columns, r.times, block, u.image, u.c0 / r.times, u.channels / r.times, to};
  }

  // The kernel as [block][kh][kw][channel], the taps of each row in the order of the phases.
  void pack(const T* kernel, const std::vector<Phase>& phases, float* out) const {
    for (long b = 0; b < blocks; ++b)
      for (long i = 0; i < s.kh; ++i)
        for (const Phase& p : phases)
          for (long t : p.taps)
            for (long c = 0; c < block; c += W, out += W) {
              long n = s.o - b * block - c;
              store(out, n > 0 ? load(kernel + (i * s.kw + t) * s.o + b * block + c, n) : Vec{});
            }
  }
};

template <class T>
void depthwise_forward(ffi::ThreadPool& pool, const Shape& s, const Source<T>& x, const T* kernel, T* y,
                       float* moments) {
  const Depthwise<T> d(pool, s, 1, s.kh * s.kw);
  const long block = d.block;
  static thread_local Scratch packed;
  float* taps = packed.get(d.blocks * s.kh * s.kw * block);
  d.pack(kernel, {d.forward}, taps);
  Moments sums(moments ? lanes(pool) : 0, d.blocks * block);
  d.run(pool, d.input.size(), [&](const auto& u) {
    static thread_local std::vector<Line> lines;
    Ring ring = d.of(u, d.input, u.memory);
    for (long r = u.begin; r < u.end; ++r) {
      long top = r * s.stride_h - s.top;
      ring.read(x, top, std::min(s.h, top + d.reach_h), s.stride_h);
      lines.clear();
      for (long i = 0; i < s.kh; ++i) {
        long row = top + i * s.dilation_h;
        if (row >= 0 && row < s.h) lines.push_back({ring.row(row), taps + (u.b * s.kh + i) * s.kw * block});
      }
      T* out = y + (u.image * s.oh + r) * s.ow * s.o + u.c0;
      auto emit = [=, &sums, &u, o = s.o, row = s.ow * s.o](long c, long q, const Vec* v, auto n) {
        for (int i = 0; i < n(); ++i) {
          store(out + (q + i) * o + c, v[i], u.channels - c);
          __builtin_prefetch(out + (q + i) * o + row + c, 1);
        }
        if (moments) sums.add(u.lane, u.c0 + c, (const float*)v, W, n());
      };
      correlate(d.forward, lines, block, u.channels, emit);
    }
  });
  if (moments) sums.finish(moments, s.o, [](long c) { return c; });
}

template <class T>
void depthwise_backward(ffi::ThreadPool& pool, const Shape& s, const Source<T>& x, const T* kernel,
                        const Source<T>& gradient, T* dx, T* dkernel, float* dfold) {
  const long taps = s.kh * s.kw, reach_h = (s.kh - 1) * s.dilation_h + 1, reach_w = (s.kw - 1) * s.dilation_w + 1;
  const long rows = std::max(1L, std::min(s.oh, 32 / s.ow));
  // Column w of the input meets tap j at column (w + left - j * dilation) / stride of dy.
  const long margin = std::max(0L, (reach_w - 1 - s.left + s.stride_w - 1) / s.stride_w);
  const long columns = margin + std::max(s.ow, (s.w - 1 + s.left) / s.stride_w + 1);
  Ring dy{s.oh, s.ow, std::min(s.oh, rows + (reach_h - 1) / s.stride_h), margin, columns, 1, 0, 0, 0, 0, nullptr};
  const Depthwise<T> d(pool, s, rows, dy.size() + s.w + 2 * taps);
  const long m = d.m, block = d.block, inputs = d.blocks * block / m;
  std::vector<Phase> phases;
  for (long first = 0, start = 0; first < s.stride_w; ++first) {
    Phase p{first, s.stride_w, (s.w - first + s.stride_w - 1) / s.stride_w, 1, start, {}, {}};
    for (long j = s.kw - 1; j >= 0; --j) {
      long column = first + s.left - j * s.dilation_w + dy.margin * s.stride_w;
      if (column % s.stride_w) continue;
      p.taps.push_back(j);
      p.offsets.push_back(column / s.stride_w);
    }
    start += p.taps.size();
    phases.push_back(p);
  }
  const long count = lanes(pool);
  static thread_local Scratch packed, totals;
  float* turned = packed.get(d.blocks * taps * block);
  d.pack(kernel, phases, turned);
  const long own = d.blocks * taps * block + 3 * inputs;  // sums of a lane: of taps, then of fold
  float* sums = totals.get(count * own);
  std::fill_n(sums, count * own, 0.f);

  d.run(pool, d.input.size() + dy.size() + s.w, [&](const auto& u) {
    static thread_local std::vector<Line> lines;
    Ring in = d.of(u, d.input, u.memory), out = d.of(u, dy, in.data + in.size() * block);
    float* dv = out.data + out.size() * block;
    float *kernel_sums = sums + u.lane * own + u.b * taps * block;
    float *fold_sums = sums + u.lane * own + d.blocks * taps * block + u.c0 / m;
    // The strip's share of dx ends before the first row that meets the next strip's dy.
    auto edge = [&](long r) { return r == s.oh ? s.h : r ? std::clamp(r * s.stride_h - s.top, 0L, s.h) : 0; };
    long row = edge(u.begin);
    for (long r0 = u.begin; r0 < u.end; r0 += rows) {
      long r1 = std::min(u.end, r0 + rows), top = r0 * s.stride_h - s.top;
      in.read(x, top, std::min(s.h, (r1 - 1) * s.stride_h - s.top + reach_h), rows * s.stride_h);
      out.read(gradient, r0 - (reach_h - 1) / s.stride_h, r1, rows);
      for (long i = 0; i < s.kh; ++i) {
        lines.clear();
        for (long r = r0; r < r1; ++r) {
          long met = r * s.stride_h - s.top + i * s.dilation_h;
          if (met >= 0 && met < s.h) lines.push_back({in.row(met), out.row(r) + out.margin * block});
        }
        with_taps(d.forward, [&](auto k, auto stride) {
          multiply_rows<k(), stride()>(d.forward, lines, block, u.channels, kernel_sums + i * s.kw * block);
        });
      }
      if (!dx && !dfold) continue;
      for (long last = edge(r1); row < last; ++row) {
        lines.clear();
        for (long i = 0; i < s.kh; ++i) {
          long met = row + s.top - i * s.dilation_h;
          if (met >= 0 && met % s.stride_h == 0 && met / s.stride_h < s.oh)
            lines.push_back({out.row(met / s.stride_h), turned + (u.b * s.kh + i) * s.kw * block});
        }
        for (const Phase& p : phases)
          correlate(p, lines, block, u.channels, [=, step = p.step * block](long c, long q, const Vec* v, auto n) {
            for (int i = 0; i < n(); ++i) store(dv + q * block + i * step + c, v[i]);
          });
        for (long q = 0; m > 1 && q < s.w; ++q)
          for (long c = 0; c < block / m; ++c) {
            const float* from = dv + q * block + c * m;
            dv[q * block + c] = std::accumulate(from, from + m, 0.f);
          }
        for (long q = 0; q < s.w; q += 16)  // few columns, which lie in cache for all channels
          x.unfold(dv + q * block, block, [at = (u.image * s.h + row) * s.w + q](long i) { return at + i; },
                   std::min(16L, s.w - q), u.c0 / m, u.channels / m, dx, fold_sums, inputs, s.w);
      }
    }
  });

  for (long t = 0; t < taps; ++t)
    for (long c = 0; c < s.o; c += W)
      store(dkernel + t * s.o + c, total(sums + (c / block * taps + t) * block + c % block, count, own), s.o - c);
  for (long i = 0; dfold && i < 3; ++i)
    for (long c = 0; c < s.c; c += W)
      store(dfold + i * s.c + c, total(sums + own + (i - 3) * inputs + c, count, own), s.c - c);
}

}  // namespace jsep

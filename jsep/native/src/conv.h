// Convolutions of any kernel size, stride, dilation and number of groups, as products of small tiles.
//
// A unit of work is some rows of an image, or some whole images. What its products read is written to a worker's own
// memory first, as float32: the folded input with zeros around it, or the gradient of the output. Products then take
// the positions of a tile from anywhere in it, so that strides, small maps and borders all come down to offsets.
#pragma once
#include <numeric>

#include "common.h"

namespace jsep {

// ---- products

constexpr int TILE = W == 16 ? 12 : 6;  // rows of a product; fewer go in steps of a third
constexpr int STEP = TILE / 3;
constexpr int PANEL = 2 * W;  // columns

// One tap: product's rows of a, and b[K][columns].
struct Segment {
  const float *a, *b;
};

// c[r][j] (+)= the sum over segments and k of a[rows[r] + k * a_step] * b[k * b_step + j]; ADJACENT: rows[r] = rows[0] + r.
template <int M, int N, bool ADJACENT>
void product(const Segment* segments, long count, const int32_t* rows, long K, long a_step, long b_step, bool add,
             float* c, long c_step) {
  Vec sums[M][N];
#pragma GCC unroll 12
  for (int r = 0; r < M; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < N; ++j) sums[r][j] = add ? load(c + r * c_step + j * W) : Vec{};
  for (const Segment* s = segments; s < segments + count; ++s) {
    const float *b = s->b, *a[M];
#pragma GCC unroll 12
    for (int r = 0; r < M; ++r) a[r] = s->a + (ADJACENT ? rows[0] + r : rows[r]);
    for (long k = 0, i = 0; k < K; ++k, i += a_step, b += b_step) {
      Vec columns[N];
#pragma GCC unroll 2
      for (int j = 0; j < N; ++j) columns[j] = load(b + j * W);
#pragma GCC unroll 12
      for (int r = 0; r < M; ++r) {
        Vec value = splat(a[r][i]);
#pragma GCC unroll 2
        for (int j = 0; j < N; ++j) sums[r][j] += value * columns[j];
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < M; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < N; ++j) store(c + r * c_step + j * W, sums[r][j]);
}

// Makes one segment of those that go on where the one before ends, or that have one row each.
inline void join(const std::vector<Segment>& s, long* count, long* K, long* a_step, long* b_step) {
  if (*count < 2) return;
  long a = s[1].a - s[0].a, b = s[1].b - s[0].b;
  if (*K > 1 && (a != *K * *a_step || b != *K * *b_step)) return;
  for (long i = 2; i < *count; ++i)
    if (s[i].a - s[i - 1].a != a || s[i].b - s[i - 1].b != b) return;
  if (*K == 1) *a_step = a, *b_step = b;
  *K *= *count;
  *count = 1;
}

using Product = decltype(&product<TILE, 2, false>);

// The product for up to TILE rows and up to PANEL columns.
template <bool ADJACENT>
Product product_of(long rows, long columns) {
  static constexpr Product table[3][2] = {
      {product<STEP, 1, ADJACENT>, product<STEP, 2, ADJACENT>},
      {product<2 * STEP, 1, ADJACENT>, product<2 * STEP, 2, ADJACENT>},
      {product<TILE, 1, ADJACENT>, product<TILE, 2, ADJACENT>}};
  return table[(rows - 1) / STEP][columns > W];
}

// The columns of a product in panels, none of which spans two groups.
struct Panels {
  long groups, columns, each;  // columns and panels of a group
  Panels(long groups, long columns) : groups(groups), columns(columns), each((columns + PANEL - 1) / PANEL) {}
  long count() const { return groups * each; }
  long group(long p) const { return p / each; }
  long column(long p) const { return group(p) * columns + p % each * PANEL; }
  long width(long p) const { return std::min<long>(PANEL, columns - p % each * PANEL); }
  long step(long p) const { return width(p) > W ? PANEL : W; }  // from one row of a panel to the next
  // Sums for padded columns, three of them for each: writes those of every column to out[3][columns].
  void compact(const float* padded, float* out) const {
    for (long i = 0; i < 3; ++i)
      for (long p = 0; p < count(); ++p)
        std::copy_n(padded + (i * count() + p) * PANEL, width(p), out + i * groups * columns + column(p));
  }
};

// ---- a kernel in panels

inline float single(float v) { return v; }
inline float single(bf16 v) {
  uint32_t bits = (uint32_t)v.bits << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

// [panel][tap][K][step]: of the kernel itself (K: input channels of a group), or of its transpose (K: output channels).
struct Packed : Panels {
  long taps, K;
  float* data;
  const float* panel(long p) const { return data + p * taps * K * PANEL; }

  template <class T>
  Packed(ffi::ThreadPool& pool, const Shape& s, const T* kernel, bool transposed, Scratch& memory)
      : Panels(s.groups, (transposed ? s.c : s.o) / s.groups), taps(s.kh * s.kw),
        K((transposed ? s.o : s.c) / s.groups), data(memory.get(count() * taps * K * PANEL + PANEL)) {
    parallel(pool, count(), [&](long p, int) {
      long n = width(p), to = step(p);
      float* out = data + p * taps * K * PANEL;
      if (transposed) {
        for (long t = 0; t < taps; ++t, out += K * to) {
          const T* from = kernel + (t * columns + p % each * PANEL) * s.o + group(p) * K;
          for (long k = 0; k < K; ++k)
            for (long j = 0; j < to; ++j) out[k * to + j] = j < n ? single(from[j * s.o + k]) : 0;
        }
        return;
      }
      for (long k = 0; k < taps * K; ++k, out += to)
        for (long j = 0; j < to; j += W) store(out + j, load(kernel + k * s.o + column(p) + j, n - j));
    });
  }
};

// ---- units of work

// Images [image, image + images) and their rows [row, row + rows); with several images all rows.
struct Unit {
  long image, images, row, rows;
};

struct Units {
  long n, h, images, rows, strips;
  // `row_floats`, `halo_floats`: memory that a row takes, and what an image or strip takes besides its rows.
  Units(ffi::ThreadPool& pool, long n, long h, long multiple, long row_floats, long halo_floats) : n(n), h(h) {
    constexpr long memory = 49152;
    long threads = std::max<int64_t>(1, pool.num_threads());
    rows = std::max<long>(1, std::min(h, (memory - halo_floats) / row_floats));
    if (n < 3 * threads && threads > 1) rows = std::min(rows, std::max<long>(h * n / (3 * threads), 1));
    rows = std::max(multiple, rows / multiple * multiple);
    if (rows > h - multiple) rows = h;
    strips = rows ? (h + rows - 1) / rows : 0;
    images = strips > 1 ? 1 : std::max<long>(1, memory / std::max<long>(1, h * row_floats + halo_floats));
    images = std::min(images, std::max<long>(1, n / (3 * threads)));
  }
  long count() const { return (n + images - 1) / images * strips; }
  Unit operator[](long i) const {
    long image = i / strips * images, row = i % strips * rows;
    return {image, std::min(images, n - image), row, std::min(rows, h - row)};
  }
};

// What a worker has of an image: rows and columns `step` apart as float32, with zeros outside of it.
struct Window {
  long rows, columns, step_h, step_w, channels;  // channels: floats from one position to the next
  long size() const { return rows * columns * channels; }
  long at(long image, long i, long j) const { return ((image * rows + i) * columns + j) * channels; }

  // write(position, count, out) writes the run of `count` positions of h x w images from the given one, step_w apart.
  template <class F>
  void fill(const Unit& u, long rows, long row, long column, long h, long w, float* out, const F& write) const {
    long begin = column < 0 ? std::min(columns, (-column + step_w - 1) / step_w) : 0;
    long end = w > column ? std::max(begin, std::min(columns, (w - column + step_w - 1) / step_w)) : begin;
    for (long image = u.image; image < u.image + u.images; ++image) {
      if (columns == w && !column && step_w == 1 && step_h == 1 && row >= 0 && row + rows <= h) {
        write((image * h + row) * w, rows * w, out);
        out += rows * w * channels;
        continue;
      }
      for (long i = 0, r = row; i < rows; ++i, r += step_h, out += columns * channels) {
        bool inside = r >= 0 && r < h;
        long from = inside ? begin : columns, to = inside ? end : columns;
        memset(out, 0, from * channels * sizeof(float));
        if (from < to) write((image * h + r) * w + column + from * step_w, to - from, out + from * channels);
        memset(out + to * channels, 0, (columns - to) * channels * sizeof(float));
      }
    }
  }
};

// Floats of a position in a window: whole vectors, and no multiple of 512 bytes, which would meet in few cache lines.
inline long pitch(long channels) {
  long whole = round_up(channels, W);
  return whole % 128 ? whole : whole + W;
}

// Positions of a unit that meet the same taps: all of them forward; backward those with the same rest by the strides.
// The order is that of the positions, so that a unit with fewer rows or images has the first ones.
struct Lattice {
  struct Tap {
    long index, offset;
  };
  std::vector<Tap> taps;         // what to add for each tap
  std::vector<int32_t> at, out;  // offset of a position in the window, and number of its output in the unit
};

// Multiplies `positions` of a lattice by the panels [first, last) and gives every tile to
// finish(tile, rows, numbers of their outputs, panel, its first column, its width).
template <class T, class F>
void multiply(const Packed& kernel, const Lattice& lattice, const float* window, long positions, long first, long last,
              T* out, long channels, const F& finish) {
  alignas(64) float tile[TILE * PANEL];
  std::vector<Segment> segments(lattice.taps.size());
  for (long p = first; p < last; ++p) {
    long step = kernel.step(p), column = kernel.column(p), width = kernel.width(p);
    for (size_t i = 0; i < segments.size(); ++i)
      segments[i] = {window + lattice.taps[i].offset + kernel.group(p) * kernel.K,
                     kernel.panel(p) + lattice.taps[i].index * kernel.K * step};
    for (long m = 0; m < positions; m += TILE) {
      long rows = std::min<long>(TILE, positions - m);
      int32_t at[TILE];
      for (long r = 0; out && r < rows; ++r)
        for (long j = 0; j < width; j += W) __builtin_prefetch(out + lattice.out[m + r] * channels + column + j, 1);
      for (long r = 0; r < TILE; ++r) at[r] = lattice.at[m + std::min(r, rows - 1)];
      product_of<false>(rows, step)(segments.data(), segments.size(), at, kernel.K, 1, step, false, tile, PANEL);
      finish(tile, rows, &lattice.out[m], p, column, width);
    }
  }
}

// A convolution by a 1 x 1 kernel that reads every position once has one column only.
inline Shape flattened(Shape s) {
  if (s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && !s.top && !s.left && s.oh == s.h && s.ow == s.w) {
    s.h = s.oh = s.n * s.h * s.w;
    s.n = s.w = s.ow = 1;
  }
  return s;
}
inline bool flat(const Shape& s) { return s.n == 1 && s.w == 1 && s.ow == 1 && s.kh == 1 && s.kw == 1; }

// ---- forward

template <class T>
void conv_forward(ffi::ThreadPool& pool, const Shape& shape, const T* x, const T* kernel, const Fold& fold, T* y,
                  float* moments) {
  Shape s = flattened(shape);
  if (!s.outputs()) {
    if (moments) std::fill_n(moments, 3 * s.o, 0.f);
    return;
  }
  long step_h = s.kh == 1 ? s.stride_h : std::gcd(s.stride_h, s.dilation_h);
  long step_w = s.kw == 1 ? s.stride_w : std::gcd(s.stride_w, s.dilation_w);
  long stride_h = s.stride_h / step_h, dilation_h = s.dilation_h / step_h;  // inside the window
  long stride_w = s.stride_w / step_w, dilation_w = s.dilation_w / step_w;
  long more = (s.kh - 1) * dilation_h + 1 - stride_h;
  Window window{0, (s.ow - 1) * stride_w + (s.kw - 1) * dilation_w + 1, step_h, step_w, pitch(s.c)};
  long row = window.columns * window.channels;
  Units units(pool, s.n, s.oh, flat(s) ? TILE : 1, stride_h * row, more * row);
  window.rows = units.rows * stride_h + more;

  Lattice lattice;
  for (long i = 0; i < s.kh; ++i)
    for (long j = 0; j < s.kw; ++j)
      lattice.taps.push_back({i * s.kw + j, window.at(0, i * dilation_h, j * dilation_w)});
  for (long image = 0; image < units.images; ++image)
    for (long i = 0; i < units.rows; ++i)
      for (long j = 0; j < s.ow; ++j) {
        lattice.at.push_back(window.at(image, i * stride_h, j * stride_w));
        lattice.out.push_back(lattice.out.size());
      }

  static thread_local Scratch packed;
  Packed panels(pool, s, kernel, false, packed);
  Moments sums(max_workers(pool), panels.count() * PANEL, PANEL);
  long wanted = 3 * std::max<int64_t>(1, pool.num_threads());
  long split = units.count() >= wanted || pool.num_threads() < 2
                   ? 1 : std::min(panels.count(), (wanted + units.count() - 1) / std::max<long>(1, units.count()));
  parallel(pool, units.count() * split, [&](long i, int worker) {
    static thread_local Scratch memory;
    Unit u = units[i / split];
    float* a = memory.get(u.images * window.size());
    window.fill(u, u.rows * stride_h + more, u.row * s.stride_h - s.top, -s.left, s.h, s.w, a,
                [&](long position, long count, float* to) {
      fold_rows(x + position * s.c, step_w * s.c, to, window.channels, count, s.c, fold);
    });
    T* out = y + (u.image * s.oh + u.row) * s.ow * s.o;
    multiply(panels, lattice, a, u.images * u.rows * s.ow, i % split * panels.count() / split,
             (i % split + 1) * panels.count() / split, out, s.o,
             [&](const float* tile, long rows, const int32_t* positions, long p, long column, long width) {
      T* to = out + positions[0] * s.o + column;
      float *shift = sums.shift(worker, p * PANEL), *sum = sums.sum(worker, p * PANEL), *square = sums.square(worker, p * PANEL);
      bool begun = sums.begun(worker, p * PANEL);
      for (long j = 0; j < width; j += W) {
        if (moments) {
          Vec total{}, squares{};
          if (!begun) {
            for (long r = 0; r < rows; ++r) total += load(tile + r * PANEL + j);
            store(shift + j, total * (1.f / rows));
            total = Vec{};
          }
          Vec about = load(shift + j);
          for (long r = 0; r < rows; ++r) {
            Vec v = load(tile + r * PANEL + j), d = v - about;
            total += d;
            squares += d * d;
          }
          store(sum + j, load(sum + j) + total);
          store(square + j, load(square + j) + squares);
        }
        for (long r = 0; r < rows; ++r) store(to + r * s.o + j, load(tile + r * PANEL + j), width - j);
      }
      if (moments) sums.count(worker, p * PANEL, rows);
    });
  });
  if (moments) {
    std::vector<float> padded(3 * panels.count() * PANEL);
    sums.finish(padded.data());
    panels.compact(padded.data(), moments);
  }
}

// ---- backward

// Along one axis: input i and output r meet at tap t where r * stride - before + t * dilation = i. Backward, the inputs
// that leave `rest` by the stride meet some of the taps only, and their outputs are i / stride + shift(rest, t).
struct Axis {
  long in, out, k, stride, before, dilation, low = 0, high = 0;  // least and greatest shift
  Axis(long in, long out, long k, long stride, long before, long dilation)
      : in(in), out(out), k(k), stride(stride), before(before), dilation(dilation) {
    for (long rest = 0, first = 1; rest < stride; ++rest)
      for (long t = 0; t < k; ++t)
        if (meets(rest, t)) {
          low = first ? shift(rest, t) : std::min(low, shift(rest, t));
          high = first ? shift(rest, t) : std::max(high, shift(rest, t));
          first = 0;
        }
  }
  bool meets(long rest, long t) const { return (rest + before - t * dilation) % stride == 0; }
  long shift(long rest, long t) const { return (rest + before - t * dilation) / stride; }
  long input(long r, long t) const { return r * stride - before + t * dilation; }
  // The first output of tap t whose input is at or after i.
  long first(long i, long t) const {
    long a = i + before - t * dilation;
    return std::max<long>(0, std::min(out, a > 0 ? (a + stride - 1) / stride : 0));
  }
  long outputs(long inputs) const { return (inputs + stride - 1) / stride + high - low; }  // that `inputs` of them meet
};

template <class T>
void conv_backward(ffi::ThreadPool& pool, const Shape& shape, const T* x, const T* kernel, const Fold& fold,
                   const OutputGradient<T>& gradient, T* dx, T* dkernel, float* dfold) {
  Shape s = flattened(shape);
  if (!s.outputs() || !s.inputs()) {
    if (dx) std::fill_n(dx, s.inputs() * s.c, T{});
    if (dfold) std::fill_n(dfold, 3 * s.c, 0.f);
    std::fill_n(dkernel, s.kh * s.kw * s.c / s.groups * s.o, T{});
    return;
  }
  Axis v(s.h, s.oh, s.kh, s.stride_h, s.top, s.dilation_h), h(s.w, s.ow, s.kw, s.stride_w, s.left, s.dilation_w);
  Window given{0, h.outputs(s.w), 1, 1, pitch(s.o)}, read{0, s.w, 1, 1, pitch(s.c)};
  long row = given.columns * given.channels;
  Units units(pool, s.n, s.h, (flat(s) ? TILE : 1) * s.stride_h, row / s.stride_h + 1 + read.columns * read.channels,
              row * v.outputs(0));
  given.rows = v.outputs(units.rows);
  read.rows = units.rows;

  std::vector<Lattice> lattices(s.stride_h * s.stride_w);
  for (long image = 0; image < units.images; ++image)
    for (long i = 0; i < units.rows; ++i)
      for (long j = 0; j < s.w; ++j) {
        Lattice& l = lattices[i % s.stride_h * s.stride_w + j % s.stride_w];
        l.at.push_back(given.at(image, i / s.stride_h, j / s.stride_w));
        l.out.push_back((image * units.rows + i) * s.w + j);
      }
  for (long i = 0; i < s.kh; ++i)
    for (long j = 0; j < s.kw; ++j)
      for (long a = 0; a < s.stride_h; ++a)
        for (long b = 0; b < s.stride_w; ++b)
          if (v.meets(a, i) && h.meets(b, j))
            lattices[a * s.stride_w + b].taps.push_back(
                {i * s.kw + j, given.at(0, v.shift(a, i) - v.low, h.shift(b, j) - h.low)});

  static thread_local Scratch packed;
  int workers = max_workers(pool);
  long taps = s.kh * s.kw, depth = s.c / s.groups, padded = round_up(depth, STEP);
  Panels outputs(s.groups, s.o / s.groups);
  long items = outputs.count() * taps, item = padded * PANEL;  // a tap of a panel's outputs: [padded][PANEL]
  bool copies = workers * items * item <= 4 << 20;  // every worker has its own sums; else each sums some of the items
  std::vector<float> kernels((copies ? workers : 1) * items * item);

  auto prepare = [&](const Unit& u, Scratch& memory, bool inputs) -> std::pair<float*, float*> {
    float* from = memory.get(units.images * (given.size() + read.size()) + 2 * PANEL);
    float* to = from + units.images * given.size() + PANEL;
    given.fill(u, v.outputs(u.rows), u.row / s.stride_h + v.low, h.low, s.oh, s.ow, from,
               [&](long position, long count, float* to) {
      for (; count > 0; --count, to += given.channels) gradient.row(position++, to, s.o);
    });
    if (inputs)
      read.fill(u, u.rows, u.row, 0, s.h, s.w, to, [&](long position, long count, float* to) {
        fold_rows(x + position * s.c, s.c, to, read.channels, count, s.c, fold);
      });
    return {from, to};
  };

  // Adds a unit to items [first, last) of the kernel's gradient.
  auto add_kernel = [&](const Unit& u, const float* g, const float* inputs, long first, long last, float* sums) {
    std::vector<Segment> segments;
    for (long q = first; q < last; ++q) {
      long p = q / taps, i = q % taps / s.kw, j = q % taps % s.kw, group = outputs.group(p);
      long r0 = v.first(u.row, i), r1 = v.first(u.row + u.rows, i), c0 = h.first(0, j), c1 = h.first(s.w, j);
      long K = c1 - c0, a_step = s.stride_w * read.channels;
      if (K <= 0 || r1 <= r0) continue;
      segments.clear();
      for (long image = 0; image < u.images; ++image)
        for (long r = r0; r < r1; ++r)
          segments.push_back({inputs + read.at(image, v.input(r, i) - u.row, h.input(c0, j)) + group * depth,
                              g + given.at(image, r - u.row / s.stride_h - v.low, c0 - h.low) + outputs.column(p)});
      long count = segments.size(), b_step = given.channels;
      join(segments, &count, &K, &a_step, &b_step);
      for (int32_t c = 0; c < depth; c += TILE)
        product_of<true>(std::min<long>(TILE, depth - c), outputs.width(p))(
            segments.data(), count, &c, K, a_step, b_step, true, sums + q * item + c * PANEL, PANEL);
    }
  };

  Panels inputs(s.groups, depth);
  std::vector<float> folds(dfold ? workers * 3 * inputs.count() * PANEL : 0);
  auto add_input = [&](const Packed& panels, const Unit& u, const float* g, long first, long last, int worker) {
    long base = (u.image * s.h + u.row) * s.w * s.c;
    for (long a = 0; a < s.stride_h; ++a)
      for (long b = 0; b < s.stride_w; ++b) {
        long rows = std::max<long>(0, (u.rows - a + s.stride_h - 1) / s.stride_h);
        long positions = u.images * rows * std::max<long>(0, (s.w - b + s.stride_w - 1) / s.stride_w);
        multiply(panels, lattices[a * s.stride_w + b], g, positions, first, last, dx ? dx + base : dx, s.c,
                 [&](const float* tile, long rows, const int32_t* numbers, long p, long column, long width) {
          long length = panels.count() * PANEL;
          if (!fold) {
            for (long r = 0; r < rows; ++r)
              for (long j = 0; j < width; j += W)
                store(dx + base + numbers[r] * s.c + column + j, load(tile + r * PANEL + j), width - j);
            return;
          }
          float* sums = &folds[worker * 3 * length + p * PANEL];
          with_activation(fold.act, [&](auto act) {
            for (long j = 0; j < width; j += W) {
              long n = width - j, c = column + j;
              Vec mean = load(fold.mean + c, n), factor = load(fold.factor + c, n), bias = load(fold.bias + c, n);
              Vec slope = act() == PRELU ? load(fold.slope + c, n) : Vec{}, factors{}, biases{}, slopes{};
              for (long r = 0; r < rows; ++r) {
                long where = base + numbers[r] * s.c + c;
                Vec d = load(tile + r * PANEL + j), from = load(x + where, n) - mean, value = from * factor + bias;
                if (act() == PRELU) slopes += value < 0 ? d * value : Vec{};
                d = activation_gradient<act()>(value, slope, d);
                factors += d * from;
                biases += d;
                if (dx) store(dx + where, d * factor, n);
              }
              store(sums + j, load(sums + j) + factors);
              store(sums + length + j, load(sums + length + j) + biases);
              if (act() == PRELU) store(sums + 2 * length + j, load(sums + 2 * length + j) + slopes);
            }
          });
        });
      }
  };
  bool wanted = dx || dfold;
  static thread_local Scratch transposed;
  std::unique_ptr<Packed> panels;
  if (wanted) panels = std::make_unique<Packed>(pool, s, kernel, true, transposed);
  if (copies) {
    parallel(pool, units.count(), [&](long i, int worker) {
      static thread_local Scratch memory;
      auto [g, in] = prepare(units[i], memory, true);
      if (wanted) add_input(*panels, units[i], g, 0, panels->count(), worker);
      add_kernel(units[i], g, in, 0, items, &kernels[worker * items * item]);
    });
  } else {
    long threads = std::max<int64_t>(1, pool.num_threads());
    long split = std::min(inputs.count(), threads > 1 ? 3 * threads / std::max<long>(1, units.count()) + 1 : 1);
    if (wanted)
      parallel(pool, units.count() * split, [&](long i, int worker) {
        static thread_local Scratch memory;
        auto [g, in] = prepare(units[i / split], memory, false);
        add_input(*panels, units[i / split], g, i % split * inputs.count() / split,
                  (i % split + 1) * inputs.count() / split, worker);
      });
    long parts = std::min(items, threads > 1 ? 3 * threads : 1);
    parallel(pool, parts, [&](long part, int) {
      static thread_local Scratch memory;
      for (long i = 0; i < units.count(); ++i) {
        auto [g, in] = prepare(units[i], memory, true);
        add_kernel(units[i], g, in, part * items / parts, (part + 1) * items / parts, kernels.data());
      }
    });
  }
  parallel(pool, items, [&](long q, int) {
    long p = q / taps, width = outputs.width(p);
    for (long c = 0; c < depth; ++c)
      for (long j = 0; j < width; j += W) {
        Vec sum{};
        for (int i = 0; i < (copies ? workers : 1); ++i) sum += load(&kernels[(i * items + q) * item + c * PANEL + j]);
        store(dkernel + (q % taps * depth + c) * s.o + outputs.column(p) + j, sum, width - j);
      }
  });
  if (dfold) {
    long length = 3 * inputs.count() * PANEL;
    for (int i = 1; i < workers; ++i)
      for (long j = 0; j < length; ++j) folds[j] += folds[i * length + j];
    inputs.compact(folds.data(), dfold);
  }
}

}  // namespace jsep

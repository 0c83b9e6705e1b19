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

// c[r][j] (+)= the sum over segments and k of a[rows[r] + k * a_step] * b[k * b_step + j]; rows[r] = rows[0] + r
// where they are ADJACENT.
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

// Every second value from a, every second from b, beginning in their first or second half.
template <int FROM, int... I>
inline Vec interleave(Vec a, Vec b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (FROM + I / 2 + I % 2 * W)...);
}

inline void transpose(Vec (&rows)[W]) {
  constexpr auto all = std::make_integer_sequence<int, W>{};
  for (int i = 1; i < W; i *= 2) {
    Vec old[W];
    std::copy_n(rows, W, old);
#pragma GCC unroll 8
    for (int r = 0; r < W / 2; ++r) {
      rows[2 * r] = interleave<0>(old[r], old[r + W / 2], all);
      rows[2 * r + 1] = interleave<W / 2>(old[r], old[r + W / 2], all);
    }
  }
}

// The kernel itself (K: input channels of a group) or its transpose (K: output channels), of which a panel is
// packed as [tap][K][step].
template <class T>
struct Kernel : Panels {
  const T* kernel;
  bool transposed;
  long taps, K, row;  // row: from one input channel to the next
  Kernel(const Shape& s, const T* kernel, bool transposed)
      : Panels(s.groups, (transposed ? s.c : s.o) / s.groups), kernel(kernel), transposed(transposed),
        taps(s.kh * s.kw), K((transposed ? s.o : s.c) / s.groups), row(s.o) {}
  long size() const { return taps * K * PANEL; }  // floats of a panel

  void pack(long p, float* out) const {
    long n = width(p), to = step(p);
    if (!transposed) {
      for (long k = 0; k < taps * K; ++k, out += to)
        for (long j = 0; j < to; j += W) store(out + j, load(kernel + k * row + column(p) + j, n - j));
      return;
    }
    for (long t = 0; t < taps; ++t, out += K * to) {
      const T* from = kernel + (t * columns + p % each * PANEL) * row + group(p) * K;
      for (long k = 0; k < K; k += W)
        for (long j = 0; j < to; j += W) {
          Vec block[W];
          for (long i = 0; i < W; ++i) block[i] = i + j < n ? load(from + (i + j) * row + k, K - k) : Vec{};
          transpose(block);
          for (long i = 0; i < std::min<long>(W, K - k); ++i) store(out + (k + i) * to + j, block[i]);
        }
    }
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
    constexpr long memory = 98304;  // floats: 384 KiB, which a cache of second level holds
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

// Multiplies `positions` of a lattice by a packed panel and gives every tile to
// finish(tile, rows, numbers of their outputs, first column, width). `out` is where they will go, or null.
template <class T, class F>
void multiply(const Kernel<T>& kernel, const Lattice& lattice, const float* window, long positions, long p,
              const float* panel, const T* out, long channels, const F& finish) {
  alignas(64) float tile[TILE * PANEL];
  std::vector<Segment> segments;
  long step = kernel.step(p), column = kernel.column(p), width = kernel.width(p);
  for (auto& tap : lattice.taps)
    segments.push_back({window + tap.offset + kernel.group(p) * kernel.K, panel + tap.index * kernel.K * step});
  for (long m = 0; m < positions; m += TILE) {
    long rows = std::min<long>(TILE, positions - m);
    const int32_t *at = &lattice.at[m], *numbers = &lattice.out[m];
    for (long r = 0; out && r < rows; ++r)
      for (long j = 0; j < width; j += W) __builtin_prefetch(out + numbers[r] * channels + column + j, 1);
    int32_t last[TILE];
    if (rows < TILE) {
      for (long r = 0; r < TILE; ++r) last[r] = at[std::min(r, rows - 1)];
      at = last;
    }
    product_of<false>(rows, step)(segments.data(), segments.size(), at, kernel.K, 1, step, false, tile, PANEL);
    finish(tile, rows, numbers, column, width);
  }
}

// Whether workers had better share panels than units: those are few, or their input is smaller than the kernel.
inline bool by_panels(ffi::ThreadPool& pool, long units, long unit_floats, long panels, long panel_floats) {
  return units * unit_floats < panels * panel_floats || units < std::min<long>(2 * pool.num_threads(), panels);
}

// Has every unit prepared and every panel packed once, and all of them multiplied: add(unit, its memory, p, panel,
// worker). Each worker has some units and all panels, and calls each(unit, its memory, worker) at the end of one;
// or, `apart`, it has some panels and all units, and after(memory of all units) follows in the end.
template <class T, class Prepare, class Add, class Each, class After>
void run(ffi::ThreadPool& pool, const Units& units, const Kernel<T>& kernel, long unit_floats, bool apart,
         const Prepare& prepare, const Add& add, const Each& each, const After& after) {
  Scratch shared;
  if (apart) {
    float* all = shared.get(units.count() * unit_floats);
    parallel(pool, units.count(), [&](long i, int) { prepare(units[i], all + i * unit_floats); });
    parallel(pool, kernel.count(), [&](long p, int worker) {
      static thread_local Scratch memory;
      float* panel = memory.get(kernel.size());
      kernel.pack(p, panel);
      for (long i = 0; i < units.count(); ++i) add(units[i], all + i * unit_floats, p, panel, worker);
    });
    return after(all);
  }
  float* panels = shared.get(kernel.count() * kernel.size());
  parallel(pool, kernel.count(), [&](long p, int) { kernel.pack(p, panels + p * kernel.size()); });
  parallel(pool, units.count(), [&](long i, int worker) {
    static thread_local Scratch memory;
    float* own = memory.get(unit_floats);
    prepare(units[i], own);
    for (long p = 0; p < kernel.count(); ++p) add(units[i], own, p, panels + p * kernel.size(), worker);
    each(units[i], own, worker);
  });
}

// A convolution by a 1 x 1 kernel that reads every position once has one column only.
inline Shape flattened(Shape s) {
  if (s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && !s.top && !s.left && s.oh == s.h && s.ow == s.w) {
    s.h = s.oh = s.n * s.h * s.w;
    s.n = s.w = s.ow = 1;
  }
  return s;
}

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
  Units units(pool, s.n, s.oh, s.ow == 1 ? TILE : 1, stride_h * row, more * row);
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

  Kernel<T> panels(s, kernel, false);
  Moments sums(max_workers(pool), panels.count() * PANEL, PANEL);
  auto prepare = [&](const Unit& u, float* own) {
    window.fill(u, u.rows * stride_h + more, u.row * s.stride_h - s.top, -s.left, s.h, s.w, own,
                [&](long position, long count, float* to) {
      fold_rows(x + position * s.c, step_w * s.c, to, window.channels, count, s.c, fold);
    });
  };
  auto add = [&](const Unit& u, const float* own, long p, const float* panel, int worker) {
    T* out = y + (u.image * s.oh + u.row) * s.ow * s.o;
    multiply(panels, lattice, own, u.images * u.rows * s.ow, p, panel, out, s.o,
             [&](const float* tile, long rows, const int32_t* positions, long column, long width) {
      T* to = out + positions[0] * s.o + column;
      bool begun = sums.begun(worker, p * PANEL);
      for (long j = 0; j < width; j += W) {
        float* shift = sums.shift(worker, p * PANEL + j);
        if (moments && !begun) {
          Vec total{};
          for (long r = 0; r < rows; ++r) total += load(tile + r * PANEL + j);
          store(shift, total * (1.f / rows));
        }
        Vec about = load(shift), total{}, squares{};
        for (long r = 0; r < rows; ++r) {
          Vec v = load(tile + r * PANEL + j), d = v - about;
          total += d;
          squares += d * d;
          store(to + r * s.o + j, v, width - j);
        }
        float *sum = sums.sum(worker, p * PANEL + j), *square = sums.square(worker, p * PANEL + j);
        store(sum, load(sum) + total);
        store(square, load(square) + squares);
      }
      if (moments) sums.count(worker, p * PANEL, rows);
    });
  };
  long floats = units.images * window.size();
  bool apart = by_panels(pool, units.count(), floats, panels.count(), panels.size());
  run(pool, units, panels, floats, apart, prepare, add, [](auto...) {}, [](auto...) {});
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
  long out, stride, before, dilation, low, high;  // low, high: least and greatest shift
  Axis(long out, long k, long stride, long before, long dilation)
      : out(out), stride(stride), before(before), dilation(dilation), low(ceil(before - (k - 1) * dilation)),
        high(ceil(before)) {}
  long ceil(long i) const { return i > 0 ? (i + stride - 1) / stride : i / stride; }
  bool meets(long rest, long t) const { return (rest + before - t * dilation) % stride == 0; }
  long shift(long rest, long t) const { return (rest + before - t * dilation) / stride; }
  long input(long r, long t) const { return r * stride - before + t * dilation; }
  // The first output of tap t whose input is at or after i.
  long first(long i, long t) const { return std::max<long>(0, std::min(out, ceil(i + before - t * dilation))); }
  long outputs(long inputs) const { return ceil(inputs) + high - low; }  // how many `inputs` of them meet
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
  Axis v(s.oh, s.kh, s.stride_h, s.top, s.dilation_h), h(s.ow, s.kw, s.stride_w, s.left, s.dilation_w);
  Window given{0, h.outputs(s.w), 1, 1, pitch(s.o)}, read{0, s.w, 1, 1, pitch(s.c)};
  long row = given.columns * given.channels;
  Units units(pool, s.n, s.h, (s.w == 1 ? TILE : 1) * s.stride_h, row / s.stride_h + 1 + read.columns * read.channels,
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

  int workers = max_workers(pool);
  long taps = s.kh * s.kw, depth = s.c / s.groups, padded = round_up(depth, STEP);
  Panels outputs(s.groups, s.o / s.groups);
  Kernel<T> inputs(s, kernel, true);
  long inputs_at = units.images * given.size() + PANEL, floats = inputs_at + units.images * read.size() + PANEL;
  long items = outputs.count() * taps, item = padded * PANEL;  // a tap of a panel's outputs: [padded][PANEL]
  // Every worker has its own sums of the kernel's gradient, or sums some of the items.
  bool apart = workers * items * item > 4 << 20 ||
               by_panels(pool, units.count(), floats, inputs.count(), inputs.size());
  std::vector<float> kernels(apart ? 0 : workers * items * item);
  std::vector<float> folds(fold ? workers * 3 * inputs.count() * PANEL : 0);

  auto prepare = [&](const Unit& u, float* own) {
    given.fill(u, v.outputs(u.rows), u.row / s.stride_h + v.low, h.low, s.oh, s.ow, own,
               [&](long position, long count, float* to) {
      for (; count > 0; --count, to += given.channels) gradient.row(position++, to, s.o);
    });
    read.fill(u, u.rows, u.row, 0, s.h, s.w, own + inputs_at, [&](long position, long count, float* to) {
      fold_rows(x + position * s.c, s.c, to, read.channels, count, s.c, fold);
    });
  };

  // Adds a unit to an item of the kernel's gradient.
  auto add_kernel = [&](const Unit& u, const float* own, long q, float* sums, std::vector<Segment>& segments) {
    long p = q / taps, i = q % taps / s.kw, j = q % taps % s.kw;
    long r0 = v.first(u.row, i), r1 = v.first(u.row + u.rows, i), c0 = h.first(0, j), c1 = h.first(s.w, j);
    if (r0 >= r1 || c0 >= c1) return;
    const float *in = own + inputs_at + outputs.group(p) * depth, *g = own + outputs.column(p);
    segments.clear();
    for (long image = 0; image < u.images; ++image)
      for (long r = r0; r < r1; ++r)
        segments.push_back({in + read.at(image, v.input(r, i) - u.row, h.input(c0, j)),
                            g + given.at(image, r - u.row / s.stride_h - v.low, c0 - h.low)});
    long count = segments.size(), K = c1 - c0, a_step = s.stride_w * read.channels, b_step = given.channels;
    join(segments, &count, &K, &a_step, &b_step);
    for (int32_t c = 0; c < depth; c += TILE)
      product_of<true>(std::min<long>(TILE, depth - c), outputs.width(p))(
          segments.data(), count, &c, K, a_step, b_step, true, sums + c * PANEL, PANEL);
  };
  // Writes an item that lies in several parts.
  auto write_kernel = [&](long q, const float* sums, long parts, long part) {
    long p = q / taps, width = outputs.width(p);
    for (long c = 0; c < depth; ++c)
      for (long j = 0; j < width; j += W) {
        Vec sum{};
        for (long i = 0; i < parts; ++i) sum += load(sums + i * part + c * PANEL + j);
        store(dkernel + (q % taps * depth + c) * s.o + outputs.column(p) + j, sum, width - j);
      }
  };

  auto add_input = [&](const Unit& u, const float* own, long p, const float* panel, int worker) {
    if (!dx && !dfold) return;
    long base = (u.image * s.h + u.row) * s.w * s.c;
    for (long a = 0; a < s.stride_h; ++a)
      for (long b = 0; b < s.stride_w; ++b) {
        long positions = u.images * v.ceil(u.rows - a) * h.ceil(s.w - b);
        multiply(inputs, lattices[a * s.stride_w + b], own, positions, p, panel, dx ? dx + base : dx, s.c,
                 [&](const float* tile, long rows, const int32_t* numbers, long column, long width) {
          long length = inputs.count() * PANEL;
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
  run(pool, units, inputs, floats, apart, prepare, add_input,
      [&](const Unit& u, const float* own, int worker) {
    std::vector<Segment> segments;
    for (long q = 0; q < items; ++q) add_kernel(u, own, q, &kernels[(worker * items + q) * item], segments);
  },
      [&](const float* all) {
    parallel(pool, items, [&](long q, int) {
      static thread_local Scratch memory;
      std::vector<Segment> segments;
      float* sums = memory.get(item);
      std::fill_n(sums, item, 0.f);
      for (long i = 0; i < units.count(); ++i) add_kernel(units[i], all + i * floats, q, sums, segments);
      write_kernel(q, sums, 1, 0);
    });
  });
  if (!apart)
    parallel(pool, items, [&](long q, int) { write_kernel(q, &kernels[q * item], workers, items * item); });
  if (dfold) {
    long length = 3 * inputs.count() * PANEL;
    for (int i = 1; i < workers; ++i)
      for (long j = 0; j < length; ++j) folds[j] += folds[i * length + j];
    inputs.compact(folds.data(), dfold);
  }
}

}  // namespace jsep

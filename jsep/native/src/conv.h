// Convolutions of any kernel size, stride, dilation and number of groups, as products of small tiles.
//
// A unit of work is some rows of an image, or some whole images. What its products read is written to a thread's own
// memory first, as float32 or bfloat16: the folded input with zeros around it, or the gradient of the output. Products
// then take the positions of a tile from anywhere in it: strides, small maps and borders all come down to offsets.
#pragma once
#include <numeric>

#include "common.h"

namespace jsep {

constexpr int TILE = W == 16 ? 12 : 6;  // rows of a product; fewer go in steps of a third
constexpr int STEP = TILE / 3;
constexpr int PANEL = 2 * W;  // columns
template <class C>
constexpr bool MASKS = W == 16 && std::is_same_v<C, float>;  // part of a vector is stored as quickly as all of it

// What a product multiplies: floats; words of 32 bits with PAIRS of bfloat16, neighbours along K; or, MIXED, floats and
// single values of bfloat16.
enum Words { FLOATS, PAIRS, MIXED };

// One tap: product's rows of a, and b[K][columns].
struct Segment {
  const float *a, *b;
};

// c[r][j] (+)= the sum over segments and words k of a[rows[r] + k * a_step] * b[k * b_step + j]; rows of c are c_step
// apart, and `width` of their columns are written in MASKS.
template <int M, int N, Words A, class C>
void product(const Segment* segments, long count, const int32_t* rows, long K, long a_step, long b_step, bool add,
             C* c, long c_step, long width) {
  Vec sums[M][N];
  unrolled<M>([&](int r) {
    unrolled<N>([&](int j) { sums[r][j] = add ? load(c + r * c_step + j * W) : Vec{}; });
  });
  for (const Segment* s = segments; s < segments + count; ++s) {
    const float *b = s->b, *a[M];
    unrolled<M>([&](int r) { a[r] = s->a + rows[r]; });
    for (long k = 0, i = 0; k < K; ++k, i += a_step, b += b_step) {
      Vec columns[N];
      unrolled<N>([&](int j) { columns[j] = A == MIXED ? load((const bf16*)b + j * W) : load(b + j * W); });
      unrolled<M>([&](int r) {
        Vec value = splat(a[r][i]);
        unrolled<N>([&](int j) { sums[r][j] = add_product<A == PAIRS>(sums[r][j], value, columns[j]); });
      });
    }
  }
  unrolled<M>([&](int r) {
    unrolled<N>([&](int j) { store(c + r * c_step + j * W, sums[r][j], MASKS<C> && j == N - 1 ? width - j * W : W); });
  });
}

template <Words A, class C>
constexpr decltype(&product<TILE, 2, A, C>) PRODUCTS[3][2] = {
    {product<STEP, 1, A, C>, product<STEP, 2, A, C>},
    {product<2 * STEP, 1, A, C>, product<2 * STEP, 2, A, C>},
    {product<TILE, 1, A, C>, product<TILE, 2, A, C>}};

// The product for up to TILE rows and up to PANEL columns.
template <class C>
auto product_of(long rows, long columns, Words words) {
  auto& pairs = PRODUCTS<HAS_PAIRS ? PAIRS : FLOATS, C>;
  auto& mixed = PRODUCTS<HAS_PAIRS ? MIXED : FLOATS, C>;
  return (words == PAIRS ? pairs : words == MIXED ? mixed : PRODUCTS<FLOATS, C>)[(rows - 1) / STEP][columns > W];
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
  // The place of a column where panels lie side by side, each as PANEL columns.
  long padded(long c) const { return c / columns * each * PANEL + c % columns; }
};

// Interleaves rows of both halves until rows are columns; I counts to W.
template <int... I>
inline void transpose(Vec (&rows)[W], std::integer_sequence<int, I...>) {
  for (int i = 1; i < W; i *= 2) {
    Vec old[W];
    std::copy_n(rows, W, old);
    unrolled<W / 2>([&](int r) {
      rows[2 * r] = __builtin_shufflevector(old[r], old[r + W / 2], (I / 2 + I % 2 * W)...);
      rows[2 * r + 1] = __builtin_shufflevector(old[r], old[r + W / 2], (W / 2 + I / 2 + I % 2 * W)...);
    });
  }
}

// The kernel itself (K: input channels of a group) or its transpose (K: output channels), of which a panel is
// packed as [tap][depth][step], each a word of K.
template <class T>
struct Kernel : Panels {
  const T* kernel;
  bool transposed;
  long taps, K, row;  // row: from one input channel to the next
  bool paired;        // with the neighbour in the same group, or a zero
  long depth;
  Kernel(const Shape& s, const T* kernel, bool transposed)
      : Panels(s.groups, (transposed ? s.c : s.o) / s.groups), kernel(kernel), transposed(transposed),
        taps(s.kh * s.kw), K((transposed ? s.o : s.c) / s.groups), row(s.o),
        paired(HAS_PAIRS && std::is_same_v<T, bf16> && (groups == 1 || K % 2 == 0)), depth(paired ? (K + 1) / 2 : K) {}
  long size() const { return taps * depth * PANEL; }  // words of a panel

  void pack(long p, float* out) const {
    long n = width(p), to = step(p);
    auto put = [=](float* tap, long k, Vec v) {
      float* word = tap + (paired ? k / 2 : k) * to;
      if (paired) v = (Vec)(k % 2 ? (Bits)load(word) | (Bits)v : (Bits)v >> 16);
      store(word, v);
    };
    for (long t = 0; t < taps; ++t, out += depth * to) {
      for (long k = 0; !transposed && k < K; ++k)
        for (long j = 0; j < to; j += W) put(out + j, k, load(kernel + (t * K + k) * row + column(p) + j, n - j));
      const T* from = kernel + (t * columns + p % each * PANEL) * row + group(p) * K;
      for (long k = 0; transposed && k < K; k += W)
        for (long j = 0; j < to; j += W) {
          Vec block[W];
          for (long i = 0; i < W; ++i) block[i] = i + j < n ? load(from + (i + j) * row + k, K - k) : Vec{};
          transpose(block, std::make_integer_sequence<int, W>{});
          for (long i = 0; i < std::min<long>(W, K - k); ++i) put(out + j, k + i, block[i]);
        }
    }
  }
};

// Images [image, image + images) and their rows [row, row + rows); with several images all rows.
struct Unit {
  long image, images, row, rows;
};

struct Units {
  long n, h, images, rows, strips;
  // `row_floats`, `halo_floats`: memory that a row takes, and what an image or strip takes besides its rows.
  Units(ffi::ThreadPool& pool, long n, long h, long multiple, long row_floats, long halo_floats) : n(n), h(h) {
    constexpr long memory = 98304;  // floats: 384 KiB, which a cache of second level holds
    rows = std::max<long>(1, std::min(h, (memory - halo_floats) / row_floats));
    rows = evenly(h, rows, n && n < lanes(pool) ? (lanes(pool) + n - 1) / n : 1);
    rows = std::min(h, round_up(rows, multiple));
    strips = rows ? (h + rows - 1) / rows : 0;
    images = std::max<long>(1, strips > 1 ? 1 : memory / std::max<long>(1, h * row_floats + halo_floats));
    images = evenly(n, images, lanes(pool));
  }
  long count() const { return (n + images - 1) / images * strips; }
  Unit operator[](long i) const {
    long image = i / strips * images, row = i % strips * rows;
    return {image, std::min(images, n - image), row, std::min(rows, h - row)};
  }
};

// Words of a position in a window: whole vectors, and no multiple of 512 bytes, which would meet in few cache lines.
inline long pitch(long channels, bool paired) {
  long whole = round_up(channels, W) / (1 + paired);
  return whole % 128 ? whole : whole + W;
}

// What a unit has of an image: rows and columns `step` apart as float32 or pairs, with zeros outside of it.
struct Window {
  long rows, columns, step_h, step_w, channels;  // channels: words from one position to the next
  bool paired;
  long size() const { return rows * columns * channels; }
  long at(long image, long i, long j) const { return ((image * rows + i) * columns + j) * channels; }

  // Fills all images of a unit with `rows` rows from the given position on.
  template <class T>
  void fill(const Unit& u, long rows, long row, long column, long h, long w, const Source<T>& from, float* out) const {
    if (rows > 1 && columns == w && !column && step_w == 1 && step_h == 1 && row >= 0 && row + rows <= h)  // in one go
      return Window{1, rows * w, 1, 1, channels, paired}.fill(u, 1, 0, row * w, 1, h * w, from, out);
    long begin = column < 0 ? std::min(columns, (-column + step_w - 1) / step_w) : 0;
    long end = w > column ? std::max(begin, std::min(columns, (w - column + step_w - 1) / step_w)) : begin;
    for (long image = u.image; image < u.image + u.images; ++image)
      for (long i = 0, r = row; i < rows; ++i, r += step_h, out += columns * channels) {
        bool inside = r >= 0 && r < h;
        long first = inside ? begin : columns, last = inside ? end : columns;
        std::fill_n(out, first * channels, 0.f);
        auto read = [&](auto* to, long pitch) {
          from.read((image * h + r) * w + column + first * step_w, step_w, last - first, 0, from.channels, to, pitch);
        };
        paired ? read((bf16*)(out + first * channels), 2 * channels) : read(out + first * channels, channels);
        std::fill_n(out + last * channels, (columns - last) * channels, 0.f);
      }
  }
};

// Positions of a unit that meet the same taps: all of them forward; backward those with the same rest by the strides.
// The order is that of the positions, so that a unit with fewer rows or images has the first ones.
struct Lattice {
  std::vector<std::pair<long, long>> taps;  // number of each, and what to add to an offset
  std::vector<int32_t> at, out;  // offset of a position in the window, and number of its output in the unit
  void add(long from, long to) { at.push_back((int32_t)from), out.push_back((int32_t)to); }
  void finish() { at.resize(at.size() + TILE); }  // a product may have more rows than are left
};

// Multiplies `positions` of a lattice by a packed panel and gives every tile to
// finish(tile, its step, rows, numbers of their outputs, first column, width). `out` is where they will go, or null; if
// `direct` is the same and not null, a tile may be made there.
template <class T, class C, class F>
void multiply(const Kernel<T>& kernel, const Lattice& lattice, const float* window, long positions, long p,
              const float* panel, const T* out, long channels, C* direct, const F& finish) {
  alignas(64) float tile[TILE * PANEL];
  std::vector<Segment> segments;
  long step = kernel.step(p), column = kernel.column(p), width = kernel.width(p);
  for (auto [tap, offset] : lattice.taps)
    segments.push_back({window + offset + kernel.group(p) * kernel.depth, panel + tap * kernel.depth * step});
  for (long m = 0; m < positions; m += TILE) {
    long rows = std::min<long>(TILE, positions - m);
    const int32_t* numbers = &lattice.out[m];
    for (long r = 0; out && r < rows; ++r)
      for (long j = 0; j < width; j += W) __builtin_prefetch(out + numbers[r] * channels + column + j, 1);
    auto make = [&](auto* c, long c_step, long wide) {
      auto product = product_of<std::decay_t<decltype(*c)>>(rows, step, kernel.paired ? PAIRS : FLOATS);
      product(segments.data(), segments.size(), &lattice.at[m], kernel.depth, 1, step, false, c, c_step, wide);
      finish(c, c_step, rows, numbers, column, width);
    };
    bool fits = rows % STEP == 0 && (MASKS<C> || width % W == 0);
    direct && fits ? make(direct + numbers[0] * channels + column, channels, width) : make(+tile, PANEL, PANEL);
  }
}

// Whether threads had better share panels than units: those are few, or their input is smaller than the kernel.
template <class T>
bool by_panels(ffi::ThreadPool& pool, long units, long unit_floats, const Kernel<T>& kernel) {
  return units * unit_floats < kernel.count() * kernel.size() ||
         units < std::min(2 * threads(pool), kernel.count());
}

// Has every unit prepared and every panel packed once, and all of them multiplied: add(unit, its memory, p, panel,
// lane). Each lane has some units and all panels, and calls each(unit, its memory, lane) at the end of one; or,
// `apart`, it has some panels and all units. `shared` holds what all lanes read: all panels, or all units.
template <class T, class Prepare, class Add, class Each>
void run(ffi::ThreadPool& pool, const Units& units, const Kernel<T>& kernel, long unit_floats, bool apart,
         Scratch& shared, const Prepare& prepare, const Add& add, const Each& each) {
  float* all = shared.get(apart ? units.count() * unit_floats : kernel.count() * kernel.size());
  if (apart)
    parallel(pool, units.count(), [&](long i, int) { prepare(units[i], all + i * unit_floats); });
  else
    parallel(pool, kernel.count(), [&](long p, int) { kernel.pack(p, all + p * kernel.size()); });
  parallel(pool, apart ? kernel.count() : units.count(), [&](long i, long lane) {
    static thread_local Scratch memory;
    float* own = memory.get(apart ? kernel.size() : unit_floats);
    if (apart) {
      kernel.pack(i, own);
      for (long u = 0; u < units.count(); ++u) add(units[u], all + u * unit_floats, i, own, lane);
    } else {
      prepare(units[i], own);
      for (long p = 0; p < kernel.count(); ++p) add(units[i], own, p, all + p * kernel.size(), lane);
      each(units[i], own, lane);
    }
  });
}

// A convolution by a 1 x 1 kernel that reads every position once has one column only.
inline Shape flattened(Shape s) {
  if (s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && !s.top && !s.left && s.oh == s.h && s.ow == s.w)
    s.h = s.oh = s.n * s.h * s.w, s.n = s.w = s.ow = 1;
  return s;
}

template <class T>
void conv_forward(ffi::ThreadPool& pool, const Shape& shape, const Source<T>& x, const T* kernel, T* y,
                  float* moments) {
  Shape s = flattened(shape);
  Kernel<T> panels(s, kernel, false);
  long step_h = s.kh == 1 ? s.stride_h : std::gcd(s.stride_h, s.dilation_h);
  long step_w = s.kw == 1 ? s.stride_w : std::gcd(s.stride_w, s.dilation_w);
  long stride_h = s.stride_h / step_h, dilation_h = s.dilation_h / step_h;  // inside the window
  long stride_w = s.stride_w / step_w, dilation_w = s.dilation_w / step_w;
  long more = (s.kh - 1) * dilation_h + 1 - stride_h;
  Window window{0, (s.ow - 1) * stride_w + (s.kw - 1) * dilation_w + 1, step_h, step_w,
                pitch(s.c, panels.paired), panels.paired};
  long row = window.columns * window.channels;
  Units units(pool, s.n, s.oh, s.ow == 1 ? TILE : 1, stride_h * row, more * row);
  window.rows = units.rows * stride_h + more;

  Lattice lattice;
  for (long i = 0; i < s.kh; ++i)
    for (long j = 0; j < s.kw; ++j)
      lattice.taps.push_back({i * s.kw + j, window.at(0, i * dilation_h, j * dilation_w)});
  for (long image = 0; image < units.images; ++image)
    for (long i = 0; i < units.rows; ++i)
      for (long j = 0; j < s.ow; ++j)
        lattice.add(window.at(image, i * stride_h, j * stride_w), lattice.out.size());
  lattice.finish();

  Moments sums(moments ? lanes(pool) : 0, panels.count() * PANEL);
  auto prepare = [&](const Unit& u, float* own) {
    window.fill(u, u.rows * stride_h + more, u.row * s.stride_h - s.top, -s.left, s.h, s.w, x, own);
  };
  auto add = [&](const Unit& u, const float* own, long p, const float* panel, long lane) {
    T* out = y + (u.image * s.oh + u.row) * s.ow * s.o;
    T* direct = moments && (sizeof(T) < 4 || panels.columns % W) ? nullptr : out;  // moments are those before rounding
    multiply(panels, lattice, own, u.images * u.rows * s.ow, p, panel, out, s.o, direct,
             [&](const auto* c, long step, long rows, const int32_t* positions, long column, long width) {
      T* to = out + positions[0] * s.o + column;
      for (long j = 0; j < width; j += W) {
        for (long r = 0; (void*)c != to && r < rows; ++r) store(to + r * s.o + j, load(c + r * step + j), width - j);
        if (moments) sums.add(lane, p * PANEL + j, c + j, step, rows);
      }
    });
  };
  long floats = units.images * window.size();
  bool apart = by_panels(pool, units.count(), floats, panels);
  Scratch shared;
  run(pool, units, panels, floats, apart, shared, prepare, add, [](auto...) {});
  if (moments) sums.finish(moments, s.o, [&](long c) { return panels.padded(c); });
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
void conv_backward(ffi::ThreadPool& pool, const Shape& shape, const Source<T>& x, const T* kernel,
                   const Source<T>& dy, T* dx, T* dkernel, float* dfold) {
  Shape s = flattened(shape);
  Axis v(s.oh, s.kh, s.stride_h, s.top, s.dilation_h), h(s.ow, s.kw, s.stride_w, s.left, s.dilation_w);
  Kernel<T> inputs(s, kernel, true);
  Window given{0, h.outputs(s.w), 1, 1, pitch(s.o, inputs.paired), inputs.paired};
  Window read{0, s.w, 1, 1, pitch(s.c, false), false};
  long row = given.columns * given.channels;
  Units units(pool, s.n, s.h, (s.w == 1 ? TILE : 1) * s.stride_h, row / s.stride_h + 1 + read.columns * read.channels,
              row * v.outputs(0));
  given.rows = v.outputs(units.rows);
  read.rows = units.rows;

  std::vector<Lattice> lattices(s.stride_h * s.stride_w);
  for (long image = 0; image < units.images; ++image)
    for (long i = 0; i < units.rows; ++i)
      for (long j = 0; j < s.w; ++j)
        lattices[i % s.stride_h * s.stride_w + j % s.stride_w].add(given.at(image, i / s.stride_h, j / s.stride_w),
                                                                   (image * units.rows + i) * s.w + j);
  for (Lattice& lattice : lattices) lattice.finish();
  for (long i = 0; i < s.kh; ++i)
    for (long j = 0; j < s.kw; ++j)
      for (long a = 0; a < s.stride_h; ++a)
        for (long b = 0; b < s.stride_w; ++b)
          if (v.meets(a, i) && h.meets(b, j))
            lattices[a * s.stride_w + b].taps.push_back(
                {i * s.kw + j, given.at(0, v.shift(a, i) - v.low, h.shift(b, j) - h.low)});

  long count = lanes(pool);
  long taps = s.kh * s.kw, depth = s.c / s.groups, padded = round_up(depth, STEP);
  Panels outputs(s.groups, s.o / s.groups);
  long inputs_at = units.images * given.size() + PANEL, floats = inputs_at + units.images * read.size() + PANEL;
  long items = outputs.count() * taps, item = padded * PANEL;  // a tap of a panel's outputs: [padded][PANEL]
  // Every lane has its own sums of the kernel's gradient, or sums some of the items; large ones as takes less memory.
  long copies = count * items * item, whole = units.count() * floats;
  bool apart = by_panels(pool, units.count(), floats, inputs) || (copies > 4 << 20 && whole < copies);
  std::vector<float> kernels(apart ? 0 : copies);
  std::vector<float> folds(x.fold ? count * 3 * inputs.count() * PANEL : 0);
  std::vector<int32_t> rows(depth + TILE);  // of its products: neighbouring channels
  std::iota(rows.begin(), rows.end(), 0);

  auto prepare = [&](const Unit& u, float* own) {
    given.fill(u, v.outputs(u.rows), u.row / s.stride_h + v.low, h.low, s.oh, s.ow, dy, own);
    read.fill(u, u.rows, u.row, 0, s.h, s.w, x, own + inputs_at);
  };

  // Adds a unit to an item of the kernel's gradient.
  auto add_kernel = [&](const Unit& u, const float* own, long q, float* sums) {
    static thread_local std::vector<Segment> segments;
    long p = q / taps, i = q % taps / s.kw, j = q % taps % s.kw;
    long r0 = v.first(u.row, i), r1 = v.first(u.row + u.rows, i), c0 = h.first(0, j), c1 = h.first(s.w, j);
    if (r0 >= r1 || c0 >= c1) return;
    const float* in = own + inputs_at + outputs.group(p) * depth;
    const float* g = inputs.paired ? (const float*)((const bf16*)own + outputs.column(p)) : own + outputs.column(p);
    // A segment goes along a row; of a single column, down; of a single position, through the images.
    bool wide = c1 - c0 > 1, tall = !wide && r1 - r0 > 1, deep = !wide && !tall;
    long K = wide ? c1 - c0 : tall ? r1 - r0 : u.images;
    long a_step = read.at(deep, tall * s.stride_h, wide * s.stride_w), b_step = given.at(deep, tall, wide);
    segments.clear();
    for (long image = 0; image < (deep ? 1 : u.images); ++image)
      for (long r = r0; r < (wide ? r1 : r0 + 1); ++r)
        segments.push_back({in + read.at(image, v.input(r, i) - u.row, h.input(c0, j)),
                            g + given.at(image, r - u.row / s.stride_h - v.low, c0 - h.low)});
    for (long c = 0; c < depth; c += TILE)
      product_of<float>(std::min<long>(TILE, depth - c), outputs.width(p), inputs.paired ? MIXED : FLOATS)(
          segments.data(), segments.size(), &rows[c], K, a_step, b_step, true, sums + c * PANEL, PANEL, PANEL);
  };
  auto add_input = [&](const Unit& u, const float* own, long p, const float* panel, long lane) {
    if (!dx && !dfold) return;
    long base = (u.image * s.h + u.row) * s.w, length = inputs.count() * PANEL;
    float* sums = x.fold ? &folds[lane * 3 * length + p * PANEL] : nullptr;
    for (long i = 0; i < (long)lattices.size(); ++i) {
      long positions = u.images * v.ceil(u.rows - i / s.stride_w) * h.ceil(s.w - i % s.stride_w);
      multiply(inputs, lattices[i], own, positions, p, panel, dx ? dx + base * s.c : dx, s.c, (float*)nullptr,
               [&](const float* tile, long step, long rows, const int32_t* numbers, long column, long width) {
        x.unfold(tile, step, [=](long r) { return base + numbers[r]; }, rows, column, width, dx, sums, length);
      });
    }
  };
  Scratch shared;
  run(pool, units, inputs, floats, apart, shared, prepare, add_input, [&](const Unit& u, const float* own, long lane) {
    for (long q = 0; q < items; ++q) add_kernel(u, own, q, &kernels[(lane * items + q) * item]);
  });
  parallel(pool, items, [&](long q, int) {
    static thread_local Scratch memory;
    float* sums = apart ? memory.get(item) : &kernels[q * item];
    if (apart) {
      std::fill_n(sums, item, 0.f);
      for (long i = 0; i < units.count(); ++i) add_kernel(units[i], shared.get(0) + i * floats, q, sums);
    }
    T* out = dkernel + q % taps * depth * s.o + outputs.column(q / taps);
    for (long c = 0; c < depth; ++c, out += s.o)
      for (long j = 0, width = outputs.width(q / taps); j < width; j += W)
        store(out + j, total(sums + c * PANEL + j, apart ? 1 : count, items * item), width - j);
  });
  for (long i = 0; dfold && i < 3 * inputs.count(); ++i)
    for (long p = i % inputs.count(), j = 0; j < inputs.width(p); j += W)
      store(dfold + i / inputs.count() * s.c + inputs.column(p) + j,
            total(&folds[i * PANEL + j], count, 3 * inputs.count() * PANEL), inputs.width(p) - j);
}

}  // namespace jsep

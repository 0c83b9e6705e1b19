// The handlers that XLA calls, for float32 and bfloat16.
#include "common.h"
#include "conv.h"
#include "depthwise.h"

namespace jsep {
using Any = ffi::AnyBuffer;
using AnyResult = ffi::Result<ffi::AnyBuffer>;
using Floats = ffi::Buffer<ffi::F32>;
using FloatsResult = ffi::Result<Floats>;
using Integers = ffi::Span<const int64_t>;

Shape shape_of(Any& x, Any& kernel, Integers y, Integers geometry, int64_t groups) {
  auto X = x.dimensions(), K = kernel.dimensions();
  return {X[0], X[1], X[2], X[3], K[0], K[1], y[1], y[2], y[3], geometry[0], geometry[1],
          geometry[2], geometry[3], geometry[4], geometry[5], groups};
}

// rows[...][c]: mean, factor, bias and perhaps slope; or [...][0] for what is read as it is.
struct Folded {
  std::vector<float> data;
  Fold fold;
  Folded(Floats& rows, int64_t act) {
    long count = rows.dimensions()[0], c = rows.dimensions()[1], length = round_up(c, 64);
    data.resize(4 * length);
    for (long i = 0; i < count; ++i) std::copy_n(rows.typed_data() + i * c, c, data.data() + i * length);
    const float* p = data.data();
    if (c) fold = {(Activation)act, p, p + length, p + 2 * length, p + 3 * length};
  }
};

// Calls f with a value of the type in memory.
template <class F>
void with_type(const Any& x, const F& f) {
  if (x.element_type() == ffi::BF16) return f(bf16{});
  f(float{});
}

ffi::Error Forward(ffi::ThreadPool pool, Any x, Any kernel, Floats fold, AnyResult y, FloatsResult moments,
                   Integers geometry, int64_t groups, int64_t act, bool depthwise) {
  Shape s = shape_of(x, kernel, y->dimensions(), geometry, groups);
  Folded folded(fold, act);
  memset(moments->untyped_data(), 0, moments->size_bytes());
  if (!y->element_count()) return ffi::Error::Success();
  with_type(x, [&](auto zero) {
    using T = decltype(zero);
    auto run = depthwise ? depthwise_forward<T> : conv_forward<T>;
    run(pool, s, {(const T*)x.untyped_data(), s.c, folded.fold}, (const T*)kernel.untyped_data(),
        (T*)y->untyped_data(), moments->element_count() ? moments->typed_data() : nullptr);
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, Any x, Any kernel, Floats fold, Any g, Any y, Floats moments, AnyResult dx,
                    AnyResult dkernel, FloatsResult dfold, Integers geometry, int64_t groups, int64_t act,
                    bool depthwise) {
  Shape s = shape_of(x, kernel, g.dimensions(), geometry, groups);
  Folded folded(fold, act), gradient(moments, NONE);
  std::swap(gradient.fold.factor, gradient.fold.bias);  // its rows are mean, constant, slope
  if (!x.element_count() || !g.element_count())
    return memset(dx->untyped_data(), 0, dx->size_bytes()), memset(dkernel->untyped_data(), 0, dkernel->size_bytes()),
           memset(dfold->untyped_data(), 0, dfold->size_bytes()), ffi::Error::Success();
  with_type(x, [&](auto zero) {
    using T = decltype(zero);
    Source<T> dy{(const T*)g.untyped_data(), s.o};
    if (y.element_count()) dy = {(const T*)y.untyped_data(), s.o, gradient.fold, dy.x};
    auto run = depthwise ? depthwise_backward<T> : conv_backward<T>;
    run(pool, s, {(const T*)x.untyped_data(), s.c, folded.fold}, (const T*)kernel.untyped_data(), dy,
        dx->element_count() ? (T*)dx->untyped_data() : nullptr, (T*)dkernel->untyped_data(),
        folded.fold ? dfold->typed_data() : nullptr);
  });
  return ffi::Error::Success();
}

}  // namespace jsep

#pragma GCC visibility push(default)  // of all functions only these two can be found from outside

using namespace jsep;

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jsep_forward, Forward, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()
        .Arg<Any>().Arg<Any>().Arg<Floats>()  // x (n, h, w, c), kernel (kh, kw, c / groups, o), fold (4, c) or (4, 0)
        .Ret<Any>().Ret<Floats>()  // y (n, oh, ow, o), moments (3, o) or (3, 0): mean, its rest, variance
        .Attr<Integers>("geometry").Attr<int64_t>("groups").Attr<int64_t>("act").Attr<bool>("depthwise"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jsep_backward, Backward, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()
        .Arg<Any>().Arg<Any>().Arg<Floats>()  // x, kernel, fold
        .Arg<Any>().Arg<Any>().Arg<Floats>()  // gradient g of y; y and (3, o) of its moments, or (0,) and (3, 0): dy =
                                              // g + constant + slope * (y - mean), the vectors mean, constant, slope
        .Ret<Any>().Ret<Any>().Ret<Floats>()  // dx or (0,), dkernel, dfold (3, c) or (3, 0): of factor, bias, slope
        .Attr<Integers>("geometry").Attr<int64_t>("groups").Attr<int64_t>("act").Attr<bool>("depthwise"));

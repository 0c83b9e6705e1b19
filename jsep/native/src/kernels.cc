// The handlers that XLA calls, for float32 and bfloat16.
#include "common.h"
#include "conv.h"
#include "depthwise.h"

namespace jsep {


using Any = ffi::AnyBuffer;
using AnyResult = ffi::Result<ffi::AnyBuffer>;
using Floats = ffi::Buffer<ffi::F32>;
using FloatsResult = ffi::Result<Floats>;

// A matrix of vectors for the channels, each padded with zeros to whole blocks of columns.
struct Padded {
  long length;
  std::vector<float> data;
  Padded(const float* rows, long count, long channels) : length(round_up(channels, 64)), data(count * length) {
    for (long i = 0; i < count; ++i) std::copy_n(rows + i * channels, channels, data.data() + i * length);
  }
  const float* operator[](long i) const { return data.data() + i * length; }
};

Shape shape_of(Any& x, Any& kernel, ffi::Span<const int64_t> y, ffi::Span<const int64_t> geometry, int64_t groups) {
  auto X = x.dimensions(), K = kernel.dimensions();
  return {X[0], X[1], X[2], X[3], K[0], K[1], y[1], y[2], y[3], geometry[0], geometry[1],
          geometry[2], geometry[3], geometry[4], geometry[5], groups};
}

struct Folded {  // fold[4][c]: mean, factor, bias, slope; or fold[4][0] for an input that is read as it is
  Padded rows;
  Fold fold;
  Folded(Floats& buffer, int64_t act) : rows(buffer.typed_data(), 4, buffer.dimensions()[1]) {
    if (buffer.dimensions()[1]) fold = {(Activation)act, rows[0], rows[1], rows[2], rows[3]};
  }
};

template <class T>
ffi::Error forward(ffi::ThreadPool& pool, const Shape& s, bool depthwise, Any& x, Any& kernel, const Fold& fold,
                   AnyResult& y, FloatsResult& moments) {
  float* out = moments->dimensions()[1] ? moments->typed_data() : nullptr;
  auto run = depthwise ? depthwise_forward<T> : conv_forward<T>;
  run(pool, s, (const T*)x.untyped_data(), (const T*)kernel.untyped_data(), fold, (T*)y->untyped_data(), out);
  return ffi::Error::Success();
}

template <class T>
ffi::Error backward(ffi::ThreadPool& pool, const Shape& s, bool depthwise, Any& x, Any& kernel, const Fold& fold,
                    Any& g, Any& y, const Padded& moments, AnyResult& dx, AnyResult& dkernel, FloatsResult& dfold) {
  OutputGradient<T> gradient{(const T*)g.untyped_data()};
  if (y.element_count()) gradient = {gradient.g, (const T*)y.untyped_data(), moments[0], moments[1], moments[2]};
  auto run = depthwise ? depthwise_backward<T> : conv_backward<T>;
  run(pool, s, (const T*)x.untyped_data(), (const T*)kernel.untyped_data(), fold, gradient,
      dx->element_count() ? (T*)dx->untyped_data() : nullptr, (T*)dkernel->untyped_data(),
      fold ? dfold->typed_data() : nullptr);
  return ffi::Error::Success();
}

ffi::Error Forward(ffi::ThreadPool pool, Any x, Any kernel, Floats fold, AnyResult y, FloatsResult moments,
                   ffi::Span<const int64_t> geometry, int64_t groups, int64_t act, bool depthwise) {
  Shape s = shape_of(x, kernel, y->dimensions(), geometry, groups);
  Folded folded(fold, act);
  auto run = x.element_type() == ffi::BF16 ? forward<bf16> : forward<float>;
  return run(pool, s, depthwise, x, kernel, folded.fold, y, moments);
}

ffi::Error Backward(ffi::ThreadPool pool, Any x, Any kernel, Floats fold, Any g, Any y, Floats moments, AnyResult dx,
                    AnyResult dkernel, FloatsResult dfold, ffi::Span<const int64_t> geometry, int64_t groups,
                    int64_t act, bool depthwise) {
  Shape s = shape_of(x, kernel, g.dimensions(), geometry, groups);
  Folded folded(fold, act);
  Padded gradient(moments.typed_data(), 3, moments.dimensions()[1]);
  auto run = x.element_type() == ffi::BF16 ? backward<bf16> : backward<float>;
  return run(pool, s, depthwise, x, kernel, folded.fold, g, y, gradient, dx, dkernel, dfold);
}


}  // namespace jsep

#pragma GCC visibility push(default)  // of all functions only these two can be found from outside

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsep_forward, jsep::Forward,
                              jsep::ffi::Ffi::Bind()
                                  .Ctx<jsep::ffi::ThreadPool>()
                                  .Arg<jsep::Any>()      // x (n, h, w, c)
                                  .Arg<jsep::Any>()      // kernel (kh, kw, c / groups, o)
                                  .Arg<jsep::Floats>()   // fold (4, c) or (4, 0)
                                  .Ret<jsep::Any>()      // y (n, oh, ow, o)
                                  .Ret<jsep::Floats>()   // moments (3, o) or (3, 0): mean, its rest, variance
                                  .Attr<jsep::ffi::Span<const int64_t>>("geometry")
                                  .Attr<int64_t>("groups")
                                  .Attr<int64_t>("act")
                                  .Attr<bool>("depthwise"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(jsep_backward, jsep::Backward,
                              jsep::ffi::Ffi::Bind()
                                  .Ctx<jsep::ffi::ThreadPool>()
                                  .Arg<jsep::Any>()      // x
                                  .Arg<jsep::Any>()      // kernel
                                  .Arg<jsep::Floats>()   // fold
                                  .Arg<jsep::Any>()      // g, the gradient of y
                                  .Arg<jsep::Any>()      // y, or (0,) without moments
                                  .Arg<jsep::Floats>()   // (3, o) or (3, 0): mean, constant, slope of OutputGradient
                                  .Ret<jsep::Any>()      // dx, or (0,) if nobody asks for it
                                  .Ret<jsep::Any>()      // dkernel
                                  .Ret<jsep::Floats>()   // dfold (3, c) or (3, 0): of factor, bias, slope
                                  .Attr<jsep::ffi::Span<const int64_t>>("geometry")
                                  .Attr<int64_t>("groups")
                                  .Attr<int64_t>("act")
                                  .Attr<bool>("depthwise"));

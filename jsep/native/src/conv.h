#pragma once
#include "common.h"

namespace jsep {

template <class T>
void conv_forward(ffi::ThreadPool& pool, const Shape& s, const T* x, const T* kernel, const Fold& fold, T* y,
                  float* moments) {}

template <class T>
void conv_backward(ffi::ThreadPool& pool, const Shape& s, const T* x, const T* kernel, const Fold& fold,
                   const OutputGradient<T>& gradient, T* dx, T* dkernel, float* dfold) {}

}  // namespace jsep

// What Python asks the base library before it loads another one.
#include "xla/ffi/api/c_api.h"
#pragma GCC visibility push(default)

// The best set of instructions that this CPU has, as a place in the list of jsep/native/__init__.py.
extern "C" int jsep_cpu() {
#if defined(__x86_64__)
  __builtin_cpu_init();  // the checks below include what the operating system saves
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl");
  if (avx2) return !avx512 ? 1 : __builtin_cpu_supports("avx512bf16") ? 3 : 2;
#endif
  return 0;
}

// The version of XLA's interface that all libraries of this build speak: major * 1000 + minor.
extern "C" int jsep_ffi_version() { return XLA_FFI_API_MAJOR * 1000 + XLA_FFI_API_MINOR; }

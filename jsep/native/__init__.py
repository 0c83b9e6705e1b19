"""Kernels in C++ for the convolutions on a CPU, called through XLA's foreign function interface."""

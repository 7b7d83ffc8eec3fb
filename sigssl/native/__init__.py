"""The C++ kernels of the whole package: one shared library, built at install or at first use, and how it is called."""

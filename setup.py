"""Build step of the C++ kernels: built into the wheel where a compiler is there; without one the installation goes on."""

import importlib.util
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = Path(__file__).parent / "sigssl" / "native"


class BuildKernels(build_ext):
    """Compiles one plain shared library through `sigssl/native/build.py`; they are compiled at first use where this fails."""

    def build_extension(self, ext):
        """Compile into the build folder; a failure is reported and is no error."""
        spec = importlib.util.spec_from_file_location("kernel_build", NATIVE / "build.py")
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        try:
            build.compile_library(Path(self.get_ext_fullpath(ext.name)))
        except (build.BuildError, OSError) as error:
            self.warn(f"C++ kernels not built, pure torch stands in: {error}")

    def get_ext_filename(self, fullname):
        """One name on every platform, without a Python version: the library knows nothing of Python."""
        return str(Path(*fullname.split("."))) + ".so"

    def get_outputs(self):
        """Only what was really built."""
        return [path for path in super().get_outputs() if Path(path).exists()]

    def copy_extensions_to_source(self):
        """An editable installation without a compiler has nothing to copy."""
        if Path(self.get_ext_fullpath("sigssl.native._kernels")).exists() or self.get_outputs():
            super().copy_extensions_to_source()


class PlatformWheel(bdist_wheel):
    """Tags the wheel for the platform alone: any Python 3 can load it."""

    def get_tag(self):
        """`py3-none-<platform>`."""
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension("sigssl.native._kernels", sources=[], optional=True)],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
)

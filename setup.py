"""The variant table and the compiler flags; all other settings are in pyproject.toml.

NNFAST_BUILD=avx512_f32,base_f32 builds only these variants, for quick edit cycles, and
NNFAST_SYMBOLS=1 keeps the names of functions for profilers. Four variables are for the tests:

- NNFAST_NO_OPENMP=1 builds without threads.
- NNFAST_SCALAR=1 builds only the baseline, in scalar code, as a compiler without vector extensions
  would.
- NNFAST_BOUNDS=1 checks every index of a typed memoryview, and that the view is initialized.
- NNFAST_SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer.
"""

import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ENGINE = "nnfast._engine"
# Free-threaded Python has no limited API.
LIMITED_API = sysconfig.get_config_var("Py_GIL_DISABLED") != 1
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
if os.environ.get("NNFAST_BOUNDS"):
    DIRECTIVES |= {"boundscheck": True, "initializedcheck": True}
MSVC = sys.platform == "win32" and "GCC" not in sys.version
X86 = platform.machine().lower() in ("x86_64", "amd64")

# Compiler flags for each instruction set. Other machines than x86-64 build only the baseline.
# Vectors wider than the baseline's need the compiler's vector extensions, which MSVC lacks.
SCALAR = MSVC or bool(os.environ.get("NNFAST_SCALAR"))
VARIANTS = {"base": []}
if X86 and not SCALAR:
    # Processors without AVX2 are old. The tiles of the kernels need complete unrolling; the rest of
    # -O3 makes the variant larger, but not faster.
    VARIANTS["base"] = [
        *["-O2", "-fpeel-loops", "-fno-align-loops", "-fno-align-jumps", "-fno-align-labels"]
    ]
    VARIANTS["avx2"] = ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mtune=haswell"]
    VARIANTS["avx512"] = [
        *["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx512cd"],
        *["-mfma", "-mbmi", "-mbmi2", "-mprefer-vector-width=512", "-mtune=skylake-avx512"],
    ]

# CFLAGS, LDFLAGS or CC may contain -ffast-math, which is taken back here. With it, gcc would set
# the whole process to flush-to-zero at import, and NaN would go undetected. The later of two
# contradictory flags takes effect, and the extension's flags come last.
STRICT = (
    []
    if MSVC
    else [
        *["-fno-fast-math", "-fno-unsafe-math-optimizations", "-fno-finite-math-only"],
        *["-fno-associative-math", "-fno-reciprocal-math", "-fsigned-zeros"],
    ]
)
NAMES = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED")
if "-mdaz-ftz" in " ".join(os.environ.get(name, "") for name in NAMES).split():
    STRICT += ["-mno-daz-ftz"]  # only if needed: older compilers do not know this flag
# Tables for unwinding the stack would be 4 % of the wheel; no exception passes through C code.
OPTIMIZE = (
    ["/O2"]
    if MSVC
    else [
        *["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math"],
        *["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
    ]
)
SANITIZE = []
if os.environ.get("NNFAST_SANITIZE"):
    SANITIZE = [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
    ]
    OPTIMIZE = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-math-errno", "-fno-trapping-math"]
LINK = [] if MSVC else [*STRICT, OPTIMIZE[0]]  # the optimization level overrides -Ofast
if sys.platform == "linux" and not SANITIZE and not os.environ.get("NNFAST_SYMBOLS"):
    LINK += ["-Wl,-s"]  # names of internal functions are 4 % of the wheel
ENGINE_FLAGS = (
    []
    if MSVC
    else [
        *["-ffp-contract=fast", "-fno-semantic-interposition", "-fvisibility=hidden"],
        # What matters is inlined and specialized in the sources. Further copies of loops and
        # functions would make the engine a sixth larger, and steps of the smallest networks 1 to
        # 2 % faster.
        *["-fno-inline-functions", "-fno-ipa-cp-clone", "-fno-unswitch-loops", "-fno-split-loops"],
        # The microkernel's arguments include its tile size, so it unrolls only if it is inlined.
        "-DCYTHON_INLINE=inline __attribute__((always_inline))",
    ]
)
# The compiler's own vectors for scalar loops, and registers that are allocated loop by loop, are
# 12 % of a variant. They make steps of convolutional networks 1 to 2 % faster, so one variant, the
# most common, has them.
SMALLER = [] if MSVC else ["-fvect-cost-model=very-cheap", "-fira-region=one"]
MOST_COMMON = ("avx512", "f32")
# Processors reorder instructions themselves. If the compiler does so, too, a variant is 3 %
# larger, and no step is faster.
UNSORTED = ["-fno-schedule-insns2"] if X86 and not MSVC else []


def openmp_flags() -> list[str]:
    """Return the compiler's OpenMP flag, or [] if a small test program does not compile with it."""
    if MSVC:
        return ["/openmp"]
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(
            "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
        )
        probe = [*compiler, "-fopenmp", str(source), "-o", str(Path(folder, "probe"))]
        built = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    return ["-fopenmp"] if built else []


def extension(name: str, flags: list[str], link: list[str], macros: dict[str, str]) -> Extension:
    if LIMITED_API:
        macros = {**macros, "Py_LIMITED_API": "0x030B0000"}
    return Extension(
        f"{ENGINE}.{name}",
        # Cython generates the C source of the shared utility module.
        [f"nnfast/_engine/{name.replace('.', '/')}.{'c' if name == '_shared' else 'pyx'}"],
        include_dirs=["nnfast/_engine", "nnfast/_engine/simd"],
        define_macros=list(macros.items()),
        extra_compile_args=[*STRICT, *OPTIMIZE, *UNSORTED, *SANITIZE, *flags],
        extra_link_args=[*LINK, *SANITIZE, *link],
        depends=[
            str(p) for p in Path("nnfast/_engine").rglob("*") if p.suffix in (".h", ".pxi", ".pxd")
        ],
        py_limited_api=LIMITED_API,
    )


def chosen_variants() -> list[str]:
    """Return the variants named in NNFAST_BUILD, by default all."""
    known = [f"{isa}_{real}" for isa in VARIANTS for real in ("f32", "f64")]
    if "NNFAST_BUILD" not in os.environ:
        return known
    chosen = os.environ["NNFAST_BUILD"].split(",")
    if not set(chosen) <= set(known):
        sys.exit(
            f"NNFAST_BUILD={os.environ['NNFAST_BUILD']!r} must be one or several of "
            f"{','.join(known)}, separated by commas; unset it to build all variants"
        )
    return chosen


def extensions() -> list[Extension]:
    only = chosen_variants()
    openmp = [] if os.environ.get("NNFAST_NO_OPENMP") else openmp_flags()
    scalar = {"NNFAST_SCALAR": "1"} if SCALAR else {}
    chosen = [
        extension(
            f"variants.{isa}_{real}",
            [*ENGINE_FLAGS, *openmp, *flags, *(SMALLER if (isa, real) != MOST_COMMON else [])],
            openmp,
            macros,
        )
        for isa, flags in VARIANTS.items()
        for real, macros in (("f32", scalar), ("f64", {**scalar, "NNFAST_DOUBLE": "1"}))
        if f"{isa}_{real}" in only
    ]
    # These contain no kernels: -O3 would make them larger, but not faster.
    small = [] if MSVC or SANITIZE else ["-Os"]
    plain = [extension(name, small, [], {}) for name in ("machine.cpu", "core", "_shared")]
    return [*plain, *chosen]


setup(
    ext_modules=cythonize(
        extensions(),
        compiler_directives=DIRECTIVES,
        include_path=["nnfast/_engine"],
        # All extensions share one copy of Cython's memoryview code.
        shared_utility_qualified_name=f"{ENGINE}._shared",
        nthreads=os.cpu_count() or 1,
    ),
    options={
        "build_ext": {"parallel": True},  # one compiler process per core
        **({"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {}),
    },
)

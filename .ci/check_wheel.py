"""Check the build's output: one cp311-abi3 wheel under 2 MB, and an sdist without generated C."""

import sys
import tarfile
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
(sdist,) = folder.glob("*.tar.gz")
names = zipfile.ZipFile(wheel).namelist()
megabytes = wheel.stat().st_size / 1e6
print(f"{wheel.name}: {megabytes:.2f} MB, {len(names)} files; {sdist.name}")
assert "-cp311-abi3-" in wheel.name, wheel.name
assert megabytes < 2, megabytes
assert any("_engine/variants/base_f32" in name for name in names), names
assert "nnfast/py.typed" in names, names
assert "nnfast/_engine/core.pyi" in names, names
assert not [name for name in names if name.endswith((".c", ".pyx", ".pxi", ".h"))], names
with tarfile.open(sdist) as archive:
    sources = archive.getnames()
assert any(name.endswith("nnfast/_engine/executor/workers.pxi") for name in sources), sources
built = [name for name in sources if name.endswith((".c", ".so"))]
assert [name.partition("/")[2] for name in built] == ["benchmarks/machine.c"], built

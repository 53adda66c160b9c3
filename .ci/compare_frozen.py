"""Compare two builds' results for `.ci/freeze`: ``compare_frozen.py ISA BEFORE.npz NOW.npz``."""

from __future__ import annotations

import sys

import numpy as np


def main(isa: str, before: str, now: str) -> None:
    """Print the number of arrays that differ; exit with status 1 if any array differs."""
    with np.load(before) as first, np.load(now) as second:
        wrong = sorted(set(first.files) ^ set(second.files))
        for name in sorted(set(first.files) & set(second.files)):
            a, b = first[name], second[name]
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                wrong.append(name)
        models = {name.split("|")[0] for name in first.files}
        print(f"{isa}: {len(models)} models, {len(first.files)} arrays, {len(wrong)} differ")
        for name in wrong[:20]:
            print(f"  {name}")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])

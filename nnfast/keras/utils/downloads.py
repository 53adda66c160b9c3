"""Downloads of files that appear at their place complete or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from nnfast._runtime import progress

__all__ = ["SCHEMES", "download"]

SCHEMES = ("http", "https", "file")
_PIECE = 2**16  # bytes per read
_TIMEOUT = 60.0  # seconds without an answer after which a download fails

Show = Callable[[int, int | None], None]


def download(origin: str, target: str, check: Callable[[str], None]) -> None:
    """Download a file, check it, and rename it to `target`.

    Parameters
    ----------
    origin : str
        The address.
    target : str
        Where the file appears if everything succeeds; otherwise `target` does not change.
    check : callable
        ``check(path)`` raises an error if the downloaded file is not the expected one.

    Raises
    ------
    OSError
        If the address cannot be read. The error says where to put the file.
    """
    temporary = os.path.join(os.path.dirname(target), f".nnfast-{os.urandom(8).hex()}.part")
    print(f"Downloading data from {origin}")
    try:
        with open(temporary, "xb") as file, _display() as show:
            for piece in _pieces(origin, target, show):
                file.write(piece)
        check(temporary)
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _pieces(origin: str, target: str, show: Show) -> Iterator[bytes]:
    """Yield the content of an address, and show the progress."""
    # Imported here, because they take longer to load than the rest of the package.
    from http.client import HTTPException
    from urllib.request import urlopen

    done = 0
    try:
        with urlopen(origin, timeout=_TIMEOUT) as response:
            total = _length(response)
            while piece := response.read(_PIECE):
                yield piece
                done += len(piece)
                show(done, total)
        if total is not None and done != total:
            raise ConnectionError(f"the connection closed after {done} of {total} bytes")
    except (OSError, HTTPException, UnicodeError) as error:
        raise OSError(
            f"URL fetch failure on {origin}: {error}. If this machine cannot download the file, "
            f"put a copy of it at {target}"
        ) from error


def _length(response: Any) -> int | None:
    """Return the size in bytes that the server announced, None if it did not."""
    text = response.headers.get("Content-Length") or ""
    chunked = "Transfer-Encoding" in response.headers  # then the length has no meaning
    return int(text) if text.isdecimal() and not chunked else None


@contextlib.contextmanager
def _display() -> Iterator[Show]:
    """Yield a function that draws the progress in a terminal, and does nothing elsewhere."""
    if sys.stdout is None or not sys.stdout.isatty():
        yield lambda done, total: None
        return
    bar = progress.make(1, progress.Extent(0, 1, None, None))
    draw = bar.draw if isinstance(bar, progress.Live) else _draw_text
    drawn = 0.0

    def show(done: int, total: int | None) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn >= progress.INTERVAL or done == total:
            drawn = now
            size = "" if total is None else f" of {total / 1e6:.1f}"
            draw(done, total, "Downloading", f"{done / 1e6:.1f}{size} MB")

    try:
        yield show
    finally:
        bar.close()
        if draw is _draw_text:
            print()


def _draw_text(done: int, total: int | None, head: str, text: str) -> None:
    """Write over the terminal's current line."""
    print(f"\r{head} {text}", end="", flush=True)

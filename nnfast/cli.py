"""The command ``nnfast``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import nnfast

__all__ = ["main"]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nnfast", description="A fast neural-network library.")
    parser.add_argument("--version", action="version", version=f"nnfast {nnfast.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser(
        "demo",
        help="train on handwritten digits, plot the learning curve, compare with NumPy",
    )
    demo.add_argument("--mnist", metavar="DIR", type=Path, help="use MNIST's test set in DIR")
    demo.add_argument("--epochs", type=_positive, help="default: 30 for digits, 10 for MNIST")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument(
        "--output",
        metavar="PNG",
        type=Path,
        default=Path("learning_curve.png"),
        help="file for the plot of the learning curve (default: %(default)s)",
    )

    commands.add_parser("config", help="show versions, build options and the number of threads")
    return parser


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    SIGTERM stops the command within 0.3 s, as Ctrl-C does.
    """
    if threading.current_thread() is not threading.main_thread():
        return _run(arguments)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("nnfast: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "config":
        nnfast.show_config()
        return 0

    from nnfast import demo

    try:
        if options.mnist is None:
            task = demo.digits(options.epochs or 30)
        else:
            task = demo.mnist(options.mnist, options.epochs or 10)
        return demo.run(task, options.output, options.seed)
    except (ImportError, OSError, ValueError) as error:
        print(f"nnfast demo: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

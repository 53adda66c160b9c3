"""Settings of the test process.

With NNFAST_TEST_POISON=1, working memory starts as NaN, so reads before writes are detected.
"""

import os
import signal

from nnfast._engine import core

# Tests with the marker `peers` run Keras. With PyTorch it takes a quarter of the time of JAX, which
# compiles every model three times.
os.environ.setdefault("KERAS_BACKEND", "torch")
if os.environ.get("NNFAST_TEST_POISON"):
    core.poison(True)
# A shell starts background jobs with Ctrl-C ignored; tests of interrupts would then never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""With NNFAST_TEST_POISON=1, working memory starts as NaN, so reads before writes are detected."""

import os

from nnfast._engine import core

if os.environ.get("NNFAST_TEST_POISON"):
    core.poison(True)

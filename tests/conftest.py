"""NNFAST_TEST_POISON=1: working memory begins as NaN; nothing may be read before it is written."""

import os

from nnfast._engine import core

if os.environ.get("NNFAST_TEST_POISON"):
    core.poison(True)

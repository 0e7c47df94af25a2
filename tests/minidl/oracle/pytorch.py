"""PyTorch's lists of test samples, from the installed wheel."""

from __future__ import annotations

import sys
import types
import unittest
import warnings

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

# The lists' module imports `expecttest` for snapshot tests, which are not run here; so its name is enough.
_stand_in = types.ModuleType("expecttest")
_stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
_stand_in.assert_expected_inline = None  # type: ignore[attr-defined]
sys.modules.setdefault("expecttest", _stand_in)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from torch.testing._internal import common_utils
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db
    from torch.testing._internal.common_optimizers import optim_db
    from torch.testing._internal.opinfo import core

# For each sample the lists look up the stack for the unittest that asked: 6 ms, and here there is none.
common_utils.extract_test_fn = core.extract_test_fn = lambda: None

__all__ = ["module_db", "op_db", "optim_db", "torch"]

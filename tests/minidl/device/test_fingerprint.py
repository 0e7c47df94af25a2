"""The fingerprint of a kernel changes with all the code it is made of, and with nothing else."""

import dis
import importlib
import math
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

import numpy as np
import pytest

import minidl.errors
from minidl.device import by_dtype, inline, intrinsic
from minidl.device.fingerprint import _named_in, fingerprint
from minidl.errors import KernelError


def function(source: str, **names: object) -> FunctionType:
    """The function f that `source` defines, in a module that has `names`."""
    module = ModuleType("written")
    vars(module).update(names)
    code = compile(textwrap.dedent(source), "written.py", "exec")
    body = next(constant for constant in code.co_consts if hasattr(constant, "co_code"))
    return FunctionType(body, vars(module))


def scaled(factor: Any) -> FunctionType:
    return function("def f(x): return x * factor", factor=factor)


def test_comments_and_position_do_not_count() -> None:
    plain = function("def f(x): return x + 1")
    moved = function("\n\n# why\ndef f(x):\n    # because\n    return x + 1")
    assert fingerprint(plain) == fingerprint(moved)


@pytest.mark.parametrize("body", ["x + 2", "x - 1", "abs(x) + 1", "x + 1.0", "y + 1"])
def test_every_change_of_the_code_counts(body: str) -> None:
    assert fingerprint(function("def f(x, y=0): return x + 1")) != fingerprint(
        function(f"def f(x, y=0): return {body}")
    )


@pytest.mark.parametrize("other", [2.0, 3, True, "2", (2,), np.float32(2), np.float64(2), np.array([2]), None, math.pi])
def test_the_value_and_type_of_a_constant_count(other: object) -> None:
    assert fingerprint(scaled(2)) == fingerprint(scaled(2))
    assert fingerprint(scaled(2)) != fingerprint(scaled(other))


def test_a_function_of_numpy_or_math_counts_by_its_name() -> None:
    assert len({fingerprint(scaled(f)) for f in (math.exp, math.log, np.exp, np.float32, np.float64, np, math)}) == 7


def test_a_helper_counts_with_what_it_calls() -> None:
    def chain(last: float) -> FunctionType:
        inner = inline(scaled(last))
        outer = inline(function("def f(x): return inner(x)", inner=inner))
        return function("def f(x): return outer(x)", outer=outer)

    assert fingerprint(chain(2)) == fingerprint(chain(2))
    assert fingerprint(chain(2)) != fingerprint(chain(3))


def test_both_bodies_of_a_helper_by_dtype_count() -> None:
    def pair(narrow: float) -> FunctionType:
        return scaled(by_dtype(float32=inline(scaled(narrow)), float64=inline(scaled(1.0))))

    assert fingerprint(pair(2.0)) != fingerprint(pair(3.0))


def test_closures_count() -> None:
    def adder(step: int) -> Callable[[int], int]:
        return lambda x: x + step

    assert fingerprint(cast(FunctionType, adder(1))) != fingerprint(cast(FunctionType, adder(2)))


def test_what_an_intrinsic_calls_counts() -> None:
    def calling(last: float) -> FunctionType:
        emit = function("def f(context, x): return write(x)", write=scaled(last))
        return scaled(intrinsic(emit)(abs))

    assert fingerprint(calling(2)) != fingerprint(calling(3))


def test_names_are_read_as_dis_reads_them() -> None:
    """Of long functions too, with more than 256 names."""
    long = "def many():\n    import os.path\n" + "".join(f"    g{i} = h{i}(f{i}.a{i})\n" for i in range(300))
    space: dict[str, Any] = {}
    exec(long, space)
    functions = [space["many"], fingerprint, subprocess.run, textwrap.wrap, *vars(importlib).values()]
    for code in [f.__code__ for f in functions if isinstance(f, FunctionType)]:
        found = list(dis.get_instructions(code))
        read = {i.argval for i in found if i.opname == "LOAD_GLOBAL"}
        assert _named_in(code) == (read, {i.argval for i in found if i.opname == "IMPORT_NAME"})


def test_functions_among_the_defaults_count() -> None:
    def emitting(step: float) -> FunctionType:
        emit = function("def f(context, x): return x")
        emit.__defaults__ = (scaled(step),)
        return scaled(intrinsic(emit)(abs))

    assert fingerprint(emitting(2)) == fingerprint(emitting(2))
    assert fingerprint(emitting(2)) != fingerprint(emitting(3))


def test_recursion_ends() -> None:
    recursive = function("def f(x): return g(x - 1) if x else 0")
    recursive.__globals__["g"] = inline(recursive)
    assert fingerprint(recursive) == fingerprint(recursive)


@pytest.mark.parametrize(
    ("value", "hint"),
    [(scaled(1), "put @inline on it"), (minidl.errors, "import what is needed"), ([1, 2], "may use numbers")],
)
def test_what_cannot_be_followed_is_refused_with_the_way_out(value: object, hint: str) -> None:
    with pytest.raises(KernelError, match=f"'factor' is a .*{hint}"):
        fingerprint(scaled(value))


def test_an_import_inside_is_refused() -> None:
    with pytest.raises(KernelError, match=r"imports 'minidl.errors' inside"):
        fingerprint(function("def f(x):\n    import minidl.errors\n    return x"))


def test_a_change_in_another_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "user_of_step.py").write_text("from step import step\ndef f(x): return step(x)\n")
    seen = []
    for body in ("x + 1", "x + 2"):
        (tmp_path / "step.py").write_text(f"from minidl.device import inline\n@inline\ndef step(x): return {body}\n")
        for name in ("step", "user_of_step"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        seen.append(fingerprint(importlib.import_module("user_of_step").f))
    assert seen[0] != seen[1]


SAMPLE = """
    from minidl.device.fingerprint import fingerprint
    def f(x): return x in {"a", "b", "c", "d"}, x in (1, 2), {"k": 1}
    print(fingerprint(f).hex())
"""
# A kernel with another key in each process would be compiled again by each.
ALL_KERNELS = """
    import minidl
    from minidl.device.compile import kernels
    from minidl.device.fingerprint import fingerprint
    for kernel in kernels():
        print(kernel.name, fingerprint(kernel.py_func).hex())
"""


@pytest.mark.parametrize("script", [SAMPLE, ALL_KERNELS])
def test_it_is_the_same_in_every_process(script: str) -> None:
    first, second = (
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    )
    assert len(first) > 0
    assert first == second

"""Kernels are compiled once, found again, never outdated, and refuse what they do not take."""

import gc
import importlib
import math
import random
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl.device import Kernel, cache, compile, inline, kernel, numba_backend, numba_status, use_numba
from minidl.device.scalar_math import exp
from minidl.errors import KernelError

needs_numba = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")
SLOPE = 0.5


@inline
def leaky(x: Any) -> Any:
    return x if x > 0 else SLOPE * x


def leaky_rows(begin: int, end: int, out: Any, x: Any, k: int) -> None:
    for i in range(begin, end):
        for j in range(x.shape[1]):
            out[i, j] = leaky(x[i, j]) * k if not math.isnan(x[i, j]) else -1


def new_kernel() -> Kernel:
    """A kernel object that has compiled nothing yet."""
    return kernel("T[:, ::1], const T[:, ::1], intp", T=("float32", "float64"))(leaky_rows)


def run(call: Callable[..., None], dtype: Any = np.float64) -> Any:
    x = np.array([[1, -2], [np.nan, np.inf], [-np.inf, 4]], dtype)
    out = np.zeros_like(x)
    call(0, 3, out, x, 3)
    return out


def test_declaring_kernels_imports_no_numba() -> None:
    script = "import sys, minidl.device, minidl.device.scalar_math; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_python_function_stays_at_hand() -> None:
    assert run(new_kernel().py_func).tolist() == [[3, -3], [-1, np.inf], [-np.inf, 12]]


@needs_numba
@pytest.mark.numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_and_python_agree_on_nan_and_infinity_too(dtype: Any) -> None:
    compiled = new_kernel()
    assert run(compiled, dtype).tolist() == run(compiled.py_func, dtype).tolist()


@needs_numba
@pytest.mark.numba
def test_a_compiled_kernel_is_found_again() -> None:
    assert new_kernel().prepare(("float64",)) == "compiled"
    again = new_kernel()
    assert again.is_cached(("float64",))
    assert not again.is_cached(("float32",))
    assert again.prepare(("float64",)) == "loaded"
    assert run(again).tolist() == run(again.py_func).tolist()


@needs_numba
@pytest.mark.numba
def test_a_damaged_copy_is_compiled_again(private_cache: Path) -> None:
    expected = run(new_kernel()).tolist()
    (path,) = private_cache.iterdir()
    damaged = bytearray(path.read_bytes())
    damaged[random.Random(0).randrange(len(damaged))] ^= 4
    path.write_bytes(damaged)
    again = new_kernel()
    assert again.prepare(("float64",)) == "compiled"
    assert run(again).tolist() == expected


@needs_numba
@pytest.mark.numba
def test_a_sound_copy_that_this_numba_cannot_read_is_compiled_again() -> None:
    written = new_kernel()
    cache.store("leaky_rows", written.key(("float64",)), b"from the future")
    assert written.is_cached(("float64",))
    assert written.prepare(("float64",)) == "compiled"


@needs_numba
@pytest.mark.numba
def test_without_a_cache_folder_kernels_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert run(new_kernel()).tolist() == run(new_kernel().py_func).tolist()


@needs_numba
@pytest.mark.numba
def test_the_key_covers_types_module_constants_and_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    made = new_kernel()
    keys = {made.key(("float32",)), made.key(("float64",))}
    monkeypatch.setitem(leaky.py_func.__globals__, "SLOPE", 0.25)
    keys.add(made.key(("float64",)))
    monkeypatch.undo()
    monkeypatch.setattr(numba_backend, "toolchain", lambda: ("another CPU",))
    keys.add(made.key(("float64",)))
    assert len(keys) == 4


@needs_numba
@pytest.mark.numba
def test_a_helper_that_changed_in_another_file_changes_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "shifting.py").write_text(
        textwrap.dedent("""
            from minidl.device import kernel
            from shift import shift
            @kernel("float64[::1]")
            def shift_all(begin, end, out):
                for i in range(begin, end):
                    out[i] = shift(out[i])
        """)
    )
    results = []
    for step in (1, 2, 1):
        (tmp_path / "shift.py").write_text(
            f"from minidl.device import inline\n@inline\ndef shift(x):\n    return x + {step}\n"
        )
        for name in ("shift", "shifting"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        out = np.zeros(1)
        importlib.import_module("shifting").shift_all(0, 1, out)
        results.append(out[0])
    assert results == [1, 2, 1]


@needs_numba
@pytest.mark.numba
def test_processes_that_start_cold_together_all_get_the_result(private_cache: Path) -> None:
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from tests.minidl.device.test_compile import new_kernel, run
        sys.exit(run(new_kernel()).tolist() != run(new_kernel().py_func).tolist())
    """
    started = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert [path.suffix for path in private_cache.iterdir()] == [".kernel"]


@needs_numba
@pytest.mark.numba
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((np.zeros((2, 2)), np.zeros((2, 2))), "takes 3 arguments after"),
        ((np.zeros((2, 2)), np.zeros((2, 2), np.float32), 1), "x must be const float64"),
        ((np.zeros((2, 2), np.int64), np.zeros((2, 2)), 1), "T must be float32 or float64, got int64"),
        ((np.zeros((2, 2)), np.zeros((2, 4))[:, ::2], 1), "x must be .* not C-contiguous"),
        ((1, np.zeros((2, 2)), 1), "out must be T.*got int"),
        ((np.zeros((2, 2)), np.zeros((2, 2)), None), "k must be intp, got NoneType"),
        ((), "takes 3 arguments after"),
    ],
)
def test_arguments_that_do_not_fit_are_named(args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        SHARED(0, 2, *args)


SHARED = new_kernel()


@needs_numba
@pytest.mark.numba
def test_const_arguments_may_be_read_only() -> None:
    x = np.array([[1.0, -1.0]])
    x.flags.writeable = False
    out = np.zeros_like(x)
    SHARED(0, 1, out, x, 1)
    assert out.tolist() == [[1, -0.5]]


@needs_numba
@pytest.mark.numba
def test_kernels_may_call_kernels() -> None:
    inner = new_kernel()

    @kernel("float64[:, ::1], const float64[:, ::1]")
    def twice(begin: int, end: int, out: Any, x: Any) -> None:
        inner(begin, end, out, x, 2)

    out = np.zeros((1, 2))
    twice(0, 1, out, np.array([[1.0, -1.0]]))
    assert out.tolist() == [[2, -1]]


@needs_numba
@pytest.mark.numba
def test_what_kernels_call_is_compiled_once_for_all_constants_and_runs_only_inside_them() -> None:
    @inline
    def scaled(x: Any, factor: int) -> Any:
        return x * factor

    @kernel("int64[::1], intp")
    def scale(begin: int, end: int, out: Any, factor: int) -> None:
        for i in range(begin, end):
            out[i] = scaled(scaled(scaled(out[i], 2), 3), factor)

    out = np.arange(3)
    scale(0, 3, out, 5)
    assert out.tolist() == [0, 30, 60]
    (part,) = scaled.build().overloads.values()
    names = part.fndesc.llvm_func_name, part.fndesc.llvm_cpython_wrapper_name, part.fndesc.llvm_cfunc_wrapper_name
    assert [part.library.get_pointer_to_function(name) for name in names] == [0, 0, 0]


@needs_numba
@pytest.mark.numba
def test_loading_a_kernel_imports_nothing_that_only_compiling_needs() -> None:
    assert new_kernel().prepare(("float64",)) == "compiled"
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from tests.minidl.device.test_compile import new_kernel, run
        assert new_kernel().prepare(("float64",)) == "loaded"
        assert run(new_kernel()).tolist() == run(new_kernel().py_func).tolist()
        assert "numba.typed.typeddict" not in sys.modules
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)]).returncode == 0


@needs_numba
@pytest.mark.numba
@pytest.mark.parametrize("collects", [True, False])
def test_garbage_waits_while_a_kernel_is_compiled_and_no_longer(
    monkeypatch: pytest.MonkeyPatch, collects: bool
) -> None:
    seen, real = [], numba_backend._numba_types

    def types(*args: Any, **how: Any) -> Any:
        seen.append(gc.isenabled())
        return real(*args, **how)

    monkeypatch.setattr(numba_backend, "_numba_types", types)
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        new_kernel().prepare(("float32",))
        after = gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()
    assert (seen[0], after) == (False, collects)


@needs_numba
@pytest.mark.numba
def test_a_loop_over_the_range_reads_and_writes_whole_vectors() -> None:
    @kernel("float32[::1], const float32[::1]")
    def exponentials(begin: int, end: int, out: Any, x: Any) -> None:
        for i in range(begin, end):
            out[i] = exp(x[i])

    compiled: Any = exponentials.compiled_for((np.zeros(1, np.float32), np.zeros(1, np.float32)))
    (code,) = compiled.inspect_llvm().values()
    assert re.search(r"load <\d+ x float>", code)
    assert re.search(r"store <\d+ x float>", code)


@needs_numba
@pytest.mark.numba
def test_a_kernel_that_cannot_be_compiled_says_so() -> None:
    @kernel("float64[::1]")
    def wrong(begin: int, end: int, out: Any) -> None:
        out[begin] = "text"

    with pytest.raises(KernelError, match="wrong: Numba cannot compile it for"):
        wrong(0, 1, np.zeros(1))


def test_a_signature_that_does_not_fit_the_function_is_refused() -> None:
    with pytest.raises(KernelError, match="takes 5 arguments, but"):
        kernel("float64[::1]")(leaky_rows)


@needs_numba
@pytest.mark.numba
def test_a_long_compile_is_announced_to_whoever_listens(monkeypatch: pytest.MonkeyPatch, private_cache: Path) -> None:
    heard: list[str] = []
    monkeypatch.setattr(compile, "_SLOW_S", 0)
    token = compile.compile_notice.set(heard.append)
    try:
        new_kernel().prepare(("float64",))
        new_kernel().prepare(("float64",))
    finally:
        compile.compile_notice.reset(token)
    assert heard == [f"minidl: compiling leaky_rows (once; cached in {private_cache})"]


@needs_numba
@pytest.mark.numba
def test_no_line_is_printed_where_nobody_sits(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compile, "_SLOW_S", 0)
    new_kernel().prepare(("float64",))
    assert capfd.readouterr() == ("", "")


def test_without_numba_a_kernel_says_what_to_install() -> None:
    script = """
        import sys
        sys.modules["numba"] = None
        from minidl.device import kernel, numba_status
        from minidl.errors import KernelError
        @kernel("float64")
        def nothing(begin, end, x): pass
        print(numba_status())
        try:
            nothing(0, 1, 2.0)
        except KernelError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    line = 'Numba is not installed, so ops run on NumPy alone; pip install "minidl[fast]"'
    assert done.stdout == f"{line}\nkernel nothing: {line}\n"


def test_numba_can_be_switched_off_for_a_block() -> None:
    before = bool(numba_status())
    with use_numba(False):
        assert not numba_status()
        with pytest.raises(KernelError, match="switched off"):
            new_kernel().prepare(("float64",))
    assert bool(numba_status()) == before


def test_functions_that_one_function_makes_have_names_of_their_own_for_the_linker() -> None:
    def scaling(factor: float) -> Any:
        return lambda x: factor * x

    names = [numba_backend.for_numba(scaling(factor)).__qualname__ for factor in (2.0, 3.0, 2.0)]
    assert names[0] == names[2] != names[1]

"""The `minidl` command: what this machine offers (`info`), kernels compiled (`warmup`) and measured (`tune`) ahead.

Other packages add commands through the entry point group `minidl.commands`: a function from the list of arguments to an
exit code, whose first docstring line is its help.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

Command = Callable[[Sequence[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all went well, 1 if it could not be done, 2 for arguments that make no sense."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and not arguments[0].startswith("-"):
        command = _find(arguments[0])
        if command is None:
            known = ", ".join(sorted({*_COMMANDS, *_plugins()}))
            print(f"minidl: there is no command {arguments[0]!r}; known: {known}", file=sys.stderr)
            return 2
        return command(arguments[1:])
    parser = argparse.ArgumentParser("minidl", description="A readable neural-network engine on NumPy.")
    parser.usage = "minidl [-h] [--version] command ..."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "commands:\n" + "\n".join(_help_lines())
    parser.add_argument("--version", action="version", version=_version())
    parser.parse_args(arguments)
    parser.print_help()
    return 0


def info(arguments: Sequence[str]) -> int:
    """Say what this machine offers: versions, processor, threads, cache, GPU."""
    parser = argparse.ArgumentParser("minidl info", description=info.__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args(arguments).json
    facts = _facts()
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        print("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()))
    return 0


def warmup(arguments: Sequence[str]) -> int:
    """Compile all kernels now, so that no first call has to wait."""
    from minidl.device import cache
    from minidl.device.numba_status import numba_status
    from minidl.device.threads import get_num_threads

    parser = argparse.ArgumentParser("minidl warmup", description=warmup.__doc__)
    parser.add_argument("--clear", action="store_true", help="remove all compiled kernels, and compile none")
    parser.add_argument("--jobs", type=int, default=get_num_threads(), help="processes at a time (default: all cores)")
    parser.add_argument(
        "--module", action="append", default=[], help="also import this module, and compile its kernels"
    )
    options = parser.parse_args(arguments)
    place = cache.folder()
    if options.clear:
        removed = cache.clear()
        print(f"removed {_count(removed.files, 'compiled kernel')} ({_size(removed.bytes)}) from {place.path}")
        return 0
    if not (status := numba_status()):
        print(f"minidl warmup: {status}", file=sys.stderr)
        return 1
    if place.path is None:
        print(f"minidl warmup: nothing would be kept, because {place.reason}", file=sys.stderr)
        return 1
    for module in options.module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"minidl warmup: {module} cannot be imported: {error}", file=sys.stderr)
            return 2
    return _compile_all(options.jobs)


def tune(arguments: Sequence[str]) -> int:
    """Measure the algorithms of convolution on this machine, and choose by that from now on; about a minute."""
    from minidl.errors import KernelError
    from minidl.ops.conv import times

    parser = argparse.ArgumentParser("minidl tune", description=tune.__doc__)
    parser.add_argument("--show", action="store_true", help="print what was measured before, and measure nothing")
    parser.add_argument("--forget", action="store_true", help="remove what was measured: choose by estimates again")
    options = parser.parse_args(arguments)
    try:
        if options.forget:
            print("removed" if times.forget() else "there was nothing to remove")
            return 0
        if not options.show:
            times.store(_measured_factors())
        found = times.factors()
    except KernelError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{times.path()}: time over estimate, by algorithm and pass" if found else "nothing was measured yet")
    for algorithm, passes in found.items():
        print(f"  {algorithm:<10}" + "".join(f"  {what} {factor:.2f}" for what, factor in passes.items()))
    return 0


def _measured_factors() -> dict[str, dict[str, float]]:
    from minidl.ops.conv.tune import factors_of, measure

    measured = []
    for row in measure():
        measured.append(row)
        print(f"{row.sample!s:<30} {row.what:<8} {row.algorithm:<10} {row.microseconds:9.0f} us, "
              f"estimated {row.estimated:9.0f}", flush=True)  # fmt: skip
    return factors_of(measured)


def _compile_all(jobs: int) -> int:
    from minidl.device import cache
    from minidl.device.warmup import specialisations, warm_up

    work = specialisations()
    results, started = [], time.perf_counter()
    for result in warm_up(work, jobs):
        results.append(result)
        _show_progress(len(results), len(work), f"{result.kernel} ({', '.join(result.types)}) {result.outcome}")
    _end_progress()
    seconds, usage = time.perf_counter() - started, cache.usage()
    failed = [result for result in results if result.outcome == "failed"]
    compiled = sum(result.outcome == "compiled" for result in results)
    found = len(results) - compiled - len(failed)
    print(f"{_count(compiled, 'kernel')} compiled, {found} found compiled, {len(failed)} failed, in {seconds:.1f} s")
    print(f"cache: {cache.folder().path} ({_count(usage.files, 'file')}, {_size(usage.bytes)})")
    for result in failed:
        print(f"minidl warmup: {result.error}", file=sys.stderr)
    return 1 if failed else 0


def _show_progress(done: int, total: int, what: str) -> None:
    """One bar that moves at a terminal; elsewhere one line each, so that a log can be read."""
    if not sys.stdout.isatty():
        print(f"{done}/{total} {what}", flush=True)
        return
    full = round(24 * done / total)
    line = f"[{'#' * full}{'.' * (24 - full)}] {done}/{total} {what}"
    print("\r" + line[: shutil.get_terminal_size().columns - 1] + "\x1b[K", end="", flush=True)


def _end_progress() -> None:
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")


def _facts() -> dict[str, str]:
    import numpy as np

    from minidl.device import cache
    from minidl.device.gpu import cuda_status, gpu_name
    from minidl.device.machine import blas_name, cpu_name, vector_bits
    from minidl.device.numba_status import numba_status
    from minidl.device.threads import get_num_threads

    place, usage = cache.folder(), cache.usage()
    kept = f"{place.path} ({_count(usage.files, 'compiled kernel')}, {_size(usage.bytes)})"
    return {
        "minidl": _version(),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "NumPy": f"{np.__version__} ({blas_name()})",
        "Numba": str(numba_status()),
        "CPU": f"{cpu_name()}, {vector_bits()}-bit vectors",
        "threads": str(get_num_threads()),
        "cache": kept if place.path else f"none: {place.reason}",
        "GPU": f"none: {reason}" if (reason := cuda_status()) else gpu_name(),
    }


def _version() -> str:
    import minidl

    return minidl.__version__


_COMMANDS: dict[str, Command] = {"info": info, "tune": tune, "warmup": warmup}


def _plugins() -> dict[str, Callable[[], Command]]:
    return {point.name: point.load for point in entry_points(group="minidl.commands")}


def _find(name: str) -> Command | None:
    if name in _COMMANDS:
        return _COMMANDS[name]
    load = _plugins().get(name)
    return None if load is None else load()


def _help_lines() -> list[str]:
    own = [f"  {name:<10} {(command.__doc__ or '').partition(chr(10))[0]}" for name, command in _COMMANDS.items()]
    return own + [f"  {name:<10} (added by another package)" for name in sorted(set(_plugins()) - set(_COMMANDS))]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _size(number: int) -> str:
    return f"{number / 2**20:.1f} MiB"

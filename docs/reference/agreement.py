"""Write the page that says, op by op, how far results agree with PyTorch's on its own samples.

`python -m docs.reference.agreement` runs all samples, in a process for each core, which takes some minutes; a number
behind it is the most samples of each op and element type. It fails when a sample does. Needs PyTorch.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "agreement.md"
_FAILS = "FAILS"
_HEAD = """# Agreement with PyTorch

PyTorch brings lists of samples for its own tests: inputs for each op and layer, settings of optimizers, wrong calls.
Here all those of the names that are also ours are run against both, from the installed wheel of PyTorch {version}.
Made by `python -m docs.reference.agreement{limit}`{shown}.

A sample passes when shapes, element types and values agree, and, where PyTorch has them, the gradients of all inputs
(and parameters) for random weights of the results. Bounds are those of `torch.testing.assert_close`: 1.3e-6 relative
and 1e-5 absolute for float32, 1e-7 for float64, equality for whole numbers. Where float32 misses them, it may be within
eight times the bounds of PyTorch's float64 result of the same numbers, for PyTorch's float32 has roundings too. Layers
in float32 have eight times the bounds. An optimizer passes when the weights of a small problem are PyTorch's to 1e-11
after ten steps in float64 (LBFGS 1e-7). A wrong call passes when it raises an error of ours.

"""


def page(limit: int | None = None) -> str:
    """The page as Markdown, of at most `limit` samples of each op and element type."""
    from tests.minidl.oracle.modules import module_db
    from tests.minidl.oracle.optimizers import name_of
    from tests.minidl.oracle.pytorch import op_db, optim_db, torch
    from tests.minidl.oracle.samples import shared_ops

    kinds = _judged(limit)
    all_verdicts = [verdict for verdicts in kinds.values() for verdict in verdicts]
    missing = {
        "Ops": sorted({op.name for op in op_db} - {op.name for op in shared_ops()}),
        "Layers": _lacking([info.name for info in module_db], kinds["Layers"]),
        "Optimizers": _lacking(list(map(name_of, optim_db)), kinds["Optimizers"]),
    }
    shown = (
        f": the first {limit} samples of each op and element type, of layers in training and in eval" if limit else ""
    )
    lines = [_HEAD.format(version=torch.__version__.split("+")[0], limit=f" {limit}" if limit else "", shown=shown)]
    lines += [_sum(kind, verdicts) for kind, verdicts in kinds.items()]
    lines += [_sum("All", all_verdicts), "", "## Reasons", "", *_reasons(all_verdicts)]
    for kind, verdicts in kinds.items():
        lines += ["", f"## {kind}", "", *_table(verdicts)]
    lines += ["", "## Not here", "", "Names in PyTorch's lists that minidl does not have."]
    for kind, names in missing.items():
        lines += ["", f"{kind} ({len(names)}): {', '.join(names)}."]
    lines += [""]
    return "\n".join(lines)


@functools.cache
def _kinds() -> dict[str, tuple[list[Any], Any]]:
    """PyTorch's lists, as far as they are shared, and what judges one entry of each."""
    from tests.minidl.oracle.modules import judge_module, shared_modules
    from tests.minidl.oracle.optimizers import judge_optimizer, shared_optimizers
    from tests.minidl.oracle.samples import judge, shared_ops

    return {
        "Ops": (shared_ops(), judge), "Layers": (shared_modules(), judge_module),
        "Optimizers": (shared_optimizers(), judge_optimizer),
    }  # fmt: skip


def _judged(limit: int | None) -> dict[str, list[Any]]:
    """The verdicts on all entries, by as many processes as there are cores."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return {
            kind: list(pool.map(functools.partial(_verdict, kind, limit), range(len(entries))))
            for kind, (entries, _) in _kinds().items()
        }


def _verdict(kind: str, limit: int | None, number: int) -> Any:
    entries, judge = _kinds()[kind]
    return judge(entries[number], limit)


def _lacking(names: list[str], verdicts: list[Any]) -> list[str]:
    return [name for name in names if name not in {v.name for v in verdicts}]


def _sum(what: str, verdicts: list[Any]) -> str:
    run = sum(v.samples for v in verdicts)
    excused = sum(v.excused.total() for v in verdicts)
    failed = sum(len(v.failed) for v in verdicts)
    refused = sum(v.rejected for v in verdicts)
    gradients = sum(v.gradients for v in verdicts)
    wrong = f", {refused:,} wrong calls refused" if refused else ""
    return (
        f"- {what}: {len(verdicts)} entries, {run:,} samples; {run - excused - failed:,} pass{wrong}, "
        f"{gradients:,} gradients compared, {failed} fail, {excused:,} ({excused / run:.1%}) are excused."
    )


def _reasons(verdicts: Iterable[Any]) -> Iterator[str]:
    """The excuses, the most frequent first, and what is compared in part."""
    from tests.minidl.oracle.excuses import SLACK, VALUES_ONLY

    total: Counter[str] = sum((v.excused for v in verdicts), Counter())
    yield from ("| excused samples | because |", "| --- | --- |")
    yield from (f"| {count} | {reason} |" for reason, count in total.most_common())
    yield ""
    yield from (f"- {name}: values only: {reason}." for name, reason in VALUES_ONLY.items())
    yield from (f"- {name}: {factor:.0f} times the bounds: {reason}." for name, (factor, reason) in SLACK.items())


def _table(verdicts: list[Any]) -> Iterator[str]:
    yield from ("| name | samples | pass | excused | gradients | reason |", "| --- | --- | --- | --- | --- | --- |")
    for v in verdicts:
        reasons = "; ".join(v.excused) + (f"; {_FAILS}" if v.failed else "")
        passed = v.passed + v.rejected
        yield f"| {v.name} | {v.samples} | {passed} | {v.excused.total() or ''} | {v.gradients or ''} | {reasons} |"


def main() -> None:
    """Write the page beside this file, and fail if a sample did."""
    PAGE.write_text(page(int(sys.argv[1]) if len(sys.argv) > 1 else None), encoding="utf-8")
    if _FAILS in PAGE.read_text(encoding="utf-8"):
        sys.exit(f"{PAGE}: samples fail; look for {_FAILS}")


if __name__ == "__main__":
    main()

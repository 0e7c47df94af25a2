"""Try every check on every planted fault and print who finds what. `python -m tests.minidl.gallery`."""

from __future__ import annotations

from minidl.testing import CHECKS, does_not_apply
from tests.minidl.gallery import FAULTS, Fault
from tests.minidl.gallery.mutants import kernel_verdicts, verdicts


def finders(fault: Fault) -> list[str]:
    """The checks that find it. One in which a planted kernel breaks the check's own sums finds nothing."""
    found = []
    for check in CHECKS:
        try:
            if does_not_apply(fault.case, check) is None and fault.verdict(check) is not None:
                found.append(check)
        except (IndexError, ValueError):
            continue
    return found


def main() -> None:
    """Print a line for each fault, the kill rate of all checks together and of each alone, and that of the mutants."""
    found = {fault.name: finders(fault) for fault in FAULTS}
    for name, checks in found.items():
        print(f"{name:38} {', '.join(checks) or 'SURVIVED'}")
    killed = sum(map(bool, found.values()))
    print(f"\n{killed} of {len(FAULTS)} planted faults killed: {killed / len(FAULTS):.0%}")
    for check in CHECKS:
        print(f"  {check:15} finds {sum(check in checks for checks in found.values()):3}")
    print()
    for what, mutants in (("gradients", verdicts()), ("kernels", kernel_verdicts())):
        killed = sum(mutants.values())
        print(f"{killed} of {len(mutants)} changed {what} of our ops killed: {killed / len(mutants):.0%}")


if __name__ == "__main__":
    main()

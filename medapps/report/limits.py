"""What a run's figures cannot tell, said beside them: the general limits, and those that this run's data show."""

from __future__ import annotations

from medapps.report.folder import RunFiles, SegmentationFiles

__all__ = ["known_limits", "segmentation_limits"]

_FEW = 30  # cases of a class below which one case more or less moves a sensitivity by more than 3 points
_THRESHOLD = "The call is the most probable class. No threshold was chosen for a purpose, such as missing few."
_DIAGNOSIS = (
    "Temperature, threshold and referral were chosen on the validation split. Where diseases are more or less frequent "
    "than there, they are no longer the right ones.",
    "A heat map shows where the network found what speaks for its call. It is no outline of a disease, and no proof.",
)
_GENERAL = (
    "All images are of one source. Other scanners, hospitals or patients may give other figures, mostly lower ones.",
    "The intervals tell the chance of this sample of test cases. What another seed or other training data would change "
    "is not in them; train with several seeds to see it.",
    "The model answers for every image, also for one that shows something it never saw.",
)


_FEW_CASES = 20  # cases of a class below which percentile intervals of a mean are noticeably too short
_SEGMENTATION = (
    _GENERAL[0],
    _GENERAL[1],
    "A mean hides the bad cases: look at the distribution and at the worst cases, which are shown beside the best.",
    "Dice is harsh on small regions and mild on large ones; compare it between classes with care.",
    "The truth is what somebody drew. Two readers differ too, and no figure here tells by how much.",
)


def known_limits(run: RunFiles) -> list[str]:
    """A sentence for each limit."""
    found, sentences = run.evaluation, []
    general = [*_GENERAL, *(_DIAGNOSIS if run.diagnosis else (_THRESHOLD,))]
    unit = "patients" if run.diagnosis else "images"
    if run.data.get("synthetic") is True:
        sentences.append("The images were made by a program. The figures say nothing about patients.")
    if found is None:
        return sentences + general
    judged = run.diagnosis.images if run.diagnosis else found
    if judged.groups == judged.n:
        sentences.append(
            "No two test images are known to be of one patient. If some are, the intervals are too short, and the "
            "figures may be too good."
        )
    few = [(name, int(n)) for name, n in zip(found.classes, found.confusion.sum(1), strict=True) if n < _FEW]
    sentences += [f"Only {n} test {unit} are of class {name}; its figures are rough." for name, n in few]
    undefined = [name.replace("_", " ") for name, figure in found.metrics.items() if not figure.is_defined]
    if undefined:
        sentences.append(f"Not defined on these data: {', '.join(undefined)}.")
    return sentences + general


def segmentation_limits(run: SegmentationFiles) -> list[str]:
    """A sentence for each limit of a segmentation."""
    found, sentences = run.evaluation, []
    if run.data.get("synthetic") is True:
        sentences.append("The images were made by a program. The figures say nothing about patients.")
    if found is None:
        return sentences + list(_SEGMENTATION)
    if found.unit == "px":
        sentences.append("The size of a pixel is not known for every case, so distances are in pixels.")
    if found.groups == found.n:
        sentences.append("No two cases are known to be of one patient. If some are, the intervals are too short.")
    for name, figures in found.per_class.items():
        if figures["dice"].n < _FEW_CASES:
            sentences.append(f"Class {name} rests on {figures['dice'].n} cases; its figures are rough.")
    if any(counts["missed"] for counts in found.outcomes().values()):
        sentences.append("Distances leave out the cases where a class was missed; the surface Dice counts them as 0.")
    return sentences + list(_SEGMENTATION)

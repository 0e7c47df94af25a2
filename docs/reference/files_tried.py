"""Write the page that says what becomes of each file in the DICOM and NIfTI test data.

`python -m docs.reference.files_tried FOLDER`, where FOLDER holds `dicom/` and `nifti/`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from medapps.errors import InputError
from medapps.image import Image
from medapps.readers import list_series, read_image, read_nifti, read_seg, read_series
from medapps.readers.seg import list_segments

PAGE = Path(__file__).parent / "files-tried.md"
_HEAD = """# Files tried

What `medapps` makes of every file and folder of its DICOM and NIfTI test data: a result, or one sentence. Made by
`python -m docs.reference.files_tried`; a test reads all of them again and compares. The data come from dcm_qa_ct,
dcm_qa_ts, dcmqi, pydicom-data and NiBabel (BSD and MIT licences).
"""


def page(root: Path) -> str:
    """The page as Markdown."""
    parts = [_HEAD, *_table("Files", _files(root)), *_table("Folders, as series", _folders(root / "dicom", root))]
    return "\n".join(parts) + "\n"


def _table(title: str, rows: Iterator[tuple[str, str]]) -> list[str]:
    return [f"## {title}", "", "| what | result |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows), ""]


def _files(root: Path) -> Iterator[tuple[str, str]]:
    for folder in ("dicom", "nifti"):
        for path in sorted(p for p in (root / folder).rglob("*") if p.is_file()):
            yield path.relative_to(root).as_posix(), _tried(path, root)


def _tried(path: Path, root: Path) -> str:
    try:
        found = list_segments(path)
        if found is not None:
            return _segmentation(path)
        return _image(read_image(path))
    except InputError as error:
        sentence = _sentence(error, root)
        if "choose one with read_nifti" not in sentence:
            return sentence
        return f"{sentence}; volume 0: {_image(read_nifti(path, volume=0))}"


def _segmentation(path: Path) -> str:
    image = read_series(path.parent, 1)
    try:
        mask, names = read_seg(path, image)
    except InputError as error:
        mask, names = read_seg(path, image, overlap="last")
        return f"{_sentence(error, path.parent)}; so read: {_segments(mask, names)}"
    return _segments(mask, names)


def _segments(mask: object, names: tuple[str, ...]) -> str:
    import numpy as np

    counts = np.bincount(np.asarray(mask).ravel(), minlength=len(names))[1:]
    return "segmentation: " + ", ".join(f"{name} {n} voxels" for name, n in zip(names[1:], counts, strict=True))


def _image(image: Image) -> str:
    c, z, y, x = image.shape
    steps = image.spacing_mm
    spacing = (
        "spacing unknown" if steps is None else " x ".join("?" if s is None else f"{s:.4g}" for s in steps) + " mm"
    )
    kind = image.modality or image.meta.get("format", "")
    colour = "colour, " if c == 3 else ""
    return f"{kind}, {colour}{z} x {y} x {x}, {image.array.dtype}, {spacing}"


def _folders(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    for place in sorted({path.parent for path in folder.rglob("*.dcm")}):
        for info in list_series(place):
            name = f"{place.relative_to(root).as_posix()}, series {info.number}"
            if not info.slices:
                yield name, f"{info.kind}: no image"
            elif info.code:
                yield name, info.verdict
            else:
                yield name, _series(place, info.number, root)


def _series(place: Path, number: int, root: Path) -> str:
    try:
        return _image(read_series(place, number))
    except InputError as error:
        return _sentence(error, root)


def _sentence(error: InputError, root: Path) -> str:
    return str(error).replace(f"{root.as_posix()}/", "").split(": ", 1)[-1].replace("|", "/")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(Path(sys.argv[1])), encoding="utf-8")


if __name__ == "__main__":
    main()

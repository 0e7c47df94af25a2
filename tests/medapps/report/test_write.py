"""The report page: what it shows, that it is one safe file, and that hostile texts change nothing in it."""

from __future__ import annotations

import base64
import errno
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medapps import NOTICE
from medapps.errors import InputError, OutputError
from medapps.report import write_report
from tests.medapps.metrics.draws import two_columns
from tests.medapps.report.fake_run import CLASSES, make_run, write_json, write_model

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>x</script>",
    "--><!-- </title></head><body>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#x3c;b&#x3e;&amp;",
    "\u202egnp.exe \u2066\x00\x07\x1b[2J",
    "javascript:alert(1)",
    "]]><![CDATA[<b>",
    "$\\frac{$ _x %s %(a)s \\N{BULLET}",
    "W" * 300,
    "\u8ba1\u7b97\u673a \u0645\u0631\u062d\u0628\u0627 \U0001f9e0",
    '=HYPERLINK("http://example.invalid")',
]


class Tree(HTMLParser):
    """Elements and the names of their attributes, in order; texts and addresses aside."""

    def __init__(self):
        super().__init__()
        self.elements, self.addresses, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.addresses += [value for name, value in attrs if name in ("src", "srcset", "href", "data", "action")]

    def handle_endtag(self, tag):
        self.elements.append(f"/{tag}")

    def handle_comment(self, data):
        self.elements.append("comment")

    def handle_data(self, data):
        self.texts.append(data)


def parsed(path):
    tree = Tree()
    tree.feed(path.read_text("utf-8"))
    tree.close()
    return tree


def words(path):
    return " ".join(" ".join(parsed(path).texts).split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with all its files, and its page."""
    run = make_run(tmp_path_factory.mktemp("runs") / "whole")
    return write_report(run)


def test_the_page_lies_in_the_run_folder_and_says_what_it_is_not(whole):
    assert whole.name == "report.html"
    assert words(whole).count(NOTICE) == 2  # above and below
    assert [p.name for p in whole.parent.iterdir() if p.name.startswith(".")] == []


def test_every_headline_figure_is_there_with_interval_and_n(whole):
    shown = words(whole)
    evaluation = json.loads((whole.parent / "evaluation.json").read_text())
    for name, figure in evaluation["metrics"].items():
        assert f"{figure['value']:.3f}" in shown, name
        assert f"{figure['low']:.3f} to {figure['high']:.3f}" in shown, name
        assert f"n = {figure['n']}" in shown, name


def test_cost_recipe_digests_and_seed_are_there(whole):
    shown = words(whole)
    for text in ("1 min 23 s", "412 MB", "77,713", "0.32 MB", "rotate (degrees 10.0)", "ab" * 32, "9 of 12", "0.1.0"):
        assert text in shown, text


def test_the_page_asks_for_nothing_and_runs_nothing(whole):
    text, tree = whole.read_text(), parsed(whole)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert all(address.startswith(("data:image/", "#")) for address in tree.addresses)
    names = {element[0] for element in tree.elements if isinstance(element, tuple)}
    assert not names & {"script", "iframe", "object", "embed", "link", "form", "base", "svg"}
    attributes = {name for element in tree.elements if isinstance(element, tuple) for name in element[1]}
    assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import", re.sub(r"data:image/[^\"]*", "", text))


def test_pictures_inside_hold_no_script_and_no_address_but_names_of_xml(whole):
    images = [a for a in parsed(whole).addresses if a.startswith("data:image/svg")]
    assert len(images) == 8  # four figures, light and dark
    for image in images:
        svg = base64.b64decode(image.split(",")[1]).decode()
        assert "<script" not in svg
        assert set(re.findall(r"https?://[^\"' <]*", svg)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }


def test_png_pictures_hold_nothing_but_pixels(whole):
    images = [a for a in parsed(whole).addresses if a.startswith("data:image/png")]
    assert images
    for image in images:
        png = base64.b64decode(image.split(",")[1])
        assert not any(kind in png for kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME"))


def test_every_element_is_closed_in_order(whole):
    void, stack = {"meta", "img", "source"}, []
    for element in parsed(whole).elements:
        if isinstance(element, tuple) and element[0] not in void:
            stack.append(element[0])
        elif isinstance(element, str):
            assert stack.pop() == element[1:]
    assert stack == []


def test_the_same_run_gives_the_same_bytes(tmp_path, whole):
    assert write_report(make_run(tmp_path / "again")).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_changes_the_tree_of_the_page(tmp_path, whole, text):
    """Class names, data, recipe keys and values, case names and title, all at once, against the harmless page."""
    run = make_run(
        tmp_path / "run", classes=("a" + text, text), name=text, notes=text, names=[f"{text}{i}" for i in range(60)]
    )
    page = write_report(run, title=text)
    assert parsed(page).elements == parsed(whole).elements


def test_control_and_direction_characters_are_shown_as_such(tmp_path):
    page = write_report(make_run(tmp_path / "run", name="a\u202eb\x00c\ud800d".encode("utf-8", "replace").decode()))
    assert "a\ufffdb\ufffdc?d" in page.read_text("utf-8")


def test_half_characters_from_json_do_not_stop_the_page(tmp_path):
    run = make_run(tmp_path / "run")
    text = (run / "recipe.json").read_text().replace('"name": "lungs"', '"name": "lungs \\ud83e"')
    (run / "recipe.json").write_text(text)
    assert "lungs \ufffd" in write_report(run).read_text("utf-8")


def test_synthetic_data_are_announced_loudly_and_real_data_are_not(tmp_path, whole):
    page = write_report(make_run(tmp_path / "run", synthetic=True))
    assert words(page).count("made by a program") == 2  # banner and limits
    assert "made by a program" not in words(whole)


def test_patients_are_named_where_intervals_are_over_them(tmp_path, whole):
    page = write_report(make_run(tmp_path / "run", groups=[f"p{i // 3}" for i in range(60)]))
    assert "The 60 judged images are of 20 patients; intervals are over patients." in words(page)
    assert "No two judged images are known to be of one patient" in words(whole)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("evaluation.json", "evaluation.json is missing"),
        ("predictions.csv", "predictions.csv is missing"),
        ("examples.npz", "examples.npz is missing"),
        ("history.json", "history.json is missing"),
        ("recipe.json", "recipe.json is missing"),
        ("model.safetensors", "12"),  # nothing is left out but the mark of the kept epoch and the digest
    ],
)
def test_a_missing_file_leaves_a_sentence(tmp_path, name, sentence):
    run = make_run(tmp_path / "run")
    (run / name).unlink()
    assert sentence in words(write_report(run))


def test_a_recipe_alone_makes_a_page(tmp_path):
    run = make_run(tmp_path / "run")
    for file in run.iterdir():
        if file.name != "recipe.json":
            file.unlink()
    assert "This run was not judged yet" in words(write_report(run))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b'{"recipe": 3}'])
@pytest.mark.parametrize("name", ["recipe.json", "evaluation.json", "history.json", "predictions.csv", "examples.npz"])
def test_a_damaged_file_is_named_and_the_old_page_stays(tmp_path, name, content):
    run = make_run(tmp_path / "run")
    (run / "report.html").write_text("old")
    (run / name).write_bytes(content)
    if (name, content) == ("recipe.json", b""):
        content = b"{"
    with pytest.raises(InputError, match=re.escape(name)) as raised:
        write_report(run)
    assert "\n" not in str(raised.value)
    assert (run / "report.html").read_text() == "old"


def test_a_damaged_model_file_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(InputError, match=r"model\.safetensors: is damaged"):
        write_report(run)


def test_predictions_of_another_run_are_refused(tmp_path):
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "other", n=61)
    (run / "predictions.csv").write_bytes((other / "predictions.csv").read_bytes())
    with pytest.raises(InputError, match=r"does not belong to evaluation\.json \(60 cases\)"):
        write_report(run)


@pytest.mark.parametrize("make", [lambda p: p, lambda p: (p.mkdir(), p)[1]])
def test_a_folder_without_a_run_is_refused(tmp_path, make):
    with pytest.raises(InputError, match="holds no run"):
        write_report(make(tmp_path / "nothing"))


def test_a_card_without_figures_marks_no_epoch(tmp_path):
    run = make_run(tmp_path / "run")
    write_model(run / "model.safetensors", card={"validation": {"epoch": "<b>"}})
    assert "was kept" not in words(write_report(run))


def test_a_full_disk_gives_one_sentence_and_keeps_the_old_page(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    (run / "report.html").write_text("old")

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(run)
    assert (run / "report.html").read_text() == "old"
    assert not list(run.glob(".report*"))


def test_one_class_alone_still_makes_a_page_that_says_so(tmp_path):
    run = make_run(tmp_path / "run", probabilities=two_columns([0.2, 0.9, 0.7]), labels=np.array([1, 1, 1]))
    shown = words(write_report(run))
    assert "not defined" in shown
    assert "all cases are of class 1" in shown
    assert "No ROC curve: the judged images are all of one class." in shown


def test_many_classes_and_colour_pictures_make_a_page(tmp_path):
    images = np.zeros((60, 3, 300, 200), np.uint8)
    classes = tuple(f"class {i}" for i in range(10))
    page = write_report(make_run(tmp_path / "run", classes=classes, images=images))
    assert all(f"{name}: AUC" in words(page) for name in classes)


def test_history_that_is_not_finite_or_empty_is_left_out(tmp_path):
    run = make_run(tmp_path / "run", classes=CLASSES)
    write_json(run / "history.json", [])
    assert "history.json is missing or empty" in words(write_report(run))

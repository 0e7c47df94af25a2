from __future__ import annotations

import json
import random

import numpy as np
import pytest

import minidl
from minidl.errors import FileFormatError
from minidl.io import checkpoint, read, read_checkpoint, save, save_checkpoint


class Thing:
    """The smallest object with a state."""

    def __init__(self, **state) -> None:
        self.state = state

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state) -> None:
        if state.keys() != self.state.keys():
            raise ValueError("other keys")
        self.state = dict(state)


def nested() -> Thing:
    moments = {0: {"step": 3, "exp_avg": minidl.ones(2)}, 1: {"step": 4, "exp_avg": minidl.zeros(2, 2)}}
    return Thing(state=moments, param_groups=[{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1], "foreach": None}])


def test_everything_comes_back(tmp_path) -> None:
    generator = minidl.Generator(3)
    generator.uniform((5,))
    thing = nested()
    save_checkpoint(
        tmp_path / "c", thing=thing, generator=generator, position={"epoch": 2, "rows": [1.5, float("inf")]},
        arrays={"average": np.arange(3)},
    )  # fmt: skip
    after = generator.uniform((4,))
    held = read_checkpoint(tmp_path / "c")
    assert held.position == {"epoch": 2, "rows": [1.5, float("inf")]}
    np.testing.assert_array_equal(held.arrays["average"], np.arange(3))
    fresh = Thing(state={}, param_groups=[])
    other = minidl.Generator(99)
    held.restore(thing=fresh, generator=other)
    assert fresh.state["param_groups"] == thing.state["param_groups"]
    assert list(fresh.state["state"]) == [0, 1]
    np.testing.assert_array_equal(fresh.state["state"][0]["exp_avg"].numpy(), [1, 1])
    np.testing.assert_array_equal(other.uniform((4,)), after)


def test_restoring_is_all_or_nothing(tmp_path) -> None:
    save_checkpoint(tmp_path / "c", first=Thing(a=1), second=Thing(b=2))
    first, misfit = Thing(a=10), Thing(other=20)
    before = minidl.default_generator().get_state()
    with pytest.raises(ValueError, match="other keys"):
        read_checkpoint(tmp_path / "c").restore(first=first, second=misfit)
    assert first.state == {"a": 10}
    assert misfit.state == {"other": 20}
    np.testing.assert_equal(minidl.default_generator().get_state(), before)
    with pytest.raises(FileFormatError, match="holds no state for 'third'; it has first, second"):
        read_checkpoint(tmp_path / "c").restore(third=Thing())


def test_weights_are_not_a_checkpoint(tmp_path) -> None:
    minidl.save({"w": minidl.ones(2)}, tmp_path / "w")
    with pytest.raises(FileFormatError, match="holds weights, but is not a checkpoint"):
        read_checkpoint(tmp_path / "w")


def test_every_flipped_bit_is_noticed(tmp_path) -> None:
    save_checkpoint(tmp_path / "c", thing=nested())
    content = bytearray((tmp_path / "c").read_bytes())
    rng = random.Random(0)
    for _ in range(200):
        place, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        content[place] ^= bit
        (tmp_path / "flipped").write_bytes(content)
        content[place] ^= bit
        with pytest.raises(FileFormatError):
            read_checkpoint(tmp_path / "flipped")


def test_every_truncation_is_noticed(tmp_path) -> None:
    save_checkpoint(tmp_path / "c", thing=nested())
    content = (tmp_path / "c").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(FileFormatError):
            read_checkpoint(tmp_path / "cut")


def test_exchanged_numbers_are_noticed(tmp_path) -> None:
    """A file that is a right safetensors file in all but its checksum."""
    save_checkpoint(tmp_path / "c", arrays={"a": np.zeros(2), "b": np.ones(2)})
    arrays, texts = read(tmp_path / "c")
    arrays["arrays.a"], arrays["arrays.b"] = arrays["arrays.b"], arrays["arrays.a"]
    save(arrays, tmp_path / "c", texts)
    with pytest.raises(FileFormatError, match="is damaged, its checksum does not fit"):
        read_checkpoint(tmp_path / "c")


def test_the_same_state_gives_the_same_bytes(tmp_path) -> None:
    contents = {save_checkpoint(tmp_path / "c", thing=nested()).read_bytes() for _ in range(10)}
    assert len(contents) == 1


def test_names_that_meet_stay_apart(tmp_path) -> None:
    x = [np.full(2, i) for i in range(4)]
    state = {"a.b": x[0], "a": {"b": x[1]}, 1: x[2], "1": x[3], "long" * 500: np.ones(1)}
    save_checkpoint(tmp_path / "c", thing=Thing(s=state))
    held = read_checkpoint(tmp_path / "c").states["thing"]["s"]
    assert held.keys() == state.keys()
    for key in ("a.b", 1, "1", "long" * 500):
        np.testing.assert_array_equal(held[key], state[key])
    np.testing.assert_array_equal(held["a"]["b"], x[1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">i8", "int8", "uint64", "bool"])
def test_every_element_type_and_memory_order_comes_back(tmp_path, dtype) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    save_checkpoint(tmp_path / "c", arrays={"a": array, "turned": array.T, "one": array[1, 2], "none": array[:0]})
    held = read_checkpoint(tmp_path / "c").arrays
    np.testing.assert_array_equal(held["a"], array)
    np.testing.assert_array_equal(held["turned"], array.T)
    assert held["one"] == array[1, 2]
    assert held["none"].shape == (0, 3)
    assert held["a"].flags.writeable


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ({"model": object()}, "position.model is of type object, which is neither"),
        ({"at": {(1, 2): 3}}, r"the keys of position.at must be numbers or texts, got \(1, 2\)"),
        ({"history": "x" * (17 << 20)}, "has a header of .* bytes, more than the 16777216 allowed"),
    ],
    ids=["object", "key", "too much text"],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, position, message) -> None:
    with pytest.raises(FileFormatError, match=message):
        save_checkpoint(tmp_path / "c", position=position)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 2}', "has version 2; this release reads version 1"),
        ("{}", "is not a checkpoint that minidl wrote"),
        ("[]", "is not a checkpoint that minidl wrote"),
        ("no JSON", "is not a checkpoint that minidl wrote"),
        ("[" * 100_000, "is not a checkpoint that minidl wrote"),
        (
            json.dumps({"version": 1, "states": {}, "position": [], "arrays": {"dict": []}, "random": {"dict": []}}),
            "is not a checkpoint that minidl wrote",
        ),
        (json.dumps({"version": 1, "states": {"a": {"array": "b"}}, "position": 1}), "is not a checkpoint"),
    ],
)
def test_foreign_content_under_a_right_checksum_is_named(tmp_path, text, message) -> None:
    save({}, tmp_path / "c", {checkpoint.KEY: text, "sha256": checkpoint._digest(text, {})})
    with pytest.raises(FileFormatError, match=message):
        read_checkpoint(tmp_path / "c")


def test_a_bad_random_state_changes_nothing(tmp_path) -> None:
    save_checkpoint(tmp_path / "c", thing=Thing(a=1))
    held = read_checkpoint(tmp_path / "c")
    held.random.pop("counter")
    thing = Thing(a=10)
    with pytest.raises(FileFormatError, match="random state"):
        held.restore(thing=thing)
    assert thing.state == {"a": 10}

"""A recipe survives JSON, and says in one sentence what is wrong with a field."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from medapps.errors import InputError
from medapps.recipe import Recipe


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(widths=(8, 16), augment=({"name": "rotate", "degrees": 5.0},), seed=3, modalities=("CT",))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_fields_not_given_have_their_defaults() -> None:
    assert Recipe.from_dict({"seed": 4}) == replace(Recipe(), seed=4)


def test_an_unknown_field_is_named_with_the_likely_one() -> None:
    with pytest.raises(InputError, match=r"^recipe: 'epoch' is no field; did you mean 'epochs'\?$"):
        Recipe.from_dict({"epoch": 3})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("batch_size", 1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", "fast"),
        ("dropout", 1.0),
        ("label_smoothing", -0.1),
        ("widths", []),
        ("widths", [0]),
        ("widths", "16"),
        ("augment", [{"degrees": 3}]),
        ("augment", "flip"),
        ("schedule", "linear"),
        ("select", "test_auc"),
        ("seed", -1),
        ("image_size", 4),
        ("name", ""),
        ("modalities", [1]),
    ],
)
def test_a_wrong_value_is_named_with_its_field(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^recipe: {field} must be "):
        Recipe.from_dict({field: value})


@pytest.mark.parametrize("values", [[], None, "recipe", 3])
def test_what_is_not_a_table_is_refused(values: object) -> None:
    with pytest.raises(InputError, match="must be a table of fields and values"):
        Recipe.from_dict(values)  # type: ignore[arg-type]

"""Pointers into arrays that kernels make: taken where the array is kept for as long as they are used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import minidl

MAKERS = {"empty", "zeros", "ones", "full"}


def names_freed_too_early(function: ast.FunctionDef) -> Iterator[str]:
    """Arrays that a function makes and takes a pointer to outside of all loops, where it names them last."""
    made = {
        target.id
        for node in ast.walk(function) if isinstance(node, ast.Assign)
        for target, value in pairs(node)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in MAKERS
        if isinstance(target, ast.Name)
    }  # fmt: skip
    in_loops = {
        id(node) for loop in ast.walk(function) if isinstance(loop, (ast.For, ast.While)) for node in ast.walk(loop)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "pointer_to":
            array = node.args[0]
            if isinstance(array, ast.Name) and array.id in made and id(node) not in in_loops:
                yield f"{function.name}: {array.id}"


def pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What is assigned to what, tuples taken apart."""
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from zip(target.elts, value.elts, strict=False)  # a starred name takes what is no array
    else:
        yield target, value


def functions(text: str) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))


def test_no_kernel_takes_a_pointer_to_what_is_freed_before_it_is_used() -> None:
    """Two threads then had one memory: bicubic images were wrong once in some thousand runs."""
    sources = Path(minidl.__file__).parent.rglob("*.py")
    found = [name for path in sources for f in functions(path.read_text(encoding="utf-8"))
             for name in names_freed_too_early(f)]  # fmt: skip
    assert found == []


def test_such_a_kernel_is_found() -> None:
    text = """
def kernel(begin, end, out, x):
    room, held = np.empty(3), -1
    mixed = pointer_to(room, 0)
    for unit in range(begin, end):
        copy(out, unit, mixed)
"""
    assert [*names_freed_too_early(next(functions(text)))] == ["kernel: room"]
    good = text.replace("    mixed = pointer_to(room, 0)\n", "").replace("mixed)", "pointer_to(room, 0))")
    assert [*names_freed_too_early(next(functions(good)))] == []

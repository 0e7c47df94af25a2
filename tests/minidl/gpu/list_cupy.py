"""Writes cupy_api.json, what the installed CuPy offers; run it where CuPy is installed, no GPU is needed.

python tests/minidl/gpu/list_cupy.py
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import FunctionType
from typing import Any

API = Path(__file__).with_name("cupy_api.json")


def parameters(function: Any) -> list[str]:
    """The names of a function's parameters, but for self; compiled functions tell them in their docstring alone."""
    try:
        found = inspect.signature(function).parameters.values()
        return [p.name if p.kind is not p.VAR_POSITIONAL else f"*{p.name}" for p in found if p.name != "self"]
    except (TypeError, ValueError):
        listed = re.search(r"\((.*?)\)(?: ->|$)", (function.__doc__ or "").partition("\n")[0])
        parts = [part.partition("=")[0].split()[-1] for part in listed[1].split(", ") if part] if listed else []
        return [part for part in parts if part not in ("self", "*", "/")]


def facts(cupy: Any) -> dict[str, Any]:
    """What there is, by kind."""
    public = {name: getattr(cupy, name) for name in dir(cupy) if not name.startswith("_")}
    members = {name: getattr(cupy.ndarray, name) for name in dir(cupy.ndarray) if not name.startswith("_")}
    compiled = ("builtin_function_or_method", "_GUFunc")
    return {
        "cupy": cupy.__version__,
        "functions": {
            name: parameters(value)
            for name, value in public.items()
            if isinstance(value, FunctionType) or type(value).__name__ in compiled
        },
        "ufuncs": {name: value.types for name, value in public.items() if isinstance(value, cupy.ufunc)},
        "types": [name for name, value in public.items() if isinstance(value, type) and value.__module__ == "numpy"],
        "constants": [name for name, value in public.items() if isinstance(value, float) or name == "newaxis"],
        "methods": {name: parameters(value) for name, value in members.items() if callable(value)},
        "attributes": [name for name, value in members.items() if not callable(value)],
    }


def main() -> None:
    import cupy

    one_name_a_line = json.dumps(facts(cupy)).replace('], "', '],\n"').replace(': {"', ': {\n"')
    API.write_text(one_name_a_line + "\n")


if __name__ == "__main__":
    main()

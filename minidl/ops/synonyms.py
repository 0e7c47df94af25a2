"""Second names that PyTorch and NumPy users know: each is the very function that it is called after."""

from minidl.ops.binary import div, mul, sub
from minidl.ops.compare import ge, gt, le, lt, ne
from minidl.ops.trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh
from minidl.ops.unary import abs, neg

__all__ = [
    "absolute", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "divide", "greater",
    "greater_equal", "less", "less_equal", "multiply", "negative", "not_equal", "subtract",
]  # fmt: skip

absolute, negative = abs, neg
subtract, multiply, divide = sub, mul, div
arccos, arcsin, arctan, arctan2 = acos, asin, atan, atan2
arccosh, arcsinh, arctanh = acosh, asinh, atanh
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne

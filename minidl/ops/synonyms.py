"""Second names that PyTorch and NumPy users know: each is the very function that it is called after."""

from minidl.ops.binary import div, mul, sub
from minidl.ops.trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh
from minidl.ops.unary import abs, neg

__all__ = [
    "absolute", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "divide", "multiply",
    "negative", "subtract",
]  # fmt: skip

absolute, negative = abs, neg
subtract, multiply, divide = sub, mul, div
arccos, arcsin, arctan, arctan2 = acos, asin, atan, atan2
arccosh, arcsinh, arctanh = acosh, asinh, atanh

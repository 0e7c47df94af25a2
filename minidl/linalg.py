"""Linear algebra under PyTorch's names in `torch.linalg`."""

from minidl import ops
from minidl.ops import cholesky, det, matmul, matrix_exp, matrix_power, slogdet
from minidl.ops import inverse as inv
from minidl.ops.decompositions import eigh, eigvalsh, matrix_rank, pinv, solve, solve_triangular, svdvals
from minidl.ops.decompositions import qr_by_mode as qr
from minidl.ops.decompositions import svd_by_parts as svd
from minidl.ops.diagonals import diagonal_last as diagonal
from minidl.ops.matrix_functions import cond, matrix_norm, multi_dot, tensorinv, tensorsolve, vander, vecdot
from minidl.ops.matrix_functions import cross_last as cross
from minidl.ops.matrix_functions import norm_of_either as norm
from minidl.ops.norms import vector_norm
from minidl.ops.precision import precise

__all__ = [
    "cholesky", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_exp", "matrix_norm",
    "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd",
    "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip

for _name in set(__all__) - {"diagonal", "inv", *ops.__all__}:  # a view computes nothing
    globals()[_name] = precise(f"linalg.{_name}", globals()[_name])

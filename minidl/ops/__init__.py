"""The public ops: a line per room, which lists its public functions in its `__all__`."""

from sys import modules
from types import FunctionType

from minidl.core import registry
from minidl.ops.activation import *
from minidl.ops.activation_family import *
from minidl.ops.adam_step import *
from minidl.ops.arranging import *
from minidl.ops.attention import *
from minidl.ops.avg_pool import *
from minidl.ops.batch_norm import *
from minidl.ops.bilinear import *
from minidl.ops.binary import *
from minidl.ops.bitwise import *
from minidl.ops.bounds import *
from minidl.ops.cast import *
from minidl.ops.compare import *
from minidl.ops.concat import *
from minidl.ops.conv import *
from minidl.ops.conv_rnn import *
from minidl.ops.conv_transpose import *
from minidl.ops.cosine import *
from minidl.ops.cross_entropy import *
from minidl.ops.ctc import *
from minidl.ops.cumulative import *
from minidl.ops.decompositions import *
from minidl.ops.diagonals import *
from minidl.ops.dropout import *
from minidl.ops.element_losses import *
from minidl.ops.embedding import *
from minidl.ops.embedding_bag import *
from minidl.ops.exponents import *
from minidl.ops.fold import *
from minidl.ops.fusion import *
from minidl.ops.glu import *
from minidl.ops.grid_sample import *
from minidl.ops.in_place import *
from minidl.ops.indexing import *
from minidl.ops.many import *
from minidl.ops.margin_losses import *
from minidl.ops.matmul import *
from minidl.ops.matrix_functions import *
from minidl.ops.max_pool import *
from minidl.ops.max_unpool import *
from minidl.ops.median import *
from minidl.ops.norm_family import *
from minidl.ops.normalize import *
from minidl.ops.norms import *
from minidl.ops.ordering import *
from minidl.ops.overlap_losses import *
from minidl.ops.pad import *
from minidl.ops.picking import *
from minidl.ops.pool_family import *
from minidl.ops.precision import KNOWN, precise
from minidl.ops.prelu import *
from minidl.ops.products import *
from minidl.ops.rearrange import *
from minidl.ops.reduce import *
from minidl.ops.resize import *
from minidl.ops.rms_norm import *
from minidl.ops.rnn import *
from minidl.ops.rounding import *
from minidl.ops.scatter_reduce import *
from minidl.ops.sgd_step import *
from minidl.ops.soft_dice import *
from minidl.ops.softmax import *
from minidl.ops.special import *
from minidl.ops.statistics import *
from minidl.ops.step import *
from minidl.ops.steps import *
from minidl.ops.synonyms import *
from minidl.ops.triangles import *
from minidl.ops.trigonometry import *
from minidl.ops.unary import *
from minidl.ops.views import *
from minidl.ops.where import *

__all__ = [name for name, value in list(globals().items()) if isinstance(value, FunctionType) and name != "precise"]

# Those that are made of several ops, or that autocast treats, know in which type they compute.
for _name in KNOWN.intersection(__all__):
    _function = globals()[_name]
    globals()[_name] = precise(_name, _function)
    setattr(modules[_function.__module__], _name, globals()[_name])  # in its room as well, where pickle looks for it

# From here on Tensor's methods find them by name.
registry.functions.update({name: globals()[name] for name in __all__})

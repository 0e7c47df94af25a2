"""What PyTorch keeps in `torch.nn.utils`: clipping, normed weights, weights as one vector, and sequences in `rnn`."""

from minidl.nn.utils import rnn
from minidl.nn.utils.clip_grad import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from minidl.nn.utils.normed_weight import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm
from minidl.nn.utils.vector import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm", "parameters_to_vector",
    "remove_spectral_norm", "remove_weight_norm", "rnn", "spectral_norm", "vector_to_parameters", "weight_norm",
]  # fmt: skip

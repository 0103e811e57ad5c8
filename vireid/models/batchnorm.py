"""Separate batch-norm running statistics for a modality that shares its weights with others."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.func import functional_call

from vireid._checks import check_type

_STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}


class AuxiliaryBatchNorm(nn.Module):
    """Run a module with its own weights but a separate set of batch-norm running statistics.

    This is the auxiliary batch norm of AdvProp. A generated modality, such as MUN's auxiliary one, may have a far wider
    distribution than the images. In one batch with them it shrinks them; in a batch of its own it moves the shared
    running means and variances, which then fit neither, and retrieval uses those. Unlike AdvProp, the scales and shifts
    stay shared. Only running statistics are copied; all other buffers are those of the module.

    ``module`` may be the whole network that owns this object. Such a network enters its own ``forward`` again with the
    auxiliary map, for example as ``self.auxiliary(self, auxiliary_map, modal=3)``.

    Args:
        module: Module whose statistics are copied. It is passed again in each call, so its weights have one owner.

    Shape:
        As those of the module.

    Raises:
        TypeError: If ``module`` is not a module.

    Example:
        >>> import torch
        >>> shared = nn.BatchNorm1d(2)
        >>> of_auxiliary = AuxiliaryBatchNorm(shared)
        >>> rows = of_auxiliary(shared, torch.tensor([[100.0, 0.0], [300.0, 2.0]]))
        >>> shared.running_mean, dict(of_auxiliary.named_buffers())["running_mean"]
        (tensor([0., 0.]), tensor([20.0000,  0.1000]))

    References:
        Xie et al., Adversarial Examples Improve Image Recognition, CVPR 2020.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        check_type("module", module, nn.Module, "be a module")
        for name, buffer in module.named_buffers():
            if name.rpartition(".")[2] in _STATISTICS:
                self.register_buffer(name.replace(".", "/"), buffer.clone())  # a buffer's name has no dot

    def forward(self, module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        """Return ``module(*args, **kwargs)``, normalised with the statistics kept here."""
        check_type("module", module, nn.Module, "be a module")
        statistics = {name.replace("/", "."): buffer for name, buffer in self.named_buffers()}
        return functional_call(module, statistics, args, kwargs)

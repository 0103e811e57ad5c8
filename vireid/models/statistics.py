"""Batch normalisation by statistics of one's own, for a modality that shares weights with others."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call

from vireid._checks import require


class OwnStatistics(nn.Module):
    """Call a module by its weights, but with running statistics that are kept here and that it never meets.

    A generated modality such as MUN's auxiliary one may be spread far wider than the images' own. In a batch that it
    shares with them, batch normalisation shrinks theirs; in a batch of its own, the running means and variances become
    a mixture that fits neither, and retrieval is normalised by them. All buffers of the module are copied, the weights
    are not.

    Args:
        module: whose statistics to begin with; it is given again at each call, so that its weights have one owner.

    Shape:
        as the module's.

    Raises:
        TypeError: ``module`` is no module.

    Example:
        >>> import torch
        >>> shared = nn.BatchNorm1d(2)
        >>> of_auxiliary = OwnStatistics(shared)
        >>> rows = of_auxiliary(shared, torch.tensor([[100.0, 0.0], [300.0, 2.0]]))
        >>> shared.running_mean, dict(of_auxiliary.named_buffers())["running_mean"]
        (tensor([0., 0.]), tensor([20.0000,  0.1000]))
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        require(isinstance(module, nn.Module), "module", "be a module", type(module).__name__, error=TypeError)
        for name, buffer in module.named_buffers():
            self.register_buffer(name.replace(".", "/"), buffer.clone())  # a dot would be a module's

    def forward(self, module: nn.Module, x: Tensor) -> Tensor:
        """``module(x)``, normalised by the statistics that are kept here."""
        statistics = {name.replace("/", "."): buffer for name, buffer in self.named_buffers()}
        result: Tensor = functional_call(module, statistics, (x,))
        return result

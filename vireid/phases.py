"""Parts that change with the epoch, as in curricula that switch transforms and losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from vireid._checks import check_callable, check_integer, check_type, require


class Phases(nn.Module):
    """Call one of several parts by the epoch: transforms, losses or any other functions of the same arguments.

    A training loop calls ``set_epoch`` at the start of each epoch; :func:`set_epoch` does so for all parts. Until then
    it is epoch 0. The epoch is no part of ``state_dict``: a run that resumes sets it again.

    Args:
        phases: Mapping from the first epoch of each phase, starting at 0, to its part, a module or a function.

    Shape:
        As those of the parts.

    Raises:
        ValueError: If no phase begins at epoch 0, or an epoch is negative.
        TypeError: If ``phases`` is no mapping, an epoch is no integer, or a part is not callable.

    Example:
        >>> part = Phases({0: str.upper, 6: str.lower})
        >>> part("Gray")
        'GRAY'
        >>> part.set_epoch(7)
        >>> part("Gray")
        'gray'
    """

    def __init__(self, phases: Mapping[int, Callable[..., Any]]) -> None:
        super().__init__()
        check_type("phases", phases, Mapping, "be a mapping from first epochs to parts")
        self.parts: dict[int, Callable[..., Any]] = {}
        for epoch, part in sorted((check_integer("phases", epoch, least=0), part) for epoch, part in phases.items()):
            check_callable(f"phases[{epoch}]", part)
            self.parts[epoch] = part
            if isinstance(part, nn.Module):  # for its weights, its device and its own set_epoch
                self.add_module(str(epoch), part)
        require(0 in self.parts, "phases", "have a part for epoch 0", list(self.parts))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the part of an epoch.

        Args:
            epoch: Index of the epoch, starting at 0.

        Raises:
            ValueError: If the epoch is negative.
            TypeError: If the epoch is no integer.
        """
        epoch = check_integer("epoch", epoch, least=0)
        self.first_epoch = max(first for first in self.parts if first <= epoch)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the part of the present epoch."""
        return self.parts[self.first_epoch](*args, **kwargs)


def set_epoch(epoch: int, *parts: Any) -> None:
    """Tell the epoch to every part that has a method ``set_epoch``, and to such modules inside of modules.

    Call it at the start of each epoch with all that may change: batch sampler, transforms, network and loss. Data
    loaders whose workers live on (``persistent_workers=True``) hold copies of the transforms that are not told.

    Args:
        epoch: Index of the epoch, starting at 0.
        parts: Samplers, modules and functions.

    Raises:
        ValueError: If the epoch is negative.
        TypeError: If the epoch is no integer.

    Example:
        >>> loss = nn.Sequential(Phases({0: nn.ReLU(), 1: nn.Tanh()}))
        >>> set_epoch(1, loss, len)
        >>> loss[0].first_epoch
        1
    """
    epoch = check_integer("epoch", epoch, least=0)
    for part in parts:
        members: Iterable[Any] = part.modules() if isinstance(part, nn.Module) else [part]
        for member in members:
            if callable(getattr(member, "set_epoch", None)):
                member.set_epoch(epoch)

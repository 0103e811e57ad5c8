"""Consistency of the predictions for several views of an image, as in CAJ+ and CIL.

The consistencies take the logits of all views, v b n. :class:`ConsistentViewsLoss` adds one to the loss of a method.
Row j of every view must be the same image. Nothing but the caller knows whether it is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vireid._checks import check_flags, check_integer, check_number, check_tensor, check_type, require
from vireid.losses.centers import widen
from vireid.losses.outputs import LossOutput, compute_terms, read_fields


class ViewCrossEntropyLoss(nn.Module):
    """Compute the cross entropy of the predictions for all views but one under the detached predictions for that one.

    CAJ+ learns the weak view from the strong one: view 0 is the image and view 1 its channel-augmented version. Its
    variants are ``target=0``, from which the strong view learns, and a third view, the logits of the infrared images
    of the same people. The entropy of the target is part of the value; it has no gradient.

    Args:
        target: Index of the view that the others learn from.

    Shape:
        logits v b n -> scalar, the mean over the rows of the other views. Row j of every view is the same image.

    Raises:
        ValueError: If ``target`` is negative, or the logits are not v b n with the target and another view.
        TypeError: If ``target`` is no integer, or the logits are not floating point.

    Example:
        >>> weak, strong = torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, -9.0]])
        >>> ViewCrossEntropyLoss()(torch.stack([weak, strong]))
        tensor(0.6931)

    References:
        Ye et al., Channel Augmentation for Visible-Infrared Re-Identification, TPAMI 2024.
    """

    def __init__(self, target: int = 1) -> None:
        super().__init__()
        self.target = check_integer("target", target, least=0)

    def forward(self, logits: Tensor) -> Tensor:
        """−Σ softmax(z_t) log softmax(z_v), z_t detached, the mean over v ≠ t and the rows."""
        _check_views(logits, least=max(2, self.target + 1))
        log_p = widen(logits).log_softmax(2)
        target = log_p[self.target].detach().exp()
        others = torch.cat([log_p[: self.target], log_p[self.target + 1 :]])
        return -(target * others).sum(2).mean()

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"target={self.target}"


class JensenShannonLoss(nn.Module):
    """Compute the Jensen-Shannon divergence of the predictions for all views, as AugMix and CIL do.

    It is between 0, for equal predictions, and ln v. CIL clamps the mean prediction to at least 1e-7; here the
    logarithms are exact.

    Shape:
        logits v b n -> scalar, the mean over the rows b. Row j of every view is the same image.

    Raises:
        ValueError: If the logits are not v b n with at least two views.
        TypeError: If the logits are not floating point.

    Example:
        >>> JensenShannonLoss()(torch.tensor([[[99.0, 0.0]], [[0.0, 99.0]]]))
        tensor(0.6931)

    References:
        Hendrycks et al., AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty, ICLR 2020; Chen
        et al., Benchmarks for Corruption Invariant Person Re-identification, NeurIPS 2021.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, logits: Tensor) -> Tensor:
        """1/v Σ_v KL(p_v ‖ 1/v Σ_u p_u), the mean over the rows."""
        _check_views(logits, least=2)
        log_p = widen(logits).log_softmax(2)
        log_mean = log_p.logsumexp(0) - math.log(len(log_p))
        return F.kl_div(log_mean.expand_as(log_p), log_p, reduction="none", log_target=True).sum(2).mean()


class ConsistentViewsLoss(nn.Module):
    """Add the consistency of the visible views' predictions to the loss of any method.

    A visible image comes in several views; the rows of the visible fields are all first views, then all second ones,
    like ``torch.cat(views.unbind(1))`` of views b v 3 h w. Interleaved views, ``views.flatten(0, 1)``, have the same
    shape: they raise no error, and predictions for different people are compared. CAJ+ is CAJ's loss and
    :class:`ViewCrossEntropyLoss` of the weak and the strong view. CIL is AGW's loss of the clean views alone and
    :class:`JensenShannonLoss`.

    Args:
        loss: Loss of a method, called with the output and the identities.
        consistency: Loss of logits v b n, called with the visible logits of all views.
        weight: Weight of ``consistency``, at least 0; 1 in CAJ+. CIL's 12 is a mean over visible and infrared images;
            the latter are equal copies without divergence, so 6 on the visible ones is the same.
        first_view_only: Whether ``loss`` sees the first view of the visible images only.

    Shape:
        output of b pairs whose visible fields have v · b rows, identities b -> :class:`LossOutput` with the terms of
        ``loss`` and ``consistency``.

    Raises:
        ValueError: If ``weight`` is negative, or the visible rows are not whole views.
        TypeError: If the output lacks a field that a term needs, or an argument has another type.

    Example:
        >>> from types import SimpleNamespace
        >>> from vireid.losses import BaselineLoss
        >>> weak, strong, infrared = torch.rand(3, 4, 8)
        >>> views = torch.cat([weak, strong])
        >>> output = SimpleNamespace(visible=views, infrared=infrared, visible_logits=views, infrared_logits=infrared)
        >>> loss = ConsistentViewsLoss(BaselineLoss(), ViewCrossEntropyLoss())
        >>> list(loss(output, torch.tensor([0, 0, 1, 1])).terms)
        ['identity', 'consistency']
    """

    def __init__(
        self, loss: nn.Module, consistency: nn.Module, *, weight: float = 1.0, first_view_only: bool = False
    ) -> None:
        super().__init__()
        check_type("loss", loss, nn.Module, "be a module")
        check_type("consistency", consistency, nn.Module, "be a module")
        check_flags(first_view_only=first_view_only)
        self.loss = loss
        self.consistency = consistency
        self.weight = check_number("weight", weight, least=0)
        self.first_view_only = first_view_only

    def forward(self, output: Any, identities: Tensor) -> LossOutput:
        """Compute the terms of the method, and the consistency of the visible logits."""
        v_logits, r_logits = read_fields(output, "visible_logits", "infrared_logits")
        number = len(r_logits)
        views, rest = divmod(len(v_logits), max(number, 1))
        rule = f"have the rows of two or more views of the {number} pairs"
        require(views >= 2 and rest == 0, "output.visible_logits", rule, tuple(v_logits.shape))
        seen = _FirstViews(output, number) if self.first_view_only else output
        terms = compute_terms(self.loss, seen, identities)
        terms["consistency"] = self.weight * self.consistency(v_logits.reshape(views, number, -1))
        return LossOutput.from_terms(terms)

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"weight={self.weight}, first_view_only={self.first_view_only}"


class _FirstViews:
    """The output of a network with the first rows of its visible fields."""

    def __init__(self, output: Any, number: int) -> None:
        self.output = output
        self.number = number

    def __getattr__(self, field: str) -> Any:
        value = getattr(self.output, field)
        return value[: self.number] if field.startswith("visible") else value


def _check_views(logits: Tensor, least: int) -> None:
    check_tensor("logits", logits)
    rule = f"have shape (v, b, n) with at least {least} views"
    fits = logits.ndim == 3 and logits.shape[0] >= least and logits.numel() > 0
    require(fits, "logits", rule, tuple(logits.shape))
    require(logits.is_floating_point(), "logits", "be floating point", logits.dtype, error=TypeError)

"""The nearest rows of a gallery too large for a matrix of all distances."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from vireid._checks import check_finite, require

Metric = Literal["cosine", "euclidean"]
CHUNK = 2048  # rows of a matrix product
BFLOAT16 = 2**-8  # largest relative change of a number by rounding


def prepare_rows(argument: str, rows: Tensor, dim: int, metric: Metric, first: int = 0) -> Tensor:
    """Return rows in float32 as they are compared, for cosine of unit length; errors count them from the first."""
    require(rows.shape[1] == dim, argument, f"have d = {dim}", tuple(rows.shape))
    check_finite(argument, rows, first)
    if metric == "cosine":
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
        row = int(length.argmin())
        require(bool(length[row] > 0), f"{argument}[{first + row}]", "be longer than zero", 0.0)
        rows = rows / length
    rows = rows.float()
    check_finite(f"squared {argument}", 8 * rows.square().sum(1, keepdim=True), first)
    return rows


def find_nearest(queries: Tensor, gallery: Tensor, k: int, metric: Metric) -> tuple[Tensor, Tensor]:
    """Return the distances and places of the k rows of a gallery that are nearest to each query, nearest first.

    They are exact up to the rounding of products in float32. For the cosine on a CPU with instructions for bfloat16,
    products in bfloat16 choose the candidates, and queries without a proof that none is missed are searched for again
    in float32.

    Args:
        queries: Rows q d of :func:`prepare_rows`.
        gallery: Rows n d, likewise.
        k: Number of rows to find, at most n.
        metric: ``"cosine"``, one minus the cosine similarity, or ``"euclidean"``.
    """
    cosine = metric == "cosine"
    fast = cosine and queries.device.type == "cpu" and _multiplies_bfloat16()
    groups = -(-len(gallery) // _choose_group(len(gallery), k))
    count = max(1, min(1024, 2**27 // groups))  # of queries; the best scores of their groups take 512 MiB at most
    distances = queries.new_empty(len(queries), k)
    places, proven = torch.empty_like(distances, dtype=torch.int64), queries.new_zeros(len(queries), dtype=torch.bool)
    for dtype in (torch.bfloat16, torch.float32) if fast else (torch.float32,):
        rest = (~proven).nonzero()[:, 0]
        for part in (rest[start : start + count] for start in range(0, len(rest), count)):
            distances[part], places[part], proven[part] = _find(queries[part], gallery, k, dtype, cosine)
    return distances, places


def _find(x: Tensor, stored: Tensor, k: int, dtype: torch.dtype, cosine: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distances and places of the k nearest rows, and whether it is proven that no other row is nearer.

    The largest x·y - ‖y‖²/2 are the nearest. The k best rows lie in the k groups with the best scores, so that only
    the best score of each group of neighbours is kept, and the rows of these groups are then compared one by one.
    """
    fast, dim, group = dtype == torch.bfloat16, x.shape[1], _choose_group(len(stored), k)
    ordered = torch.int16 if fast else dtype  # the bits of bfloat16 are faster, and in order except below zero
    origin = x.new_zeros(1) if cosine else stored[:CHUNK].mean(0)  # near it less is lost to rounding
    queries = (x - origin).to(dtype)
    scores = queries.new_empty(len(x) * CHUNK)
    peaks = torch.empty(len(x), -(-len(stored) // group), dtype=ordered, device=x.device)
    for chunk, peak in zip(torch.split(stored, CHUNK), torch.split(peaks, CHUNK // group, 1), strict=True):
        y = chunk if cosine else chunk - origin
        y = pad(y, (0, 0, 0, -len(y) % group)) if len(y) % group else y
        y = y.to(dtype).view(-1, group, dim).transpose(0, 1).flatten(0, 1)  # (p g) d -> (g p) d
        half = y.new_zeros(1) if cosine else y.square().sum(1) / 2
        score = scores[: len(x) * len(y)].view(len(x), -1)
        torch.addmm(half, queries, y.T, beta=0 if cosine else -1, out=score)
        torch.amax(score.view(ordered).view(len(x), group, -1), 1, out=peak)
    best, groups = peaks.topk(min(2 * k + 8, peaks.shape[1]))
    places = (groups[:, :, None] * group + torch.arange(group, device=x.device)).flatten(1)
    beyond = places >= len(stored)
    places = places.masked_fill(beyond, 0)
    near = _measure(x, stored, places, cosine).masked_fill(beyond, torch.inf).topk(k, largest=False).indices
    places = places.gather(1, near).sort(dim=1).values
    distances, order = _measure(x.double(), stored, places, cosine).float().sort(dim=1, stable=True)
    # Rounding hides at most |x - x'| + u of a product of unit rows and u of the score; sums in float32 d·2⁻²³
    lost = torch.linalg.vector_norm(x - queries.float(), dim=1) + BFLOAT16 if cosine else 0
    unseen = (best[:, -1].view(dtype).float().clamp_min(0) + lost) / (1 - BFLOAT16) + (dim + 2) * 2**-23
    return distances, places.gather(1, order), (distances[:, -1] < 1 - unseen) | (best.shape == peaks.shape)


def _choose_group(rows: int, k: int) -> int:
    """Return the size g of the groups: the larger, the fewer to choose from, and the more rows to compare afterwards.

    Of 2 k + 8 chosen groups both take as long, as measured, at rows = 120 g² (2 k + 8).
    """
    return 1 << max(0, min(8, round(math.log2(rows / (120 * (2 * k + 8))) / 2)))


def _measure(x: Tensor, stored: Tensor, places: Tensor, cosine: bool) -> Tensor:
    """Compute the distances q m of each query to the rows at its places, in the precision of the queries."""
    count = max(1, 2**20 // (places.shape[1] * x.shape[1]))  # of queries: enough for several threads
    size = min(count, len(x)) * places.shape[1], x.shape[1]
    rows, differences = stored.new_empty(size), x.new_empty(size)
    squared = []
    for part, near in zip(torch.split(x, count), torch.split(places, count), strict=True):
        rows, differences = rows[: near.numel()], differences[: near.numel()]
        torch.index_select(stored, 0, near.flatten(), out=rows)  # indexing takes thrice as long
        of_each = differences.view(*near.shape, -1)
        torch.sub(rows.view_as(of_each), part[:, None], out=of_each)
        squared.append(of_each.square_().sum(2))
    return torch.cat(squared) / 2 if cosine else torch.cat(squared).sqrt()


def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products in bfloat16; older versions of torch do not tell."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))

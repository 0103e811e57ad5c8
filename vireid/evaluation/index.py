"""Exact search for the nearest rows of a gallery too large for a matrix of all distances."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple, cast

import safetensors.torch
import torch
from torch import Tensor

from vireid._checks import check_choice, check_embeddings, check_finite, check_identities, check_tensor, require

QUERY_ROWS = 1024  # of a block of scores
GROUP = 64  # scores that are compared with the limit at once, by their maximum
SLAB_VALUES = {"cpu": 2**16}  # taken in float64 at once: they stay in the cache; elsewhere 2**22
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
FORMAT = {"format": "pt", "vireid": "GalleryIndex", "version": "1"}
Metric = Literal["cosine", "euclidean"]


class SearchResult(NamedTuple):
    """The nearest gallery rows of every query, nearest first; where the gallery has ended, infinity and id -1.

    Shape:
        distances q k float32, ids q k int64, on the device of the queries.
    """

    distances: Tensor
    ids: Tensor


class GalleryIndex:
    """A gallery of embeddings that grows and shrinks, and an exact search in it.

    Distances are those of the stored rows in float64, rounded to float32; equal ones rank in the order of insertion.
    Products in float32 only choose, by a bound on their rounding errors, the few rows to measure; so neither the sizes
    of blocks nor the precision of products change a result. A gallery of nearly equal rows makes it choose many, and
    slow. The gallery takes up to 1.5·n·d values and n ids, and growing or removing copies it once; a search takes about
    4·(1024·chunk_rows + 2·chunk_rows·d + 4·q·d) + 16·q·k bytes more, and 24 for each row that a block lets through.

    Args:
        dim: width d of the embeddings.
        metric: ``"cosine"``, one minus the cosine similarity, or ``"euclidean"``.
        device: where the gallery is kept and searched, by default torch's default device.
        dtype: of the stored rows: float32, float16 or bfloat16.
        chunk_rows: gallery rows compared at a time.

    Raises:
        ValueError: dim or chunk_rows is below 1, or metric or dtype is unknown.

    Example:
        >>> index = GalleryIndex(2, metric="euclidean")
        >>> index.add(torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]))
        tensor([0, 1, 2])
        >>> index.search(torch.tensor([[3.0, 4.0]]), k=2)
        SearchResult(distances=tensor([[0., 5.]]), ids=tensor([[1, 0]]))
    """

    def __init__(
        self,
        dim: int,
        *,
        metric: Metric = "cosine",
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        chunk_rows: int = 4096,
    ) -> None:
        require(dim >= 1, "dim", "be at least 1", dim)
        require(chunk_rows >= 1, "chunk_rows", "be at least 1", chunk_rows)
        check_choice("metric", metric, ("cosine", "euclidean"))
        require(dtype in DTYPES, "dtype", f"be one of {', '.join(map(str, DTYPES))}", dtype)
        self.dim, self.metric, self.chunk_rows = dim, metric, chunk_rows
        self._rows = torch.empty(0, dim, dtype=dtype, device=device)  # with room: the first len(self) count
        self._ids = torch.empty(0, dtype=torch.int64, device=device)
        self._slab = max(1, SLAB_VALUES.get(self._rows.device.type, 2**22) // dim)  # rows

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Tensor:
        """A copy of the ids in the order of insertion, n."""
        return self._ids.clone()

    @torch.no_grad()
    @torch.inference_mode(False)
    def add(self, embeddings: Tensor, ids: Tensor | None = None) -> Tensor:
        """Append rows and return their ids; after an error the index is as it was.

        Args:
            embeddings: n d, finite, also squared and in the dtype of the index; for cosine not zero.
            ids: n, unique integers from 0; by default they go on after the largest in the index.

        Raises:
            ValueError: a shape is wrong, or a row or an id is refused; the first is named.
            TypeError: embeddings are not floating point, or ids are not integers.
        """
        check_embeddings("embeddings", embeddings)
        size, stop = len(self), len(self) + len(embeddings)
        largest = int(self._ids.max()) if size else -1
        if ids is None:
            ids = torch.arange(largest + 1, largest + 1 + len(embeddings), device=embeddings.device)
        check_identities("ids", ids, embeddings)
        new = ids.to(self._ids)
        _refuse(new, new < 0, "be at least 0")
        _refuse_repeated(new)
        if int(new.min()) <= largest:  # the search for them takes time
            _refuse(new, torch.isin(new, self._ids), "be new")
        if stop > len(self._rows):
            grown = self._rows.new_empty(max(stop, size + size // 2), self.dim)
            grown[:size] = self._rows[:size]
            self._rows = grown
        for start in range(0, len(new), self._slab):
            rows = self._prepare("embeddings", embeddings[start : start + self._slab], start)
            self._rows[size + start : size + start + len(rows)] = rows
        self._ids = torch.cat([self._ids, new])
        return ids.long()

    @torch.no_grad()
    @torch.inference_mode(False)
    def remove(self, ids: Tensor) -> None:
        """Take out the rows of these ids, m; the others keep their order. After an error the index is as it was.

        Raises:
            ValueError: an id is repeated or not in the index; the first is named.
            TypeError: ids are not integers.
        """
        check_tensor("ids", ids)
        check_identities("ids", ids, ids.flatten())
        gone = ids.to(self._ids)
        _refuse_repeated(gone)
        _refuse(gone, ~torch.isin(gone, self._ids), "be in the index")
        kept = ~torch.isin(self._ids, gone)
        self._rows, self._ids = self._rows[: len(self)][kept], self._ids[kept]

    @torch.no_grad()
    def search(self, queries: Tensor, k: int = 10) -> SearchResult:
        """Find the k nearest rows of every query; always k columns, filled up where the gallery has fewer rows.

        Args:
            queries: q d, taken in float32, finite, also squared; for cosine not zero.
            k: how many rows.

        Raises:
            ValueError: a shape is wrong, a query is refused, which is named, or k is below 1.
            TypeError: queries are not floating point.
            RuntimeError: the index is empty.
        """
        check_embeddings("queries", queries)
        require(k >= 1, "k", "be at least 1", k)
        require(len(self) > 0, "index", "hold a row", len(self), "Call add first.", error=RuntimeError)
        x = self._prepare("queries", queries.to(self._rows.device)).float()
        distances, places = x.new_full((len(x), k), torch.inf), self._ids.new_full((len(x), k), -1)
        chunk = min(self.chunk_rows, len(self))
        scores = x.new_empty(min(QUERY_ROWS, len(x)), -(-chunk // GROUP) * GROUP)
        for start in range(0, len(self), chunk):
            y = self._rows[start : min(start + chunk, len(self))].float()
            origin = y.mean(0)  # near it less is lost to rounding
            y = y - origin
            scores[:, len(y) :] = -torch.inf  # fills the last group
            for part in (slice(first, first + QUERY_ROWS) for first in range(0, len(x), QUERY_ROWS)):
                query, place = self._choose(x[part], y, distances[part], origin=origin, start=start, scores=scores)
                if len(query):
                    _merge(query, place, self._measure(x[part], query, place), distances[part], places[part])
        ids = self._ids[places.clamp_min(0)].where(places >= 0, places)
        return SearchResult(distances.to(queries.device), ids.to(queries.device))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, whole: a write that fails leaves an earlier file as it was."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"rows": self._rows[: len(self)].cpu(), "ids": self._ids.cpu()}
        with TemporaryDirectory(dir=path.parent, prefix=".unfinished-") as unfinished:
            file = Path(unfinished, "index")
            safetensors.torch.save_file(tensors, file, metadata=FORMAT | {"metric": self.metric})
            os.replace(file, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str | None = None) -> GalleryIndex:
        """Read what ``save`` has written; nothing in the file is executed.

        Args:
            path: of the file.
            device: where the gallery is kept and searched, by default torch's default device.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or holds something else.
        """
        require(Path(path).is_file(), "path", "be a file", str(path), error=FileNotFoundError)
        remedy = "GalleryIndex.save writes one."
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                metric = cast(Metric, metadata.pop("metric", ""))
                require(metadata == FORMAT, "path", f"be a gallery index with {FORMAT}", metadata, remedy)
                rows, ids = file.get_tensor("rows"), file.get_tensor("ids")
        except safetensors.SafetensorError as error:
            raise ValueError(f"path must be a whole gallery index, got {str(path)!r}: {error}. {remedy}") from error
        require(rows.dim() == 2, "rows", "have shape (n, d)", tuple(rows.shape))
        index = cls(rows.shape[1], metric=metric, device=device, dtype=rows.dtype)
        check_identities("ids", ids, rows)
        check_finite("rows", rows)
        _refuse_repeated(ids)
        index._rows, index._ids = rows.to(index._rows), ids.to(index._ids)
        return index

    def _prepare(self, argument: str, rows: Tensor, first: int = 0) -> Tensor:
        """Rows as they are compared, for cosine of unit length; errors count them from the first."""
        require(rows.shape[1] == self.dim, argument, f"have d = {self.dim}", tuple(rows.shape))
        check_finite(argument, rows, first)
        rows = rows.double()
        if self.metric == "cosine":
            length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
            row = int(length.argmin())
            require(bool(length[row] > 0), f"{argument}[{first + row}]", "be longer than zero", 0.0)
            rows = rows / length
        check_finite(f"squared {argument}", 8 * self.dim * rows.to(self._rows.dtype).float().square(), first)
        return rows

    def _choose(
        self, x: Tensor, y: Tensor, distances: Tensor, *, origin: Tensor, start: int, scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Pairs of a query and a place that may be among the k nearest, in the order of the queries and then places.

        As ‖x - y‖² = ‖x‖² + ‖y‖² - 2x·y, a row is not below a limit unless x·y - ‖y‖²(1 - γ)/2, the score, reaches
        (‖x‖²(1 - γ) - limit²)/2, where γ(‖x‖² + ‖y‖²)/2 bounds the rounding error of the product.
        """
        k, limit, gamma = distances.shape[1], distances[:, -1], _rounding(self.dim)
        scores, centred = scores[: len(x)], x - origin
        with torch.autocast(x.device.type, enabled=False):
            torch.addmm(y.square().sum(1) * ((gamma - 1) / 2), centred, y.T, out=scores[:, : len(y)])
        groups = scores.view(len(x), -1, GROUP)
        peaks, length = groups.amax(2), centred.square().sum(1) * (1 - gamma)
        needed = self._needed(length, limit)
        if 2 * int((peaks >= needed).sum()) > peaks.numel() and k <= len(y):  # any k rows give a limit
            query = torch.arange(len(x), device=x.device).repeat_interleave(k)
            measured = self._measure(x, query, start + scores.topk(k).indices.flatten())
            needed = self._needed(length, limit.minimum(measured.view(-1, k).amax(1)))
        query, group = (peaks >= needed).nonzero(as_tuple=True)
        hit, member = (groups[query, group] >= needed[query]).nonzero(as_tuple=True)
        return query[hit], start + group[hit] * GROUP + member

    def _needed(self, length: Tensor, limit: Tensor) -> Tensor:
        squared = 2 * limit.double() if self.metric == "cosine" else limit.double().square()
        least = torch.finfo(torch.float32)
        return ((length - squared) / 2 - least.tiny).clamp_min(least.min).float()[:, None]  # q 1

    def _measure(self, x: Tensor, query: Tensor, place: Tensor) -> Tensor:
        pairs = zip(torch.split(query, self._slab), torch.split(place, self._slab), strict=True)
        squared = torch.cat([(x[i].double() - self._rows[j]).square().sum(1) for i, j in pairs])
        return (squared / 2 if self.metric == "cosine" else squared.sqrt()).float()


def _merge(query: Tensor, place: Tensor, measured: Tensor, distances: Tensor, places: Tensor) -> None:
    """Merge pairs into the k nearest of each query so far, in place; the pairs come after them in the gallery."""
    k = distances.shape[1]
    queries, row, count = torch.unique_consecutive(query, return_inverse=True, return_counts=True)
    column = k + torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    near = distances.new_full((len(queries), k + int(count.max())), torch.inf)
    where = places.new_full(near.shape, -1)
    near[:, :k], where[:, :k] = distances[queries], places[queries]
    near[row, column], where[row, column] = measured, place
    near, order = near.sort(dim=1, stable=True)
    distances[queries], places[queries] = near[:, :k], where.gather(1, order[:, :k])


def _rounding(dim: int) -> float:
    try:
        unit = {"highest": 2**-24, "high": 2**-11, "medium": 2**-8}[torch.get_float32_matmul_precision()]
    except RuntimeError:  # it is set for each backend apart
        unit = 2**-8
    return 4 * unit + 4 * (dim + 16) * 2**-24


def _refuse(ids: Tensor, refused: Tensor, rule: str) -> None:
    require(not refused.any(), "ids", rule, ids[refused][:1].tolist())


def _refuse_repeated(ids: Tensor) -> None:
    values, counts = torch.unique(ids, return_counts=True)
    _refuse(ids, torch.isin(ids, values[counts > 1]), "be unique")

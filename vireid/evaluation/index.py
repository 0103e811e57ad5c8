"""Search for the nearest rows of a gallery too large for a matrix of all distances."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from vireid._checks import (
    check_choice,
    check_embeddings,
    check_finite,
    check_identities,
    check_integer,
    check_number,
    check_tensor,
    check_type,
    require,
)
from vireid._files import load_tensors, save_tensors

QUERIES = 1024  # of one matrix product
GROUP = 16  # rows of which a search keeps the best score only
MEASURED = 2**21  # values compared one by one at a time
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
FORMAT = {"format": "pt", "vireid": "GalleryIndex", "version": "2"}
Metric = Literal["cosine", "euclidean"]


class SearchResult(NamedTuple):
    """Hold the nearest gallery rows of each query, nearest first; places without a row have infinity, -1 and ``""``.

    Shape:
        distances q k float32, ids q k int64, on the device of the queries; names: q lists of k strings.
    """

    distances: Tensor
    ids: Tensor
    names: list[list[str]]


class _Rows(NamedTuple):
    """Stored rows; never changed, so that a search needs no lock."""

    embeddings: Tensor  # with room: the first len(ids) count
    ids: Tensor
    names: list[str]  # may go on: a later addition appends to the same list


class GalleryIndex:
    """Keep a gallery of embeddings that grows and shrinks, and search it for the rows nearest to a query.

    The search compares every row. It chooses the k nearest in torch's float32 precision, so of rows whose distances
    differ by no more than the rounding error either may take the last place. The distances of the chosen rows are then
    computed from the stored rows in float64 and rounded to float32; equal ones rank in the order of insertion. Threads
    may share an index: each change is made as a whole, and a search sees the gallery as it was when the search began.

    Args:
        dim: Width d of the embeddings.
        metric: ``"cosine"``, one minus the cosine similarity, or ``"euclidean"``.
        device: Device of the gallery and of the search, by default torch's default device.
        dtype: Type of the stored rows: float32, float16 or bfloat16.
        chunk_rows: Number of gallery rows compared at a time, rounded up to a multiple of 16.

    Raises:
        ValueError: If dim or chunk_rows is below 1, or metric or dtype is unknown.
        TypeError: If an argument has the wrong type.

    Example:
        >>> index = GalleryIndex(2, metric="euclidean")
        >>> index.add(torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]), names=["a.jpg", "b.jpg", "c.jpg"])
        tensor([0, 1, 2])
        >>> found = index.search(torch.tensor([[3.0, 3.0]]), k=2, threshold=2.0)
        >>> found.distances, found.ids, found.names
        (tensor([[1., inf]]), tensor([[ 1, -1]]), [['b.jpg', '']])
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
        self.dim = check_integer("dim", dim, least=1)
        self.chunk_rows = -(-check_integer("chunk_rows", chunk_rows, least=1) // GROUP) * GROUP
        check_choice("metric", metric, ("cosine", "euclidean"))
        check_type("dtype", dtype, torch.dtype, "be a torch.dtype")
        require(dtype in DTYPES, "dtype", f"be one of {', '.join(map(str, DTYPES))}", dtype)
        self.metric = metric
        try:
            rows = torch.empty(0, self.dim, dtype=dtype, device=device)
        except (TypeError, RuntimeError) as error:
            raise type(error)(f"device must be a device of torch, got {device!r}: {error}") from error
        self._rows = _Rows(rows, torch.empty(0, dtype=torch.int64, device=rows.device), [])
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    @property
    def ids(self) -> Tensor:
        """A copy of the ids in the order of insertion, n."""
        return self._rows.ids.clone()

    @property
    def names(self) -> list[str]:
        """The names in the order of insertion; rows added without a name have ``""``."""
        rows = self._rows
        return rows.names[: len(rows.ids)]

    @torch.no_grad()
    @torch.inference_mode(False)
    def add(self, embeddings: Tensor, ids: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Append rows and return their ids; an error leaves the index as it was.

        Args:
            embeddings: Finite rows n d, also finite when squared and in the dtype of the index; not zero for cosine.
            ids: Unique integers n of at least 0; by default they continue after the largest in the index.
            names: Strings n, such as the paths of the images.

        Raises:
            ValueError: If a shape is wrong, or a row or an id is refused; the first is named.
            TypeError: If embeddings are not floating point, ids not integers, or names not strings.
        """
        check_embeddings("embeddings", embeddings)
        names = [""] * len(embeddings) if names is None else _check_names(names, len(embeddings))
        with self._lock:
            stored, old, old_names = self._rows
            size, stop = len(old), len(old) + len(embeddings)
            first = int(old.max()) + 1 if size else 0
            if ids is None:
                ids = torch.arange(first, first + len(embeddings), device=embeddings.device)
            check_identities("ids", ids, embeddings)
            new = ids.to(old)
            _refuse(new, new < 0, "be at least 0")
            _refuse_repeated(new)
            if int(new.min()) < first:  # the comparison takes time
                _refuse(new, torch.isin(new, old), "be new")
            if stop > len(stored):
                grown = stored.new_empty(max(stop, size + size // 2), self.dim)
                grown[:size] = stored[:size]
                stored = grown
            for start in range(0, len(new), self.chunk_rows):
                part = self._prepare("embeddings", embeddings[start : start + self.chunk_rows], start)
                stored[size + start : size + start + len(part)] = part
            old_names.extend(names)
            self._rows = _Rows(stored, torch.cat([old, new]), old_names)
        return ids.long()

    @torch.no_grad()
    @torch.inference_mode(False)
    def remove(self, ids: Tensor) -> None:
        """Remove the rows of these ids, m; the others keep their order. An error leaves the index as it was.

        Raises:
            ValueError: If an id is repeated or not in the index; the first is named.
            TypeError: If ids are not integers.
        """
        check_tensor("ids", ids)
        check_identities("ids", ids, ids.flatten())
        with self._lock:
            stored, old, names = self._rows
            gone = ids.to(old)
            _refuse_repeated(gone)
            _refuse(gone, ~torch.isin(gone, old), "be in the index")
            kept = ~torch.isin(old, gone)
            names = [names[place] for place in kept.nonzero().flatten().tolist()]
            self._rows = _Rows(stored[: len(old)][kept], old[kept], names)

    @torch.no_grad()
    def search(self, queries: Tensor, k: int = 10, *, threshold: float | None = None) -> SearchResult:
        """Find the k nearest rows of each query; always k columns, filled up where the gallery has fewer rows.

        Args:
            queries: Rows q d, taken in float32, finite also when squared; not zero for cosine.
            k: Number of rows to find.
            threshold: Largest distance of a row that is returned: a query without such a row is nobody in the gallery.

        Raises:
            ValueError: If a shape is wrong, a query is refused, which is named, or k or threshold is out of range.
            TypeError: If queries are not floating point.
            RuntimeError: If the index is empty.
        """
        check_embeddings("queries", queries)
        k = check_integer("k", k, least=1)
        limit = torch.inf if threshold is None else check_number("threshold", threshold, least=0)
        stored, ids, names = self._rows
        require(len(ids) > 0, "index", "hold a row", len(ids), "Call add first.", error=RuntimeError)
        stored = stored[: len(ids)]
        x = self._prepare("queries", queries.to(stored.device)).float()
        places = torch.cat([self._choose(part, stored, min(k, len(ids))) for part in torch.split(x, QUERIES)])
        distances, order = self._measure(x.double(), stored, places).float().sort(dim=1, stable=True)
        near = distances <= limit
        missing = (0, k - near.shape[1])
        places = pad(places.gather(1, order).masked_fill(~near, -1), missing, value=-1)
        distances = pad(distances.masked_fill(~near, torch.inf), missing, value=torch.inf)
        found = torch.where(places >= 0, ids[places], -1)
        named = [[names[place] if place >= 0 else "" for place in row] for row in places.tolist()]
        return SearchResult(distances.to(queries.device), found.to(queries.device), named)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file whole, with a checksum; an error or a kill leaves an earlier file as it was.

        Raises:
            OSError: If the file cannot be written, for want of space or of permission.
        """
        stored, ids, names = self._rows
        encoded = torch.frombuffer(bytearray(json.dumps(names[: len(ids)]).encode()), dtype=torch.uint8)
        tensors = {"rows": stored[: len(ids)], "ids": ids, "names": encoded}
        save_tensors(path, tensors, FORMAT | {"metric": self.metric})

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str | None = None) -> GalleryIndex:
        """Read a file of :meth:`save` and verify its checksum; nothing in the file is executed.

        Args:
            path: Path of the file.
            device: Device of the gallery and of the search, by default torch's default device.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path)
        metric = cast(Metric, metadata.pop("metric", ""))
        remedy = "GalleryIndex.save writes one."
        require(metadata == FORMAT, "path", f"be a gallery index with {FORMAT}", metadata, remedy)
        whole = tensors.keys() == {"rows", "ids", "names"}
        require(whole, "path", "be a gallery index of rows, ids and names", sorted(tensors), remedy)
        rows, ids = tensors["rows"], tensors["ids"]
        require(rows.dim() == 2, "rows", "have shape (n, d)", tuple(rows.shape))
        index = cls(rows.shape[1], metric=metric, device=device, dtype=rows.dtype)
        check_identities("ids", ids, rows)
        check_finite("rows", rows)
        _refuse_repeated(ids)
        try:
            names = json.loads(tensors["names"].numpy().tobytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"path must be a gallery index with names in JSON, got {str(path)!r}: {error}.") from error
        empty = index._rows
        index._rows = _Rows(rows.to(empty.embeddings), ids.to(empty.ids), _check_names(names, len(ids)))
        return index

    def _prepare(self, argument: str, rows: Tensor, first: int = 0) -> Tensor:
        """Return rows as they are compared, for cosine of unit length; errors count them from the first."""
        require(rows.shape[1] == self.dim, argument, f"have d = {self.dim}", tuple(rows.shape))
        check_finite(argument, rows, first)
        if self.metric == "cosine":
            length = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
            row = int(length.argmin())
            require(bool(length[row] > 0), f"{argument}[{first + row}]", "be longer than zero", 0.0)
            rows = rows / length
        stored = rows.to(self._rows.embeddings.dtype).float()
        check_finite(f"squared {argument}", 8 * stored.square().sum(1, keepdim=True), first)
        return rows

    def _choose(self, x: Tensor, stored: Tensor, k: int) -> Tensor:
        """Return the places of the k nearest rows in their order of insertion.

        The largest x·y - ‖y‖²/2 are the nearest. The k best rows lie in the k groups with the best scores, so that only
        the best score of each group is kept, and the rows of these groups are then compared one by one.
        """
        rows, width = self.chunk_rows, self.chunk_rows // GROUP
        origin = 0 if self.metric == "cosine" else stored[:rows].float().mean(0)  # near it less is lost to rounding
        scores = x.new_empty(len(x), rows)
        peaks = x.new_empty(len(x), -(-len(stored) // rows), width)
        for chunk in range(peaks.shape[1]):
            y = stored[chunk * rows : (chunk + 1) * rows].float() - origin
            scores[:, len(y) :] = -torch.inf
            with torch.autocast(x.device.type, enabled=False):
                torch.addmm(y.square().sum(1) / -2, x - origin, y.T, out=scores[:, : len(y)])
            torch.amax(scores.view(len(x), GROUP, width), 1, out=peaks[:, chunk])
        groups = peaks.flatten(1).topk(min(k, peaks[0].numel())).indices
        first = groups // width * rows + groups % width  # of a group; the others follow in steps of the width
        places = (first[:, :, None] + width * torch.arange(GROUP, device=x.device)).flatten(1)
        beyond = places >= len(stored)
        places = places.masked_fill(beyond, 0)
        distances = self._measure(x, stored, places).masked_fill(beyond, torch.inf)
        return places.gather(1, distances.topk(k, largest=False).indices).sort(dim=1).values

    def _measure(self, x: Tensor, stored: Tensor, places: Tensor) -> Tensor:
        """Compute the distances q m of each query to the rows at its places, in the precision of the queries."""
        count = max(1, MEASURED // (places.shape[1] * self.dim))
        pairs = zip(torch.split(x, count), torch.split(places, count), strict=True)
        squared = torch.cat([(part[:, None] - stored[near]).square().sum(2) for part, near in pairs])
        return squared / 2 if self.metric == "cosine" else squared.sqrt()


def _check_names(names: Any, number: int) -> list[str]:
    sequence = isinstance(names, Sequence) and not isinstance(names, (str, bytes))
    require(sequence, "names", "be a list of strings", names, error=TypeError)
    wrong = [name for name in names if not isinstance(name, str)]
    require(not wrong, "names", "be a list of strings", wrong[:1], error=TypeError)
    require(len(names) == number, "names", f"have one for each of {number} rows", len(names))
    return list(names)


def _refuse(ids: Tensor, refused: Tensor, rule: str) -> None:
    require(not refused.any(), "ids", rule, ids[refused][:1].tolist())


def _refuse_repeated(ids: Tensor) -> None:
    values, counts = torch.unique(ids, return_counts=True)
    _refuse(ids, torch.isin(ids, values[counts > 1]), "be unique")

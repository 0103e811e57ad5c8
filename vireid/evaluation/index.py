"""A gallery of named embeddings that grows, shrinks, and is searched."""

from __future__ import annotations

import os
import threading
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from vireid._checks import check_choice, check_embeddings, check_integer, check_number, require
from vireid._files import load_rows, save_rows
from vireid.evaluation.nearest import Metric, find_nearest, prepare_rows

CHUNK = 2048  # rows that are added at a time
FORMAT = {"format": "pt", "vireid": "GalleryIndex", "version": "3"}
_changing = threading.Lock()


class SearchResult(NamedTuple):
    """Hold the nearest gallery rows of each query, nearest first; places without a row have infinity, -1 and ``""``.

    Shape:
        distances q k float32, rows q k int64, on the device of the queries; names: q lists of k strings.
    """

    distances: Tensor
    rows: Tensor
    names: list[list[str]]


class GalleryIndex:
    """Keep a gallery of named embeddings that grows and shrinks, and search it for the rows nearest to a query.

    The search compares every row. It finds the k nearest up to the rounding of torch's float32 products; of rows closer
    together than that either may take the last place. Their distances are computed from the stored rows in float64 and
    rounded to float32, and equal ones rank in the order of insertion. Threads may share an index: a search sees the
    gallery as it was when the search began.

    Args:
        dim: Width d of the embeddings.
        metric: ``"cosine"``, one minus the cosine similarity, or ``"euclidean"``.
        device: Device of the gallery and of the search, by default torch's default device.

    Raises:
        ValueError: If dim is below 1 or metric is unknown.
        TypeError: If an argument has the wrong type.

    Example:
        >>> index = GalleryIndex(2, metric="euclidean")
        >>> index.add(torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]), names=["a.jpg", "b.jpg", "c.jpg"])
        >>> index.search(torch.tensor([[3.0, 3.0]]), k=2, threshold=2.0)
        SearchResult(distances=tensor([[1., inf]]), rows=tensor([[ 1, -1]]), names=[['b.jpg', '']])
    """

    def __init__(self, dim: int, *, metric: Metric = "cosine", device: torch.device | str | None = None) -> None:
        self.dim = check_integer("dim", dim, least=1)
        check_choice("metric", metric, get_args(Metric))
        self.metric = metric
        try:
            stored = torch.empty(0, self.dim, dtype=torch.float32, device=device)
        except (TypeError, RuntimeError) as error:
            raise type(error)(f"device must be a device of torch, got {device!r}: {error}") from error
        self._gallery: tuple[Tensor, list[str]] = stored, []  # rows with room for more; as many count as have a name

    def __len__(self) -> int:
        return len(self._gallery[1])

    @property
    def names(self) -> list[str]:
        """A copy of the names in the order of the rows; rows added without a name have ``""``."""
        return self._gallery[1].copy()

    @torch.no_grad()
    @torch.inference_mode(False)
    def add(self, embeddings: Tensor, names: list[str] | None = None) -> None:
        """Append rows; an error leaves the index as it was.

        Args:
            embeddings: Finite rows n d, also finite when squared in float32; not zero for cosine.
            names: Strings n, such as the paths of the images.

        Raises:
            ValueError: If a shape is wrong or a row is refused; the first is named.
            TypeError: If embeddings are not floating point, or names not strings.
        """
        check_embeddings("embeddings", embeddings)
        names = _check_names([""] * len(embeddings) if names is None else names, len(embeddings))
        with _changing:
            stored, known = self._gallery
            size, stop = len(known), len(known) + len(names)
            if stop > len(stored):
                stored = torch.cat([stored[:size], stored.new_empty(max(stop - size, size // 2), self.dim)])
                known = known.copy()  # a search may still hold the smaller tensor
            for start in range(0, len(names), CHUNK):
                part = prepare_rows("embeddings", embeddings[start : start + CHUNK], self.dim, self.metric, start)
                stored[size + start : size + start + len(part)] = part
            self._gallery = stored, known
            known.extend(names)

    @torch.no_grad()
    @torch.inference_mode(False)
    def remove(self, names: list[str]) -> None:
        """Remove all rows of these names; the others keep their order. An error leaves the index as it was.

        Raises:
            ValueError: If a name is not in the index; the first is named.
            TypeError: If names are not strings.
        """
        with _changing:
            stored, known = self._gallery
            gone = set(_check_names(names))
            require(gone <= set(known), "names", "be in the index", sorted(gone - set(known))[:1])
            kept = torch.tensor([name not in gone for name in known], dtype=torch.bool, device=stored.device)
            self._gallery = stored[: len(known)][kept], [name for name in known if name not in gone]

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
        stored, known = self._gallery
        stored, names = stored[: len(known)], known[: len(stored)]
        require(len(names) > 0, "index", "hold a row", 0, "Call add first.", error=RuntimeError)
        x = prepare_rows("queries", queries.to(stored.device), self.dim, self.metric)
        distances, rows = find_nearest(x, stored, min(k, len(stored)), self.metric)
        near = distances <= limit
        missing = (0, k - near.shape[1])
        distances = pad(distances.masked_fill(~near, torch.inf), missing, value=torch.inf)
        rows = pad(rows.masked_fill(~near, -1), missing, value=-1)
        named = [[names[row] if row >= 0 else "" for row in nearest] for nearest in rows.tolist()]
        return SearchResult(distances.to(queries.device), rows.to(queries.device), named)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file whole, with a checksum; an error or a kill leaves an earlier file as it was.

        Raises:
            OSError: If the file cannot be written, for want of space or of permission.
        """
        stored, known = self._gallery
        names = known[: len(stored)]
        save_rows(path, stored[: len(names)], names, FORMAT | {"metric": self.metric})

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
        rows, names, metadata = load_rows(path, FORMAT, "GalleryIndex.save")
        metric: Any = metadata.get("metric", "")
        index = cls(rows.shape[1], metric=metric, device=device)
        index._gallery = rows.to(index._gallery[0].device), names
        return index


def _check_names(names: Any, number: int | None = None) -> list[str]:
    strings = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    require(strings, "names", "be a list of strings", names, error=TypeError)
    require(number in (None, len(names)), "names", f"have one for each of {number} rows", len(names))
    return list(names)

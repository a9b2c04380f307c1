"""Frozen encoder of goal and context text (operator.md, "How it computes", 1)."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from pro_ros.episodes.sequence import Sequence
from pro_ros.model import huggingface
from pro_ros.model.config import TextEncoderConfig
from pro_ros.streams.sample import FloatArray

GRAMS = (3, 4, 5)
"""Lengths of the character n-grams, with a word's borders, as in fastText."""


def describe(task: str, context: Mapping[str, str]) -> str:
    """Goal and context as one text, always the same for the same content.

    ``describe("pick", {"sku": "A7", "robot": "ur5e"})`` is ``"pick; robot: ur5e; sku: A7"``.
    """
    parts = [task.strip(), *(f"{key}: {context[key]}" for key in sorted(context))]
    return "; ".join(part for part in parts if part)


class TextEncoder:
    """Text -> vector. It is frozen and knows nothing of training.

    Raises
    ------
    SpecError
        the library is missing, or the model cannot be loaded.
    """

    def __init__(self, config: TextEncoderConfig) -> None:
        self.config = config
        self._known: dict[str, FloatArray] = {}
        self._model: _LanguageModel | None = None
        if config.kind == "huggingface":
            self._model = _LanguageModel(config.model)
        self.size = self._model.size if self._model else config.size

    def __deepcopy__(self, memo: dict[int, object]) -> TextEncoder:
        """Copies of an operator share its frozen language model."""
        return self

    def describe(self, task: str, context: Mapping[str, str]) -> str:
        """As :func:`describe`, of what the configuration lets the operator read."""
        wanted = self.config.context
        kept = {k: v for k, v in context.items() if wanted is None or k in wanted}
        return describe(task if self.config.task else "", kept)

    def encode(self, texts: Seq[str]) -> FloatArray:
        """Unit vectors, float32 ``[N, size]``; an empty text gives zeros, which mean "absent"."""
        vectors = np.zeros((len(texts), self.size), dtype=np.float32)
        for row, text in enumerate(texts):
            if text.strip():
                if text not in self._known:
                    self._known[text] = self._encode(text)
                vectors[row] = self._known[text]
        return vectors

    def track(self, sequence: Sequence, default: str = "") -> FloatArray:
        """Vector of the goal at each step of a sequence, float32 ``[T, size]``.

        A step has the text of its episode. Between episodes the last one's holds, as it does on
        a robot that is told a goal and keeps it; before the first, and in episodes that say
        nothing, it is ``default``.
        """
        texts = [self.describe(e.task, e.context) or default for e in sequence.episodes]
        vectors = self.encode([*texts, default])
        index = np.where(sequence.episode >= 0, np.arange(len(sequence)), -1)
        latest = np.maximum.accumulate(index)
        # Row -1 is the default.
        return vectors[np.where(latest >= 0, sequence.episode[latest], -1)]

    def fingerprint(self) -> str | None:
        """Digest of the language model's weights; None for the built-in encoder."""
        return huggingface.fingerprint(self._model.model) if self._model else None

    def _encode(self, text: str) -> FloatArray:
        if self._model is not None:
            return self._model.encode(text)
        return hashed(text, self.config.size)


def hashed(text: str, size: int) -> FloatArray:
    """Signed feature hashing of words and character n-grams (Weinberger et al. 2009).

    float32 ``[size]`` of length 1. Similar words share n-grams, so that ``apple_2`` lies near
    ``apple_3``.
    """
    vector = np.zeros(size, dtype=np.float64)
    for word in unicodedata.normalize("NFKC", text).casefold().split():
        vector += _hash_word(word, size)
    length = np.linalg.norm(vector)
    return (vector / (length or 1.0)).astype(np.float32)


def _hash_word(word: str, size: int) -> npt.NDArray[np.float64]:
    """Half the weight on the word itself, half on its n-grams."""
    vector = np.zeros(size)
    framed = f"<{word}>"
    grams = [framed[i : i + n] for n in GRAMS for i in range(len(framed) - n + 1)]
    for feature, weight in [(f"word {word}", 1.0), *((g, len(grams) ** -0.5) for g in grams)]:
        digest = zlib.crc32(feature.encode())
        vector[(digest >> 1) % size] += weight if digest & 1 else -weight
    return vector


class _LanguageModel:
    """Mean-pooled last states of a model of the transformers library."""

    def __init__(self, name: str) -> None:
        library = huggingface.transformers("text.model")
        self.tokenizer = huggingface.load(
            "text.model", name, library.AutoTokenizer.from_pretrained
        )
        model = huggingface.load_model("text.model", name, "text_model")
        # Of an encoder and decoder, the encoder reads.
        whole = getattr(model.config, "is_encoder_decoder", False)
        self.model = cast("Any", model).get_encoder() if whole else model
        self.model.requires_grad_(False)
        longest = getattr(model.config, "max_position_embeddings", None) or 512
        self.longest = min(int(self.tokenizer.model_max_length), int(longest))
        self.size = len(self.encode("size"))

    @torch.no_grad()
    def encode(self, text: str) -> FloatArray:
        tokens = self.tokenizer(
            text, truncation=True, max_length=self.longest, return_tensors="pt"
        )
        states = self.model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).last_hidden_state[0]
        pooled = torch.nn.functional.normalize(states.mean(dim=0), dim=0)
        vector: FloatArray = pooled.numpy().astype(np.float32)
        return vector

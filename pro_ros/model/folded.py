"""One step of the operator on the CPU, its constants folded, in numpy.

A step is some hundred thousand multiplications, which take microseconds; through torch it is
bound by what each of its calls costs (benchmarks/latency.py). Here the encoders of all
modalities are one product, the goal is a constant, and the rest is a few calls of numpy, each
several times as cheap on so few numbers. A test holds it equal to the operator itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor, nn

from pro_ros.model.config import Activation
from pro_ros.model.members import MemberLinear, MemberPlain, MemberResidual, MemberSplit
from pro_ros.model.numeric import LARGEST
from pro_ros.model.operator import Operator
from pro_ros.model.temporal import TapsTemporal
from pro_ros.streams.sample import BoolArray, FloatArray

Layer = Callable[[FloatArray], FloatArray]

ACTIVATIONS: dict[Activation, Layer] = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * special.ndtr(x),
    "silu": lambda x: x * special.expit(x),
}
"""As in :mod:`pro_ros.model.members`; ``ndtr`` is the normal distribution's, as GELU has it."""


class FoldedStep:
    """The operator with a tapped delay line and without cameras; it has its own memory.

    Weights are those at the time of construction. E is the number of members, F that of features
    over all modalities, D the size of a token and K the window.

    Parameters
    ----------
    operator
        See :meth:`can_fold`.

    Attributes
    ----------
    latent
        The latent of the step before as the heads read it, ``[E, W]``; not set before the first.
    """

    latent: FloatArray

    def __init__(self, operator: Operator) -> None:
        config, temporal = operator.config, operator.temporal
        assert isinstance(temporal, TapsTemporal)
        columns = operator.columns
        self._names = tuple(operator.layout)
        self._lower, self._scale = _array(columns.lower), _array(columns.scale)
        self._floor, self._ceiling = _array(columns.floor), _array(columns.ceiling)
        self._absent = _array(columns.absent)
        self._ranked = columns.config.embedding == "rank"
        self._products = _folded_encoders(operator)
        self._operator = operator
        self._token_activation = ACTIVATIONS[config.token_activation]
        self._activation = ACTIVATIONS[config.activation]
        self._before = _array(temporal.before)
        self._taps = _taps(temporal)
        self._layers = [_layer(block, self._activation) for block in temporal.layers]
        self._norm = _norm(operator.heads.norm)
        self._head, self._head_bias = _array(operator.heads.weight), _array(operator.heads.bias)
        self.set_text(np.zeros(operator.text_encoder.size, dtype=np.float32))
        self.reset()

    @staticmethod
    def can_fold(operator: Operator) -> bool:
        """Whether this class covers the operator, and it lies on the CPU."""
        return (
            isinstance(operator.temporal, TapsTemporal)
            and not operator.cameras
            and operator.device.type == "cpu"
        )

    def set_text(self, vector: FloatArray) -> None:
        """Set the goal from the next step on, float32 ``[size]``; zeros: none."""
        goal = self._operator.text_absent
        if vector.any():
            goal = self._operator.text(torch.from_numpy(vector))
        self._bias = self._products[-1][1].copy()
        self._bias[: len(goal)] += _array(goal)

    def reset(self) -> None:
        """Forget all steps."""
        window = self._operator.config.temporal.window
        self._window: FloatArray = np.tile(self._before, (window, 1))

    def step(
        self, values: Mapping[str, FloatArray], mask: Mapping[str, BoolArray]
    ) -> npt.NDArray[np.float32]:
        """Run one step: per modality float32 and bool ``[F]`` -> all heads, ``[E, 3 + M K]``."""
        row = np.concatenate([values[name] for name in self._names])
        present = np.concatenate([mask[name] for name in self._names])
        # False for NaN, too.
        present &= np.abs(row) < LARGEST
        if not present.all():
            row[~present] = 0.0
        window = self._window
        window[:-1] = window[1:]
        window[-1] = self._token_activation(self._encode(row, present))
        latent = self._activation(self._taps(window.reshape(-1)))
        for layer in self._layers:
            latent = layer(latent)
        self.latent = self._norm(latent)
        packed: FloatArray = np.matmul(self.latent[:, None], self._head)
        return (packed + self._head_bias)[:, 0]

    def _encode(self, row: FloatArray, present: BoolArray) -> FloatArray:
        """Numbers ``[F]`` -> the token ``[D]`` before its activation."""
        columns = row[:, None] - self._lower
        with np.errstate(over="ignore"):
            columns *= self._scale
        np.maximum(columns, self._floor, out=columns)
        np.minimum(columns, self._ceiling, out=columns)
        if self._ranked:
            columns = np.stack([np.zeros_like(row), np.add.reduce(columns, axis=1)], axis=1)
        if not present.all():
            columns[~present] = self._absent
        x: FloatArray = columns.reshape(-1)
        *hidden, (last, _) = self._products
        for weight, bias in hidden:
            x = np.maximum(weight @ x + bias, 0)
        return last @ x + self._bias


def _array(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.detach().numpy()
    return array


def _folded_encoders(operator: Operator) -> list[tuple[FloatArray, FloatArray]]:
    """Weight and bias of each product that the encoders of all modalities are together.

    The last one's outputs are the token: the modalities add up, the action stands after them.
    """
    world = operator.width
    size = len(operator.temporal.before)  # type: ignore[arg-type]
    linears = {
        name: [m for m in encoder.modules() if isinstance(m, nn.Linear)]
        for name, encoder in operator.numeric.items()
    }
    products = []
    for depth in range(len(next(iter(linears.values())))):
        last = all(depth == len(chain) - 1 for chain in linears.values())
        layers = {name: chain[depth] for name, chain in linears.items()}
        outputs = size if last else sum(layer.out_features for layer in layers.values())
        weight = np.zeros(
            (outputs, sum(layer.in_features for layer in layers.values())), dtype=np.float32
        )
        bias = np.zeros(outputs, dtype=np.float32)
        row = column = 0
        for name, layer in layers.items():
            if last:
                row = world if name == "action" else 0
            rows = slice(row, row + layer.out_features)
            weight[rows, column : column + layer.in_features] = _array(layer.weight)
            bias[rows] += _array(layer.bias)
            column += layer.in_features
            row += layer.out_features
        products.append((weight, bias))
    return products


def _taps(temporal: TapsTemporal) -> Layer:
    """Window ``[K D]`` -> each member's latent ``[E, W]``."""

    def by_time(weight: FloatArray) -> FloatArray:
        """From tokens side by side per channel, ``[..., D K]``, to tokens one after another."""
        split = weight.reshape(*weight.shape[:-1], -1, temporal.window)
        return np.ascontiguousarray(split.swapaxes(-1, -2)).reshape(weight.shape)

    taps, split = temporal.taps, temporal.split
    if isinstance(taps, MemberLinear):
        r = by_time(_array(taps.r)[:, 0])
        return _product(r, by_time(_array(taps.weight).T).T, taps)
    assert isinstance(taps, nn.Linear)
    assert isinstance(split, MemberSplit)
    weight, bias = by_time(_array(taps.weight)), _array(taps.bias)
    r, split_bias = _array(split.r)[:, 0], _array(split.bias)[:, 0]

    def split_taps(x: FloatArray) -> FloatArray:
        shared: FloatArray = weight @ x + bias
        return shared * r + split_bias

    return split_taps


def _member_linear(layer: MemberLinear) -> Layer:
    return _product(_array(layer.r)[:, 0], _array(layer.weight), layer)


def _product(r: FloatArray, weight: FloatArray, layer: MemberLinear) -> Layer:
    """Rows ``[in]`` or ``[E, in]`` -> ``[E, out]``."""
    s, bias = _array(layer.s)[:, 0], _array(layer.bias)[:, 0]

    def linear(x: FloatArray) -> FloatArray:
        return ((x * r) @ weight).astype(np.float32, copy=False) * s + bias

    return linear


def _layer(block: nn.Module, activation: Layer) -> Layer:
    if isinstance(block, MemberPlain):
        linear = _member_linear(block.linear)
        return lambda x: activation(linear(x))
    assert isinstance(block, MemberResidual)
    norm, enter, leave = (
        _norm(block.norm),
        _member_linear(block.enter),
        _member_linear(block.leave),
    )
    return lambda x: x + leave(activation(enter(norm(x))))


def _norm(norm: nn.LayerNorm | None) -> Layer:
    if norm is None:
        return lambda x: x
    weight, bias, epsilon = _array(norm.weight), _array(norm.bias), norm.eps
    share = np.float32(1.0 / len(weight))

    def normed(x: FloatArray) -> FloatArray:
        centred = x - np.add.reduce(x, axis=-1, keepdims=True) * share
        variance = np.add.reduce(centred * centred, axis=-1, keepdims=True) * share
        scaled: FloatArray = centred / np.sqrt(variance + epsilon)
        return scaled * weight + bias

    return normed

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pro_ros.episodes.manifest import Episode
from pro_ros.episodes.sequence import Sequence
from pro_ros.errors import SpecError
from pro_ros.model.config import TextEncoderConfig
from pro_ros.model.text import TextEncoder, describe, hashed


def test_goal_and_context_join_to_one_text_whatever_their_order():
    assert describe(" pick ", {"sku": "A7", "robot": "ur5e"}) == "pick; robot: ur5e; sku: A7"
    assert describe("pick", {"robot": "ur5e", "sku": "A7"}) == "pick; robot: ur5e; sku: A7"
    assert describe("", {}) == ""
    assert describe("", {"sku": "A7"}) == "sku: A7"


def test_hashing_is_the_same_on_every_machine():
    # Fixed by definition (CRC-32): a change would silently break all checkpoints.
    expected = [0.5085, -0.2167, 0.2383, -0.3773, -0.2383, 0.4766, -0.4446, -0.1174]
    np.testing.assert_allclose(hashed("pick the apple", 8), expected, atol=1e-4)


def test_hashed_vectors_have_length_one_and_near_texts_are_near():
    encoder = TextEncoder(TextEncoderConfig(size=256))
    a, b, c, nothing = encoder.encode(
        ["pick apple_17", "pick apple_18", "fold the towel neatly", "  "]
    )
    for vector in (a, b, c):
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    assert a @ b > 0.6
    assert abs(a @ c) < 0.3
    assert not nothing.any()
    assert not np.array_equal(a, b)


def test_letter_case_and_unicode_form_do_not_matter():
    assert np.array_equal(hashed("Café ＡＢＣ", 64), hashed("cafe\u0301 abc", 64))


def episode(name: str, task: str) -> Episode:
    return Episode(id=name, recording="r", start_ns=0, end_ns=1, task=task)


def sequence(index: list[int], tasks: list[str]) -> Sequence:
    return Sequence(
        id="r#0", t_ns=np.arange(len(index)), values={}, mask={},
        episode=np.array(index, dtype=np.int32),
        episodes=tuple(episode(str(n), task) for n, task in enumerate(tasks)),
        events=(), known_until_ns=0,
    )  # fmt: skip


def test_a_goal_holds_from_its_episode_until_the_next_one():
    encoder = TextEncoder(TextEncoderConfig(size=32))
    said = encoder.track(sequence([-1, 0, -1, 1, 2, -1], ["pick", "place", ""]), "idle")
    expected = encoder.encode(["idle", "pick", "pick", "place", "idle", "idle"])
    np.testing.assert_array_equal(said, expected)


def test_a_sequence_without_episodes_has_the_default_goal():
    encoder = TextEncoder(TextEncoderConfig(size=32))
    said = encoder.track(sequence([-1, -1], []), "idle")
    np.testing.assert_array_equal(said, encoder.encode(["idle", "idle"]))


def test_only_what_the_configuration_names_is_read():
    context = {"robot": "ur5e-2", "site": "oslo", "sku": "A7"}
    everything = TextEncoder(TextEncoderConfig(size=32))
    assert everything.describe("pick", context) == describe("pick", context)
    sku = TextEncoder(TextEncoderConfig(size=32, context=("sku",)))
    assert sku.describe("pick", context) == "pick; sku: A7"
    nothing = TextEncoder(TextEncoderConfig(size=32, task=False, context=()))
    assert nothing.describe("pick", context) == ""
    assert not nothing.track(sequence([0, 0], ["pick"])).any()


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    """A tiny language model with random weights, as a local folder."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "pick", "the", "apple", "towel"]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 12})
    )
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=12,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_a_local_language_model_gives_unit_vectors(bert):
    encoder = TextEncoder(TextEncoderConfig(kind="huggingface", model=str(bert)))
    a, b, long, nothing = encoder.encode(["pick the apple", "pick the towel", "apple " * 50, ""])
    assert encoder.size == 16
    for vector in (a, b, long):
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(a, b)
    assert not nothing.any()
    assert encoder.fingerprint() == TextEncoder(encoder.config).fingerprint()


def test_a_language_model_that_is_missing_is_named_in_one_line(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    config = TextEncoderConfig(kind="huggingface", model=str(tmp_path / "none"))
    with pytest.raises(SpecError) as caught:
        TextEncoder(config)
    text = str(caught.value)
    assert text.startswith("text.model: model '")
    assert "\n" not in text

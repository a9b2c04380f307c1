"""The example that puts a callable behind an action, driven by the real gate."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gate_rig import Rig, causes, reason, running, wait_for
from rclpy.executors import MultiThreadedExecutor

pytestmark = pytest.mark.usefixtures("ros")

PATH = Path(__file__).resolve().parents[2] / "examples" / "policy_adapter" / "policy_adapter.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("policy_adapter", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Served:
    """The adapter around a policy, in threads of its own."""

    def __init__(self, make: Callable[[], Any] | None = None) -> None:
        module = load()
        self.node = module.Adapter(make) if make else module.Adapter()
        self.sent: list[list[float]] = []
        act = self.node.act

        def noted(action: Any) -> None:
            self.sent.append(list(action))
            act(action)

        self.node.act = noted
        self._executor = MultiThreadedExecutor(num_threads=3)
        self._executor.add_node(self.node)
        threading.Thread(target=self._executor.spin, daemon=True).start()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: Any) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


def gate(folder: Path, **more: Any) -> Any:
    return running(folder, await_policy=True, **more)


def endless() -> Any:
    return lambda seen: [1.0]


def test_the_made_up_policy_does_its_task_under_the_gate(tmp_path: Path) -> None:
    with Served() as served, gate(tmp_path) as rig:
        assert reason(rig.order().result()) == "SUCCESS"
        assert served.sent == [[0.0]] * 10


def test_no_action_is_sent_after_the_stop_is_confirmed(tmp_path: Path) -> None:
    with Served(endless) as served, gate(tmp_path) as rig:
        rig: Rig
        order = rig.order()
        wait_for(lambda: len(served.sent) > 2, "the policy acts")
        order.cancel()
        result = order.result()
        sent = len(served.sent)
        assert result.stopped
        assert order.status() == "canceled"
        time.sleep(0.3)
        assert len(served.sent) == sent


def test_a_policy_that_raises_is_a_failure_that_is_tried_again(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        if len(made) == 1:

            def broken(seen: Any) -> Any:
                raise ValueError("no camera")

            return broken
        return lambda seen: None

    with Served(make), gate(tmp_path) as rig:
        result = rig.order().result()
        assert causes(result) == ["POLICY_FAILURE", "SUCCESS"]


def test_the_policy_sees_the_prompt(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def make() -> Any:
        return lambda what: seen.append(what)

    with Served(make), gate(tmp_path) as rig:
        assert reason(rig.order("pick the mug").result()) == "SUCCESS"
    assert seen[0]["task"] == "pick the mug"


def test_a_run_to_which_nobody_listens_ends(tmp_path: Path) -> None:
    with Served(endless) as served:
        with gate(tmp_path) as rig:
            rig.order()
            wait_for(lambda: len(served.sent) > 2, "the policy acts")
        # The gate is gone, without a word.
        wait_for(lambda: not served.node._busy, "the run ends", 10)

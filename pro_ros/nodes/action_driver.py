"""Runs at one action server of any type: started, stopped, and what became of each."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from action_msgs.msg import GoalStatus, GoalStatusArray
from action_msgs.srv import CancelGoal
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import qos_profile_action_status_default
from rclpy.task import Future
from rosidl_runtime_py import set_message_fields
from rosidl_runtime_py.utilities import get_action

from pro_ros.errors import SpecError, suggest

How = Literal["succeeded", "aborted", "canceled"]

ENDS: dict[int, How] = {
    GoalStatus.STATUS_SUCCEEDED: "succeeded",
    GoalStatus.STATUS_ABORTED: "aborted",
    GoalStatus.STATUS_CANCELED: "canceled",
}

LIVE = (
    GoalStatus.STATUS_ACCEPTED,
    GoalStatus.STATUS_EXECUTING,
    GoalStatus.STATUS_CANCELING,
)

ASK_S = 5.0
"""After which a question is asked again: the question or its answer may be lost [s]."""

UNFIT = (TypeError, ValueError, AssertionError, AttributeError)
"""What setting a field of a message to a value of another type raises."""


@dataclass(frozen=True)
class Word:
    """What an action server said about a run, or that it is gone.

    ``result``: the action's result message, with ``ended`` only; ``how``: its goal status.
    """

    run: int
    what: Literal["accepted", "rejected", "feedback", "ended", "lost"]
    how: How | None = None
    result: Any = None


class ActionDriver:
    """Drives one action server; all calls and words are in the executor's thread.

    Parameters
    ----------
    node
        Whose executor is used.
    role
        ``policy``, ``recovery`` or ``safe_action``: prefix of its parameters, for the lines.
    name, kind
        Name and type of the action (``package/action/Name``).
    goal
        What goes into the goal: ``field=source``, or ``field:=value`` for a constant; a field may
        be a path (``a.b``).
    sources
        Names that may stand on the right of ``=``, with a value of the right type each.
    tell
        Takes the words.

    Raises
    ------
    SpecError
        The type is not installed, or the goal has no such field.
    """

    def __init__(
        self,
        node: Node,
        role: str,
        name: str,
        kind: str,
        goal: Sequence[str],
        sources: Mapping[str, Any],
        tell: Callable[[Word], None],
    ) -> None:
        self._node = node
        self._role = role
        self._name = name
        self._tell = tell
        self.action = _action_class(role, kind)
        self._fill = GoalFields(role, self.action.Goal, goal, sources)
        try:
            self.client = ActionClient(node, self.action, name)
        except ValueError:
            raise SpecError(f"parameter '{role}.name' is '{name}': no name of an action") from None
        self._newest: int | None = None
        # Runs whose end was not heard of, with their handles once they were accepted.
        self._runs: dict[int, Any] = {}
        self._unwanted: set[int] = set()
        self._ended_goals: deque[bytes] = deque(maxlen=32)
        # What the server executes by its own word, whoever ordered it.
        self._executing: set[bytes] = set()
        self._servers: set[bytes] = set()
        self._results = node.create_client(
            self.action.Impl.GetResultService, f"{name}/_action/get_result"
        )
        # Goals whose results were asked for, and when.
        self._asked: dict[bytes, tuple[Future, float]] = {}
        self._status_topic = node.resolve_topic_name(f"{name}/_action/status")
        node.create_subscription(
            GoalStatusArray, self._status_topic, self._on_status, qos_profile_action_status_default
        )

    def start(self, run: int, values: Mapping[str, Any]) -> None:
        """Ask for a run. Where that cannot be done it is rejected: nothing was asked to move."""
        obstacle = self._obstacle()
        if obstacle:
            self._error(obstacle)
            self._tell(Word(run, "rejected"))
            return
        goal = self._fill(values)
        # What a person gave up is not to begin late beside what begins now.
        self._unwanted.update(self._runs)
        self._newest = run
        self._runs[run] = None
        future = self.client.send_goal_async(
            goal, feedback_callback=lambda _: self._tell(Word(run, "feedback"))
        )
        future.add_done_callback(lambda done: self._answered(run, done))

    def stop(self, run: int) -> None:
        """Ask for the run's end; that it ended is said by its result and by nothing else."""
        self._unwanted.add(run)
        handle = self._runs.get(run)
        if handle is not None:
            handle.cancel_goal_async().add_done_callback(
                lambda done: self._cancel_answered(run, done)
            )

    def look(self) -> None:
        """Say so if the server of the live run is gone; to be called now and then."""
        self._refresh_servers()
        if self._newest in self._runs and not self.client.server_is_ready():
            self._tell(Word(self._newest, "lost"))
        self._doubt()

    def destroy(self) -> None:
        """Take the client down."""
        self.client.destroy()

    def _obstacle(self) -> str:
        """Why no run can be asked for now; empty if one can."""
        if not self.client.server_is_ready():
            return f"there is no action server '{self._name}'"
        self._refresh_servers()
        if len(self._servers) > 1:
            return (
                f"there are {len(self._servers)} action servers '{self._name}', all of which "
                "would move (a killed one counts until the middleware has noticed)"
            )
        if self._executing - set(self._ended_goals):
            return f"'{self._name}' still executes another goal"
        return ""

    def _refresh_servers(self) -> None:
        """See which servers there are; what one said last goes with it."""
        found = self._node.get_publishers_info_by_topic(self._status_topic)
        servers = {bytes(server.endpoint_gid) for server in found}
        if self._servers - servers:
            self._executing = set()
        if self._servers != servers:
            self._forget(set(self._asked))
        self._servers = servers

    def _doubt(self) -> None:
        """Ask for the results of goals that the server is said to execute, though nobody waits.

        The last word of a server that is gone may be heard after another one has come, and
        nobody takes it back. A server answers when the goal ends, and at once where it does not
        know it.
        """
        waits = self._newest in self._runs and self._newest not in self._unwanted
        if waits or len(self._servers) != 1 or not self._results.service_is_ready():
            return
        now = time.monotonic()
        self._forget({goal for goal, (_, at) in self._asked.items() if now - at > ASK_S})
        for goal in self._executing - set(self._ended_goals) - set(self._asked):
            request = self.action.Impl.GetResultService.Request()
            request.goal_id.uuid = list(goal)
            asked = self._results.call_async(request)
            self._asked[goal] = (asked, now)
            asked.add_done_callback(lambda _, goal=goal: self._executing.discard(goal))

    def _forget(self, goals: set[bytes]) -> None:
        """Take no answer about them any more."""
        for goal in goals:
            asked, _ = self._asked.pop(goal)
            self._results.remove_pending_request(asked)

    def _on_status(self, message: GoalStatusArray) -> None:
        self._refresh_servers()
        self._executing = {
            bytes(status.goal_info.goal_id.uuid)
            for status in message.status_list
            if status.status in LIVE
        }

    def _answered(self, run: int, done: Any) -> None:
        handle = done.result()
        if handle is None or not handle.accepted:
            self._runs.pop(run, None)
            self._unwanted.discard(run)
            self._tell(Word(run, "rejected"))
            return
        self._runs[run] = handle
        handle.get_result_async().add_done_callback(lambda found: self._ended(run, found))
        if run in self._unwanted:
            self._error(f"'{self._name}' accepted late what it is not to do any more")
            self.stop(run)
        self._tell(Word(run, "accepted"))

    def _cancel_answered(self, run: int, done: Any) -> None:
        code = done.result().return_code
        if run not in self._runs:
            return
        if code == CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID:
            # Another server has taken the place of the one that accepted it.
            self._tell(Word(run, "lost"))
        elif code == CancelGoal.Response.ERROR_REJECTED or not done.result().goals_canceling:
            self._error(f"'{self._name}' refused to be cancelled")

    def _ended(self, run: int, found: Any) -> None:
        handle = self._runs.pop(run, None)
        self._unwanted.discard(run)
        if handle is not None:
            self._ended_goals.append(bytes(handle.goal_id.uuid))
        response = found.result()
        if response is None or response.status not in ENDS:
            # The server forgot the goal, or answered with nothing: not a confirmation.
            self._tell(Word(run, "lost"))
            return
        self._tell(Word(run, "ended", ENDS[response.status], response.result))

    def _error(self, line: str) -> None:
        self._node.get_logger().error(f"{self._role}: {line}")


class GoalFields:
    """Makes goals from named values."""

    def __init__(
        self, role: str, goal_class: Any, entries: Sequence[str], sources: Mapping[str, Any]
    ) -> None:
        self._class = goal_class
        self._constants: dict[str, Any] = {}
        self._sources: list[tuple[list[str], str, bool]] = []
        for entry in (e for e in entries if e):
            where = f"parameter '{role}.goal': '{entry}'"
            field, constant, text = entry.partition(":=")
            if not constant:
                field, equals, text = entry.partition("=")
                if not equals:
                    raise SpecError(f"{where}: expected 'field=source' or 'field:=value'")
                if text not in sources:
                    raise SpecError(
                        f"{where}: unknown source '{text}'{suggest(text, sources)}"
                        f" (known: {', '.join(sources)})"
                    )
            path = field.strip().split(".")
            present = _check_field(where, goal_class(), path)
            value = _parsed(where, text) if constant else sources[text]
            if isinstance(present, bool) and not isinstance(value, bool):
                raise SpecError(f"{where}: the field is true or false")
            alone: dict[str, Any] = {}
            _put(alone, path, value)
            try:
                set_message_fields(goal_class(), alone)
            except UNFIT as exc:
                raise SpecError(f"{where}: does not fit the field: {_line(exc)}") from None
            if constant:
                _put(self._constants, path, value)
            else:
                self._sources.append((path, text, isinstance(present, list)))

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """A goal with these values."""
        filled = copy.deepcopy(self._constants)
        lists: dict[tuple[str, ...], list[Any]] = {}
        for path, source, several in self._sources:
            value = values[source]
            if several:
                # A list takes the sources of all entries for it, in their order.
                value = lists.setdefault(tuple(path), [])
                value.append(values[source])
            _put(filled, path, value)
        goal = self._class()
        set_message_fields(goal, filled)
        return goal


def read_field(message: Any, path: str, where: str) -> Any:
    """A field of a message by its path.

    Raises
    ------
    SpecError
        There is none; ``where`` begins the line.
    """
    return _check_field(where, message, path.split("."))


def _check_field(where: str, message: Any, path: Sequence[str]) -> Any:
    value = message
    for part in path:
        known: dict[str, str] = getattr(value, "get_fields_and_field_types", dict)()
        if part not in known:
            raise SpecError(
                f"{where}: {type(value).__name__} has no field '{part}'{suggest(part, known)}"
                f" (it has: {', '.join(known) or 'none'})"
            )
        value = getattr(value, part)
    return value


def _parsed(where: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise SpecError(f"{where}: not a value in YAML: {_line(exc)}") from None


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split())


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _action_class(role: str, kind: str) -> Any:
    package, _, name = kind.replace("/action/", "/").partition("/")
    try:
        return get_action(f"{package}/action/{name}")
    except (ModuleNotFoundError, LookupError):
        raise SpecError(
            f"parameter '{role}.type' is '{kind}': package '{package}' is not installed"
        ) from None
    except (AttributeError, ValueError):
        raise SpecError(
            f"parameter '{role}.type' is '{kind}': no such action, expected package/action/Name"
        ) from None

"""The demonstration cell as the devices of a real one: sensors, vision, the robot's controller.

Physics runs on a thread of its own; callbacks leave it a word and return.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock as NodeClock
from rclpy.clock import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Int8
from std_srvs.srv import Trigger

from pro_ros.cell.camera import RATE as CAMERA_RATE
from pro_ros.cell.camera import Camera
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.cell import Command
from pro_ros.cell.live import LiveCell
from pro_ros.cell.messages import FORMS, TOPICS, Encoder
from pro_ros.cell.sensors import ACTION, ACTION_VALVE, CAMERA, ITEM_POSE, NS, Reading
from pro_ros.cell.tasks import Task, draw_task
from pro_ros.cell.world import require_mujoco
from pro_ros.errors import ProError, SpecError
from pro_ros.msg import TaskContext
from pro_ros.nodes.cell_node_parameters import CELL_NODE_PARAMETERS
from pro_ros.nodes.diagnostics import status
from pro_ros.nodes.message_types import message_class
from pro_ros.nodes.parameters import declare, values
from pro_ros.nodes.qos import ASSESSMENTS, EVENTS, sensor, sensor_depth
from pro_ros.nodes.spinning import FAULTY_PARAMETER, begin, end, say, spin
from pro_ros.srv import NextTask

HEARD = (ACTION, ACTION_VALVE)
"""What the cell is told: others publish it."""

FASTEST = 500.0
"""Of the sensors [Hz]."""

VALVES = (-1, 0, 1)


class CellNode(Node):
    """See docs/nodes/cell.md for topics, services and parameters.

    Raises
    ------
    ProError
        ``mujoco`` is missing, the cell file, the site or the camera cannot be used.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("cell", **options)
        declare(self, CELL_NODE_PARAMETERS)
        self._settings = values(self, CELL_NODE_PARAMETERS)
        require_mujoco()
        self._catalogue = load_catalogue(self._settings["cell_file"] or None)
        self._site = self._settings["site"]
        first = self._draw(self._site, self._settings["seed"], "")
        camera = Camera() if self._settings["camera"] else None
        if camera is None:
            self.get_logger().info("no camera: set parameter 'camera' to have one")
        self._encode = Encoder().encode
        self._said = {
            kind: self.create_publisher(
                message_class(msgtype, f"topic '{topic}'"), topic, _qos(kind)
            )
            for kind, (topic, msgtype) in TOPICS.items()
            if kind not in HEARD and (kind != CAMERA or camera is not None)
        }
        self._clock_topic = self.create_publisher(Clock, "/clock", ASSESSMENTS)
        self._health = self.create_publisher(DiagnosticArray, "/diagnostics", EVENTS)
        self._velocity: Command = (0.0, 0.0, 0.0, 0.0)
        self._valve = 0
        self._count = 0
        self.create_subscription(TwistStamped, FORMS[ACTION].topic, self._on_velocity, ASSESSMENTS)
        self.create_subscription(Int8, FORMS[ACTION_VALVE].topic, self._on_valve, ASSESSMENTS)
        self.live = LiveCell(
            self._catalogue,
            self._publish,
            self._tick,
            lambda line: say(self, "error", line),
            self._settings["real_time_factor"],
            camera,
        )
        # Answers wait for the cell's thread: meanwhile everything else goes on.
        group = ReentrantCallbackGroup()
        for kind, name, serve in (
            (NextTask, "~/next_task", self._on_next_task),
            (Trigger, "/vision/look", self._triggers(self.live.look)),
            (Trigger, "/robot/release_stop", self._triggers(self.live.release_stop)),
        ):
            self.create_service(kind, name, serve, callback_group=group)
        self._before = (time.monotonic(), self.live.now_ns, 0)
        self.create_timer(
            1.0, self._tell_health, clock=NodeClock(clock_type=ClockType.STEADY_TIME)
        )
        self.live.order(first, lambda why: None)
        self.live.start()
        self.get_logger().info(f"site '{first.site}': {first.prompt}")

    def destroy_node(self) -> None:
        """Stop the cell, then take the node down."""
        self.live.close()
        super().destroy_node()

    # --- what the cell says ---------------------------------------------------------------

    def _publish(self, reading: Reading) -> None:
        self._count += 1
        self._send(self._said[reading.kind], self._encode(reading))

    def _tick(self, now_ns: int) -> None:
        self._send(self._clock_topic, Clock(clock=_time(now_ns)))

    def _send(self, publisher: Any, message: Any) -> None:
        """From the cell's thread, which may go on for a moment while rclpy is shut down."""
        try:
            publisher.publish(message)
        except Exception:
            if self.context.ok():
                raise

    def _tell_health(self) -> None:
        live = self.live
        now = (time.monotonic(), live.now_ns, self._count)
        seconds = now[0] - self._before[0]
        factor = (now[1] - self._before[1]) / NS / seconds
        rate = (now[2] - self._before[2]) / seconds
        self._before = now
        wanted = self._settings["real_time_factor"]
        level, message = DiagnosticStatus.OK, "ok"
        if live.fault:
            level, message = DiagnosticStatus.ERROR, live.fault
        elif wanted and factor < 0.9 * wanted:
            level, message = DiagnosticStatus.WARN, "slower than asked for"
        task = live.task
        facts = {
            "task": "" if task is None else _task_id(task),
            "real time factor": factor,
            "messages [Hz]": rate,
            "fell behind": live.late,
        }
        array = DiagnosticArray(status=[status("cell: simulation", level, message, facts)])
        array.header.stamp = _time(live.now_ns)
        self._health.publish(array)

    # --- what the cell is told ------------------------------------------------------------

    def _on_velocity(self, message: TwistStamped) -> None:
        linear = message.twist.linear
        velocity = (linear.x, linear.y, linear.z, message.twist.angular.z)
        if not all(map(math.isfinite, velocity)):
            say(self, "warn", "a velocity is not finite: it is not obeyed")
            return
        self._velocity = velocity
        self.live.command(velocity, self._valve)

    def _on_valve(self, message: Int8) -> None:
        if message.data not in VALVES:
            say(self, "warn", f"the valve cannot be {message.data}: expected -1, 0 or 1")
            return
        self._valve = message.data
        self.live.command(self._velocity, self._valve)

    def _draw(self, site: str, seed: int, sku: str) -> Task:
        if seed < 0:
            raise SpecError(f"seed {seed} is below 0")
        return draw_task(self._catalogue, site, seed, (sku,) if sku else None)

    async def _on_next_task(
        self, request: NextTask.Request, response: NextTask.Response
    ) -> NextTask.Response:
        try:
            task = self._draw(request.site or self._site, request.seed, request.sku)
        except ProError as exc:
            response.message = str(exc)
            return response
        self._velocity, self._valve = (0.0, 0.0, 0.0, 0.0), 0
        response.message = await self._answered(lambda done: self.live.order(task, done))
        response.success = not response.message
        if response.success:
            self._site = task.site
            response.task = _context(task, self.live.now_ns)
        return response

    def _triggers(self, ask: Callable[[Callable[[str], None]], None]) -> Any:
        """The callback of a service that asks the cell for something."""

        async def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.message = await self._answered(ask)
            response.success = not response.message
            return response

        return serve

    def _answered(self, ask: Callable[[Callable[[str], None]], None]) -> Future:
        """What the cell's thread answers, to be awaited."""
        future = Future()

        def answer(why: str) -> None:
            future.set_result(why)
            if self.executor is not None:
                self.executor.wake()

        ask(answer)
        return future


def _qos(kind: str) -> Any:
    if kind == ITEM_POSE:
        # Said once, when it was asked for: lost, it would never come.
        return EVENTS
    return sensor(sensor_depth(CAMERA_RATE if kind == CAMERA else FASTEST, kind == CAMERA))


def _task_id(task: Task) -> str:
    return f"{task.site}-{task.seed:06d}"


def _context(task: Task, now_ns: int) -> TaskContext:
    context = TaskContext(
        task_id=_task_id(task), prompt=task.prompt, sku=task.sku, site=task.site,
        robot=f"{task.site}-1",
    )  # fmt: skip
    context.header.stamp = _time(now_ns)
    return context


def _time(t_ns: int) -> Time:
    sec, nanosec = divmod(t_ns, NS)
    return Time(sec=sec, nanosec=nanosec)


def main(args: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    begin(args)
    node: CellNode | None = None
    try:
        node = CellNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spin(node, executor)
    except (ProError, *FAULTY_PARAMETER) as exc:
        get_logger("cell").fatal(" ".join(str(exc).split()))
        sys.exit(SpecError.exit_code)
    finally:
        end(node)

"""What all nodes do alike: begin, spin until interrupted, say, end."""

from __future__ import annotations

import signal
import traceback

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node

FAULTY_PARAMETER = (ParameterException, NameValidationException)
"""What the constructor of a node raises where a parameter or a name given to it is wrong."""


def begin(args: list[str] | None = None) -> None:
    """Start rclpy. From now on an interrupt (Ctrl-C) ends :func:`spin`, as SIGTERM does.

    Python's own KeyboardInterrupt would come in the midst of anything, also of cleaning up.
    """
    signal.signal(signal.SIGINT, lambda number, frame: None)
    rclpy.init(args=args)


def spin(node: Node, executor: Executor) -> None:
    """Spin until rclpy is shut down.

    What a callback raises ends rclpy's executor: an impossible transition that somebody asks for
    is enough. It is logged, and the node stays alive.
    """
    while node.context.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            return
        except Exception:
            if not node.context.ok():
                return
            for line in traceback.format_exc().splitlines():
                node.get_logger().error(line)


def end(node: Node | None) -> None:
    """Destroy a node, if it was made, and shut rclpy down; further interrupts change nothing."""
    if node is not None:
        node.destroy_node()
    rclpy.try_shutdown()
    # rclpy has put back what was there before it. Python gives an interrupt its deadly default
    # while it ends, unless it is ignored.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def say(node: Node, severity: str, line: str) -> None:
    """Log a line; ``severity`` is ``error``, ``warn`` or anything else for information."""
    logger = node.get_logger()
    # rclpy ties a severity to the place of the call.
    if severity == "error":
        logger.error(line)
    elif severity == "warn":
        logger.warning(line)
    else:
        logger.info(line)

"""Parameters of a node as a table: declared with descriptions and ranges, guarded when set.

The tables themselves import nothing of ROS, so that a test can hold the docs to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pro_ros.errors import suggest

if TYPE_CHECKING:
    from rclpy.node import Node

Changes = Literal["never", "unconfigured", "always"]

_WHEN: dict[Changes, str] = {
    "never": "Read-only.",
    "unconfigured": "May change while the node is unconfigured.",
    "always": "May change at any time.",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node.

    ``unit``: SI, empty for none. ``low``, ``high``: both inclusive; given together for numbers.
    ``choices``: the allowed texts. ``changes``: when it may be set.
    """

    name: str
    default: bool | int | float | str | list[str]
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    changes: Changes = "never"

    def fault(self, value: Any) -> str:
        """Why a value of the right type cannot be taken; empty if it can."""
        if self.choices and value not in self.choices:
            return (
                f"'{self.name}' is '{value}', expected one of {', '.join(self.choices)}"
                f"{suggest(str(value), self.choices)}"
            )
        return ""


def declare(node: Node, parameters: Sequence[Parameter]) -> None:
    """Declare all parameters, with what ``ros2 param describe`` shows of them.

    Raises
    ------
    rclpy.exceptions.InvalidParameterValueException
        A value given at the start is out of range.
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    for parameter in parameters:
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        descriptor = ParameterDescriptor(
            description=f"{parameter.description}{unit}. {_WHEN[parameter.changes]}",
            additional_constraints=(
                f"one of {', '.join(c or '(empty)' for c in parameter.choices)}"
                if parameter.choices
                else ""
            ),
            read_only=parameter.changes == "never",
        )
        if parameter.low is not None and parameter.high is not None:
            if isinstance(parameter.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=parameter.low, to_value=parameter.high)
                ]
            else:
                descriptor.integer_range = [
                    IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high))
                ]
        default: Any = parameter.default
        if default == []:
            # An empty list has no type of its own in a parameter file.
            from rclpy.parameter import Parameter as Typed

            node.declare_parameter(parameter.name, Typed.Type.STRING_ARRAY, descriptor)
            continue
        node.declare_parameter(parameter.name, default, descriptor)


def values(node: Node, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Present values by name."""
    found: dict[str, Any] = {}
    for parameter in parameters:
        value = node.get_parameter_or(parameter.name).value
        found[parameter.name] = parameter.default if value is None else value
    return found


def guard(
    node: Node,
    parameters: Sequence[Parameter],
    may_configure: Callable[[], bool],
    apply: Callable[[Mapping[str, Any]], str] = lambda changed: "",
) -> None:
    """Refuse what may not be set now, with a reason that names the parameter.

    Parameters
    ----------
    may_configure
        Whether parameters that change only while unconfigured may be set now.
    apply
        Takes the new values of parameters that may change at any time; returns why they cannot be
        taken, or an empty text.
    """
    from rcl_interfaces.msg import SetParametersResult

    known = {parameter.name: parameter for parameter in parameters}

    def check(wanted: Sequence[Any]) -> Any:
        live: dict[str, Any] = {}
        for new in wanted:
            parameter = known.get(new.name)
            if parameter is None:
                continue
            reason = parameter.fault(new.value)
            if not reason and parameter.changes == "unconfigured" and not may_configure():
                reason = (
                    f"'{new.name}' may change only while the node is unconfigured: "
                    f"run 'ros2 lifecycle set {node.get_fully_qualified_name()} cleanup' first"
                )
            if reason:
                return SetParametersResult(successful=False, reason=reason)
            if parameter.changes == "always":
                live[new.name] = new.value
        reason = apply(live) if live else ""
        return SetParametersResult(successful=not reason, reason=reason)

    node.add_on_set_parameters_callback(check)

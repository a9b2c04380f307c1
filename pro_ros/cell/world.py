"""The cell as a MuJoCo model, written for one task."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from pro_ros.cell import arm
from pro_ros.cell.tasks import FLOOR, SOURCE, TARGET, TOTE, Task, Thing
from pro_ros.errors import SpecError

if TYPE_CHECKING:
    import mujoco

TIMESTEP = 0.002
"""Of the physics, and the period of the fastest sensors [s]."""

CUP_RADIUS = 0.018
"""Of the lip, where it seals [m]."""

PADS = 8
"""Points of the lip that touch or do not."""

REACH = 0.003
"""How far from a surface a point of the lip is still drawn to it [m]."""

GAINS = ((12000, 500, 400), (14000, 600, 500), (10000, 420, 350), (2500, 90, 90), (1200, 45, 60))
"""Of the joint servos: stiffness [N m/rad], damping [N m s/rad], most torque [N m]."""

_LINKS = (
    ("base", f"0 0 {arm.SHOULDER_HEIGHT - 0.1}", "0 0 1", 0.6, '"cylinder" size=".07 .08"', 5.0),
    ("upper", "0 0 .1", "0 1 0", 0.6, f'"capsule" fromto="0 0 0 {arm.UPPER} 0 0" size=".04"', 4.5),
    ("fore", f"{arm.UPPER} 0 0", "0 1 0", 0.4,
     f'"capsule" fromto="0 0 0 {arm.FORE} 0 0" size=".032"', 3.0),
    ("wrist", f"{arm.FORE} 0 0", "0 1 0", 0.12, '"sphere" size=".036"', 1.0),
    ("flange", f"0 0 {-arm.FLANGE_DROP}", "0 0 -1", 0.06, '"cylinder" size=".03 .02"', 0.5),
)  # fmt: skip
"""Name, place in the one before, axis, rotor inertia [kg m2], form, mass [kg]."""

_COLOURS = (
    ".85 .45 .2", ".3 .55 .8", ".4 .7 .4", ".75 .35 .55", ".8 .75 .35", ".5 .45 .75",
    ".55 .75 .75",
)  # fmt: skip


def require_mujoco() -> Any:
    """The module ``mujoco``.

    Raises
    ------
    SpecError
        It is not installed, or too old.
    """
    try:
        import mujoco
    except ImportError as exc:
        raise SpecError(
            "the cell needs the package 'mujoco': pip install 'pro_ros[cell]'"
        ) from exc
    except (AttributeError, RuntimeError) as exc:
        # It loads the libraries that render when it is imported.
        raise SpecError(
            f"mujoco cannot be loaded with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: install "
            "what that names, or unset it"
        ) from exc
    version = tuple(int(part) for part in mujoco.__version__.split(".")[:2])
    if version < (3, 10):
        raise SpecError(
            f"the cell needs mujoco 3.10 or newer, found {mujoco.__version__}: "
            "pip install -U 'pro_ros[cell]'"
        )
    return mujoco


def build(task: Task) -> mujoco.MjModel:
    """Compile the model of a task."""
    return require_mujoco().MjModel.from_xml_string(document(task))


def document(task: Task) -> str:
    """The model's MJCF text."""
    things = "".join(_thing(i, thing) for i, thing in enumerate(task.things))
    return f"""<mujoco model="cell">
<compiler angle="radian"/>
<option timestep="{TIMESTEP}" integrator="implicitfast" solver="Newton" cone="pyramidal"
 impratio="3" iterations="12" ls_iterations="10" tolerance="1e-7"/>
<visual><global offwidth="640" offheight="480"/><headlight ambient=".4 .4 .4"/>
<quality shadowsize="1024"/></visual>
<asset><texture type="skybox" builtin="flat" rgb1=".93 .94 .95" width="16" height="16"/></asset>
<default>
<default class="pad"><geom type="sphere" size="{arm.LIP_RADIUS}" mass=".001" contype="2"
 conaffinity="4" gap="{REACH}" condim="3" friction=".2" solref=".006 1" solimp=".2 .2 .001"
 rgba=".2 .2 .2 1"/></default>
<default class="wall"><geom type="box" contype="1" conaffinity="6" friction=".35 .005 .0001"
 rgba=".35 .4 .5 .5"/></default>
<default class="thing"><geom contype="4" conaffinity="7" condim="4" solref=".01 1"/></default>
<default class="link"><geom contype="0" conaffinity="0" rgba=".75 .75 .78 1"/></default>
</default>
<worldbody>
<light pos=".3 -.8 2" dir=".1 .4 -1"/><light pos=".3 .8 2" dir=".1 -.4 -1"/>
<camera name="cell" pos="1.25 0 .95" xyaxes="0 1 0 -.62 0 .78"/>
<geom name="table" type="box" size=".7 .9 .05" pos=".4 0 -.05" contype="1" conaffinity="6"
 rgba=".6 .57 .52 1"/>
{_tote("source", SOURCE)}{_tote("target", TARGET)}{_arm()}{things}
</worldbody>
<actuator>{_servos()}<adhesion name="suction" body="cup" ctrlrange="0 400" gain="1"/></actuator>
{_ties(task)}
<sensor>{_sensors()}</sensor>
</mujoco>"""


def _tote(name: str, centre: tuple[float, float]) -> str:
    width, length, height = TOTE
    thick = 0.004
    walls = "".join(
        f'<geom class="wall" size="{sx:.4f} {sy:.4f} {height / 2:.4f}"'
        f' pos="{x:.4f} {y:.4f} {height / 2:.4f}"/>'
        for sx, sy, x, y in (
            (thick, length / 2 + 2 * thick, width / 2 + thick, 0.0),
            (thick, length / 2 + 2 * thick, -width / 2 - thick, 0.0),
            (width / 2, thick, 0.0, length / 2 + thick),
            (width / 2, thick, 0.0, -length / 2 - thick),
        )
    )
    return (
        f'<body name="{name}" pos="{centre[0]} {centre[1]} {FLOOR}"><site name="{name}"/>'
        f'<site name="{name}_hook" pos="0 0 .01"/>'
        f'<geom class="wall" size="{width / 2} {length / 2} .006" pos="0 0 -.006"/>{walls}</body>'
    )


def _arm() -> str:
    opened = ""
    for (name, place, axis, armature, form, mass), joint in zip(_LINKS, arm.JOINTS, strict=True):
        opened += (
            f'<body name="{name}" pos="{place}" gravcomp="1"><joint name="{joint}" axis="{axis}"'
            f' damping="1" armature="{armature}" actuatorgravcomp="true"/>'
            f'<geom class="link" type={form} mass="{mass}"/>'
        )
    pads = "".join(
        f'<geom name="pad{i}" class="pad" pos="{CUP_RADIUS * math.cos(a):.6f}'
        f' {CUP_RADIUS * math.sin(a):.6f} 0"/>'
        for i, a in enumerate(2.0 * math.pi * k / PADS for k in range(PADS))
    )
    cup = (
        f'<body name="tool" pos="0 0 {-arm.SENSOR_DROP}"><site name="sensor"/>'
        '<geom class="link" type="cylinder" size=".014 .035" pos="0 0 -.035" mass=".25"/>'
        '<geom type="cylinder" size=".016 .02" pos="0 0 -.07" mass=".05" contype="2"'
        ' conaffinity="1" rgba=".3 .3 .3 1"/>'
        f'<body name="cup" pos="0 0 {-arm.CUP_DROP}">'
        '<joint name="bellows" type="slide" axis="0 0 1" stiffness="1500" damping="40"'
        ' armature=".15" range="-.006 .012" limited="true"/>'
        '<joint name="tilt_x" type="hinge" axis="1 0 0" stiffness="2.5" damping=".09"'
        ' armature="1e-3" range="-.45 .45" limited="true"/>'
        '<joint name="tilt_y" type="hinge" axis="0 1 0" stiffness="2.5" damping=".09"'
        ' armature="1e-3" range="-.45 .45" limited="true"/>'
        '<geom class="link" type="cylinder" size=".019 .006" pos="0 0 .01" mass=".02"'
        f' rgba=".8 .3 .2 1"/>{pads}</body></body>'
    )
    return opened + cup + "</body>" * len(_LINKS)


def _servos() -> str:
    return "".join(
        f'<general name="{joint}" joint="{joint}" biastype="affine" gainprm="{kp}"'
        f' biasprm="0 {-kp} {-kv}" forcerange="{-most} {most}"/>'
        for joint, (kp, kv, most) in zip(arm.JOINTS, GAINS, strict=True)
    )


def _sensors() -> str:
    joints = "".join(
        "".join(f'<{kind} joint="{joint}"/>' for joint in arm.JOINTS)
        for kind in ("jointpos", "jointvel", "jointactuatorfrc")
    )
    return (
        f'{joints}<force site="sensor"/><torque site="sensor"/>'
        '<force site="source"/><force site="target"/>'
    )


def _thing(index: int, thing: Thing) -> str:
    x, y, z = thing.item.size
    if thing.item.shape == "box":
        form = f'type="box" size="{x / 2} {y / 2} {z / 2}"'
        inertia = ((y * y + z * z) / 12, (x * x + z * z) / 12, (x * x + y * y) / 12)
    else:
        form = f'type="cylinder" size="{x / 2} {z / 2}"'
        inertia = ((3 * x * x / 4 + z * z) / 12,) * 2 + (x * x / 8,)
    moments = " ".join(f"{thing.mass * i:.3e}" for i in inertia)
    half = thing.yaw / 2.0
    return (
        f'<body name="thing{index}" pos="{thing.x:.5f} {thing.y:.5f} {thing.z:.5f}"'
        f' quat="{math.cos(half):.6f} 0 0 {math.sin(half):.6f}"><freejoint/>'
        f'<inertial pos="{thing.offset[0]:.5f} {thing.offset[1]:.5f} 0" mass="{thing.mass:.5f}"'
        f' diaginertia="{moments}"/>'
        f'<geom name="thing{index}" class="thing" {form}'
        f' friction="{thing.friction:.4f} .005 .0005"'
        f' rgba="{_COLOURS[index % len(_COLOURS)]} 1"/><site name="thing{index}" size=".004"/>'
        "</body>"
    )


def _ties(task: Task) -> str:
    """What sticks to the ordered item, and what it hangs on by."""
    text = ""
    if task.cling is not None:
        text += (
            f'<equality><weld name="cling" body1="thing0" body2="thing{task.cling}"'
            ' solref=".03 1"/></equality>'
        )
    if task.snag is not None:
        text += (
            '<tendon><spatial name="snag" stiffness="260" damping="4"'
            f' springlength="0 {task.snag:.4f}" width=".002"><site site="thing0"/>'
            '<site site="source_hook"/></spatial></tendon>'
        )
    return text


def thing_name(index: int) -> str:
    """Name of the body and the geom of an item."""
    return f"thing{index}"

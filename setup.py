"""For pip. colcon builds through package.xml and CMakeLists.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
NAME = "pro_ros"


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """Every file below ``folder``, to be installed at the same place under share/pro_ros."""
    files: dict[str, list[str]] = {}
    for path in sorted((HERE / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            target = Path("share") / NAME / path.parent.relative_to(HERE)
            files.setdefault(str(target), []).append(str(path.relative_to(HERE)))
    return sorted(files.items())


setup(
    name=NAME,
    version="0.1.0",
    description="Process-Reward Operator: a learned critic beside a robot policy",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["pro_ros", "pro_ros.*"]),
    package_data={"pro_ros.evaluation": ["templates/*.j2"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared("action"),
        *shared("msg"),
        *shared("srv"),
        *shared("config"),
        *shared("examples"),
        *shared("launch"),
    ],
    install_requires=[
        "jinja2>=3.1",
        "lightning-fabric>=2.2",
        "numpy>=1.24",
        "openpyxl>=3.1",
        "pandas>=2.0",
        "pillow>=10",
        "pint>=0.22",
        "plotly>=5.20",
        "pyarrow>=14",
        "pydantic>=2.6",
        "pyyaml>=6",
        "rich>=13",
        "rosbags>=0.11,<0.12",
        "safetensors>=0.4",
        "scikit-learn>=1.3",
        "scipy>=1.10",
        "threadpoolctl>=3.1",
        "torch>=2.2",
        "typer>=0.12",
    ],
    extras_require={
        "cell": ["av>=12", "mujoco>=3.10"],
        "huggingface": ["transformers>=4.40"],
        "lerobot": ["av>=12"],
        "dev": [
            "av>=12",
            "hypothesis>=6.100",
            "lark>=1.1",  # of ROS 2's launch, for the tests of the nodes
            "mujoco>=3.10",
            "mypy>=1.10",
            "pytest>=8,<9",  # launch_testing's plugin does not know 9
            "pytest-xdist>=3.5",
            "ruff>=0.5",
        ],
    },
    entry_points={"console_scripts": ["pro-ros = pro_ros.cli.main:main"]},
)

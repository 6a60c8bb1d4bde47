"""Make airfoil-study.zip, the case of the study: build.py WHERE

The tutorial's airfoil (examples/airfoil2d) on a mesh of a quarter of its cells, 3,840; the files
in `airfoil` take the place of the tutorial's of the same name. The zip is the same, byte for byte,
each time.
"""

import sys
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

HERE = Path(__file__).parent
TUTORIAL = HERE.parent / "airfoil2d"
CELLS = {"FRONT": 22, "REAR": 22, "WAKE": 20, "NORMAL": 30, "FIRST_HEIGHT": 4e-4}


def mesh() -> str:
    """system/blockMeshDict: the tutorial's, coarser."""
    spec = spec_from_file_location("tutorial", TUTORIAL / "build.py")
    assert spec is not None and spec.loader is not None
    tutorial = module_from_spec(spec)
    spec.loader.exec_module(tutorial)
    for name, value in CELLS.items():
        setattr(tutorial, name, value)
    return str(tutorial.mesh())


def build(target: Path) -> None:
    """Write the zip. Modes are kept, dates are not."""
    content = {"airfoil/system/blockMeshDict": mesh().encode()}
    for case in (TUTORIAL / "airFoil2D", HERE / "airfoil"):
        for path in case.rglob("*"):
            if path.is_file():
                content[f"airfoil/{path.relative_to(case).as_posix()}"] = path.read_bytes()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in sorted(content.items()):
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (0o100755 if name.endswith("Allrun") else 0o100644) << 16
            archive.writestr(info, data)


if __name__ == "__main__":
    build(Path(sys.argv[1]))

"""Make the tutorial's case for machines without OpenFOAM: build.py WHERE

The same airfoil at the same angle, in laminar flow at Reynolds number 1000; `airFoil2D/solve.py`
says what it computes and how good that is. The zip is the same, byte for byte, each time.
"""

import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
PARTS = ("Allrun", "case.toml", "mesh.py", "solve.py")


def build(target: Path) -> None:
    """Write the zip. Modes are kept, dates are not."""
    with zipfile.ZipFile(target, "w") as archive:
        for name in PARTS:
            info = zipfile.ZipInfo(f"airFoil2D/{name}", (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (0o100755 if name == "Allrun" else 0o100644) << 16
            archive.writestr(info, (HERE / "airFoil2D" / name).read_bytes())


if __name__ == "__main__":
    build(Path(sys.argv[1]))

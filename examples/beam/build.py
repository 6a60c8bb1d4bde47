"""Make beam.zip, the case of the first minutes on machines with CalculiX alone: build.py WHERE

`beam.inp` says what it computes and how good that is. The zip is the same each time, byte for byte.
"""

import sys
import zipfile
from pathlib import Path

CASE = Path(__file__).parent / "beam.inp"


def build(target: Path) -> None:
    """Write the zip. Dates are not kept."""
    with zipfile.ZipFile(target, "w") as archive:
        info = zipfile.ZipInfo(CASE.name, (2026, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.create_system = 3
        info.external_attr = 0o100644 << 16
        archive.writestr(info, CASE.read_bytes())


if __name__ == "__main__":
    build(Path(sys.argv[1]))

"""The two cases of the demo: OpenFOAM's, and the one of a solver that pip can bring."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from demo_client import Client, DemoFailed

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Case:
    archive: Path  # made by scripts/setup; holds airFoil2D/Allrun
    code: str
    version: str  # version code; "": the first that is listed, which is the real one
    title: str
    curve: str  # the residual that is drawn while the job runs
    expected: Mapping[str, float]  # last values of force coefficients...
    tolerance: float  # ...which may be off by this part
    source: str  # where the expected values are from

    def pick_version(self, analysis: Mapping[str, Any]) -> str:
        """The version code to ask for, of those that the analysis lists."""
        listed = [version["versionCode"] for version in analysis["versions"]]
        if self.version and self.version not in listed:
            raise DemoFailed(f"{self.code} is there, and version {self.version} is not listed")
        return self.version or str(listed[0])


# Ladson, NASA TM 4074 (1988), Mach 0.15, transition tripped (80 grit): 0.2125 at 2.05 degrees,
# 0.4316 at 4.04 degrees; between them at 4.00 degrees: 0.4273.
OPENFOAM = Case(
    archive=ROOT / "airfoil2d.zip",
    code="openfoam",
    version="2.3.0-openmpi",
    title="NACA 0012 at 4 degrees, Reynolds number 6 million",
    curve="p",
    expected={"Cl": 0.4273},
    tolerance=0.10,
    source="measured by Ladson, 1988",
)

# Di Ilio et al., Computers & Fluids 166 (2018) 200-208, figures 10 and 11; solve.py has more.
SCIKIT_FEM = Case(
    archive=ROOT / "airfoil2d-fem.zip",
    code="scikit_fem",
    version="",
    title="NACA 0012 at 4 degrees, Reynolds number 1000",
    curve="Ux",
    expected={"Cl": 0.201, "Cd": 0.125},
    tolerance=0.05,
    source="computed by Di Ilio et al., 2018",
)


def choose(client: Client) -> Case:
    """OpenFOAM's case if it can run here, else that of scikit-fem, and says so."""
    analyses = {entry["code"]: entry for entry in client.pages("analyses/")}
    if os.environ.get("SIMYARD_DEMO_WITHOUT_OPENFOAM", "") not in ("", "0"):
        reason = "SIMYARD_DEMO_WITHOUT_OPENFOAM is set"
    elif analyses["openfoam"]["installed"]:
        return OPENFOAM
    else:
        reason = f"OpenFOAM is not installed ({analyses['openfoam']['installHint']})"
    if not analyses.get(SCIKIT_FEM.code, {}).get("installed"):
        raise DemoFailed(f"{reason}, and scikit-fem is not installed: scripts/setup does that")
    print(
        f"{reason}: the tutorial runs without it.\n"
        "The same airfoil is computed by scikit-fem, a finite element library that pip brings,\n"
        "in laminar flow at Reynolds number 1000: it has no turbulence model."
    )
    return SCIKIT_FEM


def write_catalogue(data: Path) -> None:
    """Put scikit-fem into the site's catalogue, if this Python has it."""
    if find_spec("skfem") is None:
        return
    environment, base = Path(sys.prefix), Path(sys.base_prefix)
    folders = {str(path) for path in (environment, base, base.resolve())}
    hidden = sorted(f for f in folders if Path(f).parts[:2] not in {("/", "usr"), ("/", "opt")})
    template = ROOT / "examples" / "airfoil2d-fem" / "scikit_fem.toml"
    content = template.read_text().replace('"@bin@"', json.dumps(str(environment / "bin")))
    (data / "catalogue").mkdir(parents=True)
    target = data / "catalogue" / template.name
    target.write_text(content.replace('"@folders@"', json.dumps(hidden)))

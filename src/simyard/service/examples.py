"""Cases that come with the product, to see it work. scripts/setup makes their archives from
`examples/` of the source.
"""

from pathlib import Path
from typing import Any

from simyard.domain.catalogue import Catalogue
from simyard.domain.errors import NotFound
from simyard.domain.records import dataclass

_FOLDER = Path(__file__).parent.parent / "examples"


@dataclass(frozen=True, kw_only=True)
class Example:
    name: str  # in addresses
    short: str  # what it is an example of, in a word
    title: str
    about: str  # what the solver does, a sentence
    analysis: str  # code
    archive: Path  # what its job takes as input
    command: str
    core_type: str = "standard-plus"

    def why_not(self, catalogue: Catalogue) -> str:
        """What keeps it from running here, a sentence; "" where nothing does."""
        analysis = catalogue.analysis(self.analysis)
        if analysis is None:
            return f"The catalogue has no {self.analysis}."
        if not catalogue.present(analysis).installed:
            return f"{analysis.name} is not installed."
        return "" if self.archive.is_file() else "Its archive was not made: `make setup` does that."

    def job(self, catalogue: Catalogue) -> dict[str, Any]:
        """The body of its job, which lacks but the id of the uploaded archive."""
        analysis = catalogue.analysis(self.analysis)
        versions = catalogue.versions(analysis) if analysis else ()
        return {
            "name": self.title,
            "jobanalyses": [
                {
                    "useMpi": False,
                    "command": self.command,
                    "analysis": {
                        "code": self.analysis,
                        "version": versions[0].version.code if versions else None,
                    },
                    "hardware": {"coresPerSlot": 1, "slots": 1, "coreType": self.core_type},
                    "inputFiles": [],
                }
            ],
        }


# The first that can run here is the one that a new installation offers.
EXAMPLES = (
    Example(
        name="airfoil",
        short="airfoil",
        title="NACA 0012 at 4 degrees, Reynolds number 6 million",
        about="OpenFOAM computes the turbulent flow around an airfoil, its lift and its drag.",
        analysis="openfoam",
        archive=_FOLDER / "airfoil2d.zip",
        command="./airFoil2D/Allrun",
    ),
    Example(
        name="airfoil-laminar",
        short="airfoil",
        title="NACA 0012 at 4 degrees, Reynolds number 1000",
        about="scikit-fem computes the laminar flow around an airfoil, its lift and its drag.",
        analysis="scikit_fem",
        archive=_FOLDER / "airfoil2d-fem.zip",
        command="./airFoil2D/Allrun",
    ),
    Example(
        name="beam",
        short="beam",
        title="Cantilever beam, large deflection",
        about="CalculiX bends a beam by a third of its length, step by step.",
        analysis="calculix",
        archive=_FOLDER / "beam.zip",
        command="ccx beam",
    ),
)


def example(name: str) -> Example:
    """Raises NotFound, also where its archive is not there."""
    found = next((each for each in EXAMPLES if each.name == name), None)
    if found is None or not found.archive.is_file():
        raise NotFound
    return found

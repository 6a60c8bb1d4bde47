"""Make airfoil2d.zip, the case of the tutorial: build.py WHERE

NACA 0012 at 4 degrees, Reynolds number 6 million. The mesh is a C-grid of six blocks that blockMesh
makes from what `mesh()` writes: 15,360 cells, the first 2e-4 chords high, the far field 30 chords
away. The zip is the same, byte for byte, each time.
"""

import math
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
RADIUS = 30.0  # chords from the trailing edge to the far field
FRONT, REAR, WAKE, NORMAL = 44, 44, 40, 60  # cells along the blocks and away from the airfoil
FIRST_HEIGHT = 2e-4  # of the cells at the wall; the wall function takes care of what is below
AT_NOSE, AT_TAIL, AT_OUTLET = 0.0015, 0.005, 0.05  # lengths of cells there
SPLIT = 0.3  # where front and rear blocks meet, as a part of the chord
SPLIT_ANGLE = math.radians(125)  # of the far field above that place, seen from the trailing edge


def thickness(x: float) -> float:
    """Half thickness of a NACA 0012 at x, its trailing edge closed.

    Source: NASA Turbulence Modeling Resource, "2D NACA 0012 Airfoil Validation Case".
    """
    return 0.594689181 * (
        0.298222773 * math.sqrt(x)
        - 0.127125232 * x
        - 0.357907906 * x**2
        + 0.291984971 * x**3
        - 0.105174606 * x**4
    )


def expansion(first: float, cells: int, length: float) -> float:
    """Last cell over first cell of a geometric row of cells that fills the length."""
    low, high = 1.0001, 3.0
    for _ in range(100):
        growth = (low + high) / 2
        if first * (growth**cells - 1) / (growth - 1) > length:
            high = growth
        else:
            low = growth
    return growth ** (cells - 1)


def around(angle: float, side: int = 1) -> tuple[float, float]:
    """A point of the far field's arc around the trailing edge; side -1 is below."""
    return 1 + RADIUS * math.cos(angle), side * RADIUS * math.sin(angle)


def mesh() -> str:
    """system/blockMeshDict."""
    height = thickness(SPLIT)
    points = [
        (0.0, 0.0),  # 0 leading edge
        (SPLIT, height),  # 1 upper side
        (1.0, 0.0),  # 2 trailing edge
        (SPLIT, -height),  # 3 lower side
        around(math.pi),  # 4 far field: ahead
        around(SPLIT_ANGLE),  # 5 above 1
        around(math.pi / 2),  # 6 above 2
        around(SPLIT_ANGLE, -1),  # 7 below 3
        around(math.pi / 2, -1),  # 8 below 2
        (1 + RADIUS, 0.0),  # 9 outlet
        (1 + RADIUS, RADIUS),  # 10
        (1 + RADIUS, -RADIUS),  # 11
    ]
    count = len(points)
    normal = expansion(FIRST_HEIGHT, NORMAL, RADIUS)
    outlet = expansion(AT_OUTLET, NORMAL, RADIUS)
    front = expansion(AT_NOSE, FRONT, 0.32)
    rear = 1 / expansion(AT_TAIL, REAR, 0.71)
    wake = expansion(AT_TAIL, WAKE, RADIUS)
    # (vertices, cells, gradings along at four edges, gradings away at four edges)
    blocks = [
        ((0, 1, 5, 4), FRONT, (front, 3, 3, front), (normal,) * 4),
        ((1, 2, 6, 5), REAR, (rear, 0.4, 0.4, rear), (normal,) * 4),
        ((2, 9, 10, 6), WAKE, (wake,) * 4, (normal, outlet, outlet, normal)),
        ((4, 7, 3, 0), FRONT, (3, front, front, 3), (1 / normal,) * 4),
        ((7, 8, 2, 3), REAR, (0.4, rear, rear, 0.4), (1 / normal,) * 4),
        ((8, 11, 9, 2), WAKE, (wake,) * 4, (1 / normal, 1 / outlet, 1 / outlet, 1 / normal)),
    ]
    lines = [
        "FoamFile { version 2.0; format ascii; class dictionary; object blockMeshDict; }",
        "scale 1;",
        "vertices",
        "(",
        *(f"    ({x:.8g} {y:.8g} {z})" for z in (0, 1) for x, y in points),
        ");",
        "blocks",
        "(",
    ]
    for vertices, cells, along, away in blocks:
        both = " ".join(str(v + layer) for layer in (0, count) for v in vertices)
        grading = " ".join(f"{g:.6g}" for g in (*along, *away, 1, 1, 1, 1))
        lines.append(f"    hex ({both}) ({cells} {NORMAL} 1) edgeGrading ({grading})")
    lines += [");", "edges", "("]
    for z, layer in ((0, 0), (1, count)):
        for side, middle, ahead, above in ((1, 1, 5, 6), (-1, 3, 7, 8)):
            lines.append(_surface(0, middle, 0.0, SPLIT, side, z, layer))
            lines.append(_surface(middle, 2, SPLIT, 1.0, side, z, layer))
            lines.append(_arc(4, ahead, (math.pi + SPLIT_ANGLE) / 2, side, z, layer))
            lines.append(_arc(ahead, above, (SPLIT_ANGLE + math.pi / 2) / 2, side, z, layer))
    walls = ((0, 1), (1, 2), (3, 0), (2, 3))
    far = ((5, 4), (6, 5), (4, 7), (7, 8), (10, 6), (8, 11), (9, 10), (11, 9))
    lines += [
        ");",
        "boundary",
        "(",
        f"    airfoil {{ type wall; faces ({_faces(walls, count)}); }}",
        f"    farfield {{ type patch; faces ({_faces(far, count)}); }}",
        ");",
        "mergePatchPairs ();",
        "defaultPatch { name sides; type empty; }",
    ]
    return "\n".join(lines) + "\n"


def _surface(
    start: int, end: int, x0: float, x1: float, side: int, z: int, layer: int, steps: int = 200
) -> str:
    """The airfoil's surface between two vertices, dense at both ends."""
    xs = [x0 + (x1 - x0) * (1 - math.cos(math.pi * i / steps)) / 2 for i in range(1, steps)]
    points = " ".join(f"({x:.8f} {side * thickness(x):.8f} {z})" for x in xs)
    return f"    polyLine {start + layer} {end + layer} ({points})"


def _arc(start: int, end: int, angle: float, side: int, z: int, layer: int) -> str:
    x, y = around(angle, side)
    return f"    arc {start + layer} {end + layer} ({x:.8f} {y:.8f} {z})"


def _faces(edges: tuple[tuple[int, int], ...], count: int) -> str:
    return " ".join(f"({a} {b} {b + count} {a + count})" for a, b in edges)


def build(target: Path) -> None:
    """Write the zip. Modes are kept, dates are not."""
    case = HERE / "airFoil2D"
    content = {p: p.read_bytes() for p in sorted(case.rglob("*")) if p.is_file()}
    content[case / "system" / "blockMeshDict"] = mesh().encode()
    with zipfile.ZipFile(target, "w") as archive:
        for path, data in sorted(content.items()):
            info = zipfile.ZipInfo(path.relative_to(HERE).as_posix(), (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (0o100755 if path.name == "Allrun" else 0o100644) << 16
            archive.writestr(info, data)


if __name__ == "__main__":
    build(Path(sys.argv[1]))

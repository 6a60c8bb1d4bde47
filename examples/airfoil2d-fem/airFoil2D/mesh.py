"""An O-grid of triangles around a NACA 0012 of chord 1 with its leading edge at the origin."""

import numpy as np
from skfem import MeshTri

# The Joukowski map z = w + 1/w, with its singular points z = -2, 2 put half a nose radius behind
# the leading edge and on the trailing edge, takes a circle (nearly) to this airfoil. Rings and rays
# around that circle become a grid that is fine at both edges and (nearly) orthogonal everywhere.
_NOSE = 0.5 * 1.1019 * 0.12**2
_SCALE = (1 - _NOSE) / 4


def thickness(x: np.ndarray) -> np.ndarray:
    """Half thickness of a NACA 0012 at x, its trailing edge closed.

    Source: NASA Turbulence Modeling Resource, "2D NACA 0012 Airfoil Validation Case".
    """
    return 0.594689181 * (
        0.298222773 * np.sqrt(x)
        - 0.127125232 * x
        - 0.357907906 * x**2
        + 0.291984971 * x**3
        - 0.105174606 * x**4
    )


def o_grid(around: int, away: int, first: float, far_field: float) -> MeshTri:
    """The mesh, with boundaries "airfoil" and "far".

    around: edges on the airfoil. away: layers up to the far field, which is that many chords away.
    first: thickness of the first layer as a part of its radius in the plane of the circle.
    """
    turn = 2 * np.pi * np.arange(around) / around
    angle = turn - 0.45 * np.sin(turn)  # closer together behind the airfoil, in the wake
    x, radius = _surface(np.where(angle <= np.pi, angle, 2 * np.pi - angle))

    layer = np.concatenate([[0], np.cumsum(_growth(first, away, far_field) ** np.arange(away))])
    part = (layer / layer[-1])[:, None]
    radii = np.log(radius) * (1 - part) + np.log(far_field / _SCALE) * part
    w = np.exp(radii + 1j * angle)
    points = (w + 1 / w + 2) * _SCALE + _NOSE
    points[0] = x + 1j * np.where(angle <= np.pi, 1, -1) * thickness(x)

    here = np.arange(away * around).reshape(away, around)
    beside = np.roll(here, -1, axis=1)
    triangles = [(here, here + around, beside), (beside, here + around, beside + around)]
    return MeshTri(
        np.stack([points.real.ravel(), points.imag.ravel()]),
        np.hstack([np.stack([corner.ravel() for corner in corners]) for corners in triangles]),
    ).with_boundaries(
        {
            "airfoil": lambda p: np.hypot(p[0] - 0.5, p[1]) < 1,
            "far": lambda p: np.hypot(p[0] - 0.5, p[1]) > 1,
        }
    )


def _surface(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the upper surface lies at these angles of w: its x, and the radius of w."""
    x = (1 + np.cos(np.linspace(0, np.pi, 4001))) / 2
    z = (x + 1j * thickness(x) - _NOSE) / _SCALE - 2
    w = (z + np.sqrt(z - 2) * np.sqrt(z + 2)) / 2
    angles = np.angle(w)
    angles[0], angles[-1] = 0, np.pi
    return np.interp(angle, angles, x), np.interp(angle, angles, np.abs(w))


def _growth(first: float, layers: int, far_field: float) -> float:
    """Ratio of a layer to the one before it: geometric in the logarithm of the radius."""
    low, high = 1.0001, 2.0
    while high - low > 1e-9:
        growth = (low + high) / 2
        if first * (growth**layers - 1) / (growth - 1) > np.log(far_field / _SCALE):
            high = growth
        else:
            low = growth
    return growth

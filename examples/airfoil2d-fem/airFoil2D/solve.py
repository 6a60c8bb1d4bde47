"""Steady incompressible laminar flow around an airfoil, with finite elements.

Taylor-Hood elements (quadratic velocity, linear pressure) on triangles. The iteration starts from
Stokes flow and goes on with Picard's, then Newton's linearisation of the Navier-Stokes equations;
each linear system is solved directly, so that continuity holds to rounding from the first iteration
on. All quantities are in chords and free stream velocities.

The mesh of case.toml (96 around, 28 away: 5,376 triangles, 24,672 unknowns) gives Cl = 0.2067 and
Cd = 0.1241. With 64 x 20 it is 0.2061 and 0.1242, with 192 x 56 and half the first layer 0.2066
and 0.1240; with the far field at 200 chords in place of 50 it is 0.2071 and 0.1240.

Against other computations of NACA 0012 at Reynolds number 1000 (no measurement is known to us; the
values are as public validation notes quote these papers and read their figures):
- Di Ilio, Chiappini, Ubertini, Bella, Succi, Computers & Fluids 166 (2018) 200-208: at 4 degrees
  Cl = 0.201, Cd = 0.125 (figures 10 and 11); at 0 degrees Cd = 0.119 (table 1),
  with this solver 0.1192.
- Kurtulus, Int. J. Micro Air Vehicles 7 (2015) 301-326: at 0 degrees Cd is "about 0.12" and the
  lift slope is pi per radian, with this solver 3.17; steady below 8 degrees.
"""

import csv
import math
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from mesh import o_grid
from scipy.sparse import bmat
from scipy.sparse.linalg import splu
from skfem import Basis, BilinearForm, ElementTriP1, ElementTriP2, ElementVector, MeshTri, asm
from skfem.helpers import ddot, div, dot, grad, mul


@BilinearForm
def viscous(u: Any, v: Any, w: Any) -> Any:
    return ddot(grad(u), grad(v)) / w.reynolds


@BilinearForm
def pressure(u: Any, q: Any, _: Any) -> Any:
    return -div(u) * q


@BilinearForm
def carried(u: Any, v: Any, w: Any) -> Any:
    """The flow carries u: Picard's part of convection."""
    return dot(mul(grad(u), w.flow), v)


@BilinearForm
def carrying(u: Any, v: Any, w: Any) -> Any:
    """The other way round: what Newton's linearisation adds."""
    return dot(mul(grad(w.flow), u), v)


class Flow:
    """The discrete problem: matrices, boundary conditions and the present state."""

    def __init__(self, mesh: MeshTri, reynolds: float, angle: float) -> None:
        self.mesh = mesh
        self.basis = Basis(mesh, ElementVector(ElementTriP2()), intorder=5)
        self.pressures = self.basis.with_element(ElementTriP1())
        self.viscous = asm(viscous, self.basis, reynolds=reynolds)
        self.divergence = asm(pressure, self.basis, self.pressures)
        self.along = np.array([math.cos(angle), math.sin(angle)])  # the free stream
        self.x, self.y = (
            np.concatenate([self.basis.nodal_dofs[i], self.basis.facet_dofs[i]]) for i in (0, 1)
        )

        # No slip on the airfoil, the free stream where it enters, no traction where it leaves.
        far = mesh.boundaries["far"]
        middles = mesh.p[:, mesh.facets[:, far]].mean(axis=1)
        inlet = far[self.along @ middles < 0.3 * np.abs(middles).max()]
        self.wall = self.basis.get_dofs("airfoil").all()
        self.velocity = np.empty(self.basis.N)
        self.velocity[self.x], self.velocity[self.y] = self.along
        self.velocity[self.wall] = 0
        self.pressure = np.zeros(self.pressures.N)
        given = np.union1d(self.wall, self.basis.get_dofs(inlet).all())
        self.free = np.setdiff1d(np.arange(self.basis.N + self.pressures.N), given)
        self.assemble(carried_by_flow=False)

    def assemble(self, *, carried_by_flow: bool = True) -> None:
        """The equations at the present state: matrix and residual."""
        self.momentum = self.viscous
        if carried_by_flow:
            flow = self.basis.interpolate(self.velocity)
            self.momentum = self.momentum + asm(carried, self.basis, flow=flow)
        self.residual = np.concatenate(
            [
                self.momentum @ self.velocity + self.divergence.T @ self.pressure,
                self.divergence @ self.velocity,
            ]
        )

    def residuals(self) -> dict[str, float]:
        """Norms over the equations of free unknowns: momentum in x and y, continuity."""
        left = np.zeros_like(self.residual)
        left[self.free] = self.residual[self.free]
        parts = {"Ux": left[self.x], "Uy": left[self.y], "continuity": left[self.basis.N :]}
        return {name: float(np.linalg.norm(part)) for name, part in parts.items()}

    def coefficients(self) -> tuple[float, float]:
        """Lift and drag: what the equations lack at the wall is the force of the airfoil."""
        force = np.zeros(self.basis.N)
        force[self.wall] = -2 * self.residual[self.wall]
        x, y = force[self.x].sum(), force[self.y].sum()
        cosine, sine = self.along
        return float(y * cosine - x * sine), float(x * cosine + y * sine)

    def step(self, *, newton: bool) -> None:
        """Solve the linearised equations and move to their solution."""
        momentum = self.momentum
        if newton:
            flow = self.basis.interpolate(self.velocity)
            momentum = momentum + asm(carrying, self.basis, flow=flow)
        matrix = bmat([[momentum, self.divergence.T], [self.divergence, None]], format="csr")
        change = np.zeros_like(self.residual)
        change[self.free] = splu(matrix[self.free][:, self.free].tocsc()).solve(
            -self.residual[self.free]
        )
        self.velocity += change[: self.basis.N]
        self.pressure += change[self.basis.N :]
        self.assemble()

    def write(self, path: Path) -> None:
        """Velocity and pressure at the corners of the triangles, as a legacy VTK file."""
        corners = self.basis.nodal_dofs
        columns = [
            *self.mesh.p,
            *self.velocity[corners],
            self.pressure[self.pressures.nodal_dofs[0]],
        ]
        x, y, u, v, p = (np.asarray(column) for column in columns)
        zero = np.zeros_like(x)
        triangles = self.mesh.t.T
        with path.open("w") as out:
            out.write("# vtk DataFile Version 3.0\nNACA 0012\nASCII\nDATASET UNSTRUCTURED_GRID\n")
            out.write(f"POINTS {len(x)} double\n")
            np.savetxt(out, np.stack([x, y, zero], axis=1), fmt="%.8g")
            out.write(f"CELLS {len(triangles)} {4 * len(triangles)}\n")
            np.savetxt(out, np.insert(triangles, 0, 3, axis=1), fmt="%d")
            out.write(f"CELL_TYPES {len(triangles)}\n" + "5\n" * len(triangles))
            out.write(f"POINT_DATA {len(x)}\nVECTORS U double\n")
            np.savetxt(out, np.stack([u, v, zero], axis=1), fmt="%.8g")
            out.write("SCALARS p double 1\nLOOKUP_TABLE default\n")
            np.savetxt(out, p, fmt="%.8g")


def main() -> None:
    began = time.monotonic()
    case = tomllib.loads(Path("case.toml").read_text())
    solver = case["solver"]
    flow = Flow(o_grid(**case["mesh"]), case["reynolds"], math.radians(case["angle_degrees"]))
    print(f"NACA 0012 at {case['angle_degrees']:g} degrees, Reynolds number {case['reynolds']:g}")
    print(f"{flow.mesh.t.shape[1]} triangles, {flow.residual.size} unknowns", flush=True)
    scheme = "Stokes"
    with Path("forces.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["iteration", "Cl", "Cd"])
        for iteration in range(1, solver["most_iterations"] + 1):
            flow.step(newton=scheme == "Newton")
            residuals, (lift, drag) = flow.residuals(), flow.coefficients()
            print(f"Iteration {iteration}: {scheme}")
            print("  residuals", *(f"{name} {value:.3e}" for name, value in residuals.items()))
            print(f"  forces Cl {lift:.6f} Cd {drag:.6f}", flush=True)
            table.writerow([iteration, f"{lift:.6f}", f"{drag:.6f}"])
            largest = max(residuals.values())
            if not math.isfinite(largest):
                sys.exit("The iteration diverged.")
            if largest < solver["tolerance"]:
                break
            scheme = "Newton" if largest < solver["newton_below"] else "Picard"
        else:
            sys.exit(f"Not converged after {iteration} iterations.")
    flow.write(Path("flow.vtk"))
    print(f"Converged after {iteration} iterations, {time.monotonic() - began:.1f} s.")
    print(f"Cl = {lift:.5f}\nCd = {drag:.5f}")


if __name__ == "__main__":
    main()

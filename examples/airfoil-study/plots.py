"""Draw what study.py has saved: plots.py FOLDER

Makes FOLDER/plane.png and, of an optimisation, FOLDER/history.png. Takes numpy and matplotlib.
"""

import json
import math
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from study import CM_LOWEST, COLUMNS, Run, number


def columns(runs: list[Run]) -> dict[str, np.ndarray]:
    """The values of the runs that have them all, by name."""
    rows = [[float(run["id"]), *(number(run, c, math.nan) for c in COLUMNS)] for run in runs]
    kept = np.array([row for row in rows if all(map(math.isfinite, row))])
    if len(kept) < len(rows):
        print(f"{len(rows) - len(kept)} of {len(rows)} runs without all values are left out")
    return dict(zip(("run", *COLUMNS), kept.T, strict=True))


def quadratic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def draw_plane(runs: dict[str, np.ndarray], target: Path) -> None:
    """Lift over drag over both inputs: the runs, and contours of a quadratic through them."""
    x, y, ratio = runs["alpha"], runs["camber"], runs["LD"]
    allowed = runs["Cm"] >= CM_LOWEST
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    grid = np.meshgrid(np.linspace(x.min(), x.max(), 80), np.linspace(y.min(), y.max(), 80))
    for name, levels, style in (("LD", 12, "-"), ("Cm", [CM_LOWEST], "--")):
        fit, *_ = np.linalg.lstsq(quadratic(x, y), runs[name], rcond=None)
        colour = {"cmap": "viridis"} if name == "LD" else {"colors": "firebrick"}
        lines = axes.contour(*grid, quadratic(*grid) @ fit, levels, linestyles=style, **colour)
        axes.clabel(lines, fontsize=7, fmt="%g" if name == "LD" else "Cm = %g")
    axes.scatter(
        x,
        y,
        c=ratio,
        s=46,
        cmap="viridis",
        edgecolors=np.where(allowed, "black", "firebrick"),
        clip_on=False,
        zorder=3,
    )
    place = np.argmax(np.where(allowed, ratio, -np.inf))
    axes.plot(
        x[place], y[place], "*", color="gold", markersize=20, markeredgecolor="black", zorder=4
    )
    axes.set(xlabel="angle of attack, degrees", ylabel="camber, % of the chord")
    axes.set_title(
        f"lift over drag; star: {ratio[place]:.1f}, the highest with Cm ≥ {CM_LOWEST}", fontsize=10
    )
    figure.savefig(target, dpi=110)
    plt.close(figure)


def draw_history(runs: dict[str, np.ndarray], target: Path) -> None:
    """Lift over drag of each run, and the highest that was allowed until then."""
    allowed = runs["Cm"] >= CM_LOWEST
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for chosen, colour, label in (
        (allowed, "tab:blue", f"Cm ≥ {CM_LOWEST}"),
        (~allowed, "firebrick", f"Cm < {CM_LOWEST}"),
    ):
        axes.plot(runs["run"][chosen], runs["LD"][chosen], "o", color=colour, label=label)
    so_far = np.fmax.accumulate(np.where(allowed, runs["LD"], np.nan))
    axes.step(runs["run"], so_far, where="post", color="tab:blue", label="best so far")
    axes.set(xlabel="run", ylabel="lift over drag")
    axes.legend(fontsize=8)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    folder = Path(sys.argv[1])
    runs = json.loads((folder / "runs.json").read_text())
    draw_plane(columns(runs), folder / "plane.png")
    if any(run["type"] == 2 for run in runs):  # of an optimisation
        draw_history(columns(runs), folder / "history.png")


if __name__ == "__main__":
    main()

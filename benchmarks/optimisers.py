"""How near optimisers come to a known optimum on asynchronous slots, and what an ask costs."""

import heapq
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rig import Table
from simyard.numerics.optimise import Asker, Real, Space, Trial, asker, filling
from simyard.numerics.ranking import Goal

_SEEDS = 5

Function = Callable[[Mapping[str, object]], float]


# --- problems -------------------------------------------------------------------------------------


def branin(values: Mapping[str, object]) -> float:
    x, y = (float(str(value)) for value in values.values())
    bend = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


_HARTMANN = (  # weight, steepness, 10,000 x place
    (1.0, (10, 3, 17, 3.5, 1.7, 8), (1312, 1696, 5569, 124, 8283, 5886)),
    (1.2, (0.05, 10, 17, 0.1, 8, 14), (2329, 4135, 8307, 3736, 1004, 9991)),
    (3.0, (3, 3.5, 1.7, 10, 17, 8), (2348, 1451, 3522, 2883, 3047, 6650)),
    (3.2, (17, 8, 0.05, 10, 0.1, 14), (4047, 8828, 8732, 5743, 1091, 381)),
)


def hartmann(values: Mapping[str, object]) -> float:
    x = [float(str(value)) for value in values.values()]
    return -sum(
        weight
        * math.exp(-sum(a * (u - p / 1e4) ** 2 for a, u, p in zip(steep, x, at, strict=True)))
        for weight, steep, at in _HARTMANN
    )


PLANE = Space((Real(name="x", lower=-5.0, upper=10.0), Real(name="y", lower=0.0, upper=15.0)))
CUBE = Space(tuple(Real(name=f"x{i}", lower=0.0, upper=1.0) for i in range(6)))

# name, space, function, its least value, budget, slots
PROBLEMS: list[tuple[str, Space, Function, float, int, int]] = [
    ("Branin", PLANE, branin, 0.397887, 40, 4),
    ("Branin", PLANE, branin, 0.397887, 40, 8),
    ("Hartmann-6", CUBE, hartmann, -3.32237, 80, 4),
    ("Hartmann-6", CUBE, hartmann, -3.32237, 80, 8),
]


# --- campaigns ------------------------------------------------------------------------------------


class Sobol:
    """The space filled evenly, whatever the runs find."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def ask(
        self, history: Sequence[Trial], pending: Sequence[Mapping[str, object]], count: int
    ) -> list[dict[str, float | str]]:
        units = filling(self._space, self._seed, len(history) + len(pending), count)
        return [self._space.from_unit(unit) for unit in units]


def campaign(
    asking: Asker, function: Function, budget: int, slots: int, seed: int
) -> tuple[float, float]:
    """The least value found, and seconds of processor time per ask."""
    durations = Sobol(Space((Real(name="seconds", lower=0.5, upper=1.5),)), seed).ask(
        [], [], budget
    )
    now, spent = 0.0, 0.0
    running: list[tuple[float, int, dict[str, float | str]]] = []
    history: list[Trial] = []
    asked = 0
    while asked < budget or running:
        if asked < budget and len(running) < slots:
            pending = [values for _, _, values in sorted(running, key=lambda one: one[1])]
            began = time.process_time()
            (values,) = asking.ask(history, pending, 1)
            spent += time.process_time() - began
            heapq.heappush(running, (now + float(durations[asked]["seconds"]), asked, values))
            asked += 1
        else:
            now, _, values = heapq.heappop(running)
            history.append(Trial(values=values, outputs={"f": function(values)}))
    least = min(function(trial.values) for trial in history)
    return least, spent / budget


def run(table: Table) -> None:
    methods = ["sobol", "optuna", "gp"]
    if importlib.util.find_spec("optuna") is None:
        methods.remove("optuna")
    goals = [Goal(name="f")]
    for name, space, function, least, budget, slots in PROBLEMS:
        table.title(f"optimisers: {name}, {budget} runs on {slots} slots, {_SEEDS} seeds")
        for method in methods:
            found = []
            for seed in range(_SEEDS):
                asking = (
                    Sobol(space, seed)
                    if method == "sobol"
                    else asker(method, space, goals, [], seed)
                )
                found.append(campaign(asking, function, budget, slots, seed))
            gaps = [value - least for value, _ in found]
            cost = 1000 * statistics.mean(seconds for _, seconds in found)
            must = method == "gp" and function is branin
            table.add(
                f"  {method}: median gap to the optimum",
                f"{statistics.median(gaps):.4f}",
                "worst <= 0.05" if must else "",
                f"worst {max(gaps):.4f}, {cost:.1f} ms an ask",
                max(gaps) <= 0.05 if must else None,
            )


if __name__ == "__main__":
    run(Table())

"""Studies as tests make them and look at them."""

from typing import Any

from harness import Client, definition


def study(
    client: Client,
    command: str = "true",
    *,
    table: str | None = None,
    slots: int = 2,
    templates: dict[str, tuple[str, str]] | None = None,
    job: dict[str, Any] | None = None,
    **analysis: Any,
) -> dict[str, Any]:
    """The body of a study. templates: target -> (file name, content)."""
    fields = dict(job or {})
    if table is not None:
        fields["paramFile"] = {"id": client.upload("runs.csv", table.encode())["id"]}
    tasks = [
        {
            "templateFile": {"id": client.upload(name, content.encode())["id"]},
            "processedFilename": target,
        }
        for target, (name, content) in (templates or {}).items()
    ]
    return definition(
        command, job=fields, hardware={"slots": slots}, templateTasks=tasks, **analysis
    )


def created(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    return dict(client.call("POST", "jobs/", 201, json=body).json())


def refused(client: Client, body: dict[str, Any]) -> Any:
    return client.call("POST", "jobs/", 400, json=body).json()


def runs(client: Client, job: str) -> list[dict[str, Any]]:
    return list(client.get(f"jobs/{job}/runs/?page_size=1848")["results"])


def variables(run: dict[str, Any]) -> dict[str, str]:
    return {v["name"]: v["displayValue"] for v in run["variables"]}


def ranged(*, draws: int | None = None, **generators: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "monteCarloIterations": draws,
        "jobvariables": [
            {
                "name": name,
                "variableType": "Param",
                "displayOrder": n,
                "valueGeneratorType": kind,
                "valueGeneratorSettings": settings,
            }
            for n, (name, (kind, settings)) in enumerate(generators.items())
        ],
    }


BRANIN = """awk 'BEGIN { x = ENVIRON["PARAM_X"]; y = ENVIRON["PARAM_Y"]; p = atan2(0, -1)
    f = (y - 5.1/(4*p*p)*x*x + 5/p*x - 6)^2 + 10*(1 - 1/(8*p))*cos(x) + 10
    printf "f\\t%.10g\\n", f }'"""


def branin(budget: int, **changes: Any) -> dict[str, Any]:
    ranges = {"x": (-5, 10), "y": (0, 15)}
    chosen = [
        {
            "name": name,
            "variableType": "Design",
            "valueGeneratorType": "Uniform",
            "valueGeneratorSettings": {"minvalue": low, "maxvalue": high},
        }
        for name, (low, high) in ranges.items()
    ]
    goal = {"name": "f", "variableType": "Objective", "valueGeneratorSettings": {}}
    return {
        "optimizer": {"method": "gp", "budget": budget, **changes},
        "jobvariables": [*chosen, goal],
        "seed": 3,
    }

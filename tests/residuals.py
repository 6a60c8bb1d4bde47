"""What a solver prints that converges."""


def residuals(first: int, last: int) -> str:
    """Steps of OpenFOAM's, whose residual of p falls by a decade in 50."""
    return "".join(
        f"Time = {n}\n\nGAMG:  Solving for p, Initial residual = {10 ** (-n / 50):.9g},"
        f" Final residual = 0, No Iterations 3\nExecutionTime = {n} s\n"
        for n in range(first, last + 1)
    )

"""The order in which the gallery is read: from a first fit to what reviewers ask."""

from pathlib import Path

ORDER = (
    "plot_first_fit.py",
    "plot_degree.py",
    "plot_epsilon.py",
    "plot_bounds.py",
    "plot_ten_digits.py",
    "plot_what_the_server_sees.py",
    "plot_reading_a_plan.py",
    "plot_one_budget.py",
    "plot_attacker.py",
    "plot_three_hospitals.py",
    "plot_network_or_line.py",
    "plot_noninteractive.py",
)


def reading_order(name: str) -> int:
    """Sort by the list above; a file that is not on it is an error that names the list."""
    return ORDER.index(Path(name).name)

"""Tables of one run, from its summary."""

from rich.table import Table


def summary_table(summary: dict[str, float], title: str) -> Table:
    """Return the run's numbers as a table of names and values."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("name")
    table.add_column("value", justify="right")
    group = None
    for name, value in summary.items():
        if group not in (None, name.partition("/")[0]):
            table.add_section()
        group = name.partition("/")[0]
        table.add_row(name, f"{value:.6g}")
    return table

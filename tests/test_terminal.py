import io

import pytest
from rich.table import Table

from iclgd.terminal import MOST_CHARACTERS, console, escaped, say, show


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\udcff", "\0", "\u2028", "\x07" * 3, "\u202e"])
def test_nothing_is_printed_raw(capsys: pytest.CaptureFixture[str], text: str) -> None:
    say(text)
    show(text)
    out, err = capsys.readouterr()
    assert out == err == escaped(text) + "\n"
    assert out[:-1].isprintable()


def test_what_is_long_is_shortened_in_messages_and_whole_in_results(capsys: pytest.CaptureFixture[str]) -> None:
    say("a" * 50_000 + "b" * 50_000)
    show("a" * 100_000)
    out, err = capsys.readouterr()
    assert out == "a" * 100_000 + "\n"
    assert (
        err
        == "a" * (MOST_CHARACTERS // 2) + " ... (98,000 characters left out) ... " + "b" * (MOST_CHARACTERS // 2) + "\n"
    )


def test_tables_show_names_as_they_are() -> None:
    name, printed = "[red]x[1] :smile: \x1b[31m", io.StringIO()
    table = Table(name, title=name, caption=name)
    table.add_row(name)
    tables = console()
    tables.file = printed
    tables.print(table)
    assert printed.getvalue().count("[red]x[1] :smile: \\x1b[31m") == 4
    assert "\x1b" not in printed.getvalue()

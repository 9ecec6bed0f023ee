"""The examples of the statistics page print what the page says."""

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"


def test_examples_of_the_page_print_what_it_says():
    blocks = re.findall(r"^```pycon\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "statistics.md", None, 0)
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)


def test_every_function_named_on_the_page_exists_in_the_module_beside_it():
    import importlib

    rows = re.findall(r"^\|[^|]*\|([^|]*)\|([^|]*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    missing = []
    for functions, modules in rows:
        homes = [importlib.import_module(f"radfoundry.stats.{name}") for name in re.findall(r"`(\w+)`", modules)]
        names = re.findall(r"`(\w+)`", functions)
        missing += [name for name in names if homes and not any(hasattr(home, name) for home in homes)]
    assert len(rows) > 20
    assert missing == []

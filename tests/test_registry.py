"""Every name stands for something that exists, and listing names loads nothing heavy."""

import subprocess
import sys

import pytest

from radfoundry import registry
from radfoundry.records import InputError


@pytest.mark.parametrize("table", sorted(registry.TABLES))
def test_every_entry_resolves(table):
    for name in registry.entries(table):
        assert registry.resolve(table, name) is not None


def test_unknown_names_name_the_nearest():
    with pytest.raises(InputError, match="did you mean 'logistic'"):
        registry.resolve("heads", "logistik")
    with pytest.raises(InputError, match="did you mean 'heads'"):
        registry.entries("head")


def test_unknown_options_name_the_accepted_ones():
    with pytest.raises(InputError, match="did you mean 'strengths'"):
        registry.build("heads", "logistic", strength=3)


def test_listing_does_not_import_torch():
    code = (
        "import sys; from radfoundry import registry; "
        "[registry.entries(table) for table in registry.TABLES]; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_builder_that_lacks_an_option_says_which():
    with pytest.raises(InputError, match=r"classify needs target; say task.name=classify task.target="):
        registry.build("tasks", "classify")

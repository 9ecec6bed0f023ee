"""Settings: three sources in order, every error at once, the nearest name, nothing run from YAML."""

import pytest
from pydantic import Field

from radfoundry import config
from radfoundry.config import Component, Settings
from radfoundry.records import InputError


class Toy(Settings):
    seed: int = 0
    epochs: int = Field(default=3, ge=1)
    head: Component = Component(name="linear")
    parts: list[Component] = Field(default_factory=list)
    spacing_mm: float = 2.0


def test_defaults_then_file_then_words(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text("seed: 5\nepochs: 7\n")
    loaded = config.load(Toy, path, ["epochs=9", "head.name=knn", "head.neighbours=3"])
    assert (loaded.seed, loaded.epochs, loaded.spacing_mm) == (5, 9, 2.0)
    assert (loaded.head.name, loaded.head.options) == ("knn", {"neighbours": 3})


def test_a_component_may_be_written_as_its_bare_name():
    loaded = config.load(Toy, {"head": "knn", "parts": ["a", {"name": "b", "x": 1}]})
    assert loaded.head.name == "knn" and [part.options for part in loaded.parts] == [{}, {"x": 1}]


def test_options_may_be_added_to_a_component_given_by_name():
    loaded = config.load(Toy, {"head": "knn"}, ["head.neighbours=3"])
    assert (loaded.head.name, loaded.head.options) == ("knn", {"neighbours": 3})


def test_all_errors_come_at_once_with_path_value_and_nearest_name(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text("sed: 5\nepochs: 0\nspacing_mm: wide\n")
    with pytest.raises(InputError) as caught:
        config.load(Toy, path)
    said = str(caught.value)
    assert "\n" not in said and "toy.yaml" in said
    assert "did you mean 'seed'?" in said
    assert "epochs" in said and "got 0" in said
    assert "spacing_mm" in said and "'wide'" in said
    assert "3 to mend" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [1", "not valid YAML"), ("- 1\n", "key: value"), ("!!python/object:os.system {}", "not valid YAML")],
)
def test_files_that_are_not_settings_are_refused(tmp_path, text, said):
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        config.load(Toy, path)


def test_missing_file_and_malformed_word():
    with pytest.raises(InputError, match="no such file"):
        config.load(Toy, "nowhere.yaml")
    with pytest.raises(InputError, match=r"key\.path=value"):
        config.load(Toy, None, ["seed"])


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Toy().seed = 3


def test_a_misspelt_key_inside_a_list_is_compared_with_its_own_neighbours():
    from radfoundry.stages.curate.settings import Config

    with pytest.raises(InputError, match=r"slots\.0\.sequnce: unknown key \(did you mean 'sequence'"):
        config.check(Config, {"cohort": "c", "what": "slots", "slots": [{"name": "a", "sequnce": ["T1w"]}]})

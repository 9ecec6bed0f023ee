"""Reading findings: what radiologists write about them, against what is meant."""

import random

import pytest

from radfoundry.records import InputError
from radfoundry.text import compare, language, ontology, sentences
from radfoundry.text.findings import read, region_of, verdicts


def said(text, region="chest"):
    return {name: found.state for name, found in verdicts(read(text, region=region)).items()}


@pytest.mark.parametrize(
    ("text", "finding", "state"),
    [
        ("No pneumothorax.", "pneumothorax", "absent"),
        ("Negative for effusion, pneumothorax, or focal consolidation.", "consolidation", "absent"),
        ("No large pleural effusion is seen.", "pleural-effusion", "absent"),
        ("The heart is not significantly enlarged.", "cardiomegaly", "absent"),
        ("Heart size is normal.", "cardiomegaly", "absent"),
        ("The pneumothorax has resolved.", "pneumothorax", "absent"),
        ("Nothing here, no opacity to suggest pneumonia.", "pneumonia", "absent"),
        ("No mass but there is a small effusion.", "pleural-effusion", "present"),
        ("No significant change in the left effusion.", "pleural-effusion", "present"),
        ("Stable cardiomegaly without edema.", "cardiomegaly", "present"),
        ("Pneumonia cannot be excluded.", "pneumonia", "uncertain"),
        ("A mass is not excluded.", "mass", "uncertain"),
        ("Opacity which may represent pneumonia.", "pneumonia", "uncertain"),
        ("Cortical renal cyst.", "kidney-cyst", "present"),
    ],
)
def test_state_of_one_statement(text, finding, state):
    assert said(text)[finding] == state


def test_history_and_what_is_only_looked_for_do_not_count():
    text = "INDICATION: rule out pneumonia.\nFINDINGS: History of cardiomegaly. Recommend CT to evaluate for mass."
    assert said(text) == {}
    assert [mention.when for mention in read(text, region="chest")][1:] == ["past", "hypothetical"]


def test_every_mention_is_traced_to_its_characters_and_sentence():
    text = "FINDINGS: No mass. A 1.5 cm nodule in the left upper lobe; previously 12 mm.\nIMPRESSION: 1. Lung nodule. "
    mentions = read(text, region="chest")
    assert [text[m.start : m.end] for m in mentions] == ["mass", "nodule", "Lung nodule"]
    for mention in mentions:
        whole = mention.sentence
        assert text[whole.start : whole.end] == whole.text
        assert whole.start <= mention.start < mention.end <= whole.end
    nodule = mentions[1]
    assert (nodule.side, nodule.place, nodule.size_mm) == ("left", "upper lobe", 15.0)


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("Effusion on the left, pneumothorax on the right.", {"pleural-effusion": "left", "pneumothorax": "right"}),
        ("Right lower lobe pneumonia and small left effusion.", {"pneumonia": "right", "pleural-effusion": "left"}),
        ("Bibasilar atelectasis.", {"atelectasis": "bilateral"}),
    ],
)
def test_side_goes_to_its_own_finding(text, sides):
    assert {m.finding: m.side for m in read(text, region="chest")} == sides


def test_sentences_lose_nothing_but_space_and_headers():
    rng = random.Random(0)
    words = ["no", "mass", "1.5 cm", "Dr. Who", "left", "effusion", "vs. scar"]
    text = ". ".join(" ".join(rng.choices(words, k=4)).capitalize() for _ in range(30)) + "."
    found = sentences.split(text)
    assert all(text[item.start : item.end] == item.text for item in found)
    assert "".join(item.text for item in found).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("German", "Kein Nachweis eines Pneumothorax. Das Herz ist nicht vergrößert, die Lunge ist frei."),
        ("French", "Pas de pneumothorax. Le coeur est de taille normale et les poumons sont clairs."),
        ("Spanish", "No se observa neumotórax. El corazón es normal y los pulmones están sin alteraciones."),
        ("another script", "Пневмоторакса нет. Сердце не увеличено, лёгкие чистые."),
    ],
)
def test_another_language_is_refused_in_one_line(name, text):
    assert language.of(text) == name
    with pytest.raises(InputError, match="only English is read") as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_equal_words_mean_what_the_region_says():
    assert list(said("There is a mass.", "head")) == ["tumour"]
    assert list(said("There is a mass.", "breast")) == ["breast-mass"]
    assert list(said("There is a mass.", "chest")) == ["mass"]
    assert region_of("MRI of the brain. Ventricles normal.") == "head"


def test_ontology_refuses_what_it_cannot_use(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("regions: {}\nplaces: {}\nfindings: {x: {region: any, terms: ['(']}}")
    with pytest.raises(InputError, match="cannot be read"):
        ontology.load(bad)
    with pytest.raises(InputError, match="no such file"):
        ontology.load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="did you mean 'pneumothorax'"):
        ontology.load().named("pneumothoraks")


def test_a_report_agrees_with_itself_and_with_nothing_more():
    text = "FINDINGS: Large effusion on the left. No mass. Nodular opacity."
    same = compare.compare(text, text, region="chest")
    assert same.agreed == ("lung-nodule", "pleural-effusion")
    assert same.omitted == same.invented == same.side_errors == ()
    none = compare.compare(text, "Unremarkable examination of the chest.", region="chest")
    assert none.omitted == same.agreed


def test_every_word_of_the_simulated_reports_is_read():
    import numpy as np

    from radfoundry.simulate.vocabulary import PHRASES
    from radfoundry.simulate.words import STATES, Statement, write_report

    known = ontology.load()
    rng = np.random.default_rng(0)
    wrong = []
    for name in PHRASES:
        home = known.named(name)
        for state in STATES:
            report = write_report([Statement(name, state, side="left")], rng=rng)
            found = verdicts(read(report.text, region=home.region))
            states = {widest: v.state for item, v in found.items() for widest in compare.rolled_up({item})}
            if states.get(next(iter(compare.rolled_up({home.name})))) != state:
                wrong.append((name, state, report.text, states))
    assert not wrong

"""Files that mean harm or are damaged: one clear line each, whatever was done to them."""

import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from radfoundry import registry
from radfoundry.nets import checkpoint, weight_files
from radfoundry.records import InputError

LAYOUT = {"width": 16, "depth": 1, "heads": 2, "hidden": 16, "image": 16, "patch": 8, "registers": 0}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "e.safetensors"
    checkpoint.save(registry.build("encoders", "vit2d-standard", layout=LAYOUT), path, builder="vit2d-standard")
    return path


def written(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def tensor(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


FILES = {
    "empty": (b"", "header of -1 bytes"),
    "zip pickle": (b"PK\x03\x04" + b"\0" * 60, "a pickle"),
    "bare pickle": (b"\x80\x04\x95" + b"\xff" * 60, "a pickle"),
    "header longer than the file": (struct.pack("<Q", 500) + b"{}", "header of 500 bytes"),
    "header of exabytes": (struct.pack("<Q", 2**62) + b"{}", "would be"),
    "header below two bytes": (struct.pack("<Q", 1) + b"{}", "header of 1 bytes"),
    "not JSON": (struct.pack("<Q", 4) + b"{a:}", "header"),
    "not UTF-8": (struct.pack("<Q", 4) + b"\xff\xfe{}", "header"),
    "nested without end": (struct.pack("<Q", 100000) + b"[" * 100000, "header"),
    "a list": (struct.pack("<Q", 2) + b"[]", "no table"),
}
HEADERS = {
    "name twice": (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}', b"\0" * 4, "twice"),
    "overlap": ({"a": tensor(0, 4), "b": tensor(2, 6)}, b"\0" * 6, "overlap"),
    "the same place": ({"a": tensor(0, 4), "b": tensor(0, 4)}, b"\0" * 4, "overlap"),
    "a gap": ({"a": tensor(0, 4), "b": tensor(8, 12)}, b"\0" * 12, "gaps"),
    "beyond the end": ({"a": tensor(0, 4)}, b"\0" * 2, "end at byte 4 of 2"),
    "bytes no one owns": ({"a": tensor(0, 4)}, b"\0" * 9, "end at byte 4 of 9"),
    "backwards": ({"a": tensor(4, 0)}, b"\0" * 4, "does not fill"),
    "negative": ({"a": tensor(-4, 0)}, b"\0" * 4, "impossible"),
    "shape too large": ({"a": tensor(0, 4, (2**40, 2**40))}, b"\0" * 4, "does not fill"),
    "shape of floats": ({"a": tensor(0, 4, (1.0,))}, b"\0" * 4, "impossible"),
    "shape of truths": ({"a": tensor(0, 4, (True,))}, b"\0" * 4, "impossible"),
    "too many axes": ({"a": tensor(0, 4, (1,) * 99)}, b"\0" * 4, "impossible"),
    "unknown kind": ({"a": tensor(0, 4, dtype="OBJECT")}, b"\0" * 4, "kind"),
    "path as a name": ({"../../etc/passwd\n": tensor(0, 4)}, b"\0" * 4, "no name"),
    "endless name": ({"a" * 9999: tensor(0, 4)}, b"\0" * 4, "no name"),
    "extra field": ({"a": {**tensor(0, 4), "code": "x"}}, b"\0" * 4, "not described"),
    "metadata of lists": ({"__metadata__": {"a": [1]}}, b"", "not text"),
}


def refusal(path, read=checkpoint.load):
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and len(message) < 900
    return message


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_safetensors_are_refused(name, tmp_path):
    content, words = FILES[name]
    path = tmp_path / "e.safetensors"
    path.write_bytes(content)
    assert words in refusal(path)


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie_are_refused(name, tmp_path):
    header, data, words = HEADERS[name]
    assert words in refusal(written(tmp_path / "e.safetensors", header, data))


def test_a_pickle_is_named_as_one_with_the_way_to_convert_it(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"x": torch.zeros(1)}, path)
    message = refusal(path)
    assert "could run any program" in message and "weights_only=True" in message and "save_file" in message
    for name in ("medicalnet", "resenc", "vit2d-file", "models-genesis"):
        assert "could run any program" in refusal(
            path, lambda item, n=name: registry.build("encoders", n, path=str(item))
        )


def test_a_missing_file_and_one_without_an_encoder(tmp_path):
    assert "no such file" in refusal(tmp_path / "e.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "e.safetensors")
    assert "no radfoundry encoder" in refusal(tmp_path / "e.safetensors")


def changed(good, path, *, about=None, weights=None):
    old_about, old_weights = checkpoint._read(good)
    save_file({**old_weights, **(weights or {})}, path, metadata={**old_about, **(about or {})})
    return path


def test_nan_weights_are_refused(good, tmp_path):
    bad = torch.full((16,), float("nan"))
    assert "NaN" in refusal(changed(good, tmp_path / "e.safetensors", weights={"net.norm.bias": bad}))


def test_wrong_shapes_more_weights_and_other_builders_are_refused(good, tmp_path):
    path = tmp_path / "e.safetensors"
    assert "net.norm.bias is (3,), not (16,)" in refusal(changed(good, path, weights={"net.norm.bias": torch.zeros(3)}))
    assert "not part of it" in refusal(changed(good, path, weights={"more": torch.zeros(3)}))
    options = {"builder": "vit2d-tiny", "options": "{}"}
    assert "do not fit vit2d-tiny" in refusal(changed(good, path, about=options))
    with pytest.raises(InputError, match="unknown encoder"):
        checkpoint.load(changed(good, path, about={"builder": "os:system"}))


@pytest.mark.parametrize(
    "options",
    [
        {"path": "secret.safetensors"},
        {"untrained": {"layout": {}, "path": "x"}},
        {"layout": {"pool": "../../etc/passwd"}},
        {"seed": 10**30},
        {"layout": {"width": 10**13}},
        [1],
    ],
)
def test_a_checkpoint_cannot_name_files_or_sizes_beyond_reason(good, tmp_path, options):
    assert "options are not sizes" in refusal(
        changed(good, tmp_path / "e.safetensors", about={"options": json.dumps(options)})
    )


def test_a_checkpoint_cannot_ask_for_more_memory_than_it_holds(good, tmp_path):
    """8 billion weights would be 32 GB; the shapes are compared before any of it is asked for."""
    layout = {**LAYOUT, "width": 8192, "hidden": 65536, "depth": 8}
    path = changed(good, tmp_path / "e.safetensors", about={"options": json.dumps({"layout": layout})})
    assert "do not fit" in refusal(path)


@pytest.mark.parametrize("spec", ["{", "[]", '{"name": 1, "colour": 2}', "3"])
def test_a_damaged_spec_is_refused(good, tmp_path, spec):
    assert "damaged" in refusal(changed(good, tmp_path / "e.safetensors", about={"spec": spec}))


def test_another_spec_is_refused(good, tmp_path):
    about, _ = checkpoint._read(good)
    spec = {**json.loads(about["spec"]), "orientation": "RAS"}
    assert "spec is not the builder's" in refusal(
        changed(good, tmp_path / "e.safetensors", about={"spec": json.dumps(spec)})
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_mutated_files_are_read_or_refused_but_never_break(good, tmp_path, seed):
    """Bytes changed, cut off, doubled or put in: tensors of finite numbers, or one line that says why not."""
    rng = np.random.default_rng(seed)
    data = bytearray(good.read_bytes())
    reach = len(data) if rng.random() < 0.3 else 2048
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, min(reach, len(data))))
        kind = rng.integers(0, 4)
        if kind == 0:
            data[place] = int(rng.integers(0, 256))
        elif kind == 1:
            del data[place : place + int(rng.integers(1, 64))]
        elif kind == 2:
            data[place:place] = bytes(rng.integers(0, 256, int(rng.integers(1, 16)), dtype=np.uint8))
        else:
            data[place : place + 8] = struct.pack("<q", int(rng.integers(-(2**62), 2**62)))
    path = tmp_path / "mutated.safetensors"
    path.write_bytes(data)
    try:
        about, weights = weight_files.read(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(value, str) for value in about.values())
        assert all(torch.isfinite(value.float()).all() for value in weights.values())


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(good, tmp_path, place, value):
    """The whole way through `load`: what comes back embeds the probe as the saved encoder did."""
    data = bytearray(good.read_bytes())
    data[int(place * (len(data) - 1))] = value
    path = tmp_path / "mutated.safetensors"
    path.write_bytes(data)
    reference = checkpoint.embed_probe(checkpoint.load(good))
    try:
        loaded = checkpoint.load(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert torch.allclose(checkpoint.embed_probe(loaded), reference, atol=2e-3, rtol=2e-3)

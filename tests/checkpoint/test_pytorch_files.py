"""Files between taper and PyTorch: PyTorch's are read, and what taper writes PyTorch reads."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest

import taper
from golden.checkpoints import objects

FILES = json.loads((Path(__file__).parents[1] / "golden" / "checkpoints.json").read_text())
EXPECTED = objects(taper)


def recorded(name: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(FILES[name]))


def same(one, other) -> bool:
    if isinstance(other, taper.Tensor):
        return (
            one.dtype is other.dtype
            and one.shape == other.shape
            and one.stride() == other.stride()
            and one.requires_grad == other.requires_grad
            and one.detach().tolist() == other.detach().tolist()
        )
    if isinstance(other, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in other)
    if isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("name", sorted(set(FILES) - {"training"}))
def test_a_file_of_pytorchs_is_read(name):
    found = taper.load(recorded(name))

    assert same(found, EXPECTED[name.removesuffix(".legacy")])


@pytest.mark.parametrize("ending", ["", ".legacy"])
def test_tensors_that_shared_memory_share_it_again(ending):
    found = taper.load(recorded("views" + ending))

    found["whole"][2, 1] = 100

    assert found["column"].tolist() == [1, 5, 100]
    assert found["turned"][1, 2] == 100


def test_a_training_state_of_pytorchs_goes_on_in_taper():
    found = taper.load(recorded("training"))
    model = taper.nn.Sequential(taper.nn.Linear(2, 3), taper.nn.ReLU(), taper.nn.Linear(3, 1))
    optimizer = taper.optim.Adam(model.parameters())

    model.load_state_dict(found["model"])
    optimizer.load_state_dict(found["optimizer"])

    assert model(taper.ones(1, 2)).item() == pytest.approx(found["output"], rel=1e-6)
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert optimizer.state[model[0].weight]["step"].item() == 1


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_reads_what_taper_writes(name, zipped):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    taper.save(EXPECTED[name], buffer, _use_new_zipfile_serialization=zipped)
    buffer.seek(0)

    found = torch.load(buffer)

    again = io.BytesIO()
    torch.save(found, again)
    again.seek(0)
    assert same(taper.load(again), EXPECTED[name])


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("zipped", [True, False])
def test_taper_reads_what_taper_writes(name, zipped, tmp_path):
    path = tmp_path / "file.pt"
    taper.save(EXPECTED[name], path, _use_new_zipfile_serialization=zipped)

    assert same(taper.load(path), EXPECTED[name])
    assert [p.name for p in tmp_path.iterdir()] == ["file.pt"]


def test_mmap_maps_the_memory_and_leaves_the_file_alone(tmp_path):
    path = tmp_path / "file.pt"
    taper.save({"x": taper.arange(1000)}, path)
    before = path.read_bytes()

    found = taper.load(path, mmap=True)
    found["x"][0] = 5

    assert found["x"][:2].tolist() == [5, 1]
    assert path.read_bytes() == before


def test_a_whole_module_needs_weights_only_false(tmp_path):
    path = tmp_path / "module.pt"
    taper.save(taper.nn.Linear(2, 3), path)

    with pytest.raises(RuntimeError, match=r"(?s)Weights only load failed.*weights_only=False"):
        taper.load(path)
    found = taper.load(path, weights_only=False)

    assert repr(found) == "Linear(in_features=2, out_features=3, bias=True)"

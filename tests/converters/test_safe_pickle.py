"""No code in a file is run: refused files, error messages, and supported content."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from collections import OrderedDict, UserList
from pathlib import Path

import pytest
import torch
from torch import nn

from tl_toolkit.converters.safe_pickle import PlainState, Skipped, read_plain_pickle, read_tensors, read_vocabulary
from tl_toolkit.errors import UserError

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 4])


class Burglar:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


class Holder:
    """Represents a class of another library."""


@PROTOCOLS
def test_code_in_a_weight_file_is_not_run(tmp_path, protocol):
    trace = tmp_path / "was here"
    torch.save({"model": Burglar(trace)}, tmp_path / "w.pth", pickle_protocol=protocol)
    with pytest.raises(UserError, match=r"w\.pth.*posix\.mkdir.*Only tensors.*learn\.save"):
        read_tensors(tmp_path / "w.pth")
    assert not trace.exists()
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert trace.exists()  # the file does run code without protection


@PROTOCOLS
def test_a_whole_model_is_refused_by_name(tmp_path, protocol):
    torch.save({"model": nn.Linear(3, 5)}, tmp_path / "w.pth", pickle_protocol=protocol)
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_tensors(tmp_path / "w.pth")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="There is no file .*nowhere.pth"):
        read_tensors(tmp_path / "nowhere.pth")
    for name, content in {"text.pth": b"weights", "empty.pth": b"", "zip.pth": b"PK\x05\x06" + bytes(18)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.*cannot be read as tensors"):
            read_tensors(tmp_path / name)
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    with pytest.raises(UserError, match="contains a Tensor, but must contain a state dict"):
        read_tensors(tmp_path / "tensor.pth")


@pytest.mark.filterwarnings("error")
@PROTOCOLS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_are_read_exactly(tmp_path, protocol, dtype):
    whole = (torch.arange(2 * 3 * 5).reshape(2, 3, 5) - 7).to(dtype)
    content = OrderedDict(whole=whole, view=whole[1, :, 2:], turned=whole.permute(2, 0, 1), empty=whole[:0], number=7)
    torch.save(content, tmp_path / "w.pth", pickle_protocol=protocol)
    read = read_tensors(tmp_path / "w.pth")
    assert read.keys() == content.keys() and read["number"] == 7
    for name in ("whole", "view", "turned", "empty"):
        assert read[name].dtype == dtype and torch.equal(read[name], content[name])


def test_a_tensor_cannot_exceed_its_storage(tmp_path):
    tensor = torch.arange(6.0)
    path = tmp_path / "w.pth"
    torch.save({"tensor": tensor}, path, pickle_protocol=4)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content.replace(b"K\x06\x85", b"K\x07\x85"))  # the size (6,) becomes (7,)
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    assert "storage" in str(caught.value.__cause__)


@PROTOCOLS
def test_plain_state_keeps_values_and_skipped_none(tmp_path, protocol):
    holder = Holder()
    holder.items = [b"a", "b"]
    torch.save({"first": holder, "weight": torch.ones(2)}, tmp_path / "w.pth", pickle_protocol=protocol)
    name = f"{Holder.__module__}.{Holder.__qualname__}"
    read = read_tensors(tmp_path / "w.pth", {name: PlainState})
    assert type(read["first"]) is PlainState and vars(read["first"]) == {"items": [b"a", "b"]}
    assert not vars(read_tensors(tmp_path / "w.pth", {name: Skipped})["first"])


@PROTOCOLS
def test_vocabularies_are_plain_lists(tmp_path, protocol):
    def written(content: object) -> Path:
        (tmp_path / "v.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        return tmp_path / "v.pkl"

    assert read_vocabulary(written(["xxunk", "é"])) == (["xxunk", "é"], None)
    assert read_vocabulary(written([["xxunk", "the"], ["no", "yes"]])) == (["xxunk", "the"], ["no", "yes"])
    for wrong in (["a", 1], [], {"a": 0}, [["a"], ["b"], ["c"]]):
        with pytest.raises(UserError, match="neither a list of strings.*learn.dls.vocab"):
            read_vocabulary(written(wrong))
    with pytest.raises(UserError, match=r"UserList.*pickle\.dump\(list\(learn\.dls\.vocab\), file\)"):
        read_vocabulary(written(UserList(["a"])))
    trace = tmp_path / "was here"
    with pytest.raises(UserError, match=r"posix\.mkdir"):
        read_plain_pickle(written([Burglar(trace)]))
    assert not trace.exists()
    (tmp_path / "v.pkl").write_bytes(b"words")
    with pytest.raises(UserError, match="is damaged or not a pickle"):
        read_vocabulary(tmp_path / "v.pkl")
    (tmp_path / "v.json").write_text('["xxunk", "the"]')
    assert read_vocabulary(tmp_path / "v.json").tokens == ["xxunk", "the"]


def test_reading_imports_nothing(tmp_path):
    (tmp_path / "v.pkl").write_bytes(b"cantigravity_of_no_kind\nfly\n.")
    with pytest.raises(UserError, match=r"antigravity_of_no_kind\.fly"):
        read_vocabulary(tmp_path / "v.pkl")
    (tmp_path / "v.pkl").write_bytes(b"cthis\nd\n.")
    with pytest.raises(UserError, match=r"this\.d"):
        read_vocabulary(tmp_path / "v.pkl")
    assert "this" not in sys.modules

import os
import pickle
import struct

import pytest
from models.torch_format import (
    FLOATS,
    ORDERED_DICT,
    PLAIN,
    STORED,
    WRITERS,
    Code,
    call,
    encode,
    name,
    pickled,
    refusal,
    storage,
    tensor,
    write_legacy,
    write_zip,
)


def commands(marker) -> dict[str, Code]:
    """Pickles that, given to `pickle`, make the file `marker`."""
    shell, touch = name("posix", "system"), f"touch {marker}"
    return {
        "REDUCE": call(shell, touch),
        "INST": Code(b"(" + encode(touch) + b"iposix\nsystem\n"),
        "OBJ": Code(b"(" + shell + encode(touch) + b"o"),
        "STACK_GLOBAL": call(Code(encode("posix") + encode("system") + b"\x93"), touch),
        "eval": call(name("builtins", "eval"), f"open({str(marker)!r}, 'w').close()"),
        "BUILD": Code(name("builtins", "BaseException") + b")\x81" + encode({"a": call(shell, touch)}) + b"b"),
    }


def places(attack: Code) -> list:
    """The attack as a whole state dict, as a value in it, and inside its tensors."""
    return [
        attack,
        {"x": PLAIN, "y": attack},
        {"x": tensor(attack, (1,), (1,))},
        {"x": tensor(STORED, attack, (1,))},
        {"x": tensor(STORED, (attack,), (1,))},
        {"x": Code(PLAIN + encode({"x": attack}) + b"b")},
        {"x": tensor(Code(encode(("storage", attack, "0", "cpu", 6)) + b"Q"), (1,), (1,))},
        {"x": call(name("torch._utils", "_rebuild_parameter"), attack, True, ORDERED_DICT)},
        {"x": call(ORDERED_DICT, attack)},
    ]


@WRITERS
@pytest.mark.parametrize("opcode", commands(""))
def test_code_is_refused_and_does_not_run(tmp_path, write, opcode):
    marker = tmp_path / "ran"
    attack = commands(marker)[opcode]
    pickle.loads(pickled(attack))
    assert marker.exists()  # it would run
    marker.unlink()
    for value in places(attack):
        message = refusal(write(tmp_path / "w.pth", value, {"0": FLOATS.tobytes()}))
        assert any(word in message for word in ("posix.system", "posix system", "builtins.eval", "BaseException"))
        assert not marker.exists()


def test_code_in_every_pickle_of_the_older_format_is_refused(tmp_path):
    marker = tmp_path / "ran"
    attack = commands(marker)["REDUCE"]
    good = write_legacy(tmp_path / "w.pth", {"x": PLAIN}, {"0": FLOATS.tobytes()}).read_bytes()
    starts = [i for i in range(len(good)) if good[i : i + 2] == b"\x80\x02"]
    assert len(starts) == 5
    for start in starts:
        (tmp_path / "w.pth").write_bytes(good[:start] + pickled(attack))
        assert "posix.system" in refusal(tmp_path / "w.pth")
    assert not marker.exists()


@WRITERS
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (name("collections", "OrderedDict") + b")\x81", "opcode NEWOBJ"),
        (name("subprocess", "Popen") + encode(("true",)) + b"\x81", "subprocess.Popen"),
        (b"(icollections\nOrderedDict\n", "opcode INST 'collections OrderedDict'"),
        (b"\x82\x01", "opcode EXT1"),
        (b"Ptoken\n", "opcode PERSID"),
        (encode("torch") + ORDERED_DICT + b"\x93", "no name"),
        (name("torch", "FloatStorage.__new__"), "torch.FloatStorage.__new__"),
        (name("torch", "load"), "torch.load"),
        (name("os\x1b[2J", "x"), r"os\x1b[2J.x"),
        (call(name("torch", "FloatStorage"), 3), "calls torch.FloatStorage with arguments"),
        (call(name("torch", "Size")), "calls torch.Size with arguments"),
        (call(name("collections", "OrderedDict"), [(1, 2)]), "calls collections.OrderedDict with arguments"),
        (call(name("torch._utils", "_rebuild_tensor_v2"), 1), "calls torch._utils._rebuild_tensor_v2 with arguments"),
        (call(encode("text"), 1), "calls what is no function"),
        (name("torch._utils", "_rebuild_tensor_v2") + encode((None, {"__code__": 1})) + b"b", "sets attributes"),
        (encode(7) + b"Q", "no storage"),
        (storage("Float", "0", -1), "no storage"),
        (storage("Float", "0", 6, ("1", 0, 3)), "no storage"),
        (encode(("storage", name("torch", "Size"), "0", "cpu", 6)) + b"Q", "no storage"),
        (encode([STORED, storage("Half", "0", 6)]), "two types"),
        (b"}" + encode(1) + b"a", "appends to what is no list"),
        (b"]" + encode(1) + encode(2) + b"s", "no dict"),
        (b"}" + encode((1, 2)) + encode(2) + b"s", "no dict of names"),
        (b"}(" + encode("a") + b"u", "shorter"),
        (b"R", "takes more than it holds"),
        (b"(" + encode(1) + b"(", "no dict"),
        (b"h\x07", "7"),
        (b"t", "pop from empty list"),
        (b"(q\x01", "out of range"),
        (b"X\xff\xff\xff\xffab", "expected 4294967295 bytes"),
        (b"\x8d" + b"\xff" * 7 + b"\x7fab", "bytes in a unicodestring8"),
        (b"\x8b\xff\xff\xff\xff", "long4"),
        (b"\xff", "unknown"),
    ],
)
def test_other_opcodes_and_nonsense_are_refused(tmp_path, write, code, reason):
    path = write(tmp_path / "w.pth", {"x": Code(code)}, {"0": FLOATS.tobytes()})
    assert reason in refusal(path)


def test_a_pickle_that_would_take_all_memory_or_time_is_refused(tmp_path):
    bomb = b"N" + b"r" + struct.pack("<I", 2**32 - 1) + b"0"  # `pickle` reserves room for every index below
    refusal(write_zip(tmp_path / "memo.pth", Code(bomb), {}))
    nested = b")" + b"".join(b"q\x00h\x00h\x00\x86" for _ in range(200))  # a hash takes 2**200 steps
    refusal(write_zip(tmp_path / "hash.pth", Code(b"}" + nested + b"Ns"), {}))
    refusal(write_zip(tmp_path / "name.pth", Code(nested + nested + b"\x93"), {}))
    refusal(write_zip(tmp_path / "deep.pth", Code(b"N" + b"\x85" * 10**5), {}))


class Attack:
    """Pickled as a call of `os.system`."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.peers
@pytest.mark.parametrize("zipped", [True, False])
def test_code_that_torch_saved_is_refused_and_does_not_run(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="needs requirements-compare.txt (torch)")

    marker = tmp_path / "ran"
    for value in (Attack(marker), {"x": torch.zeros(2), "y": Attack(marker)}, torch.nn.Linear(2, 2)):
        torch.save(value, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        message = refusal(tmp_path / "w.pth")
        assert f"{os.name}.system" in message or "torch.nn.modules.linear.Linear" in message
    assert not marker.exists()

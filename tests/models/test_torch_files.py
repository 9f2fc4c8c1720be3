import contextlib
import struct
import zipfile

import jax.numpy as jnp
import numpy as np
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
    refusal,
    storage,
    tensor,
    write_legacy,
    write_zip,
)

from hemojax.errors import UserError
from hemojax.models.torch_files import read


@WRITERS
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
def test_tensors_are_read_as_views_of_their_storage(tmp_path, write, wrapper):
    shifted = tensor(STORED, (2,), (2,), offset=1)
    turned = tensor(STORED, (3, 2), (1, 3))
    scalar = call(name("torch._utils", "_rebuild_parameter"), tensor(STORED, (), (), offset=5), True, ORDERED_DICT)
    # BUILD, as PyTorch writes it to add the versions of the modules
    tensors = {"plain": PLAIN, "shifted": shifted, "turned": turned, "scalar": scalar}
    tensors = Code(encode(tensors) + encode({"_metadata": ORDERED_DICT}) + b"b")
    value = tensors if wrapper is None else {"epoch": 3, "sizes": [call(name("torch", "Size"), (1,))], wrapper: tensors}
    found = read(write(tmp_path / "w.pth", value, {"0": FLOATS.tobytes()}))
    assert list(found) == ["plain", "shifted", "turned", "scalar"]
    np.testing.assert_array_equal(found["plain"], FLOATS.reshape(2, 3))
    np.testing.assert_array_equal(found["shifted"], [1, 3])
    np.testing.assert_array_equal(found["turned"], FLOATS.reshape(2, 3).T)
    assert found["scalar"] == 5
    assert np.shares_memory(found["plain"], found["turned"])
    assert not found["plain"].flags.writeable


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("Float", np.float32),
        ("Double", np.float64),
        ("Half", np.float16),
        ("BFloat16", jnp.bfloat16),
        ("Long", np.int64),
        ("Int", np.int32),
        ("Short", np.int16),
        ("Char", np.int8),
        ("Byte", np.uint8),
        ("Bool", np.bool_),
    ],
)
def test_every_dtype_and_byte_order(tmp_path, kind, dtype):
    values = np.array([1, 0, 1], dtype)
    value = {"x": tensor(storage(kind, "0", 3), (3,), (1,))}
    little = write_zip(tmp_path / "little.pt", value, {"0": values.tobytes()})
    big = write_zip(tmp_path / "big.pt", value, {"0": values.byteswap().tobytes()}, "big")
    legacy = write_legacy(tmp_path / "legacy.pt", value, {"0": values.tobytes()}, values.itemsize)
    for path in (little, big, legacy):
        found = read(path)["x"]
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


@WRITERS
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((7,), (1,), 0),
        ((6,), (1,), 1),
        ((2, 3), (4, 1), 0),
        ((2,), (6,), 0),
        ((6,), (-1,), 5),
        ((1,), (1,), -1),
        ((1,), (1,), 6),
        ((), (), 6),
        ((-1,), (1,), 0),
        ((2,), (1, 1), 0),
        ((10**9,), (0,), 0),
        ((2**40, 2**40), (0, 0), 0),
        ((5,), (2**62,), 0),
        ((2**62,), (4,), 0),
        ((1,), (1,), 2**62),
        ((1,), (2**62,), 0),
        ((2**70,), (1,), 0),
        ((0, 2**62, 2**62), (1, 1, 1), 0),
        ((1,) * 65, (1,) * 65, 0),
        ([2, 3], (3, 1), 0),
        ((True,), (1,), 0),
        (("2",), (1,), 0),
        (STORED, (1,), 0),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path, write, shape, strides, offset):
    code = tensor(STORED, shape, strides, offset)
    refusal(write(tmp_path / "w.pth", {"x": code}, {"0": FLOATS.tobytes()}))


@pytest.mark.parametrize("value", [3, [PLAIN], {}, {"x": 3}, {"x": {"y": PLAIN}}, {5: PLAIN}, {"state_dict": {"x": 1}}])
def test_what_is_no_state_dict_is_refused(tmp_path, value):
    message = refusal(write_zip(tmp_path / "w.pth", value, {"0": FLOATS.tobytes()}))
    assert "no state dict" in message or "no tensor" in message


def test_a_storage_of_another_size_is_refused(tmp_path):
    for content in (FLOATS.tobytes()[:-1], FLOATS.tobytes() + b"0000", b""):
        assert "size" in refusal(write_zip(tmp_path / "w.pth", {"x": PLAIN}, {"0": content}))
        assert "size" in refusal(write_legacy(tmp_path / "w.pth", {"x": PLAIN}, {"0": content}))
    assert "data/0" in refusal(write_zip(tmp_path / "w.pth", {"x": PLAIN}, {}))
    assert "'0'" in refusal(write_legacy(tmp_path / "w.pth", {"x": PLAIN}, {}))
    huge = {"x": tensor(storage("Float", "0", 2**62), (2,), (1,))}
    refusal(write_zip(tmp_path / "w.pth", huge, {"0": b"0" * 8}))
    good = write_legacy(tmp_path / "w.pth", huge, {"0": b"0" * 8}).read_bytes()
    (tmp_path / "w.pth").write_bytes(good[:-16] + struct.pack("<q", 2**62) + good[-8:])
    refusal(tmp_path / "w.pth")


def test_a_zip_that_would_grow_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    write_zip(path, {"x": PLAIN}, {"0": FLOATS.tobytes()}, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(path)
    write_zip(path, {"x": PLAIN}, {"0": FLOATS.tobytes()})
    content = path.read_bytes()
    for size in (2**31, 2**32 - 2):
        for fields in (8, 4):  # both sizes of the first entry in the directory, or one of them
            start = content.index(b"PK\1\2") + 20
            path.write_bytes(content[:start] + (struct.pack("<I", size) * 2)[:fields] + content[start + fields :])
            refusal(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4", b"\x80\x02", b"\x80\x02N.", b"rubbish\n", b"\0" * 1000])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    refusal(tmp_path / "w.pth")


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    assert "No such file" in refusal(tmp_path / "w.pth")
    assert "directory" in refusal(tmp_path)


@WRITERS
@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_random_damage_ends_in_tensors_or_one_line(tmp_path, write):
    value = {"state_dict": {"x": PLAIN, "y": tensor(storage("Half", "1", 12), (3, 2), (2, 1))}}
    path = write(tmp_path / "w.pth", value, {"0": FLOATS.tobytes(), "1": FLOATS.tobytes()})
    good = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for i in range(1500):
        bad = good.copy()
        at = rng.integers(len(good), size=rng.integers(1, 4))
        bad[at] = rng.integers(256, size=len(at))
        path.write_bytes(bad[: rng.integers(len(bad))].tobytes() if i % 5 == 0 else bad.tobytes())
        with contextlib.suppress(UserError):
            assert all(np.asarray(array, copy=True).size <= 12 for array in read(path).values())


@pytest.mark.peers
@pytest.mark.parametrize("zipped", [True, False])
def test_every_tensor_that_torch_saved_arrives(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="needs requirements-compare.txt (torch)")

    torch.manual_seed(0)
    base = torch.randn(4, 6, 5)
    tensors = {
        **{
            str(dtype).removeprefix("torch."): (torch.randn(3, 4) * 3).to(dtype)
            for dtype in (
                *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool),
                *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
            )
        },
        "turned": base.permute(2, 0, 1),
        "strided": base[1:, ::2, ::3],
        "shared": base[2],
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    module = torch.nn.BatchNorm2d(3).state_dict()
    protocols = (2, 4, 5) if zipped else (2,)
    for protocol in protocols:
        for value, expected in ((tensors, tensors), (module, module), ({"model": tensors, "epoch": 1}, tensors)):
            path = tmp_path / "w.pt"
            torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            found = read(path)
            assert list(found) == list(expected)
            for key, theirs in expected.items():
                assert str(found[key].dtype) == str(theirs.dtype).removeprefix("torch.")
                np.testing.assert_array_equal(found[key].astype(np.float64), theirs.detach().double().numpy())

"""Gives damaged files to every reader: each must read one, or refuse it in one line, soon and in little memory.

python benchmarks/fuzz_readers.py FOLDER [--minutes=10] [--seed=0] [--readers=nifti,dicom]

Valid files are changed at random: bytes, numbers in them, cells of tables, tags of headers; cut, doubled, mixed. A
reader may raise UserError (CaseError is one) and nothing else, may take SECONDS an input, and MEMORY more than before.
FOLDER keeps each input that fails, and the last one, should the whole process end. Prints a line a reader; status 1 if
one failed. The script needs what the tests need.
"""

import argparse
import contextlib
import faulthandler
import gzip
import io
import random
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
from data import dicom_folders  # noqa: E402
from data.folders import volumes  # noqa: E402
from models.torch_format import FLOATS, PLAIN, write_legacy, write_zip  # noqa: E402
from pydicom.uid import JPEG2000Lossless, RLELossless  # noqa: E402
from safetensors.numpy import save  # noqa: E402

from hemojax.data import dicom, intensity, volume  # noqa: E402
from hemojax.data.datasets import generic, hemorica, label_table  # noqa: E402
from hemojax.data.patients import Patients  # noqa: E402
from hemojax.errors import UserError  # noqa: E402
from hemojax.models import pretrained  # noqa: E402
from hemojax.progress import heard  # noqa: E402

SECONDS = 5.0
MEMORY = 2**29
"""Bytes that one input may add to the highest memory of the process."""
NUMBERS = [0, 1, -1, 7, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, -(2**31), 2**62]
WORDS = (
    *("", " ", "0", "1", "-1", "1e308", "nan", "inf", "3,000", "1.0", "٣", "²", "=1+1", "NULL", "\x00", '"', '""', "'"),
    *(
        "../../etc/passwd",
        "/dev/zero",
        "C:\\x",
        "<b>x</b>",
        "a/b",
        "é",
        "e\u0301",
        "\u202e",
        "\U0001d7d8",
        "p0",
        "train",
    ),
    *(",", ";", "\t", "|", "\n", "\r", "\r\n", "\ufeff", "sep=;\n", "9" * 400, "x" * 5000),
)


class Reader(NamedTuple):
    """A reader under test.

    Attributes:
        name: of the file that it is given.
        seeds: valid files.
        read: reads the file; it may raise UserError.
        change: a valid file at random.
    """

    name: str
    seeds: Sequence[bytes]
    read: Callable[[Path], object]
    change: Callable[[random.Random, bytes, Sequence[bytes]], bytes]


class Hang(BaseException):
    """A reader takes too long; no reader may catch it."""


class Outcome(NamedTuple):
    """Of one reader's inputs.

    Attributes:
        inputs: how many there were.
        refused: how many of them in one line.
        slowest: seconds.
        memory: bytes that all inputs together added.
        failed: what the others did, a line each.
    """

    inputs: int
    refused: int
    slowest: float
    memory: int
    failed: list[str]


def damaged(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Some bytes, or numbers, of a file changed; parts of it cut, doubled or taken from another file."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        size = len(found)
        # What decides is often at the beginning.
        at = rng.randrange(min(size, rng.choice((16, 400, size))) or 1) if size else 0
        match rng.randrange(7):
            case 0:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                width = rng.choice((2, 4, 8))
                number = rng.choice(NUMBERS) % 2 ** (8 * width)
                found[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
            case 2:
                special = rng.choice((float("nan"), float("inf"), 1e30, -1e-30))
                found[at : at + 4] = np.array(special, "<f4").tobytes()
            case 3:
                del found[at:]
            case 4:
                del found[at : at + rng.randrange(1, 64)]
            case 5:
                found[at:at] = found[at : at + rng.randrange(1, 64)]
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                found[at : at + 64] = other[start : start + rng.randrange(1, 64)]
    return bytes(found)


def damaged_inside(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A gzip file, of which what is compressed is changed, or the file itself."""
    if rng.random() < 0.3:
        return damaged(rng, content, others)
    inside = [gzip.decompress(other) for other in (content, *others)]
    return gzip.compress(damaged(rng, inside[0], inside[1:]), compresslevel=1)


def garbled(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A table with other words in its cells and lines, or in another encoding."""
    if rng.random() < 0.2:
        return damaged(rng, content, others)
    parts = re.split(r"([,;\t|\n])", content.decode())
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(parts))
        match rng.randrange(4):
            case 0:
                parts[at] = rng.choice(WORDS)
            case 1:
                parts[at] += rng.choice(WORDS)
            case 2:
                parts.insert(at, rng.choice(parts))
            case 3:
                del parts[at : at + rng.randrange(1, 4)]
        parts = parts or [""]
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"))
    return "".join(parts).encode(encoding, errors="replace")


def readers(folder: Path) -> dict[str, Reader]:
    """Every reader with its valid files, which are made in a folder."""
    hu, _ = volumes(np.random.default_rng(0), 16, 3)
    scans = []
    coarse = np.clip(hu / 8 + 125, 0, 255).astype(np.uint8)
    for image, slope, intercept in (
        (hu, 1, 0),
        (hu.astype(np.float32), 1, 0),
        (hu[..., None], 1, 0),
        (coarse, 8, -1000),
    ):
        given = nib.Nifti1Image(image, np.diag([-0.5, 0.5, 5, 1]))
        given.header.set_slope_inter(slope, intercept)
        scans.append(given.to_bytes())
    nifti_2 = nib.Nifti2Image(hu, np.eye(4)).to_bytes()
    tables = [
        b"patient,slice,hemorrhage_binary,EPH,IPH,split,subject\np0,0,1,,1,train,a\np0,1,0,0,0,train,a\np1,0,?,1,,val,b\n",
        b"patient;slice;any\r\np0;0,0;yes\r\np1;1;\r\n",
        b'"case"\t"patient"\t"slice"\t"any"\n"p 0"\t"a"\t3.0\tTRUE\n',
    ]
    boxes = [b"patient,slice,i0,j0,i1,j1\np0,1,2,3,4,5\np0,1,2,3,9,9\n"]
    patients = [b"case,patient,split\np0,a,train\np1,a,train\np2,b,test\n", b"patient,subject\np0,a\np1,b\n"]
    slices = []
    for array in (hu[..., 0], hu[..., 0].astype(np.float64), hu[..., 0] > 0, np.asfortranarray(hu[..., 1])):
        stream = io.BytesIO()
        np.save(stream, array)
        slices.append(stream.getvalue())
    stored = {"0": FLOATS.tobytes()}
    weights = [{"a": PLAIN}, {"state_dict": {"b.weight": PLAIN, "c": PLAIN}}]
    zips, legacies = (
        [write(folder / "weights", value, stored).read_bytes() for value in weights]
        for write in (write_zip, write_legacy)
    )
    tensors = [save({"a": FLOATS, "b.weight": FLOATS.reshape(2, 3)})]
    images = _images(folder / "valid")

    return {
        "nifti": Reader("scan.nii", [*scans, nifti_2], _nifti, damaged),
        "nifti.gz": Reader("scan.nii.gz", [gzip.compress(scan) for scan in (*scans, nifti_2)], _nifti, damaged_inside),
        "slices.csv": Reader("slices.csv", tables, _labels, garbled),
        "boxes.csv": Reader("boxes.csv", boxes, _boxes, garbled),
        "patients.csv": Reader("patients.csv", patients, lambda path: Patients(str(path), ""), garbled),
        "npy": Reader("a_0.npy", slices, hemorica.read_slice, damaged),
        "pth": Reader("weights.pth", zips, pretrained.read, damaged),
        "pth, older": Reader("weights.pth", legacies, pretrained.read, damaged),
        "safetensors": Reader("weights.safetensors", tensors, pretrained.read, damaged),
        "dicom": Reader("IM0", images, _series, damaged),
    }


def _images(folder: Path) -> list[bytes]:
    hu = dicom_folders.hu(2, rows=24, columns=20)
    paths = dicom_folders.series(folder / "plain", hu)
    paths += dicom_folders.series(folder / "rle", hu, syntax=RLELossless)
    paths += [dicom_folders.enhanced(folder / "enhanced", hu)]
    with contextlib.suppress(Exception):  # where pylibjpeg is not installed
        paths += dicom_folders.series(folder / "jpeg", hu, syntax=JPEG2000Lossless)
    return [path.read_bytes() for path in paths]


def _nifti(path: Path) -> None:
    with contextlib.suppress(UserError):
        volume.order(path)
    intensity.to_hu(path, volume.read(path, "LPS").array)


def _labels(path: Path) -> None:
    table = label_table.read(path, generic.COLUMNS)
    for _, rows in label_table.once(path, table, ["patient", "slice"]).groupby("patient"):
        label_table.split_of(path, rows)
        label_table.subject_of(path, rows, otherwise="")


def _boxes(path: Path) -> None:
    label_table.once(path, label_table.read_boxes(path), ["patient", *label_table.BOX])


def _series(path: Path) -> None:
    for stack in dicom.find(path).stacks.values():
        dicom.read(stack)


def fuzz(reader: Reader, path: Path, rng: random.Random, inputs: Iterator[int]) -> Outcome:
    """Give a reader an input for each number; inputs that fail are kept beside `path`.

    Args:
        reader: the reader.
        path: of the file that it reads; its name counts.
        rng: what decides the inputs.
        inputs: numbers of the inputs; ends when there are enough.
    """
    refused, slowest, failed, number = 0, 0.0, list[str](), 0
    highest = before = _highest()
    for number in inputs:
        content = reader.change(rng, rng.choice(reader.seeds), reader.seeds)
        path.write_bytes(content)
        begun = time.perf_counter()
        fault = ""
        try:
            with _limited(SECONDS), heard():
                reader.read(path)
        except UserError as error:
            refused += 1
            fault = f"several lines: {str(error)[:200]!a}" if "\n" in str(error) else ""
        except Hang:
            fault = f"takes more than {SECONDS:g} s"
        except Exception as error:
            fault = f"{type(error).__name__}: {str(error)[:200]!a}"
        slowest = max(slowest, time.perf_counter() - begun)
        if _highest() > highest + MEMORY:
            fault = fault or f"takes {(_highest() - highest) / 1e6:.0f} MB"
        highest = _highest()
        if fault:
            path.with_name(f"failed-{number}-{path.name}").write_bytes(content)
            failed.append(f"input {number}: {fault}")
    return Outcome(number, refused, slowest, highest - before, failed)


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def _highest() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _until(cpu_seconds: float) -> Iterator[int]:
    end, number = time.process_time() + cpu_seconds, 0
    while time.process_time() < end:
        number += 1
        yield number


def main() -> None:
    """Fuzz the readers, the minutes (of this process's CPU) divided among them."""
    faulthandler.enable()
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        every = readers(Path(made))
    chosen = options.readers.split(",") if options.readers else list(every)
    failures = 0
    for name in chosen:
        path = options.folder / name.replace(", ", "-") / every[name].name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = random.Random(f"{options.seed} {name}")
        found = fuzz(every[name], path, rng, _until(60 * options.minutes / len(chosen)))
        print(
            f"{name}: {found.inputs} inputs, {found.refused} refused, {len(found.failed)} failed, slowest "
            f"{found.slowest:.2f} s, {found.memory / 1e6:.0f} MB",
            flush=True,
        )
        for line in found.failed[:10]:
            print(f"  {line}", flush=True)
        failures += len(found.failed)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()

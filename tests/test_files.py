import pytest

from hemojax.errors import UserError
from hemojax.files import refuse_address, replacing


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:  # noqa: PT012
        assert temporary.parent == path.parent
        assert temporary.name.endswith("scan.nii.gz")
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "value", ["gs://bucket/runs", "s3://bucket", "az://a/b", "file:///runs", "https://a/b", "gs:/made/by/pathlib"]
)
def test_an_address_is_refused_by_its_option(value):
    with pytest.raises(UserError, match=f"^--workdir={value}: an address is no folder"):
        refuse_address("workdir", value)


@pytest.mark.parametrize(
    "value", [None, "", 3, ("gs://",), "runs/mine", "/mnt/gs:bucket", "C:/runs", "imagenet", "a//b"]
)
def test_paths_and_other_values_are_not_addresses(value):
    refuse_address("workdir", value)

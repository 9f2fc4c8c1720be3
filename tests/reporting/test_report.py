import io
import re

import numpy as np
import pandas as pd
import pytest
from result_tables import TYPES, lesions_table, maps_table
from rich.console import Console

from hemojax import results
from hemojax.errors import UserError
from hemojax.metrics import overlap
from hemojax.reporting import report
from hemojax.statistics import summary, thresholds

pytestmark = pytest.mark.end_to_end

# Two patients a split, one slice each: (tp, fp, fn) of pixels, then of boxes, at the thresholds 0.5 and 0.7.
# GradCAM at stage2 does best on validation at 0.7, where it has on test
#   pixels: patient c 12/16 = 0.750, patient d 6/12 = 0.500, pooled 18/28 = 0.643, IoU 9/19 = 0.474;
#   boxes: patient c 16/18 = 0.889, patient d 8/16 = 0.500, pooled 24/34 = 0.706, IoU 12/22 = 0.545.
GOOD = {
    0.5: [(4, 4, 4), (4, 4, 4), (4, 4, 4), (4, 4, 4)],
    0.7: [(6, 1, 1), (6, 1, 1), (6, 2, 2), (3, 1, 5)],
}
GOOD_BOXES = {
    0.5: [(5, 5, 5)] * 4,
    0.7: [(9, 1, 1), (9, 1, 1), (8, 0, 2), (4, 4, 4)],
}
MIDDLING = {0.5: [(3, 5, 5)] * 4, 0.7: [(2, 2, 6)] * 4}  # at 0.5: 6/16 = 0.375
POOR = {0.5: [(1, 9, 7)] * 4, 0.7: [(0, 4, 8)] * 4}  # at 0.5: 2/18 = 0.111
RESAMPLES = 200
PLACES = [("a", "validation"), ("b", "validation"), ("c", "test"), ("d", "test")]


def rows(stage, method, pixels, boxes=None, seed=0, baseline=False, places=PLACES):
    found = []
    for threshold, counted in pixels.items():
        for place, ((patient, split), (tp, fp, fn)) in enumerate(zip(PLACES, counted, strict=True)):
            if (patient, split) not in places:
                continue
            row = {"run": "r", "case": f"case {patient}", "patient": patient, "slice": 7, "split": split}
            row |= {"stage": stage, "method": method, "seed": seed, "mask": "haematoma", "target": "any"}
            row |= {"threshold": threshold, "tp": tp, "fp": fp, "fn": fn, "size": 192}
            box = (boxes or pixels)[threshold][place]
            row |= dict(zip(("box_tp", "box_fp", "box_fn"), box, strict=True))
            row |= {"box_loose": True, "box_strict": tp > 4, "box_best": 0.25, "baseline": baseline}
            found.append(row)
    return found


def hand_made():
    table = rows("stage2", "gradcam", GOOD, GOOD_BOXES) + rows("stage1", "gradcam", MIDDLING)
    table += rows("stage1", "layercam", POOR) + rows("stage2", "layercam", POOR)
    table += rows("stage2", "scorecam", GOOD, places=[PLACES[0], PLACES[2]])
    for stage in ("stage1", "stage2"):
        table += rows(stage, "randomcam", MIDDLING, seed=0) + rows(stage, "randomcam", MIDDLING, seed=1)
    table = pd.DataFrame(table + rows("-", "hu_threshold", MIDDLING, baseline=True))
    return table.astype({"threshold": "float32"} | TYPES)


def curves_table(counts):
    """A mask of two pixels, one at the highest level and one at the lowest, as are two of the other pixels."""
    rows = counts.drop_duplicates(["patient", "stage", "method", "seed", "mask"])
    rows = rows[["run", "patient", "split", "stage", "method", "seed", "mask", "baseline"]]
    ends = np.zeros(overlap.LEVELS, np.int32)
    ends[[0, -1]] = 1
    return rows.assign(inside=[ends] * len(rows), outside=[ends] * len(rows))


def fill(folder):
    counts = hand_made()
    pointing = counts.loc[counts["threshold"] == np.float32(0.7), "tp"].to_numpy() > 3
    for name, table in {
        "counts": counts,
        "maps": maps_table(counts, pointing=pointing),
        "lesions": lesions_table(counts),
        "curves": curves_table(counts),
    }.items():
        results.write_table(folder / f"{name}.parquet", table)
    slices = pd.DataFrame({"split": ["validation"] * 2 + ["test"] * 4, "truth": [1, 0, 1, 1, 0, 0]})
    slices["logit"] = [1.0, -1.0, 2.0, -1.0, -2.0, 1.0]
    slices["patient"], slices["slice"] = ["a", "b", "c", "c", "d", "d"], range(6)
    slices = slices.assign(run="r", case=slices["patient"], label="any", probability=1 / (1 + np.exp(-slices["logit"])))
    results.write_table(folder / "slices.parquet", slices)
    timing = {"run": "r", "stage": "stage2", "method": "gradcam", "what": "alone", "slices": 4, "seconds": 0.05}
    results.write_table(folder / "timings.parquet", pd.DataFrame([timing | {"compile_seconds": 1.25, "device": "cpu"}]))
    config = {"eval": {"protocol": "hemojax"}}
    described = {"device": "cpu", "seed": 3, "versions": {"jax": "0.10"}, "config": config}
    results.write_json(folder / "run.json", described | {"left_out": {"p7": "images/p7.nii.gz: cannot be read"}})
    results.write_json(folder / "chosen.json", choice(counts))


@pytest.fixture
def folder(tmp_path):
    fill(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A folder with its report, and what was printed."""
    folder, console = tmp_path_factory.mktemp("reported"), quiet()
    fill(folder)
    report.write(folder, console, RESAMPLES)
    return folder, console.file.getvalue()


def choice(counts):
    return summary.choose(summary.summarise(cut(counts), 2), thresholds.PROTOCOLS["hemojax"])


def cut(counts):
    return thresholds.cut(counts, maps_table(counts), lesions_table(counts))


def quiet():
    return Console(file=io.StringIO())


def line(text, *starts):
    """Cells of the only table line that starts with these cells."""
    found = [
        [cell.strip() for cell in row.strip("| ").split(" | ")] for row in text.splitlines() if row.startswith("|")
    ]
    (only,) = [cells for cells in found if cells[: len(starts)] == list(starts)]
    return only


def section(text, title):
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_report_gives_the_figures_of_a_hand_made_table(reported):
    text = (reported[0] / "summary.md").read_text()

    pixels, boxes = re.findall(r"^haematoma, (?:pixels|boxes): .*$", text, re.MULTILINE)
    assert "pixels: gradcam at stage2 was chosen on validation (Dice 0.857, threshold 0.700)" in pixels
    assert "pooled Dice **0.643 [0.500, 0.750]**, IoU 0.474, over 2 slices of 2 patients" in pixels
    assert "RandomCAM at that stage: 0.375" in pixels
    assert "Best baseline without a CAM: hu_threshold, 0.375" in pixels
    assert "boxes: gradcam at stage2 was chosen on validation (Dice 0.900, threshold 0.700)" in boxes
    assert "pooled Dice **0.706 [0.500, 0.889]**, IoU 0.545" in boxes

    classifier = section(text, "Classifier")
    test = ["test", "any", "0.750", "0.833", "0.500", "0.500", "0.500", "0.425", "0.274", "2", "4", "2"]
    assert line(classifier, "test") == test
    assert line(classifier, "validation")[2:7] == ["1.000"] * 5

    best = section(text, "haematoma: pixels, each method at its best stage")
    figures = ["0.700", "0.643 [0.500, 0.750]", "0.500", "0.474", "0.750", "0.562", "0.625", "0.625", "2", "2"]
    assert line(best, "gradcam", "stage2") == ["gradcam", "stage2", *figures]
    assert line(best, "scorecam", "stage2")[-2:] == ["1", "1"]
    assert line(best, "hu_threshold", "-")[3] == "0.375 [0.375, 0.375]"
    strict = line(section(text, "haematoma: boxes, each method at its best stage"), "gradcam", "stage2")
    assert strict[3:] == ["0.706 [0.500, 0.889]", "0.500", "0.545", "0.250", "1.000", "0.500", "2", "2"]

    grid = section(text, "haematoma: pixels, stage by method")
    assert line(grid, "method") == ["method", "stage1", "stage2", "n", "patients"]
    assert line(grid, "gradcam") == ["gradcam", "0.375", "**0.643**", "2", "2"]
    assert line(grid, "layercam") == ["layercam", "0.111", "0.111", "2", "2"]
    assert line(grid, "scorecam") == ["scorecam", "-", "0.750", "1", "1"]
    assert "](figures/dice_haematoma.png)" in grid

    assert line(section(text, "Times"), "alone") == ["alone", "gradcam", "cpu", "4", "12.50", "1.2"]
    assert '"jax": "0.10"' in section(text, "Run")


def test_every_rule_and_population_of_the_chosen_cell_stands_there(reported):
    rules = section((reported[0] / "summary.md").read_text(), "haematoma: threshold rules and populations")
    for population in thresholds.POPULATIONS:
        assert line(rules, population, thresholds.FIXED)[2:4] == ["0.500", "0.500 [0.500, 0.500]"]
        for rule in (thresholds.VALIDATION, thresholds.OTSU, thresholds.ORACLE):
            assert line(rules, population, rule)[2:4] == ["0.700", "0.643 [0.500, 0.750]"]


def test_maps_before_they_are_cut(reported):
    whole = section((reported[0] / "summary.md").read_text(), "haematoma: maps before they are cut")
    # Half of the mask is at the top level, with as many other pixels, and so at the lowest: any order is as good.
    figures = ["0.500 [0.500, 0.500]"] * 2 + ["0.500"] * 2 + ["0.500", "1.000", "0.500", "0.500", "0.000", "2", "2"]
    assert line(whole, "gradcam", "stage2")[2:] == figures


def test_lesions_by_size(reported):
    by_size = section((reported[0] / "summary.md").read_text(), "haematoma: by size and subtype")
    # Both test slices have 8 pixels in the mask.
    assert line(by_size, "small (8 to 8 mm2)")[1] == "0.643 [0.500, 0.750]"


def test_two_patients_cannot_tell_methods_apart(reported):
    text = (reported[0] / "summary.md").read_text()
    (real,) = re.findall(r"^haematoma, is the difference real.*$", text, re.MULTILINE)
    assert "0 of 4 others are worse; not told apart: hu_threshold, layercam, randomcam, scorecam." in real
    assert "WARNING: 2 test patients." in text
    against = section(text, "haematoma: against the chosen method")
    assert line(against, "layercam")[3:] == ["0.5000", "1.0000", "2", "2"]
    ranks = section(text, "haematoma: ranks over patients")
    assert line(ranks, "gradcam")[1] == "1.00"
    assert "scorecam" not in ranks  # it saw one slice of two
    assert (reported[0] / "figures" / "ranks_haematoma.png").stat().st_size > 5000


def test_who_loses_to_randomcam_is_named(reported):
    random = section((reported[0] / "summary.md").read_text(), "haematoma: against RandomCAM at the same stage")
    (worse,) = re.findall(r"^Worse than RandomCAM.*$", random, re.MULTILINE)
    (unclear,) = re.findall(r"^Not told from RandomCAM.*$", random, re.MULTILINE)
    assert worse.count(" at stage") == 2
    assert "layercam at stage1 (-0.264 [-0.264, -0.264]" in worse
    assert "layercam at stage2" in worse
    assert unclear.count(" at stage") == 1
    assert "gradcam at stage1 (+0.000" in unclear
    assert line(random, "gradcam")[2].startswith("+0.268 [+0.125, +0.375]")
    assert line(random, "scorecam")[-2:] == ["1", "1"]


def test_the_csv_holds_every_row_of_the_summary(reported):
    folder, _ = reported
    tables = report.read(folder)
    expected = summary.summarise(thresholds.cut(tables.counts, tables.maps, tables.lesions), RESAMPLES)
    found = pd.read_csv(folder / "summary.csv")
    pd.testing.assert_frame_equal(found[expected.columns], expected, rtol=1e-5, check_dtype=False)
    assert len(pd.read_csv(folder / "against_randomcam.csv")) == 5


def test_two_reports_are_the_same_to_the_last_byte(folder, reported):
    report.write(folder, quiet(), RESAMPLES)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert {"summary.md", "summary.csv", "against_randomcam.csv", "figures/dice_haematoma.png"} <= set(map(str, files))
    for name in files:
        assert (folder / name).read_bytes() == (reported[0] / name).read_bytes(), name
    assert not [path for path in folder.rglob(".*")]


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_shows_whole_figures_in_at_most_120_columns(folder, width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    report.write(folder, console, RESAMPLES)
    lines = re.sub("\x1b\\[[0-9;]*m", "", console.file.getvalue()).splitlines()[:-1]
    assert max(map(len, lines)) <= min(width, 120)
    assert any("gradcam" in shown and "0.643 [0.500, 0.750]" in shown for shown in lines)
    assert not any("…" in shown for shown in lines)


def test_a_pipe_gets_plain_text(reported):
    _, shown = reported
    assert "\x1b" not in shown
    assert "**" not in shown
    assert re.search(r"gradcam +stage2 +0.643 \[0.500, 0.750\] +0.474 +2 +2", shown)


def test_boxes_that_were_not_counted_leave_no_figure(folder):
    counts = results.read_table(folder / "counts.parquet")
    for name in ("box_tp", "box_fp", "box_fn", "box_loose", "box_strict"):
        counts[name] = pd.array([pd.NA] * len(counts), counts[name].dtype)
    counts["box_best"] = np.float32(np.nan)
    results.write_table(folder / "counts.parquet", counts)
    results.write_json(folder / "chosen.json", choice(counts))
    report.write(folder, quiet(), RESAMPLES)
    assert "boxes" not in (folder / "summary.md").read_text()
    summed = pd.read_csv(folder / "summary.csv")
    assert summed.loc[summed["rule"] != thresholds.OTSU, "box_dice_low"].isna().all()


def test_a_run_without_randomcam_says_so(folder):
    counts = results.read_table(folder / "counts.parquet")
    results.write_table(folder / "counts.parquet", counts[counts["method"] != "randomcam"])
    report.write(folder, quiet(), RESAMPLES)
    assert "RandomCAM was not run." in (folder / "summary.md").read_text()


def test_mistakes_are_told_in_one_line(folder):
    chosen = results.read_json(folder / "chosen.json")
    chosen["haematoma"]["pixels"]["stage"] = "stage9"
    results.write_json(folder / "chosen.json", chosen)
    with pytest.raises(UserError, match=r"chosen\.json names gradcam at stage9 for haematoma"):
        report.write(folder, quiet(), RESAMPLES)
    counts = results.read_table(folder / "counts.parquet")
    results.write_table(folder / "counts.parquet", counts[counts["split"] != "test"])
    with pytest.raises(UserError, match="no slice of the test split"):
        report.write(folder, quiet(), RESAMPLES)
    (folder / "run.json").unlink()
    with pytest.raises(UserError, match=r"run\.json"):
        report.write(folder, quiet(), RESAMPLES)


def pictures(kinds):
    n = len(kinds)
    arrays = {"ct": np.full((n, 32, 32), 90, np.uint8), "truth": np.zeros((n, 32, 32), bool)}
    arrays["truth"][:, 8:14, 10:16] = True
    arrays["heat"] = np.where(arrays["truth"], np.float32(0.9), np.float32(0.1))
    arrays |= {"threshold": np.full(n, 0.5, np.float32), "dice": np.ones(n, np.float32), "kind": np.array(kinds)}
    arrays |= {"mask": np.full(n, "haematoma"), "case": np.full(n, "0131"), "slice": np.arange(n)}
    return arrays | {"method": np.full(n, "gradcam"), "stage": np.full(n, "stage2")}


def test_a_gallery_is_drawn_if_there_is_one(folder):
    np.savez(folder / "gallery.npz", **pictures(["worst", "typical", "best"]))
    report.write(folder, quiet(), RESAMPLES)
    assert (folder / "figures" / "gallery_haematoma.png").stat().st_size > 10_000
    assert "](figures/gallery_haematoma.png)" in (folder / "summary.md").read_text()


@pytest.mark.parametrize("change", [{"case": np.array([None, "a"], object)}, {"heat": None}])
def test_an_odd_gallery_is_refused(folder, change):
    arrays = pictures(["best", "worst"]) | change
    np.savez(folder / "gallery.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=r"gallery\.npz: not a gallery"):
        report.write(folder, quiet(), RESAMPLES)


def test_scans_that_were_left_out_are_counted_and_named(reported):
    folder, printed = reported
    found = section((folder / "summary.md").read_text(), "Scans left out")
    assert found.strip().startswith("Scans that could not be read: 1.")
    assert line(found, "p7") == ["p7", "images/p7.nii.gz: cannot be read"]
    assert "images/p7.nii.gz: cannot be read" in printed
    assert list(report._left_out({})) == []

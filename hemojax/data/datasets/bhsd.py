"""BHSD (arXiv 2308.11298), as its archive label_192.zip is unpacked.

label_192/images/ID_<patient>_ID_<study>.nii.gz          HU
label_192/ground truths/ID_<patient>_ID_<study>.nii.gz   0 nothing, 1 epidural, 2 intraparenchymal, 3 intraventricular,
                                                         4 subarachnoid, 5 subdural

The name's first part is the patient's in RSNA 2019, from which the scans come: a patient may have several. Where the
affines of a scan and its mask disagree, as four do, the scan's counts: their voxels correspond.

The split of 96 and 96 scans in the authors' dataset.json is not in the archive. As a table it can be given to
--config.data.patients. What the 2,200 scans with labels alone look like on disk is not known here.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from hemojax.data.datasets import generic, mask_files
from hemojax.data.datasets.folder import Place
from hemojax.data.listing import Listing
from hemojax.data.reading import PLAIN, Reading

MASKS = "ground truths"
PLACE = Place(("images", MASKS), ("label_192",))


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN) -> Listing:
    """Cases of BHSD by name.

    Args:
        root: the folder, or the one that holds label_192.
        subtypes: mask integers of the subtypes.
        reading: what the files do not say of themselves.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
    """
    home = PLACE.home(root)
    how = generic.NIFTI._replace(mask=mask_files.voxel_by_voxel, patient=patient)
    return generic.listing(generic.pairs(home, *PLACE.needed), subtypes, reading, how)


def patient(name: str) -> str:
    """The patient of a scan by the scan's name."""
    found = re.match(r"ID_[0-9a-f]+(?=_ID_)", name)
    return found[0] if found else name

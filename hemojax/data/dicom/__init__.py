"""Head CT as hospitals export it: files to planes, planes to stacks, stacks to volumes in HU and back.

Only the tags that are listed in `headers` are read, none of which names a person, a place or a date. Messages name a
series by a hash of its UID and a file by its last name, never by a folder.
"""

from hemojax.data.dicom.headers import is_dicom
from hemojax.data.dicom.pixels import slices_first
from hemojax.data.dicom.references import has_class, sources
from hemojax.data.dicom.series import Found, Stack, find, read

__all__ = ["Found", "Stack", "find", "has_class", "is_dicom", "read", "slices_first", "sources"]

"""Results on disk, and what is made from them: tables, the report, its figures, and the files given back for a scan."""

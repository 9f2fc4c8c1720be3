"""What is made from results on disk: tables, the report, its figures, and the files given back for a scan."""

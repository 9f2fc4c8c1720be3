"""How fast hemojax is beside other libraries: what is timed, and how; `*_torch` are the others' side."""

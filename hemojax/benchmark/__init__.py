"""The benchmark: explain, score and compare with what needs no class activation map."""

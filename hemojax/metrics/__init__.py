"""What a heat map or a classifier is worth: pure functions of one image or scan, and ratios of counts."""

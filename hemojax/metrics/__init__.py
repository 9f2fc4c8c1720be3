"""What a heat map or a classifier is worth: pure functions of one image, and statistics of the counts they give."""

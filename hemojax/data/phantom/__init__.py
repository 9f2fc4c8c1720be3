"""A synthetic head CT with bleeds and their masks, for a first run, for tests and for checking a method."""

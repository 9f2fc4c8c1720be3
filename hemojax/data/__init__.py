"""From scans on disk to batches: checked cases, records prepared once, loaders for training and evaluation."""

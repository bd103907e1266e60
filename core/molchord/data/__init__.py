"""The data set on disk: import, measurements, splits, derived measurements, batches."""

"""The data set on disk: format, import, splits, derived measurements, batches."""

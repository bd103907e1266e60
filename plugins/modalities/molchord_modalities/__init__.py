"""Built-in modalities: records and configurations here, readers and transforms in the modules beside."""

"""Built-in losses: records and configurations here, the mathematics in the modules beside."""

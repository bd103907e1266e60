"""Built-in encoders: records and configurations here, networks in the modules beside."""

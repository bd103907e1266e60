"""A second look at the first hits of a search, by re-rankers whose weights are fitted on validation queries."""

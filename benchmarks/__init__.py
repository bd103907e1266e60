"""What molchord's accuracy is measured with; RESULTS.md holds the figures."""

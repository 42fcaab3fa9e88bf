"""What a run's figures look like and what they say: decimation and axes, which charts there are, verdicts in words."""

"""The command line's commands: one file = one group of them. They choose words; the engine does the work."""

"""Sources of judgements that are not a person, one file each; no file here imports torch at module scope."""

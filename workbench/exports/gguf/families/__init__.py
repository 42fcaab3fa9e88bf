"""Model families for GGUF, one file each: every file here that holds a `FAMILY` can be exported."""

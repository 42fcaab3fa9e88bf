"""The Textual app. It shows what the engine knows and asks it for things; it decides nothing itself."""

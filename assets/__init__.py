"""What the workbench brings along: the bundled base, the demo's data, and the scripts that make both."""

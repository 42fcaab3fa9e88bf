"""Pieces that screens are made of. A piece knows nothing of a project: values come down, messages go up."""

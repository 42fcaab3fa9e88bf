"""Help that lists what a folder holds, in its own words: methods, rules, layouts. It is read only when asked for."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class TrainCommand(TyperCommand):
    """The train command, whose help names every method and every rule that a reward may name."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Written after the arguments and options."""
        from workbench import methods
        from workbench.judges.rules import RULES

        super().format_options(ctx, formatter)
        with formatter.section("Methods"):
            formatter.write_dl([(method.name, method.summary) for method in methods.all_methods()])
        with formatter.section("Rules for --set reward=…"):
            formatter.write_dl([(f"rule:{rule.name}", rule.help) for rule in RULES.values()])


class ImportCommand(TyperCommand):
    """The import command, whose help names every layout that `--as` takes."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Written after the arguments and options."""
        from workbench import formats

        super().format_options(ctx, formatter)
        with formatter.section("Layouts for --as, in the order they are tried"):
            formatter.write_dl([(layout.name, layout.label) for layout in formats.all_layouts()])

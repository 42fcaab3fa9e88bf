"""Doctor: what of this machine works, and how to mend what does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from screens.reading import ReadingScreen
from screens.safe import line, plain
from screens.widgets.filtered import Filtered
from screens.widgets.panel import Empty, Panel
from screens.widgets.records import Cell, Column, Records

if TYPE_CHECKING:
    from workbench.doctor import Check

STYLES = {"ok": "$success", "warning": "$accent", "problem": "bold $error"}
WORST_FIRST = ("problem", "warning", "ok")


@dataclass
class Examined(Message):
    """The machine has been looked at."""

    checks: list[Check]


class DoctorScreen(ReadingScreen):
    """The same checks as `workbench doctor`, those that need something first."""

    PLACE = "doctor"
    CSS_PATH = "doctor.tcss"
    AUTO_FOCUS = "Records"
    READS = "#fix-scroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "again", "look again", id="doctor.again", tooltip="Look at the machine again."),
        Binding("q,escape", "leave", "back", id="doctor.leave", tooltip="Go back to Home."),
    ]

    def content(self) -> ComposeResult:
        columns = (Column("", 1), Column("state", 7), Column("what", 20), Column("found"))
        rows: Records[Check] = Records(columns, _cells, key=lambda check: check.name, id="checks")
        with Panel(title="this machine", id="checks-panel"):
            yield Filtered(
                rows, empty=Empty("Looking at the machine …"), matches=lambda c: f"{c.name} {c.found} {c.status}"
            )
        with Panel(title="what to do", id="fix-panel"), VerticalScroll(can_focus=False, id="fix-scroll"):
            yield Static(id="fix")

    def reload(self) -> None:
        if not self.query_one(Records).records:
            self.action_again()

    def action_again(self) -> None:
        self.query_one(Filtered).show([])
        self._examine()

    @work(thread=True, exclusive=True, group="doctor")
    def _examine(self) -> None:
        from workbench import doctor

        self.post_message(Examined(doctor.examine(self.bench.paths.root)))

    def on_examined(self, message: Examined) -> None:
        checks = sorted(message.checks, key=lambda check: WORST_FIRST.index(check.status))
        self.query_one(Filtered).show(checks)
        wrong = sum(check.status != "ok" for check in checks)
        panel = self.query_one("#checks-panel", Panel)
        panel.note(f"{len(checks) - wrong} fine · {wrong} to look at" if wrong else "all fine")
        if self.focused is None:
            self.query_one(Records).focus()

    @on(Records.Highlighted)
    def _explain(self, message: Records.Highlighted[Check]) -> None:
        check = message.record
        if check is None:
            return
        words = plain(check.fix) if check.fix else Content.styled("Nothing: this is as it should be.", "$quiet")
        heading = Content.assemble(
            (f"{check.glyph} ", STYLES[check.status]), line(check.name, "bold"), ": ", line(check.found)
        )
        self.query_one("#fix", Static).update(Content("\n").join([heading, words]))


def _cells(check: Check) -> tuple[Cell, ...]:
    style = STYLES[check.status]
    return (
        Content.styled(check.glyph, style),
        Content.styled(check.status, style if check.status != "ok" else "$quiet"),
        line(check.name, "$strong"),
        line(check.found),
    )

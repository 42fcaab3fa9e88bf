"""A form over `workbench.fields`: a list of settings, and beside it the help, the bounds and the editor of one of them.

The list never takes letters or digits, so plain keys work on a screen with a form; enter opens the editor, which is
the only input. Values come down with `show`, a changed one goes up as `FieldForm.Changed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from screens.safe import line, plain
from screens.widgets.panel import Panel
from screens.widgets.picker import Picker
from screens.widgets.records import Cell, Column, Records
from workbench.errors import SettingError
from workbench.fields import Field, Value

CHANGE = ("change", "Change the highlighted setting.")
WRITTEN = "write it…"
"""What a list of offers ends with: the editor."""


@dataclass(frozen=True)
class FormRow:
    """One row: a setting with its value, or a heading. `usual` is the value before the person changed it."""

    name: str
    field: Field | None = None
    value: Value = ""
    usual: Value = ""
    heading: str = ""
    offers: tuple[tuple[str, str], ...] = ()
    """Of a setting that is written freely: values that suit, each with a word on what it is."""
    check: Callable[[str], object] | None = None
    """Raises a SettingError at a text that the field itself would take."""

    @property
    def changed(self) -> bool:
        return self.value != self.usual


class FormRows(Records[FormRow]):
    """The list part: left and right change a choice, space flips, enter edits. Headings are passed over."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "turn(-1)", "before", show=False, id="form.before", tooltip="Take the choice before."),
        Binding("right,l,space", "turn(1)", "after", show=False, id="form.after", tooltip="Take the next choice."),
        Binding("u,backspace", "usual", "usual", show=False, id="form.usual", tooltip="Put back the preset's value."),
    ]

    class Turn(Message):
        """Another choice of the highlighted setting is wanted."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Usual(Message):
        """The highlighted setting's usual value is wanted back."""

    def __init__(self, *values: Any, edit: Callable[[FormRow], None], **named: Any) -> None:
        super().__init__(*values, **named)
        self._edit = edit

    def action_choose(self) -> None:
        """Opens the editor at once: by message the keys that follow could overtake it."""
        if self.record is not None:
            self._edit(self.record)

    def action_move(self, rows: int) -> None:
        place = self.cursor + rows
        while 0 <= place < len(self.records) and self.records[place].field is None:
            place += 1 if rows > 0 else -1
        if 0 <= place < len(self.records):
            self.cursor = place

    def action_first(self) -> None:
        self.cursor = 0
        if self.record is not None and self.record.field is None:
            self.action_move(1)

    def action_turn(self, by: int) -> None:
        self.post_message(self.Turn(by))

    def action_usual(self) -> None:
        self.post_message(self.Usual())


class Editor(Input):
    """The value's input; esc leaves it unchanged."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "set", id="form.set", tooltip="Take the value, if it is within its bounds."),
        Binding("escape", "give_up", "leave it", id="form.give_up", tooltip="Leave the value as it was."),
    ]

    class GivenUp(Message):
        """Esc was pressed."""

    def action_give_up(self) -> None:
        self.post_message(self.GivenUp())


class FieldForm(Container):
    """Settings in groups, with help beside them (below them where the terminal is narrow)."""

    class Changed(Message):
        """A setting has another value, already checked against its bounds."""

        def __init__(self, name: str, value: Value) -> None:
            super().__init__()
            self.name = name
            self.value = value

    def __init__(self, *, title: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = title
        self._edited = ""
        """The setting whose editor was opened last: told of anew it stays open, and what was typed with it."""
        self.about: Mapping[str, Mapping[str, str]] = {}
        """Of settings with choices: what each choice is, for the list to pick from."""
        self._rows = FormRows(
            (Column("", 24), Column("", 24), Column("", 0, from_width=60)),
            _cells,
            key=lambda row: row.name,
            header=False,
            enter=CHANGE,
            edit=self._edit,
        )

    def compose(self) -> ComposeResult:
        yield Panel(self._rows, title=self._title, id="form-rows")
        with Panel(id="form-help"):
            yield Editor(id="form-editor", compact=True)
            yield Static(id="form-wrong")
            with VerticalScroll(can_focus=False):
                yield Static(id="form-words")

    def on_mount(self) -> None:
        self.query_one(Editor).display = False

    def show(self, rows: Sequence[FormRow]) -> None:
        """Other rows or values; the cursor stays on its setting."""
        self._rows.records = rows
        if self._rows.record is not None and self._rows.record.field is None:
            self._rows.action_move(1)

    def focus_rows(self) -> None:
        self._rows.focus()

    @property
    def editing(self) -> bool:
        return self.query_one(Editor).display

    # -- the list

    @on(Records.Highlighted)
    def _describe(self, message: Records.Highlighted[FormRow]) -> None:
        message.stop()
        row = message.record
        if row is not self._rows.record:
            return  # told before the cursor went on; keys that came in one go have opened the editor since
        if row is None or row.name != self._edited:
            self._close_editor()
        if row is not None:
            self.query_one("#form-help", Panel).border_title = line(row.field.label if row.field else row.heading)
            self.query_one("#form-words", Static).update(_words(row))

    def _edit(self, row: FormRow) -> None:
        if row.field is None:
            return
        if isinstance(row.field.default, bool):
            self._turn(1)
        elif row.field.choices:
            picker = Picker(row.field.label, row.field.choices, str(row.value), self.about.get(row.name))
            self.app.push_screen(picker, self._picked)
        elif row.offers:
            about = dict(row.offers) | {WRITTEN: "something else, or several"}
            self.app.push_screen(Picker(row.field.label, list(about), str(row.value), about), self._picked)
        else:
            self._write(row, row.field)

    def _write(self, row: FormRow, field: Field) -> None:
        self._edited = row.name
        self._open_editor(field.zero if field.zero and row.value == 0 else str(row.value))

    def _picked(self, choice: str | None) -> None:
        row = self._rows.record
        if choice == WRITTEN and row is not None and row.field is not None:
            self._write(row, row.field)
        elif choice is not None and row is not None:
            self._offer(choice)

    @on(FormRows.Turn)
    def _on_turn(self, message: FormRows.Turn) -> None:
        self._turn(message.by)

    def _turn(self, by: int) -> None:
        row = self._rows.record
        if row is None or row.field is None:
            return
        if isinstance(row.field.default, bool):
            self._offer(not row.value)
        elif values := row.field.choices or tuple(value for value, _ in row.offers):
            at = values.index(str(row.value)) if row.value in values else 0
            self._offer(values[(at + by) % len(values)])

    @on(FormRows.Usual)
    def _put_back(self) -> None:
        if self._rows.record is not None and self._rows.record.changed:
            self._offer(self._rows.record.usual)

    # -- the editor

    def _open_editor(self, text: str) -> None:
        editor = self.query_one(Editor)
        editor.value = text
        editor.display = True
        self.screen.set_focus(editor)

    def _close_editor(self) -> None:
        editor = self.query_one(Editor)
        if editor.display:
            editor.display = False
            self._say_wrong(Content(""))
            self._rows.focus()

    @on(Editor.GivenUp)
    def _give_up(self) -> None:
        self._close_editor()

    @on(Input.Changed)
    def _check(self, message: Input.Changed) -> None:
        message.stop()
        self._say_wrong(_wrong(self._rows.record, message.value))

    def _say_wrong(self, sentence: Content) -> None:
        wrong = self.query_one("#form-wrong", Static)
        wrong.update(sentence)
        wrong.display = bool(sentence.plain)

    @on(Input.Submitted)
    def _submit(self, message: Input.Submitted) -> None:
        message.stop()
        if not _wrong(self._rows.record, message.value):
            self._offer(message.value)
            self._close_editor()

    def _offer(self, value: Value) -> None:
        row = self._rows.record
        if row is not None and row.field is not None:
            self.post_message(self.Changed(row.name, row.field.parse(value)))


def _wrong(row: FormRow | None, text: str) -> Content:
    """Why the text cannot be the value, or nothing."""
    if row is None or row.field is None:
        return Content("")
    try:
        replace(row.field, name=row.field.label).parse(text)  # by the name that the person sees
        if row.check is not None:
            row.check(text)
    except SettingError as error:
        told = f"{error.message} {error.hint}" if row.check is not None else error.message
        return Content.assemble(("✗ ", "bold $error"), line(told))
    return Content("")


def rows_of(
    fields: Sequence[Field], values: Mapping[str, Value], usual: Mapping[str, Value], *, advanced: bool
) -> list[FormRow]:
    """The rows of a group of fields with headings, the advanced ones only when asked for or changed."""
    rows: list[FormRow] = []
    group = ""
    for field in sorted(fields, key=lambda field: _group_order(fields, field)):
        changed = values[field.name] != usual[field.name]
        if field.advanced and not advanced and not changed:
            continue
        if field.group != group:
            group = field.group
            rows.append(FormRow(f"heading {group}", heading=group))
        rows.append(FormRow(field.name, field, values[field.name], usual[field.name]))
    return rows


def _group_order(fields: Sequence[Field], field: Field) -> int:
    return next(place for place, other in enumerate(fields) if other.group == field.group)


def _cells(row: FormRow) -> tuple[Cell, ...]:
    if row.field is None:
        return Content.styled(row.heading, "bold $primary"), "", ""
    text = shown(row.value, row.field) or ("none" if row.offers else "")
    value = line(text, "bold $accent" if row.changed else "$strong")
    unit = Content.styled(f" {row.field.unit}", "$quiet")
    arrows = row.field.choices or row.offers or isinstance(row.field.default, bool)
    mark = (
        Content.assemble(("* ", "bold $accent"), (f"was {shown(row.usual, row.field) or 'empty'}", "$quiet"))
        if row.changed
        else Content("")
    )
    return (
        Content.assemble("  ", line(row.field.label)),
        Content.assemble("‹ ", value, " ›") if arrows else Content.assemble("  ", value, unit),
        mark,
    )


def shown(value: Value, field: Field | None = None) -> str:
    """A value as a person writes it; with its field, what 0 means there in its place."""
    if field is not None and field.zero and value == 0:
        return field.zero
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(row: FormRow) -> Content:
    """Help, bounds and usual value of a setting."""
    field = row.field
    if field is None:
        return Content("")
    bounds = []
    if field.low is not None and field.high is not None and not field.choices:
        bounds.append(f"{field.low:,.9g} to {field.high:,.9g}{' ' + field.unit if field.unit else ''}")
    if row.changed:
        bounds.append(f"usual here: {shown(row.usual, field) or 'empty'} (u puts it back)")
    parts = [plain(field.help)]
    if bounds:
        parts.append(line(" · ".join(bounds), "$quiet"))
    return Content("\n").join(parts)

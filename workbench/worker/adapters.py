"""Several adapters of one base in memory, of which one at a time is worn, or none: changing them loads no base.

They are not merged: taken off again, 16-bit weights would not be what they were. DoRA is, and then stays on: unmerged
it answers at a tenth of the speed. Into 4-bit weights nothing is merged: rounded to 4 bits again, it would be lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel

from workbench.bases import ancestry
from workbench.worker import soft_prompt


class Wardrobe:
    """A base with the adapters that have been asked for so far. `base` is called as it is, whatever it wears."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.filled: soft_prompt.Filled | None = None
        """The worn soft prompt as keys and values, to begin a cache with."""
        self.fixed = False
        """Whether an adapter is part of the weights now, so that no other can be worn."""
        self._peft: Any = None
        self._names: dict[Path, str] = {}

    @property
    def _four_bit(self) -> bool:
        return bool(getattr(self.base, "is_loaded_in_4bit", False))

    def can_wear(self, folder: Path | None) -> bool:
        """Whether this adapter can be put on the weights as they are."""
        return not self.fixed and (ancestry.is_quick(folder) or self._four_bit)

    def wear(self, folder: Path | None) -> None:
        """Takes off what is worn and puts on the adapter in `folder`; None leaves the base bare."""
        layers = ancestry.layers(folder) if folder is not None else []
        low_rank = next((layer for layer in layers if not ancestry.is_soft_prompt(layer)), None)
        if low_rank is not None and not (ancestry.is_quick(low_rank) or self._four_bit):
            self.base = PeftModel.from_pretrained(self.base, str(low_rank)).merge_and_unload()
            self.fixed = True
        elif low_rank is None:
            if self._peft is not None:
                self._peft.base_model.disable_adapter_layers()
        else:
            self._put_on(low_rank)
        soft = next((layer for layer in layers if ancestry.is_soft_prompt(layer)), None)
        self.filled = soft_prompt.read(self.base, soft) if soft is not None else None

    def _put_on(self, folder: Path) -> None:
        name = self._names.get(folder)
        if name is None:
            name = f"worn{len(self._names)}"
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self.base, str(folder), adapter_name=name)
            else:
                self._peft.load_adapter(str(folder), name)
            self._peft.eval()
            self._names[folder] = name
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(name)

    @property
    def taken_tokens(self) -> int:
        """Tokens of the context that the worn soft prompt takes."""
        return self.filled[0][0].shape[2] if self.filled is not None else 0

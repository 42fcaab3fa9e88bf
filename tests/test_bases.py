"""Base models on disk: what each is, what is wrong with it in a sentence, and which one a name means."""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import bases, paths
from workbench.bases import weights
from workbench.bases.model_folder import read_base
from workbench.errors import BaseModelError
from workbench.store import Store

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "vocab_size": 4,
    "tie_word_embeddings": True,
}
TOKENIZER = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 3, "content": "<|end|>"}]}
TENSORS = {"model.embed_tokens.weight": [4, 8], "model.norm.weight": [8]}


def safetensors(shapes: dict[str, list[int]], fill: int = 0, dtype: str = "F16") -> bytes:
    """A sound safetensors file of two-byte numbers."""
    header, place = {}, 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes([fill]) * place


def model(folder: Path, **changes: object) -> Path:
    """A tiny model's folder; `changes` go into its config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{% generation %}x{% endgeneration %}"}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags: []\n---\n# A model\n")
    (folder / "model.safetensors").write_bytes(safetensors(TENSORS))
    return folder


def cached(model_id: str, **changes: object) -> Path:
    """A model in the hub's cache as the hub's library lays it out; the model's folder there."""
    root = paths.hub_cache() / f"models--{model_id.replace('/', '--')}"
    model(root / "snapshots" / "abc", **changes)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    (root / "blobs").mkdir()
    return root


def test_a_folder_is_read_without_loading_it(tmp_path: Path) -> None:
    """Sizes, parameters, template and licence come from headers and text files."""
    base = bases.resolve(str(model(tmp_path / "tiny")))

    assert (base.name, base.architecture, base.parameters, base.dtype) == ("tiny", "LlamaForCausalLM", 40, "float16")
    assert (base.vocab, base.layers, base.hidden, base.intermediate) == (4, 1, 8, 16)
    assert (base.heads, base.kv_heads, base.head_dim, base.context, base.tied) == (2, 1, 4, 32, True)
    assert (base.has_template, base.has_generation_markers, base.licence) == (True, True, "apache-2.0")
    assert (base.problems, base.spec) == ((), str((tmp_path / "tiny").resolve()))


def test_the_bundled_base_can_be_used_and_exported() -> None:
    """What ships works: no problems, exportable, a template with generation markers."""
    base = bases.resolve("bundled")

    assert (base.problems, base.exportable, base.has_generation_markers) == ((), "", True)
    assert 1_000_000 <= base.parameters <= 4_000_000


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK")


def gguf_only(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "tiny-Q8_0.gguf").write_bytes(b"GGUF")


def missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_text(json.dumps({**CONFIG, **changes})) and None


PROBLEMS = {
    "no tokenizer": (without("tokenizer.json"), "no tokenizer"),
    "no config": (without("config.json"), "no config.json"),
    "damaged config": (write("config.json", b"{"), "config.json is damaged"),
    "damaged tokenizer": (write("tokenizer.json", b"[1]"), "tokenizer.json is damaged"),
    "no weights": (without("model.safetensors"), "no weights"),
    "pickles only": (pickled, "pickles"),
    "code of its own": (config(auto_map={"AutoModel": "x.Y"}), "code of its own"),
    "missing shard": (missing_shard, "1 of 2 weight files are missing, model-00002"),
    "vocabulary too large": (
        write("model.safetensors", safetensors({"model.embed_tokens.weight": [3, 8]})),
        "4 tokens.*only 3 rows",
    ),
    "a GGUF": (gguf_only, "holds a GGUF"),
    "0-byte weights": (write("model.safetensors", b""), "model.safetensors is damaged: it is empty"),
    "quantised": (config(quantization_config={"quant_method": "gptq"}), "already quantised .gptq"),
    "cut weights": (write("model.safetensors", safetensors(TENSORS)[:-9]), "cut short"),
}


@pytest.mark.parametrize(("damage", "why"), PROBLEMS.values(), ids=PROBLEMS)
def test_each_fault_of_a_folder_is_a_sentence(tmp_path: Path, damage: Callable[[Path], None], why: str) -> None:
    """Resolving it is refused with the reason, and listing it shows the same."""
    folder = model(tmp_path / "tiny")
    damage(folder)
    with pytest.raises(BaseModelError, match=why):
        bases.resolve(str(folder))

    assert read_base(folder, "x", "x").problems


HEADERS = {
    "length 2^63": struct.pack("<Q", 2**63) + b"{}",
    "100 MB header": struct.pack("<Q", 100_000_000) + b" " * 100_000_000,
    "not JSON": struct.pack("<Q", 4) + b"{{{{",
    "deep": struct.pack("<Q", 20_000) + b"[" * 20_000,
    "a list": struct.pack("<Q", 2) + b"[]",
    "7 bytes": b"\0" * 7,
    "negative shape": struct.pack("<Q", 58) + b'{"a": {"dtype": "F16", "shape": [-1], "data_offsets": [0, 2]}}'[:58],
    "overlap": safetensors({"a": [2]}).replace(b"[0, 4]", b"[0, 4]")[:0]
    + struct.pack("<Q", 122)
    + (
        b'{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}, '
        b'"b": {"dtype": "F16", "shape": [2], "data_offsets": [2, 6]}}'
    ).ljust(122)
    + bytes(6),
    "wrong size": struct.pack("<Q", 62)
    + b'{"a": {"dtype": "F16", "shape": [9], "data_offsets": [0, 2]}}'.ljust(62)
    + b"xx",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_hostile_headers_are_refused_at_once(tmp_path: Path, content: bytes) -> None:
    """Whatever a safetensors header claims: a BaseModelError that names the file, within seconds."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    begun = time.perf_counter()
    with pytest.raises(BaseModelError, match=r"model.safetensors is damaged"):
        weights.read_header(path)

    assert time.perf_counter() - begun < 5


def test_the_fingerprint_names_the_weights(tmp_path: Path) -> None:
    """A copy has the same one; other weights of the same shape, or another config, have another."""
    one, copy = model(tmp_path / "one"), model(tmp_path / "copy")
    other, resized = model(tmp_path / "other"), model(tmp_path / "resized", hidden_size=16)
    (other / "model.safetensors").write_bytes(safetensors(TENSORS, fill=1))

    assert weights.fingerprint(one) == weights.fingerprint(copy)
    assert len({weights.fingerprint(folder) for folder in (one, other, resized)}) == 3


def test_a_hub_id_in_the_cache_is_found_at_the_revision_of_main() -> None:
    """The snapshot that refs/main names is used, whatever else lies beside it."""
    root = cached("org/tiny")
    model(root / "snapshots" / "zzz", hidden_size=999)
    base = bases.resolve("org/tiny")

    assert (base.spec, base.name, base.path.name, base.hidden) == ("org/tiny", "org/tiny", "abc", 8)


def test_a_half_finished_download_says_how_to_go_on() -> None:
    """Weights that are not there yet, with an .incomplete blob or a link to nowhere, name the command."""
    root = cached("org/tiny")
    weights_file = root / "snapshots" / "abc" / "model.safetensors"
    weights_file.unlink()
    (root / "blobs" / "123.incomplete").write_bytes(b"x")
    with pytest.raises(BaseModelError, match="not finished; go on with: workbench models --get org/tiny"):
        bases.resolve("org/tiny")
    (root / "blobs" / "123.incomplete").unlink()
    weights_file.symlink_to(root / "blobs" / "gone")
    with pytest.raises(BaseModelError, match="not finished"):
        bases.resolve("org/tiny")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("org/unknown", "workbench models --get org/unknown"),
        ("/no/such/folder", "There is no folder"),
        ("model.gguf", "A GGUF can be chatted with"),
        ("../../etc", "There is no folder|no config.json"),
    ],
)
def test_names_that_mean_nothing_here_get_a_hint(spec: str, why: str) -> None:
    """An unknown id names the download; a path says that it is not there."""
    with pytest.raises(BaseModelError, match=why):
        bases.resolve(spec)


def test_installed_lists_bundled_then_cache_then_folders(tmp_path: Path) -> None:
    """Unusable ones are in the list too; data sets and models of other kinds in the cache are not."""
    cached("org/good")
    cached("org/bad", auto_map={"x": "y"})
    (paths.hub_cache() / "models--org--images" / "snapshots" / "abc").mkdir(parents=True)
    (paths.hub_cache() / "datasets--org--data").mkdir()
    model(tmp_path / "many" / "one")
    shutil.copytree(tmp_path / "many" / "one", tmp_path / "many" / "two")
    found = bases.installed([tmp_path / "many", tmp_path / "many" / "one", tmp_path / "nowhere"])

    assert [base.name for base in found] == ["bundled", "org/bad", "org/good", "one", "two"]
    assert [base.usable for base in found] == [True, False, True, True, True]


def test_a_project_remembers_folders_once(tmp_path: Path) -> None:
    """The same folder twice is one, and they are there after reopening."""
    store = Store(tmp_path / "workbench.db")
    bases.remember_folder(store, tmp_path)
    bases.remember_folder(store, tmp_path / "x" / "..")
    found = bases.remembered_folders(store)
    store.close()

    assert found == [tmp_path.resolve()]


def test_a_changed_folder_is_read_anew(tmp_path: Path) -> None:
    """What was read is remembered only while no file changes."""
    folder = model(tmp_path / "tiny")
    before = bases.resolve(str(folder)).hidden
    config(hidden_size=24)(folder)

    assert (before, bases.resolve(str(folder)).hidden) == (8, 24)

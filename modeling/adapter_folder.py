"""Where the two files of a saved adapter lie: in a folder, or fetched from the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

_FILES = ("adapter_config.json", "adapter_model.safetensors")


def adapter_folder(name: str, revision: str | None = None, token: str | bool | None = None) -> Path:
    """
    The folder of an adapter. From the Hub come its two files, of one commit, and nothing else: no pickle, no code.

    Raises:
        ValueError: if one of the two files is missing.
        FileNotFoundError: if there is no such folder, and the Hub shows no such repository or revision.
        PermissionError: if the Hub refuses the token.
    """
    folder = Path(name) if Path(name).exists() else _fetched(name, revision, token)
    for file in _FILES:
        if not (folder / file).is_file():
            raise ValueError(
                f"Expected an adapter folder with `{file}`, found none in '{name}'. "
                "Pass the folder that `save_pretrained` wrote."
            )
    return folder


def _fetched(name: str, revision: str | None, token: str | bool | None) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, token=token, allow_patterns=list(_FILES)))
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        what = f"revision '{revision}'" if isinstance(error, RevisionNotFoundError) else "repository"
        raise FileNotFoundError(
            f"Expected a folder or a hub id of an adapter, got '{name}': there is no such folder, and the Hub shows no "
            f"such {what}. Check the name; if it is private, log in with `hf auth login`."
        ) from None
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code not in (401, 403):
            raise
        raise PermissionError(
            f"The Hub must let the token read '{name}', but it refused it ({error.response.status_code}). "
            "Log in again with `hf auth login`, or mend `HF_TOKEN`."
        ) from None

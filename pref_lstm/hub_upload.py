"""One folder to one repository in one commit."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, get_token, hf_hub_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
)


@dataclass(kw_only=True)
class Staged(ABC):
    """
    One repository's files, ready to be uploaded.

    Args:
        kind (`str`): `"adapter"`, `"classifier"` or `"space"`.
        repo_id (`str`): The repository.
        folder (`Path`): The files, and nothing else.
        left_out (`list[str]`): What the model's own folder holds besides.
        commit (`str`, *optional*): The commit that holds the files, once they are uploaded.
    """

    kind: str
    repo_id: str
    folder: Path
    left_out: list[str] = field(default_factory=list)
    commit: str | None = None

    @property
    def repo_type(self) -> str:
        """As the Hub calls it: `"model"` or `"space"`."""
        return "space" if self.kind == "space" else "model"

    @property
    def files(self) -> dict[str, int]:
        """Name and size in bytes of each file."""
        return {path.name: path.stat().st_size for path in sorted(self.folder.iterdir())}

    @abstractmethod
    def write_card(self, existing: Path | None = None) -> None:
        """Write what depends on facts, by default anew; what its owner wrote into an existing card stays."""


def check_repo_id(kind: str, repo_id: str) -> None:
    """
    Raises:
        ValueError: if the repository's name is none.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise ValueError(
            f"The {kind}'s repository must be written OWNER/NAME, got '{repo_id}'. "
            "OWNER is you or an organisation of yours on the Hub."
        )


def prepare_repository(stage: Staged, private: bool) -> None:
    """
    Create a repository, or check the one that is there.

    Raises:
        PermissionError: if the Hub refuses the token.
        ValueError: if the repository is public and `private` is asked for, or the Hub is out of reach.
    """
    api, repo_id, repo_type = HfApi(), stage.repo_id, stage.repo_type
    sdk = "gradio" if repo_type == "space" else None
    try:
        api.create_repo(repo_id, repo_type=repo_type, space_sdk=sdk, private=private, exist_ok=True)
        is_public = not api.repo_info(repo_id, repo_type=repo_type).private
    except (HTTPError, OSError) as error:
        raise _explained(repo_id, error) from None
    if private and is_public:
        raise ValueError(
            f"'{repo_id}' must be private, but it is public already: what is uploaded can be read by everybody. "
            "Pass `--public` if that is meant."
        )


def fetch_card(stage: Staged, folder: Path) -> Path | None:
    """The card that the repository has, copied into `folder`; `None` if it has none."""
    try:
        return Path(hf_hub_download(stage.repo_id, "README.md", repo_type=stage.repo_type, local_dir=folder))
    except EntryNotFoundError:
        return None
    except (HTTPError, OSError) as error:
        raise _explained(stage.repo_id, error) from None


def upload(stage: Staged) -> None:
    """
    Upload the folder in one commit, which is noted in `stage.commit`. Files that the repository has already are not
    sent again, and if it has all, there is no new commit: so a second call after a failed one goes on where that one
    stopped.

    Raises:
        PermissionError: if the Hub refuses the token.
        ValueError: if the Hub refuses the files, or the transfer breaks off.
    """
    try:
        info = HfApi().upload_folder(
            repo_id=stage.repo_id,
            repo_type=stage.repo_type,
            folder_path=stage.folder,
            commit_message=f"Upload {stage.kind} and card",
        )
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        # What happens to one of the large files comes wrapped.
        cause = error.__cause__ if isinstance(error, RuntimeError) else None
        raise _explained(stage.repo_id, cause if isinstance(cause, Exception) else error) from None
    stage.commit = str(info.oid)


def _explained(repo_id: str, error: Exception) -> Exception:
    response = error.response if isinstance(error, HfHubHTTPError) else None
    if response is not None and response.status_code in (401, 403):
        came = "there is none" if get_token() is None else f"it was refused ({response.status_code})"
        return PermissionError(
            f"Publishing to '{repo_id}' needs a token with the right to write there, but {came}. "
            "Log in with `hf auth login`, or mend `HF_TOKEN`."
        )
    if isinstance(error, OfflineModeIsEnabled):
        return ValueError(f"Publishing to '{repo_id}' needs the Hub, but `HF_HUB_OFFLINE` is set. Unset it.")
    # A card that the Hub's check refuses comes as a plain `ValueError`.
    if isinstance(error, ValueError) or (response is not None and response.status_code < 500):
        said = " ".join(str(getattr(error, "server_message", None) or error).split())
        return ValueError(
            f"The Hub must accept the files for '{repo_id}', but refused them: {said}. Mend what it names."
        )
    return ValueError(
        f"The transfer to '{repo_id}' broke off ({type(error).__name__}). Run the same command again: what has arrived "
        "is not sent twice."
    )

"""One folder to one repository in one commit."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token, hf_hub_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
)


def prepare_repository(repo_id: str, private: bool) -> None:
    """
    Create a model repository, or check the one that is there.

    Raises:
        PermissionError: if the Hub refuses the token.
        ValueError: if the repository is public and `private` is asked for, or the Hub is out of reach.
    """
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        is_public = not api.model_info(repo_id).private
    except (HTTPError, OSError) as error:
        raise _explained(repo_id, error) from None
    if private and is_public:
        raise ValueError(
            f"'{repo_id}' must be private, but it is public already: what is uploaded can be read by everybody. "
            "Pass `--public` if that is meant."
        )


def fetch_card(repo_id: str, folder: Path) -> Path | None:
    """The card that the repository has, copied into `folder`; `None` if it has none."""
    try:
        return Path(hf_hub_download(repo_id, "README.md", local_dir=folder))
    except EntryNotFoundError:
        return None
    except (HTTPError, OSError) as error:
        raise _explained(repo_id, error) from None


def upload(repo_id: str, folder: Path, message: str) -> str:
    """
    Upload a folder in one commit. Files that the repository has already are not sent again, and if it has all, there
    is no new commit: so a second call after a failed one goes on where that one stopped.

    Returns:
        `str`: the commit that holds the files.

    Raises:
        PermissionError: if the Hub refuses the token.
        ValueError: if the Hub refuses the files, or the transfer breaks off.
    """
    try:
        return str(HfApi().upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message).oid)
    except (HTTPError, OSError, ValueError) as error:
        raise _explained(repo_id, error) from None


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

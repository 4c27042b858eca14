"""A commit on the Hugging Face Hub, and what is said where the Hub refuses it, fails or is none."""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported, when asked for

from dmd.commands.publication import Content

CURES = {
    400: "it does not take what was sent",
    401: "the token is not accepted: log in with `hf auth login`, or set HF_TOKEN",
    403: "the token may not write there: take one with the right to write, or a name of your own",
    404: "there is no such owner or repository for this token: correct the name, or HF_ENDPOINT",
    409: "another commit came in between: run this again",
    413: "a file is too large for it",
    429: "too many requests: wait and run this again",
}
"""By status; 5xx has one of its own."""

BROKEN = "the Hub itself fails: run this again later"
UNKNOWN = "look at https://status.huggingface.co"


def check_name(repository: str) -> None:
    """Refuse a name that the Hub would refuse.

    Raises:
        ValueError: it is no `org/name`.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ValueError(f"{repository!r}: {error}") from error
    if repository.count("/") != 1:
        raise ValueError(f"{repository!r} is no name on the Hub: write org/name, or your user's name in place of org")


def commit_files(repository: str, files: Mapping[str, Content], private: bool, message: str) -> str:
    """Commit the files by their names, all at once, and return the commit's address; the repository is made if needed.

    What a publication before left in the folders of these files, and is none of them, goes in the same commit; files
    beside these folders stay. One `create_commit`, since `upload_folder` may cut what takes long into several commits.

    Raises:
        ValueError: there is no token, a private repository is asked for and it is public, or the Hub did not take it.
    """
    if get_token() is None:
        raise ValueError("there is no token for the Hub: log in with `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    added = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        found = api.model_info(repository)
        removed = map(CommitOperationDelete, _left(files, [file.rfilename for file in found.siblings or ()]))
        taken = not private or found.private
        address = (
            api.create_commit(repository, [*added, *removed], commit_message=message).commit_url if taken else None
        )
    except Exception as error:  # those of the client's transport have no common class
        raise ValueError(f"{repository}: {explain(error)}") from error
    if address is None:
        raise ValueError(f"{repository} is there and public: make it private in its settings, or leave --private away")
    return address


def _left(files: Collection[str], there: Iterable[str]) -> list[str]:
    """Those that are there, in folders of `files` or below, and are none of them."""
    folders = {PurePosixPath(name).parts[0] for name in files if "/" in name}
    return [name for name in there if name not in files and "/" in name and PurePosixPath(name).parts[0] in folders]


def explain(error: BaseException) -> str:
    """What the Hub did, in one line, with the cure."""
    refused = _refusal(error)
    text = " ".join(str(refused or error).split())[:300]
    if refused is not None:
        status = refused.response.status_code
        cure = BROKEN if status >= 500 else CURES.get(status, UNKNOWN)
        return f"the Hub answered {status}: {cure} ({text})"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | KeyError | TypeError | AttributeError):
        kind = f"{type(error).__name__}: {text}"
        return f"{constants.ENDPOINT} does not answer as a Hub does; correct HF_ENDPOINT, or run this later ({kind})"
    if isinstance(error, ValueError):
        return f"not taken: {text}"
    return f"{constants.ENDPOINT} is not reached: {text}; look at the network, HF_ENDPOINT and HF_HUB_OFFLINE"


def _refusal(error: BaseException | None) -> HfHubHTTPError | None:
    """The Hub's own refusal, in an error or in what it came from."""
    while error is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__
    return error

"""The Hugging Face Hub: files of a repository at one commit, each checked against the hash that the Hub names.

The client is `huggingface_hub`'s: `HF_ENDPOINT` names another Hub, `HF_HOME` its cache, `HF_HUB_OFFLINE=1` keeps it
from the network. What is whole in its cache is not downloaded again, so a download that was cut goes on with what is
missing; while the client runs, a connection that was cut goes on where it was.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from dmd.fetch.downloads import DownloadError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
"""`org/name`."""

GIT_ID, SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")


def snapshot(name: str, revision: str | None, patterns: Sequence[str], timeout: float) -> Path:
    """Files of the repository `name` at a commit, downloaded or from the client's cache, verified.

    Args:
        name: `org/name`.
        revision: a commit; None takes the newest.
        patterns: paths inside the repository; those that it lacks are passed over.
        timeout: seconds that the Hub may stay silent about a file.

    Returns:
        A folder whose name is the commit. It may hold other files of that commit too.

    Raises:
        DownloadError: no such repository or commit, no answer, or a wrong file, which is then removed from the cache.
    """
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns), etag_timeout=timeout))
    except RevisionNotFoundError as error:
        raise DownloadError(
            f"teacher.revision {revision!r}: the hub has no such commit of {name}; correct it, or null takes the newest"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(f"teacher.source {name!r}: the hub has no such repository, or it is not public") from error
    except Exception as error:  # the errors of the client's transport are no OSErrors, and have no common name
        raise DownloadError(f"teacher.source {name!r}: the hub did not serve it: {error}") from error
    for path in (folder / pattern for pattern in patterns):
        if path.is_file():
            check_blob(path)
    return folder


def check_blob(path: Path) -> None:
    """Compare a file of the client's cache with its hash: there a file is a link to a blob named by its hash.

    That is the git blob id, `sha1("blob <size>\\0" + bytes)`, or for a large file the SHA-256 of its bytes. Where the
    cache has no links (on Windows) there is nothing to compare with.

    Raises:
        DownloadError: the content differs; the file is removed, so that the next run downloads it again.
    """
    if not path.is_symlink():
        return
    blob = path.parent / os.readlink(path)
    found, wanted = "no hash", blob.name
    if SHA256.fullmatch(wanted):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    elif GIT_ID.fullmatch(wanted):
        content = path.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if found != wanted:
        path.unlink()
        blob.unlink()
        raise DownloadError(
            f"{path.name} is not the file that the hub names: it has {found}, wanted {wanted}; run again"
        )

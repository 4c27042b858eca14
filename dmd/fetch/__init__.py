"""What the stage `fetch` does: bytes from the network or from disk, verified against their hashes and put in place.

The one room that reaches the network, by requests, urllib3 and huggingface_hub; no other room enters it.
"""

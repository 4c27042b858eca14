"""What the stage `fetch` does: bytes from the network or from disk, verified against their hashes and put in place.

The one room that may import requests, urllib3 and huggingface_hub; no other room enters it.
"""

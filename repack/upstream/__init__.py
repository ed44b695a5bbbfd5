"""HTTP: client, network settings (proxies, certificates, mirrors), credentials.

The only package that opens a connection. No error text holds a secret.

May import: codec, fs, besides the ground modules.
"""

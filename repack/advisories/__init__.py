"""Known vulnerabilities of a release's packages, by a database that stands in a file.

A database of OSV is indexed once per content. Nothing here asks anybody anything. A package that no
name is known of is *unknown*, never clean.

Source: Open Source Vulnerability format, version 1.7.
"""
